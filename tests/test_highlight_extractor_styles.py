"""The command's styled reels: each argument by what it changes, wrong ones, and reruns."""

import av
import numpy as np
import pytest
from clips import frames_in, tone, write_clip

import highlight_extractor
from videosummarizer import media
from videosummarizer.extraction import captions, reel
from videosummarizer.extraction.arguments import parse_args


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """2.4 s, of which 0.5 to 1.25 s and 2 to 2.4 s are found."""
    return write_clip(tmp_path_factory.mktemp("styled") / "clip.mp4", num_frames=72, audio=tone(440, 2.4))


def reel_of(extract, title="match"):
    return media.probe(extract.out / f"{title}_highlights.mp4")


def refuse(*_, **__):
    raise AssertionError("the other renderer is used")


def test_a_plain_reel_is_not_made_by_moviepy(extract, monkeypatch):
    from videosummarizer.extraction import styled_reel

    monkeypatch.setattr(styled_reel, "render_styled_reel", refuse)
    assert extract(extract.match(), "--transition", "0") == 0
    assert frames_in(extract.out / "match_highlights.mp4") == [*range(15, 38), *range(60, 72)]
    assert "fit" not in {name for name, value in extract.report()["settings"].items() if value is not None}


def test_an_upright_reel_has_the_aspect_and_the_sections(extract, monkeypatch):
    monkeypatch.setattr(reel, "render_reel", refuse)
    assert extract(extract.match(), "--aspect", "9:16", "--reel_height", "128") == 0
    info = reel_of(extract)
    assert (info.width_px, info.height_px, len(info.frame_times_sec)) == (72, 128, 35)
    assert info.audio == "aac mono 44100 Hz"
    settings = extract.report()["settings"]
    assert (settings["aspect"], settings["fit"], settings["captions"]) == ("9:16", "crop", None)


def test_a_transition_and_a_title_card_change_the_length(extract):
    assert extract(extract.match(), "--transition", "0.2", "--intro", "  Week   48 ") == 0
    assert reel_of(extract).duration_sec == pytest.approx((90 + 23 + 12 - 2 * 6) / 30, abs=1e-6)
    assert extract.report()["settings"]["intro"] == "Week 48"


def test_captions_show_the_title(extract, monkeypatch):
    drawn, draw = [], captions.draw_caption
    monkeypatch.setattr(captions, "draw_caption", lambda *arguments: drawn.append(arguments[0]) or draw(*arguments))
    assert extract(extract.match("finals"), "--captions") == 0
    assert set(drawn) == {
        ("finals", f"00:00:0{second} · {rank}") for second, rank in ((0, "#1 of 2"), (1, "#1 of 2"), (2, "#2 of 2"))
    }
    with av.open(str(extract.out / "finals_highlights.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert np.mean([frame[-14:, :60].std() > 30 for frame in frames]) > 0.9


def test_clips_have_the_reels_shape_and_no_title_card(extract):
    assert extract(extract.match(), "--aspect", "1:1", "--fit", "pad", "--clips", "--intro", "Hello") == 0
    clips = [media.probe(path) for path in sorted((extract.out / "match_clips").iterdir())]
    assert [(clip.width_px, clip.height_px, len(clip.frame_times_sec)) for clip in clips] == [
        (64, 64, 23),
        (64, 64, 12),
    ]
    assert len(reel_of(extract).frame_times_sec) == 90 + 23 + 12


def test_sections_of_a_label_file_have_captions_without_a_rank(extract, monkeypatch):
    drawn, draw = set(), captions.draw_caption
    monkeypatch.setattr(captions, "draw_caption", lambda *arguments: drawn.add(arguments[0]) or draw(*arguments))
    labels = extract.folder / "cut.txt"
    labels.write_text("3,9\n40,50\n")
    assert extract.cut(extract.match(), "--sections", labels, "--captions", "--aspect", "4:5") == 0
    assert drawn == {("match", "00:00:00"), ("match", "00:00:01")}
    assert (reel_of(extract).width_px, len(reel_of(extract).frame_times_sec)) == (52, 16)


def test_other_styles_are_a_conflict_and_the_same_one_is_kept(extract, caplog, capsys):
    match, style = extract.match(), ["--aspect", "1:1", "--fit", "pad", "--captions"]
    assert extract(match, *style) == 0
    capsys.readouterr()
    assert extract(match, *style, "--transition", "0") == 0
    assert capsys.readouterr().out == "match: finished already and kept\n"
    assert extract(match, "--aspect", "1:1", "--intro", "Hello") == 1
    assert caplog.messages[-1] == (
        f"{extract.out / 'match.json'}: was made with --fit pad, not --fit crop and --captions, not no --captions and "
        "no --intro, not --intro Hello: --overwrite replaces it and the match's other files, another --output_dir "
        "keeps them"
    )
    assert extract(match, "--overwrite") == 0
    assert (reel_of(extract).width_px, reel_of(extract).height_px) == (160, 64)


def test_a_title_without_a_font_costs_only_its_match_and_nothing_is_scored_for_it(extract, caplog, monkeypatch):
    from matplotlib import font_manager

    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    titles = ["\ue000\u13a0", "match"]
    assert extract(*(extract.match(title) for title in titles), "--captions") == 1
    assert extract.scored == ["match"]
    first = caplog.messages[0]
    assert first.startswith(f"{extract.folder / titles[0]}.mp4: --captions: no installed font has the letters 'Ꭰ")
    assert "fonts-noto-cjk" in first
    assert reel_of(extract).duration_sec == pytest.approx(35 / 30)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--aspect", "16:9"], "argument --aspect: invalid choice: '16:9' (choose from '9:16', '1:1', '4:5')"),
        (["--aspect", "1:1", "--fit", "zoom"], "argument --fit: invalid choice: 'zoom'"),
        (["--fit", "pad"], "argument --fit: received pad without --aspect, expected both: --aspect 9:16, for example"),
        (["--transition", "-1"], "argument --transition: received '-1', expected a number from 0 to 5"),
        (["--transition", "6"], "argument --transition: received '6', expected a number from 0 to 5"),
        (["--intro", "  "], "argument --intro: received a text of 0 characters, expected from 1 to 200"),
        (["--intro", "a" * 201], "argument --intro: received a text of 201 characters, expected from 1 to 200"),
    ],
)
def test_wrong_arguments_are_refused_by_name(arguments, message, capsys):
    with pytest.raises(SystemExit) as raised:
        parse_args(["a.mp4", "--ckpt", "b.hdf5", *arguments])
    assert raised.value.code == 2
    assert message in capsys.readouterr().err


def test_each_argument_of_the_style_has_a_sentence_of_help(capsys):
    with pytest.raises(SystemExit):
        highlight_extractor.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for part in (
        "--aspect {9:16,1:1,4:5} Make a reel",
        "--fit {crop,blur,pad} How",
        "--intro TEXT Begin",
        "--captions Show",
    ):
        assert part in text
