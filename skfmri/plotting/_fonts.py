"""Fonts for names in any script."""

import warnings
from functools import cache

from matplotlib import font_manager
from matplotlib.text import Text

from skfmri._validation import printable

# It has a box for every character there is, and a glyph for none.
PLACEHOLDERS = "Last Resort"


def fit_fonts(ax):
    r"""Draw the texts of some axes in fonts that have their characters.

    Matplotlib would draw a box for a character that its font lacks, and warn of each when the
    figure is drawn. What no installed font has is shown as an escape, such as ``\u65e5``.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes whose texts are complete.
    """
    # Labels of ticks are written again at each drawing, so their axes must know the new ones.
    for axis in (ax.xaxis, ax.yaxis):
        labels = axis.get_ticklabels()
        shown = [_shown(label) for label in labels]
        if shown != [label.get_text() for label in labels]:
            axis.set_ticks(axis.get_ticklocs(), shown)
    for text in ax.findobj(Text):
        shown = _shown(text)
        if shown != text.get_text():
            text.set_text(shown)


def _shown(text):
    """Return a text with escapes for characters without a glyph, and set its fonts."""
    # A line break is meant, if it is not in a name.
    words = "\n".join(map(printable, text.get_text().split("\n")))
    if words.isascii():
        return words
    families = text.get_fontfamily()
    missing = {character for character in words if not character.isspace()}
    for family in families:
        properties = font_manager.FontProperties(family=[family])
        missing = _missing(missing, font_manager.findfont(properties))
    if missing:
        others, missing = _other_families(frozenset(missing))
        text.set_fontfamily([*families, *others])
    return "".join(_escape(c) if c in missing else c for c in words)


@cache
def _other_families(missing):
    """Return families of installed fonts that have characters, and the characters none has."""
    families, left = [], missing
    for font in sorted(font_manager.fontManager.ttflist, key=lambda font: font.name):
        # Those that a family stands for, and Matplotlib would choose.
        is_upright = font.style == "normal" and font.weight in (400, "normal", "regular")
        if left and is_upright and not font.name.startswith(PLACEHOLDERS):
            remaining = _missing(left, font.fname)
            if len(remaining) < len(left):
                families.append(font.name)
                left = remaining
    if left:
        example = min(left)
        warnings.warn(
            f"{len(left)} characters, such as {example!r} (U+{ord(example):04X}), are in none of "
            "the fonts that Matplotlib finds, so pictures show them as escapes. Install a font "
            "that has them, such as Noto Sans CJK or Noto Emoji, and restart Python.",
            # Skips the functions here, to point to the plot.
            stacklevel=5,
        )
    return families, left


def _missing(characters, path):
    """Return the characters that a font file lacks."""
    try:
        font = font_manager.get_font(path)
    except (RuntimeError, OSError):  # a damaged file, or one that is gone
        return characters
    # Fonts of coloured bitmaps, as of emoji, cannot be drawn.
    if not font.scalable:
        return characters
    return frozenset(c for c in characters if not font.get_char_index(ord(c)))


def _escape(character):
    return character.encode("ascii", "backslashreplace").decode()
