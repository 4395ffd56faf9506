import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib import font_manager

from skfmri.plotting import _fonts, plot_confusion, plot_embedding, plot_probabilities

# DejaVu Sans, which comes with Matplotlib, lacks both; STIXGeneral, which does too, has the first.
ELSEWHERE, NOWHERE = "\N{CIRCLED LATIN CAPITAL LETTER A}", "\u65e5\u672c"


def table(names):
    """Return predictions of some classes."""
    rows = {"label": names * 2, "predicted": names + names[::-1]}
    return pd.DataFrame({**rows, **{f"p_{name}": 1 / len(names) for name in names}})


@pytest.fixture(autouse=True)
def few_fonts(monkeypatch):
    """Leave only the fonts that come with Matplotlib, as on a bare machine."""
    fonts = [f for f in font_manager.fontManager.ttflist if "mpl-data" in f.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", fonts)
    _fonts._other_families.cache_clear()
    yield
    _fonts._other_families.cache_clear()


def draw(ax):
    """Draw a figure, for which any warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ax.figure.canvas.draw()
    return [label.get_text() for label in ax.get_yticklabels()]


def test_a_font_is_found_that_has_the_characters():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ax = plot_confusion(table(["cat", ELSEWHERE]))
    assert draw(ax) == ["cat", ELSEWHERE]
    cat, other = ax.get_yticklabels()
    assert "STIXGeneral" in other.get_fontfamily()
    assert "STIXGeneral" not in cat.get_fontfamily()


@pytest.mark.parametrize("plot", [plot_confusion, plot_probabilities])
def test_what_no_font_has_is_escaped_with_one_warning_in_words(plot):
    names = ["cat", NOWHERE, ELSEWHERE, "a_c", "b"]
    message = r"2 characters, such as '\u65e5' \(U\+65E5\), are in none of the fonts .* Noto Sans"
    with pytest.warns(UserWarning, match=message):
        ax = plot(table(names))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot(table(names))
    assert set(draw(ax)) == {"cat", r"\u65e5\u672c", ELSEWHERE, "a_c", "b"}


def test_control_characters_are_escaped_without_a_warning():
    ax = plot_confusion(table(["cat", "\x1b[31mred"]))
    assert draw(ax) == [r"\x1b[31mred", "cat"]


def test_legends_are_escaped_too():
    ax = plot_probabilities(table(["cat", "\x1b[31mred"]), of="cat")
    draw(ax)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["cat", r"\x1b[31mred"]
    points = np.random.default_rng(0).normal(size=(6, 3))
    ax = plot_embedding(points, y=["a\x07", "b"] * 3)
    draw(ax)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [r"a\x07", "b"]


def test_the_positions_of_ticks_stay_where_they_were():
    plain = plot_confusion(table(["cat", "dog", "fox"]))
    ax = plot_confusion(table(["cat", "dog", "fox\x07"]))
    np.testing.assert_array_equal(ax.get_xticks(), plain.get_xticks())
    np.testing.assert_array_equal(ax.get_ylim(), plain.get_ylim())
