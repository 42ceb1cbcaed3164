"""Files of a training run that cannot be written. Training and scoring are played by a script."""

import errno

from scripted_training import loss_of, scores_with

from videosummarizer import atomic_file
from videosummarizer.training import resume_point, run_folder, training_run
from videosummarizer.training.keras_backend import keras


def test_files_that_cannot_be_written_do_not_end_the_training(play, monkeypatch, caplog):
    class BrokenLog(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise RuntimeError("cannot\nflush")

    def fill_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_folder, "make_event_log", lambda path: BrokenLog())
    monkeypatch.setattr(run_folder, "write_history", fill_disk)
    monkeypatch.setattr(resume_point, "write", fill_disk)
    monkeypatch.setattr(training_run, "atomic_write", fill_disk)  # history.png
    script = play([scores_with(0.6), scores_with(0.8)])
    assert script.status == 0
    assert [path.name[-11:-5] for path in script.checkpoints] == [f"{loss_of(scores_with(p)):.4f}" for p in (0.6, 0.8)]
    assert script.tested == str(script.checkpoints[-1])
    reasons = {
        "logs": "RuntimeError: cannot flush",
        **dict.fromkeys(("history.csv", "resume.npz"), "No space left on device"),
    }
    each_epoch = [
        f"{script.ckpt_dir / name}: cannot be written ({reason}): training continues without it"
        for name, reason in reasons.items()
    ]
    assert caplog.messages[:6] == each_epoch * 2
    assert caplog.messages[6].startswith(f"{script.ckpt_dir / 'history.png'}: cannot be written (No space left on dev")
    assert len(caplog.messages) == 7


def test_a_folder_that_cannot_be_written_to_is_found_out_before_the_training(play, tmp_path, monkeypatch, caplog):
    def refuse(dir):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(atomic_file.tempfile, "TemporaryFile", refuse)
    script = play([scores_with(0.6)])
    assert (script.status, script.seen) == (1, [])
    assert caplog.messages[-1] == (
        f"{tmp_path}: no files can be written into this folder (Read-only file system): correct its permissions, make "
        "room, or choose another --ckpt_dir"
    )
    assert not script.ckpt_dir.exists()


def test_a_checkpoint_that_cannot_be_written_ends_the_training_in_one_line(play, monkeypatch, caplog):
    def fill_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_folder, "write_checkpoint_attributes", fill_disk)
    script = play([scores_with(0.6)])
    assert script.status == 1
    assert script.checkpoints == []
    assert not list(script.ckpt_dir.glob(".*"))
    assert caplog.messages[-1].startswith(f"{script.ckpt_dir}/ckpt-")
    assert "the checkpoint cannot be written (No space left on device): make room or" in caplog.messages[-1]
