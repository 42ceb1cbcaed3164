"""Files whose clock restarts, jumps, or runs to an end that so few packets cannot have."""

import pickle
import re
import shlex
import subprocess
import types

import imageio_ffmpeg
import numpy as np
import pytest
from clips import read_number, tone, write_clip, write_exact_audio

import data_converter
import highlight_extractor
import label_finder
from videosummarizer import audio_track, media, problems, timestamps, video_track

SETTINGS = ["60", "0.5", "40", "16", "1000", "0"]


def join(path, suffix, *arguments):
    """Write a file of two parts, each with a clock of its own: 60 frames from number 0, 45 from number 100."""
    parts = []
    for name, num_frames, first in (("a", 60, 0), ("b", 45, 100)):
        clip = write_clip(
            path.parent / f"{name}.mp4",
            num_frames=num_frames,
            audio=tone(440, num_frames / 30),
            first_number=first,
            options={"crf": "10", "bf": "0"},
        )
        part = path.parent / f"{name}{suffix}"
        ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(clip), "-c", "copy"]
        subprocess.run([*ffmpeg, *arguments, str(part)], check=True)
        parts.append(part)
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize(
    ("suffix", "arguments"),
    [(".ts", ()), (".mkv", ()), (".f.mp4", ("-movflags", "+frag_keyframe+empty_moov+default_base_moof"))],
)
def test_parts_that_were_joined_by_cat_are_refused_with_the_time_and_a_command(tmp_path, suffix, arguments):
    path = join(tmp_path / "two parts.mp4", suffix, *arguments)
    with pytest.raises(media.TimestampError) as raised:
        media.probe(path)
    message = str(raised.value)
    pattern = r"(.*): the clock restarts at (.*) s: the timestamps go back to (.*) s, expected one clock: record or .*"
    name, before_sec, after_sec = re.fullmatch(pattern, message).groups()
    assert name == str(path)
    assert float(before_sec) == pytest.approx(2, abs=0.11)
    assert float(after_sec) < (0.11 if suffix != ".f.mp4" else 1.1)
    joined = tmp_path / "two parts_joined.mp4"
    if suffix != ".ts":
        assert message.endswith(
            f"ffmpeg -f concat -safe 0 -i parts.txt -c copy {shlex.quote(str(joined))}, where parts.txt has a line "
            "file 'NAME' for each part"
        )
        (tmp_path / "parts.txt").write_text("file 'a.mp4'\nfile 'b.mp4'\n")
    command = shlex.split(message.partition("join them with ")[2].partition(", where")[0])
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *command[1:]], check=True, cwd=tmp_path)
    info = media.probe(joined)
    assert info.duration_sec == pytest.approx(3.5, abs=0.1)
    frames = video_track.read_frames(joined, info, info.frame_times_sec, 40, 16)
    assert {*range(60), *range(100, 145)} - {read_number(frame) for frame in frames} == set()
    assert np.abs(np.concatenate(list(audio_track.read_audio(joined, info, 8000)))[20_000:26_000]).max() > 0.4


def test_every_stage_refuses_a_clock_that_restarts_in_the_same_words(tmp_path, capsys, caplog):
    for name in ("in", "edits"):
        (tmp_path / name).mkdir()
    path = join(tmp_path / "in" / "joined.mp4", ".ts")
    (tmp_path / "in" / "joined.txt").touch()
    for part in ("a", "b"):
        (tmp_path / "in" / f"{part}.mp4").unlink()
    with pytest.raises(media.TimestampError) as raised:
        media.probe(path)
    message = str(raised.value)
    assert highlight_extractor.main([str(path), "--output_dir", str(tmp_path / "reels")]) == 1
    assert caplog.messages == [message]
    assert data_converter.main([str(tmp_path / "in"), *SETTINGS, "--check"]) == 1
    assert f"error: {message}\n" in capsys.readouterr().out
    assert data_converter.main([str(tmp_path / "in"), *SETTINGS, str(tmp_path / "out"), "--workers", "1"]) == 1
    assert message in caplog.messages
    assert not list((tmp_path / "out").glob("joined*"))
    highlights = write_clip(tmp_path / "edits" / "joined.mp4", num_frames=30)
    for pair in ((path, highlights), (highlights, path)):
        result = label_finder.find_labels("joined", *pair, tmp_path, 0.5)
        assert result.error == message
    assert not (tmp_path / "joined.txt").exists()


