"""The cut of a reel for editing software, LosslessCut, YouTube and video players."""
