"""What a conversion has written, for tests that interrupt it."""

import json

from videosummarizer.dataset import storage


def contents(out):
    """Return every file of a dataset by name, without its time of creation."""
    files = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    metadata = json.loads(files.pop("metadata.json"))
    del metadata["created"]
    files.pop(".lock", None)
    return files, metadata


def assert_readable(out):
    """Check that no incomplete match in the folder would be read."""
    if not (out / "metadata.json").exists():
        return
    files = storage.open_dataset(out)
    for video in files.metadata["videos"]:
        assert len(list((out / video["title"]).iterdir())) == video["segment_count"]
        for file in storage.list_segments(files, video["title"], video["segment_count"]):
            storage.read_arrays(file, files.metadata["data_shape"])
