"""Captions and the title card: which font draws them, and what is drawn where."""

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from videosummarizer.evaluation import plots
from videosummarizer.extraction import captions

LATIN = captions.find_font("abc", "test")


@pytest.fixture
def hangul_font(tmp_path):
    """A font in which each of some characters is a box that fills its line."""
    return write_font(tmp_path / "HangulSans-Regular.ttf", "한국대일본 v0123456789:#of·…")


def write_font(path, characters):
    pen = TTGlyphPen(None)
    for number, point in enumerate([(50, 0), (50, 700), (950, 700), (950, 0)]):
        (pen.lineTo if number else pen.moveTo)(point)
    pen.closePath()
    builder, names = FontBuilder(1000), [".notdef", *(f"g{ord(character)}" for character in characters)]
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(character): f"g{ord(character)}" for character in characters})
    box = pen.glyph()
    builder.setupGlyf({name: TTGlyphPen(None).glyph() if name == "g32" else box for name in names})
    builder.setupHorizontalMetrics({name: (1000, 50) for name in names})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupOS2(sTypoAscender=800, sTypoDescender=-200, usWinAscent=800, usWinDescent=200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture
def installed(monkeypatch):
    """Replace the fonts of the system."""

    def install(*paths):
        monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(path) for path in paths])
        monkeypatch.setattr(plots, "title_fonts", lambda: ["DejaVu Sans"])

    return install


def test_latin_letters_are_drawn_in_the_font_of_the_figures(installed, hangul_font):
    installed(hangul_font)
    assert captions.find_font("arena 02 – Über", "a").name == "DejaVuSans.ttf"


def test_a_font_that_has_the_letters_is_found_also_one_that_was_just_installed(installed, hangul_font):
    installed("/nowhere/broken.ttf", hangul_font)
    assert captions.find_font("한국 v 일본", "a") == hangul_font


def test_upright_fonts_of_normal_weight_come_first(installed, tmp_path):
    names = ("NotoSerifCJK-Regular", "NotoSansCJK-Black", "NotoSansCJK-Regular", "NanumGothicBold")
    paths = [write_font(tmp_path / f"{name}.ttf", "한") for name in names]
    installed(*paths)
    assert captions.find_font("한", "a").stem == "NotoSansCJK-Regular"


def test_without_a_font_the_message_names_the_letters_and_what_to_install(installed):
    installed()
    with pytest.raises(captions.FontError) as raised:
        captions.require_fonts("결승 final", "", "한국.mp4")
    assert str(raised.value) == (
        "한국.mp4: --captions: no installed font has the letters '결승': install one that has them (for Korean, "
        "fonts-noto-cjk on Debian and Ubuntu), and run the same command again"
    )
    with pytest.raises(captions.FontError, match=r"--intro '주간': no installed font has the letters '간주'"):
        captions.require_fonts("", "주간", "a.mp4")
    captions.require_fonts("", "", "결승.mp4")


def test_placeholder_fonts_have_no_letters(installed, tmp_path):
    installed(write_font(tmp_path / "LastResortHE-Regular.ttf", "한"))
    with pytest.raises(captions.FontError, match=r"^a: no installed font has the letters '한'"):
        captions.find_font("한", "a")


def test_symbols_that_no_font_has_are_left_out(installed, hangul_font):
    installed(hangul_font)
    font = captions.find_font("한국 🔥 일본\u200d", "a")
    assert font == hangul_font
    assert captions.drawable("한국 🔥 일본\u200d", font) == "한국 일본"


def test_letters_of_macos_are_composed(installed, hangul_font):
    installed(hangul_font)
    decomposed = "\u1112\u1161\u11ab\u1100\u116e\u11a8"
    assert captions.find_font(decomposed, "a") == hangul_font
    assert captions.drawable(decomposed, hangul_font) == "한국"


def inked(picture):
    """(rows, columns) that are not transparent."""
    return np.flatnonzero(picture[..., 3].any(axis=1)), np.flatnonzero(picture[..., 3].any(axis=0))


@pytest.mark.parametrize("size_px", [(1920, 1080), (608, 1080), (320, 180)])
def test_a_caption_is_at_the_lower_left_in_white_with_a_dark_outline(size_px):
    picture, top_px = captions.draw_caption(("arena_02", "00:12:31 · #2 of 7"), LATIN, size_px)
    rows, columns = inked(picture)
    side_px = min(size_px)
    assert picture.shape[1] - columns[-1] < 0.02 * side_px + 2  # no wider than its text
    assert columns[0] == pytest.approx(captions.MARGIN * side_px, abs=0.01 * side_px + 1)
    bottom_px = top_px + rows[-1]
    expected = size_px[1] * (1 - captions.UPRIGHT_BOTTOM) if size_px[1] > size_px[0] else size_px[1] - columns[0]
    assert expected - 0.04 * side_px - 2 < bottom_px < expected
    assert (picture[..., :3][picture[..., 3] == 255] == 255).all(axis=1).any()
    assert (picture[..., :3][picture[..., 3] == 220] == 0).all(axis=1).mean() > 0.5


def test_a_line_that_is_too_long_is_smaller_and_then_cut_off():
    picture, _ = captions.draw_caption(("W" * 30, "0"), LATIN, (608, 1080))
    _, columns = inked(picture)
    assert columns[-1] <= 608 - captions.MARGIN * 608 + 2
    text, font = captions.fit_line("W" * 200, LATIN, 32, 500)
    assert text.endswith("W…")
    assert font.getlength(text) <= 500 < font.getlength(text[:-1] + "W…")
    assert font.size == 16


def test_korean_letters_are_drawn(hangul_font):
    picture, _ = captions.draw_caption(("한국", "0"), hangul_font, (640, 360))
    title_px = round(captions.TITLE_SIZE * 360)
    _, columns = inked(picture[: round(0.8 * title_px)])
    assert columns[-1] - columns[0] == pytest.approx(1.9 * title_px, abs=3)  # two boxes


def test_a_card_is_centred_and_broken_between_words():
    card = captions.draw_card("Highlights of the week from Monday to Sunday", LATIN, (360, 640))
    assert card.shape == (640, 360, 3)
    is_text = (card != captions.CARD_COLOUR).any(axis=2)
    rows, columns = np.flatnonzero(is_text.any(axis=1)), np.flatnonzero(is_text.any(axis=0))
    assert (rows[0] + rows[-1]) / 2 == pytest.approx(320, abs=8)
    assert (columns[0] + columns[-1]) / 2 == pytest.approx(180, abs=4)
    assert columns[0] > 0.06 * 360
    font = captions.load_font(LATIN, 32)
    assert captions.break_lines("one two three", font, font.getlength("one two") + 1) == ["one two", "three"]
    assert captions.break_lines("wwwwww", font, font.getlength("ww") + 1) == ["ww", "ww", "ww"]


def test_a_long_text_of_a_card_becomes_small_enough():
    is_text = (captions.draw_card("word " * 40, LATIN, (320, 180)) != captions.CARD_COLOUR).any(axis=2)
    assert not is_text[:15].any()
    assert not is_text[-15:].any()
    assert is_text[30:150].any()
