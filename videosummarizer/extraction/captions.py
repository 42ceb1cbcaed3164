"""Draw the captions and the title card of a reel, in a font that has their letters."""

import functools
import re
import unicodedata
from pathlib import Path

import numpy as np

from videosummarizer.match_files import compose

# Sizes as fractions of the shorter side of the picture.
TITLE_SIZE = 0.055
LINE_SIZE = 0.045
CARD_SIZE = 0.09
MARGIN = 0.045
# In an upright picture, captions stand so much of its height above the lower edge, where phones show their controls.
UPRIGHT_BOTTOM = 0.16
MIN_FONT_PX = 8
# The characters of the line with the clock and the rank.
CLOCK_CHARACTERS = "0123456789:#of·…"
TEXT_COLOUR = (255, 255, 255, 255)
OUTLINE_COLOUR = (0, 0, 0, 220)
CARD_COLOUR = (18, 20, 26)
# Fonts that have a picture of every code point instead of its letter.
PLACEHOLDER_FONTS = ("Last Resort", "LastResort")


class FontError(Exception):
    """No installed font has the letters of a text; the message names them and says what to install."""


def require_fonts(title: str, card: str, video_path: str) -> None:
    """Check that the captions and the title card of a match can be drawn.

    Args:
        title: The title in the captions, empty without captions.
        card: The text of the title card, empty without one.
        video_path: The match, for the message.

    Raises:
        FontError: No font has their letters.
    """
    if title:
        find_font(title + CLOCK_CHARACTERS, f"{video_path}: --captions")
    if card:
        find_font(card, f"--intro {card!r}")


def find_font(text: str, subject: str) -> Path:
    """Return the file of an installed font that has all letters of a text.

    Args:
        text: The text.
        subject: Where the text comes from, for the message.

    Raises:
        FontError: No font has them.
    """
    from matplotlib import font_manager  # takes half a second

    from videosummarizer.evaluation.plots import title_fonts

    needed = {character for character in compose(text) if not character.isspace()}  # single ones, as in fonts
    letters = frozenset(character for character in needed if not is_symbol(character))
    preferred = [str(font_manager.findfont(name)) for name in title_fonts()]
    best, best_missing = None, letters
    for path in (*preferred, *sorted(font_manager.findSystemFonts(), key=suitability)):
        characters = read_characters(path)
        if needed <= characters:
            return Path(path)
        if len(letters - characters) < len(best_missing) or (best is None and letters <= characters):
            best, best_missing = path, letters - characters
    if best_missing:
        raise FontError(
            f"{subject}: no installed font has the letters {''.join(sorted(best_missing))[:20]!r}: install one that "
            "has them (for Korean, fonts-noto-cjk on Debian and Ubuntu), and run the same command again"
        )
    return Path(best)


def suitability(font_path: str) -> tuple[bool, bool, str]:
    """Return a key that sorts the files of fonts: upright ones of normal weight first, then those without serifs."""
    name = Path(font_path).stem.lower()
    is_plain = not re.search("bold|italic|oblique|thin|light|black|heavy|medium|condensed|mono|coding", name)
    return not is_plain, not re.search("sans|gothic", name), name


def is_symbol(character: str) -> bool:
    """Return whether a text can be read without a character: emoji and other symbols, and what has no width."""
    return unicodedata.category(character)[0] in "SCM"


@functools.lru_cache(maxsize=256)
def read_characters(font_path: str) -> frozenset[str]:
    """Return the characters that a font has, none for fonts that cannot be drawn in any size."""
    from matplotlib.ft2font import FT2Font

    if Path(font_path).stem.startswith(PLACEHOLDER_FONTS):
        return frozenset()
    try:
        font = FT2Font(font_path)
        return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()
    except (OSError, RuntimeError):  # a damaged font, or one that was removed
        return frozenset()


def load_font(font_path: Path, size_px: float):
    """Return a Pillow font."""
    from PIL import ImageFont

    return ImageFont.truetype(str(font_path), max(MIN_FONT_PX, round(size_px)))


