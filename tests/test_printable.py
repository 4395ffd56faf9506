import pytest

from skfmri._validation import printable, shortened


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("face", "face"),
        ("a\x00b", r"a\x00b"),
        ("\x1b[2J\x9b1m", r"\x1b[2J\x9b1m"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("\u2028\u202ederas\u2066", r"\u2028\u202ederas\u2066"),
        ("scan\udce9.nii", r"scan\xe9.nii"),
        ("\ud800", r"\ud800"),
        ("scan\u00e9 \u65e5\u672c \u03b1", "scan\u00e9 \u65e5\u672c \u03b1"),
        ("\U0001f469\u200d\U0001f52c", "\U0001f469\u200d\U0001f52c"),
        (3, "3"),
    ],
)
def test_what_would_not_appear_is_escaped_and_the_rest_is_kept(text, shown):
    assert printable(text) == shown
    printable(text).encode("utf-8")


def test_a_long_text_keeps_its_ends():
    assert shortened("short") == "short"
    assert shortened("a" * 50 + "x" * 900 + "b" * 50, most=20) == f"{'a' * 10} ... {'b' * 10}"
