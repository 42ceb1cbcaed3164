"""h5py, imported without HDF5's file locks.

Network drives may not support locks, and HDF5 then neither writes nor reads a file there. Checkpoints need no lock: a
new one replaces nothing until it is complete, and it never changes afterwards.
"""

import os

# HDF5 reads this when it is loaded. It holds for the files that Keras opens, too.
os.environ["HDF5_USE_FILE_LOCKING"] = "FALSE"
import h5py  # noqa: F401 (imported from here by the modules that read and write checkpoints)
