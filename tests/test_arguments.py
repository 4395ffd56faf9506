import re

import pytest

from skfmri.cli.arguments import DEMO_EPOCHS, DEMO_EPOCHS_SMALL, make_parser
from skfmri.cli.values import typed
from skfmri.datasets.defaults import BIDS
from skfmri.estimators.defaults import SLAB_CNN, SMALL_SAMPLE, VOLUME_CNN
from skfmri.preprocessing.defaults import ROTATOR, ZSCORER

# Options are called as parameters, but for these.
OPTIONS = {"n_members": "--members", "crop": "--no-crop", "duration": "--event-duration"}
DEFAULTS = {**vars(SLAB_CNN), **vars(ROTATOR), **vars(ZSCORER)}
SHOWN = [
    *("angle", "axis", "slab", "slab_reference", "interpolation", "std_threshold"),
    *("mean_threshold", "filters", "n_blocks", "kernel_size", "dense_units", "dropout"),
    *("batch_norm_momentum", "linear_path", "n_members", "learning_rate", "epochs", "batch_size"),
]


@pytest.fixture(scope="module")
def helps():
    """For each command its help on each option, in one line each."""
    found = {}
    for command in ("decode", "demo", "report", "predict"):
        actions = make_parser()._subparsers._group_actions[0].choices[command]._actions
        found[command] = {
            option: action.help for action in actions for option in action.option_strings
        }
    return found


def option_of(name):
    return OPTIONS.get(name, "--" + name.replace("_", "-"))


@pytest.mark.parametrize("name", SHOWN)
def test_help_shows_the_default_of_the_class(helps, name):
    shown = helps["decode"][option_of(name)]
    assert f"(default: {typed(DEFAULTS[name], name)}" in shown
    differs = name in vars(VOLUME_CNN) and getattr(VOLUME_CNN, name) != getattr(SLAB_CNN, name)
    assert (f"; {typed(getattr(VOLUME_CNN, name, None))} with --network 3d" in shown) is differs


def test_help_shows_the_epochs_of_the_demo(helps):
    expected = f"(default: {DEMO_EPOCHS}; {DEMO_EPOCHS_SMALL} with --size small)"
    assert helps["demo"]["--epochs"].endswith(expected)


@pytest.mark.parametrize("name", SMALL_SAMPLE)
def test_help_shows_the_default_for_small_samples(helps, name):
    shown = f"; {typed(SMALL_SAMPLE[name])} with --size small)"
    assert helps["decode"][option_of(name)].endswith(shown)


@pytest.mark.parametrize("name", ["groups", "shift", "max_gap"])
def test_help_shows_the_defaults_of_the_loader(helps, name):
    value = getattr(BIDS, name)
    shown = f"{value:g}" if isinstance(value, float) else value
    assert f"(default: {shown})" in helps["decode"][option_of(name)]


@pytest.mark.parametrize("name", [name for name in SHOWN if name not in ("axis",)])
def test_a_default_can_betyped_as_it_is_shown(helps, name):
    default = re.search(r"\(default: ([^;)]+)", helps["decode"][option_of(name)])[1]
    argv = ["decode", "--out", "x", option_of(name), default]
    assert getattr(make_parser().parse_args(argv), name) == DEFAULTS[name]


@pytest.mark.parametrize("command", ["decode", "demo", "report", "predict"])
def test_every_option_belongs_to_a_group_with_a_title(command):
    parser = make_parser()._subparsers._group_actions[0].choices[command]
    assert [action.dest for action in parser._optionals._group_actions] == ["help"]
    *_, last = parser._action_groups
    assert last.title == "output"
    assert {"out", "overwrite", "quiet"} <= {action.dest for action in last._group_actions}


