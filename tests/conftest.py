import contextlib
import functools
import os
import signal

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # no test needs a device, and --hwaccel auto would use one
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # as model.py does; JAX, imported by Keras, would set another first

import pytest
from clips import tone, write_clip, write_recording
from dataset_files import contents
from edits import make_edit
from extractor import Extractor

import model
from data_converter import main
from videosummarizer.extraction import decoding_process
from videosummarizer.worker_processes import WorkerPool, describe_failure

# A shell that starts pytest in the background lets it ignore Ctrl-C, and so would the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Fail a skipped test on CI, where everything that a test needs has to be installed."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome, report.longrepr = "failed", f"skipped, which CI does not allow: {call.excinfo.value}"
    return report


@pytest.fixture(autouse=True)
def scheduling_policy():
    """Fail a test that makes this process real-time (see clips.write_av1_clip); not checked on Windows and macOS."""
    get_policy = getattr(os, "sched_getscheduler", lambda pid: None)
    before = get_policy(0)
    yield
    assert get_policy(0) == before


@pytest.fixture
def matches_dir(tmp_path):
    """Make a folder with two labelled matches of 4 s, one of them without highlights."""
    folder = tmp_path / "matches"
    folder.mkdir()
    for title, labels in (("first", "30,90,00:00:01,00:00:03\n"), ("second", "")):
        write_clip(folder / f"{title}.mp4", num_frames=120, audio=tone(440, 4))
        (folder / f"{title}.txt").write_text(labels)
    return folder


# Titles whose subset is known: two train, two valid, two test (see test_data_loader.py for the pinned table).
TITLES = {"train": ["match_00", "match_01"], "valid": ["match_07", "match_09"], "test": ["match_08", "match_10"]}
# Each match's length and highlight section in frames at 30 fps, and the labels of its 1-second segments. Train, valid
# and test have 30 %, 64 % and 5 % of highlights, and no two matches are alike: labels and class weights of the wrong
# subset or match are noticed. Highlights of 15 frames or fewer within a segment do not label it.
NUM_FRAMES = {"match_00": 300, "match_01": 300, "match_07": 180, "match_09": 150, "match_08": 350, "match_10": 240}
SECTIONS = {
    "match_00": (120, 210),
    "match_01": (195, 285),
    "match_07": (30, 150),
    "match_09": (30, 135),
    "match_08": (237, 276),
    "match_10": None,
}
LABELS = {
    "match_00": [0, 0, 0, 0, 1, 1, 1, 0, 0, 0],
    "match_01": [0, 0, 0, 0, 0, 0, 0, 1, 1, 0],
    "match_07": [0, 1, 1, 1, 1, 0],
    "match_09": [0, 1, 1, 1, 0],
    "match_08": [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0],
    "match_10": [0, 0, 0, 0, 0, 0, 0, 0],
}