def drawable(text: str, font_path: Path) -> str:
    """Return a text without the symbols that a font lacks, in one line."""
    characters = read_characters(str(font_path))
    kept = (character for character in compose(text) if character in characters or character.isspace())
    return " ".join("".join(kept).split())


@functools.lru_cache(maxsize=4)  # one a second, and two in a cross-fade
def draw_caption(lines: tuple[str, ...], font_path: Path, picture_size_px: tuple[int, int]) -> tuple[np.ndarray, int]:
    """Draw the caption of a section: white letters with a dark outline.

    Args:
        lines: The title and the lines below it. A line that is too long is drawn in smaller letters, and in the end cut
            off.
        font_path: The font.
        picture_size_px: The width and the height of the reel.

    Returns:
        picture: (H, W, 4) uint8, from the left edge of the reel on, with an opacity.
        top_px: Where it lies in the reel.
    """
    from PIL import Image, ImageDraw

    width_px, height_px = picture_size_px
    side_px, left_px = min(picture_size_px), round(MARGIN * min(picture_size_px))
    drawn, y_px = [], 0
    for line, size in zip(lines, [TITLE_SIZE, *[LINE_SIZE] * len(lines)], strict=False):
        text, font = fit_line(drawable(line, font_path), font_path, size * side_px, width_px - 2 * left_px)
        drawn.append((text, font, y_px))
        y_px += sum(font.getmetrics()) + max(1, round(0.005 * side_px))
    outline_px = max(1, round(0.003 * side_px))
    right_px = left_px + round(max(font.getlength(text) for text, font, _ in drawn)) + 2 * outline_px
    picture = Image.new("RGBA", (min(width_px, right_px), y_px + 2 * outline_px), (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    for text, font, top_px in drawn:
        position = (left_px, top_px + outline_px)
        draw.text(position, text, TEXT_COLOUR, font, stroke_width=outline_px, stroke_fill=OUTLINE_COLOUR)
    bottom_px = UPRIGHT_BOTTOM * height_px if height_px > width_px else left_px
    return np.array(picture), max(0, round(height_px - bottom_px - picture.height))


def fit_line(text: str, font_path: Path, size_px: float, width_px: int):
    """Return a line and its font: as large as asked for, down to half of it, and then cut off."""
    font = load_font(font_path, size_px)
    if (length_px := font.getlength(text)) > width_px:
        font = load_font(font_path, max(size_px * width_px / length_px, size_px / 2))
    while font.getlength(text) > width_px and len(text) > 1:
        text = text.removesuffix("…")[:-1] + "…"
    return text, font


def draw_card(text: str, font_path: Path, picture_size_px: tuple[int, int]) -> np.ndarray:
    """Draw the title card: a text in the centre, as large as fits.

    Args:
        text: The text; it is broken into lines where it is too wide.
        font_path: The font.
        picture_size_px: The width and the height of the reel.

    Returns:
        (H, W, 3) uint8.
    """
    from PIL import Image, ImageDraw

    width_px, height_px = picture_size_px
    text, size_px = drawable(text, font_path), CARD_SIZE * min(picture_size_px)
    while True:
        font = load_font(font_path, size_px)
        lines = break_lines(text, font, 0.86 * width_px)
        fits = len(lines) * sum(font.getmetrics()) <= 0.8 * height_px
        if fits or size_px <= MIN_FONT_PX:
            break
        size_px *= 0.8
    picture = Image.new("RGB", picture_size_px, CARD_COLOUR)
    centre, content = (width_px / 2, height_px / 2), "\n".join(lines)
    ImageDraw.Draw(picture).multiline_text(centre, content, TEXT_COLOUR[:3], font, anchor="mm", align="center")
    return np.array(picture)


def break_lines(text: str, font, width_px: float) -> list[str]:
    """Break a text between words where a line would be too wide, and within a word that is too wide alone."""
    lines = [""]
    for word in text.split():
        candidate = f"{lines[-1]} {word}".strip()
        if font.getlength(candidate) <= width_px:
            lines[-1] = candidate
            continue
        lines.append("")
        for character in word:
            if lines[-1] and font.getlength(lines[-1] + character) > width_px:
                lines.append("")
            lines[-1] += character
    return [line for line in lines if line] or [""]
