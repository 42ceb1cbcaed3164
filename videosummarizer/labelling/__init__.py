"""Labels from edited videos: fingerprints of audio and frames, and the alignment of highlight video and match."""