def make_packet(**attributes):
    return types.SimpleNamespace(duration=1, size=1, has_sidedata=lambda kind: False, **attributes)


def test_audio_alone_that_starts_over_is_refused_too(tmp_path):
    packets = [make_packet(pts=pts, dts=pts, is_discard=False, pos=0) for pts in (0, 1, 2, 3, 0, 1)]
    video, audio = (timestamps.PacketTimes(1.0, 0.0) for _ in range(2))
    for packet in packets[:4]:
        video.add(packet)
    container = types.SimpleNamespace(format=types.SimpleNamespace(name="matroska,webm"))
    assert timestamps.describe_restart("match.mp4", container, video, audio) is None
    for packet in packets:
        audio.add(packet)
    assert "the clock restarts at 3.0 s: the timestamps go back to 0.0 s" in timestamps.describe_restart(
        "match.mp4", container, video, audio
    )


@pytest.mark.parametrize(
    ("dts", "discarded", "expected"),
    [
        ([0, 10, 20, 30], (), None),
        ([0, 10, 20, 16, 30], (), None),  # 0.4 s
        ([0, 10, 20, 14, 30], (), (2.0, 1.4)),
        ([0, None, 20, 12, 30], (), (2.0, 1.2)),
        ([None, None], (), None),
        ([0, 10, 20, 3, 30], (3,), None),  # dropped by an edit list
        ([0, 10, 20, 0, 10, 20], (3, 4, 5), (2.0, 0.0)),  # a second part, of which nothing is shown
        ([], (), None),
    ],
)
def test_decoding_times_that_go_back_by_more_than_half_a_second_are_a_restart(dts, discarded, expected):
    times = timestamps.PacketTimes(0.1, 0.0)
    for index, each in enumerate(dts):
        times.add(make_packet(pts=index, dts=each, is_discard=index in discarded, pos=None))
    assert times.find_restart() == (expected and pytest.approx(expected))


@pytest.mark.parametrize("suffix", [".mp4", ".ts"])
def test_parts_of_which_only_the_first_can_be_read_are_named(tmp_path, suffix):
    path = tmp_path / "two.mp4"
    options = {"qp": "1"}  # tens of kilobytes
    clips = [
        write_clip(tmp_path / f"{name}{suffix}", num_frames=300, options=options, audio=tone(440, 10))
        for name in ("a", "b")
    ]
    content = clips[1].read_bytes()
    if suffix == ".ts":  # other numbers of the streams
        other = tmp_path / "c.ts"
        arguments = ["-i", str(clips[1]), "-c", "copy", "-streamid", "0:400", "-streamid", "1:401", str(other)]
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *arguments]
        subprocess.run([*command[:-1], "-mpegts_start_pid", "400", command[-1]], check=True)
        content = other.read_bytes()
    path.write_bytes(clips[0].read_bytes() + content)
    (problem,) = problems.describe_problems(path, media.probe(path), set())
    assert re.fullmatch(
        rf"{path}: nothing is read from the last [45].% of the file: if it was joined from parts, join them with "
        r"ffmpeg -f concat .*",
        problem,
    )
    assert problems.describe_problems(clips[0], media.probe(clips[0]), set()) == []