@pytest.fixture(scope="module")
def undisturbed(request, matches_dir, tmp_path_factory):
    """Convert the matches of a test module with its own `convert`, and return the contents of the dataset."""
    out = tmp_path_factory.mktemp("undisturbed") / "dataset"
    assert request.module.convert(matches_dir, out) == 0
    return contents(out)


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """Make a clip of 2.4 s for `extract`."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", num_frames=72, audio=tone(440, 2.4))


@pytest.fixture(scope="session")
def recording(tmp_path_factory):
    """Make a recording with three audio tracks."""
    return write_recording(tmp_path_factory.mktemp("recording") / "match.mkv")


@pytest.fixture
def extract(tmp_path, clip, monkeypatch):
    """Run the extractor on copies of the clip."""
    return Extractor(tmp_path, clip, monkeypatch)


@pytest.fixture(scope="session")
def trainable_matches_dir(tmp_path_factory):
    """Make 6 different matches of 5 to 11.7 s, two per subset.

    Highlights are loud. Each match has a click of 5 ms that is just as loud in its first second, at another time in
    each match, so that all have the same peak.
    """
    folder = tmp_path_factory.mktemp("trainable")
    for number, (title, num_frames) in enumerate(NUM_FRAMES.items()):
        audio = tone(440 + 37 * number, num_frames / 30, amplitude=0.02)
        if SECTIONS[title]:
            start, end = (frame * 44100 // 30 for frame in SECTIONS[title])
            audio[start:end] *= 45
        audio[44100 * number // 7 :][:220] *= 45
        write_clip(folder / f"{title}.mp4", num_frames=num_frames, audio=audio, first_number=150 * number)
        labels = "{},{}\n".format(*SECTIONS[title]) if SECTIONS[title] else ""
        (folder / f"{title}.txt").write_text(labels)
    return folder


@pytest.fixture
def small_network(monkeypatch):
    """Make main.py train a small network, which takes a tenth of the time."""
    from small_network import build_small_network  # Keras takes seconds, which most tests can do without

    monkeypatch.setattr(model, "build_model", build_small_network)


@pytest.fixture
def play(monkeypatch, small_network, dataset_dir, tmp_path):
    """Run main.py with a script instead of training and scoring (see scripted_training.play), in the folder `ckpt`."""
    import scripted_training  # imports Keras

    return functools.partial(scripted_training.play, monkeypatch, dataset_dir, tmp_path / "ckpt")


@pytest.fixture(scope="session")
def dataset_dir(trainable_matches_dir, tmp_path_factory):
    """Convert a small dataset with both classes in every subset: 6 matches in segments of 1 s, with waveforms."""
    dataset = tmp_path_factory.mktemp("out") / "dataset"
    assert main([str(trainable_matches_dir), "1", "2", "16", "16", "4000", "0", str(dataset), "--workers", "1"]) == 0
    return dataset


@pytest.fixture(scope="session")
def plain_edit(tmp_path_factory):
    """Cut a highlight video from a sample match without any further editing."""
    return make_edit(tmp_path_factory.mktemp("edit") / "city_03.mp4")


@pytest.fixture(scope="session")
def unequal_dir(tmp_path_factory):
    """Three matches of unequal lengths and numbers of highlights; the shortest has no sound."""
    folder = tmp_path_factory.mktemp("unequal")
    for title, num_frames, labels in (
        ("c_long", 200, "1.0,2.5\n5.0,5.2\n"),
        ("a_mid", 95, "50,70\n"),
        ("b_short", 40, "0,40\n"),
    ):
        sound = None if title == "b_short" else tone(440, num_frames / 30)
        write_clip(folder / f"{title}.mp4", num_frames=num_frames, audio=sound)
        (folder / f"{title}.txt").write_text(labels)
    return folder


RUN_IN_PROCESSES = WorkerPool.run
DECODE_IN_PROCESS = decoding_process.running


def run_in_this_process(pool, function, calls):
    """Stand in for WorkerPool.run, without the seconds that new processes take to start."""
    for arguments in calls:
        try:
            outcome = function(*arguments)
        except Exception as error:
            outcome = describe_failure(error)
        yield arguments, outcome


@pytest.fixture(scope="session", autouse=True)
def no_worker_processes():
    """Let commands that tests run in this process start no others, so that what tests replace holds there too."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(WorkerPool, "run", run_in_this_process)
        patched.setattr(decoding_process, "running", contextlib.nullcontext)
        yield


@pytest.fixture
def real_processes(monkeypatch):
    """Start worker processes as the commands do."""
    monkeypatch.setattr(WorkerPool, "run", RUN_IN_PROCESSES)
    monkeypatch.setattr(decoding_process, "running", DECODE_IN_PROCESS)


@pytest.fixture
def pools(monkeypatch):
    """The pools that calls are made with; the calls are made in this process, one after the other."""
    pools = []

    def run(pool, function, calls):
        if pool not in pools:
            pools.append(pool)
        return run_in_this_process(pool, function, calls)

    monkeypatch.setattr(WorkerPool, "run", run)
    return pools
