"""librosa, imported also where its compiled functions cannot be stored.

numba stores them next to librosa or in the user's home folder. If neither can be written to, or their drive is full,
importing librosa fails. Then they are compiled again in each process, which takes some seconds.
"""

import tempfile


def import_librosa():
    """Import librosa, if necessary with numba's cache in a temporary folder.

    Returns:
        The module.

    Raises:
        OSError: numba's cache cannot be written anywhere. The message says how to name a folder for it.
    """
    try:
        return load()
    except (RuntimeError, OSError) as error:
        import numba

        try:
            # librosa compiles while it is imported. Processes may be killed, so the folder does not outlive the import.
            with tempfile.TemporaryDirectory(prefix="numba-", ignore_cleanup_errors=True) as folder:
                numba.config.CACHE_DIR = folder
                return load()
        except (RuntimeError, OSError):
            reason = " ".join(str(error).split())
            raise OSError(
                f"librosa cannot be imported ({reason}): let the environment variable NUMBA_CACHE_DIR name a folder "
                "with room, into which files can be written"
            ) from error


def load():
    """Import librosa and the parts of it that are used; it imports them late."""
    import librosa

    _ = librosa.feature.mfcc, librosa.feature.melspectrogram, librosa.power_to_db
    return librosa
