import numpy as np
import pytest

from skfmri.cli.tables import read_labels

COLUMNS = {"label": "label", "group": "group"}
ROWS = [["label", "group", "note"], ["face", "1", "a, b"], ["house", "2", ""], ["", "2", "x"]]


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def text_of(separator=",", quote='"', end="\n"):
    rows = [[f"{quote}{f}{quote}" if separator in f else f for f in row] for row in ROWS]
    return "".join(separator.join(row) + end for row in rows)


def check(table):
    assert table["label"].tolist()[:2] == ["face", "house"]
    assert np.isnan(table["label"][2])
    assert table["group"].tolist() == ["1", "2", "2"]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["t.csv", "t.TSV", "t.txt"])
def test_the_header_shows_the_separator_whatever_the_name(tmp_path, separator, name):
    check(read_labels(write(tmp_path / name, text_of(separator)), COLUMNS, 3))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_with_a_mark_are_read(tmp_path, encoding):
    text = text_of().replace("face", "Gesicht für mich")
    table = read_labels(write(tmp_path / "t.csv", text, encoding), COLUMNS, 3)
    assert table["label"][0] == "Gesicht für mich"


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends_of_other_systems_are_read(tmp_path, end):
    check(read_labels(write(tmp_path / "t.csv", text_of(end=end)), COLUMNS, 3))


def test_comments_above_the_header_and_blanks_do_not_count(tmp_path):
    text = "# made by hand\n# twice\n label ,group , note\nface , 1,\n house,2 ,\n  , 2,\n\n\n"
    check(read_labels(write(tmp_path / "t.csv", text), COLUMNS, 3))


@pytest.mark.parametrize("missing", ["", "n/a", "N/A", "NA", "NaN", "nan"])
def test_what_stands_for_an_empty_field_is_missing(tmp_path, missing):
    table = read_labels(write(tmp_path / "t.csv", f"label,group\n{missing},1\n"), COLUMNS, 1)
    assert table["label"].isna().all()


@pytest.mark.parametrize("label", ["none", "null", "None", "NaNa", "0"])
def test_other_words_are_labels(tmp_path, label):
    table = read_labels(write(tmp_path / "t.csv", f"label,group\n{label},1\n"), COLUMNS, 1)
    assert table["label"].tolist() == [label]


def test_a_quoted_label_may_hold_the_separator_or_a_line_break(tmp_path):
    text = 'label,group\n"face, upright",1\n"two\nlines",2\n'
    table = read_labels(write(tmp_path / "t.csv", text), COLUMNS, 2)
    assert table["label"].tolist() == ["face, upright", "two\nlines"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04rest", r"t.csv is a spreadsheet. Save it as CSV first"),
        (b"label,group\nface,1\nf\xfcr,2\n", r"is not in UTF-8: line 3 holds the byte 0xfc"),
        (b"label,group\nface\0,1\n", r"is not a text table: line 2 holds a NUL"),
        ("label,group\nface,1\n".encode("utf-16-le"), r"line 1 holds a NUL"),
        (b"label,label,group\na,b,1\n", r"has 2 columns called 'label'"),
        (b"label|group\nface|1\n", r"no column 'label'. Its columns, separated by commas, are"),
        (b"label,group\nface,1,2\n", r"row 1 below the header has 3, the header 2"),
        (b"label,group\nface\n", r"fewer fields .* row 1 below the header has 1, the header 2"),
        (b"label,group\n\n", r"has 0 rows below its header, but the images hold 1"),
        (b"label,group\nface,1\nface,1\n", r"has 2 rows below its header, but the images hold 1"),
        (b"", r"t.csv is empty"),
        (b"# only this\n\n", r"t.csv is empty"),
    ],
)
def test_what_is_not_such_a_table_is_named(tmp_path, data, message):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_labels(tmp_path / "t.csv", COLUMNS, 1)