@pytest.mark.parametrize(
    ("encoder", "container_format", "codec"), [("copy", "h264", "h264"), ("libx265", "hevc", "hevc")]
)
def test_a_raw_stream_is_refused_with_a_command_that_gives_it_timestamps(tmp_path, encoder, container_format, codec):
    clip = write_clip(tmp_path / "clip.mp4", num_frames=60)
    path, ffmpeg = tmp_path / "raw stream.mp4", [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error"]
    options = ("-c:v", encoder, "-x265-params", "log-level=none") if encoder != "copy" else ("-c", "copy")
    subprocess.run([*ffmpeg, "-i", str(clip), *options, "-f", container_format, str(path)], check=True)
    with pytest.raises(media.TimestampError) as raised:
        media.probe(path)
    timed = tmp_path / "raw stream_timed.mp4"
    assert str(raised.value) == (
        f"{path}: received {codec} video without timestamps (a raw stream without a container), expected them: make a "
        f"file with ffmpeg -r RATE -i '{path}' -crf 16 '{timed}', where RATE is the number of frames per second"
    )
    command = shlex.split(str(raised.value).partition(" with ")[2].partition(", where")[0].replace("RATE", "30"))
    subprocess.run([*ffmpeg, *command[1:]], check=True)
    info = media.probe(timed)
    np.testing.assert_allclose(info.frame_times_sec, np.arange(60) / 30, atol=1e-4)
    assert [read_number(frame) for frame in video_track.read_frames(timed, info, info.frame_times_sec, 40, 16)] == [
        *range(60)
    ]


def test_ogg_files_that_were_joined_by_cat_are_refused_with_a_command(tmp_path):
    contents, ffmpeg = [], [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error"]
    for name, first in (("a", 0), ("b", 100)):
        clip = write_clip(tmp_path / f"{name}.mp4", num_frames=45, audio=tone(440, 1.5), first_number=first)
        part = tmp_path / f"{name}.ogv"
        codecs = ("-c:v", "libvpx", "-b:v", "2M", "-c:a", "libvorbis")
        subprocess.run([*ffmpeg, "-i", str(clip), *codecs, str(part)], check=True)
        contents.append(part.read_bytes())
    path = tmp_path / "two parts.mp4"
    path.write_bytes(b"".join(contents))
    with pytest.raises(media.TimestampError) as raised:
        media.probe(path)
    message, joined = str(raised.value), tmp_path / "two parts_joined.mkv"
    assert message.startswith(f"{path}: received an Ogg file in which another one begins, which FFmpeg cannot read, ")
    (tmp_path / "parts.txt").write_text("file 'a.ogv'\nfile 'b.ogv'\n")
    command = shlex.split(message.partition(" with ")[2].partition(", where")[0])
    subprocess.run([*ffmpeg, *command[1:]], check=True, cwd=tmp_path)
    info = media.probe(joined)
    numbers = [read_number(frame) for frame in video_track.read_frames(joined, info, info.frame_times_sec, 40, 16)]
    assert numbers == [*range(45), *range(100, 145)]
    assert problems.describe_problems(joined, info, set()) == []


# ---- Gaps


@pytest.fixture(scope="module")
def gap_dir(tmp_path_factory):
    """A match of 2 s in which the clock jumps by an hour after the first second."""
    folder = tmp_path_factory.mktemp("gap")
    ticks = [*range(30), *range(30 + 3600 * 30, 60 + 3600 * 30)]
    write_clip(folder / "gap.mp4", num_frames=60, ticks=ticks, audio=tone(440, 2), audio_gap_sec=3600)
    (folder / "gap.txt").touch()
    return folder


def test_a_jump_of_an_hour_is_named_with_both_times_and_the_segments_are_right(gap_dir, tmp_path, caplog, capsys):
    path = gap_dir / "gap.mp4"
    warning = f"{path}: the timestamps jump from 1.0 s to 3601.0 s: the frame before is repeated there, without audio"
    assert data_converter.main([str(gap_dir), *SETTINGS, "--check"]) == 0
    assert f"warning: {warning}\n" in capsys.readouterr().out
    assert data_converter.main([str(gap_dir), *SETTINGS, str(tmp_path / "out"), "--workers", "1"]) == 0
    assert caplog.messages == [warning]
    segments = [pickle.loads(file.read_bytes()) for file in sorted((tmp_path / "out" / "gap").iterdir())]
    assert len(segments) == 61
    audio = np.abs(np.concatenate([segment["audio"] for segment in segments]))
    assert audio[100:900].max() > 0.7
    assert audio[1100:3_600_900].max() == 0
    assert audio[3_601_100:3_601_900].max() > 0.7
    numbers = [read_number(frame) for segment in segments for frame in segment["video"]]
    assert numbers[:1801] == [0] + [29] * 1800
    times_sec = np.array([3600.5, 3601.0, 3601.5])
    frames = video_track.read_frames(path, media.probe(path), times_sec, 40, 16)
    assert [read_number(frame) for frame in frames] == [29, 30, 45]


def test_the_silence_of_a_gap_comes_in_blocks(gap_dir):
    path = gap_dir / "gap.mp4"
    lengths = [len(block) for block in audio_track.read_audio(path, media.probe(path), 44_100)]
    assert sum(lengths) / 44_100 == pytest.approx(3602, abs=0.1)
    assert max(lengths) < 70_000


def test_the_label_finder_names_the_jump(tmp_path):
    match = write_clip(tmp_path / "match.mp4", num_frames=60, ticks=[*range(30), *range(3030, 3060)])
    highlights = write_clip(tmp_path / "highlights.mp4", num_frames=30)
    result = label_finder.find_labels("gap", match, highlights, tmp_path, 0.5)
    assert "the timestamps jump from 1.0 s to 101.0 s" in result.warnings[0]


def test_gaps_in_the_audio_alone_are_named(tmp_path):
    samples = tone(440, 1, 8000)
    ticks = list(range(0, 200 * 30, 30))
    path = write_exact_audio(tmp_path / "clip.mkv", [(70, samples), (150, samples)], frame_ticks=ticks)
    assert media.probe(path).audio_gaps_sec == pytest.approx(np.array([(0, 70), (71, 150)]), abs=0.06)
    late = write_exact_audio(tmp_path / "late.mkv", [(3, samples)], frame_ticks=[0, 30])
    (problem,) = problems.describe_problems(late, media.probe(late), set())
    assert problem == f"{late}: there is no audio from 0.0 s to 1.0 s: silent there"
    assert media.probe(write_clip(tmp_path / "whole.mp4", audio=tone(440, 2))).audio_gaps_sec == ()


def test_of_many_gaps_five_are_named():
    gaps_sec = tuple((100.0 * k, 100.0 * k + 70) for k in range(6))
    (problem,) = timestamps.describe_gaps("match.mp4", gaps_sec, gaps_sec, True)
    assert problem.count(" to ") == 5
    assert "and more" in problem
    (problem,) = timestamps.describe_gaps("match.mp4", gaps_sec[:5], (), False)
    assert "and more" not in problem


def test_gaps_of_video_and_audio_are_told_from_jumps_of_both():
    video_gaps_sec, audio_gaps_sec = ((100, 200), (300, 400)), ((99.5, 200.5), (500, 600))
    assert timestamps.describe_gaps("match.mp4", video_gaps_sec, audio_gaps_sec, True) == [
        "match.mp4: the timestamps jump from 100.0 s to 200.0 s: the frame before is repeated there, without audio",
        "match.mp4: there is no frame from 300.0 s to 400.0 s: the frame before is repeated there",
        "match.mp4: there is no audio from 500.0 s to 600.0 s: silent there",
    ]
    assert timestamps.find_jumps(video_gaps_sec, audio_gaps_sec, True) == ((100, 200),)
    assert timestamps.find_jumps(video_gaps_sec, (), False) == video_gaps_sec


# ---- Ends that are not plausible


def test_few_frames_over_many_hours_are_refused(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", num_frames=3, ticks=[0, 1, 30 * 20_000])
    with pytest.raises(
        media.TimestampError, match=r"clip\.mp4: received 3 frames with timestamps up to \d+\.0 s, expected at most 240"
    ):
        media.probe(path)


def test_a_jump_of_the_video_alone_is_refused(tmp_path):
    ticks = [*range(59), 59 + 1800 * 30]
    path = write_clip(tmp_path / "clip.mp4", num_frames=60, ticks=ticks, audio=tone(440, 2))
    with pytest.raises(
        media.TimestampError,
        match=r"up to 1802\.0 s, .* 120 s for so few: the timestamps jump from 1\.9 s to 1802\.0 s",
    ):
        media.probe(path)
    assert media.probe(write_clip(tmp_path / "mute.mp4", num_frames=60, ticks=ticks)).duration_sec > 1801


def test_audio_that_begins_after_days_is_refused(tmp_path):
    path = write_exact_audio(tmp_path / "clip.mkv", [(1_000_000, tone(440, 1, 8000))], frame_ticks=[0, 30])
    with pytest.raises(media.TimestampError, match=r"received 20 audio packets with timestamps up to 1000001\.0 s"):
        media.probe(path)


def test_a_still_picture_as_long_as_its_audio_is_no_fault(tmp_path):
    path = write_exact_audio(tmp_path / "clip.mkv", [(0, tone(440, 201, 8000))], frame_ticks=[0, 30 * 200])
    assert media.probe(path).duration_sec == pytest.approx(200, abs=0.1)


@pytest.mark.parametrize("name", ["a:b.mp4", "-dash.mp4"])
def test_the_command_for_parts_takes_no_name_for_a_protocol_or_an_option(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert timestamps.argument(name) == str(tmp_path / name)
    assert f" -c copy {tmp_path / name}"[:-4] + "_joined.mp4, " in timestamps.join_command(name)
    assert timestamps.argument("a b.mp4") == "'a b.mp4'"