def test_the_usage_fits_on_a_screen(capsys):
    with pytest.raises(SystemExit):
        make_parser().parse_args(["decode", "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "usage: skfmri decode IMAGE ... --labels CSV --out DIR [options]"
    assert lines[1] == "       skfmri decode --bids ROOT --task NAME --out DIR [options]"
    assert lines[2] == ""


def test_every_option_has_help(helps):
    for of_command in helps.values():
        assert all(of_command.values())


def test_what_is_not_given_is_absent():
    args = make_parser().parse_args(["demo"])
    assert not set(vars(args)) & {*DEFAULTS}


def test_help_says_when_the_command_chooses_thresholds_itself(helps):
    assert "(default: 0.05; auto if" in helps["decode"]["--std-threshold"]
    assert "(default: 0.05; none if" in helps["demo"]["--mean-threshold"]


@pytest.mark.parametrize(
    "option",
    ["--out", "--model", "--cache", "--labels", "--anatomy", "--bids", "--derivatives", None],
)
def test_the_home_of_the_user_is_known_where_the_shell_leaves_it(option, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    given = ["~/x"] if option is None else [f"{option}=~/x"]
    args = make_parser().parse_args(["decode", "--out=x", *given])
    found = args.images[0] if option is None else getattr(args, option[2:])
    assert found == str(tmp_path / "x")


@pytest.mark.parametrize(
    ("typed_text", "path", "label"),
    [
        ("roi.nii", "roi.nii", None),
        ("atlas.nii.gz:17", "atlas.nii.gz", 17),
        ("atlas.nii.gz:17,53", "atlas.nii.gz", (17, 53)),
        ("folder:1/atlas.nii:2", "folder:1/atlas.nii", 2),
        ("there:17", "there:17", None),
        ("there:17:3", "there:17", 3),
        ("~/atlas.nii:-4", "HOME/atlas.nii", -4),
    ],
)
def test_a_label_stands_behind_the_file_of_a_mask(typed_text, path, label, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "HOME")
    monkeypatch.setenv("USERPROFILE", "HOME")
    # A file of that name wins.
    (tmp_path / "there:17").touch()
    args = make_parser().parse_args(["demo", "--mask", typed_text])
    assert (args.mask, args.label) == (path, label)


@pytest.mark.parametrize("text", ["atlas.nii:left", "atlas.nii:1.5", "atlas.nii:", "a.nii:1,,2"])
def test_what_is_no_label_is_refused(text):
    with pytest.raises(ValueError, match=r"--mask: .* is not a label such as 17, or several"):
        make_parser().parse_args(["demo", "--mask", text])


def test_an_unknown_home_is_refused():
    with pytest.raises(
        ValueError, match=r"--out: '~nobody-here/x' begins .*'\./~nobody-here/x' is"
    ):
        make_parser().parse_args(["demo", "--out", "~nobody-here/x"])
    assert make_parser().parse_args(["demo", "--out", "./~x"]).out == "./~x"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--seed", value) for value in ("-1", "1.5", "one", "")),
        *(("--permutations", value) for value in ("-1", "1e3")),
        *(("--repeats", value) for value in ("0", "-2")),
        *(("--jobs", value) for value in ("0", "-", "all")),
    ],
)
def test_numbers_that_cannot_be_are_refused_by_name(option, value):
    with pytest.raises(ValueError, match=f"{option}: '{value}' is not a whole number"):
        make_parser().parse_args(["demo", f"{option}={value}"])


@pytest.mark.parametrize(
    "option",
    ["filters", "n-blocks", "kernel-size", "members", "epochs", "batch-size", "patience", "folds"],
)
def test_numbers_beyond_those_of_compiled_code_are_refused_by_name(option):
    largest = 2**31 - 1
    parsed = make_parser().parse_args(["demo", f"--{option}={largest}"])
    assert largest in vars(parsed).values()
    for value in (str(largest + 1), "9" * 30):
        with pytest.raises(ValueError, match=f"--{option}: {value} is too large; {largest} is the"):
            make_parser().parse_args(["demo", f"--{option}={value}"])


@pytest.mark.parametrize(
    ("option", "value"),
    [("jobs", "1025"), ("repeats", "10001"), ("seed", str(2**32)), ("permutations", "9" * 5000)],
)
def test_what_would_fill_the_machine_is_refused_by_name(option, value):
    with pytest.raises(ValueError, match=f"--{option}: '.*' is not a whole number") as raised:
        make_parser().parse_args(["demo", f"--{option}={value}"])
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("value", [1, 4, -1, -2])
def test_jobs_may_count_back_from_the_processors(value):
    assert make_parser().parse_args(["demo", f"--jobs={value}"]).jobs == value
