import errno
import math
import re
from pathlib import Path

import pytest

import skfmri
from skfmri import NiftiSlabRotator, VoxelZScorer
from skfmri.cli.arguments import make_parser
from skfmri.cli.wording import NAMES, PHRASES, describe_error, in_options, option_of
from skfmri.datasets.defaults import BIDS
from skfmri.estimators.defaults import SLAB_CNN, VOLUME_CNN
from skfmri.networks import convolutional_network
from skfmri.preprocessing.defaults import ROTATOR, ZSCORER


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("slab=(2, 99) ends; slab=None for all", "--slab 2:99 ends; --slab all for all"),
        ('pass angle="20 deg" or numpy.deg2rad(20).', "pass --angle 20deg."),
        ("dense_units=(4, 2) and dense_units=(4,)", "--dense-units 4,2 and --dense-units 4"),
        ("learning_rate=1e-05.", "--learning-rate 1e-05."),
        ('Set std_threshold="auto" for', "Set --std-threshold auto for"),
        ("mean_threshold=None.", "--mean-threshold none."),
        ("Choose n_blocks=1 or fewer", "Choose --n-blocks 1 or fewer"),
        ("Pass max_gap= to join, or duration=.", "Pass --max-gap to join, or --event-duration."),
        ("has no effect with clean=False.", "has no effect with --no-clean."),
        ("Pass t_r in seconds.", "Pass --t-r in seconds."),
        ("slab must be a pair", "--slab must be a pair"),
        ("n_members=2", "--members 2"),
        ("two\n lines", "two lines"),
        ("Set SKFMRI_CACHE to", "Set --cache or SKFMRI_CACHE to"),
        ("SKFMRI_CACHE_DAYS must be a number", "SKFMRI_CACHE_DAYS must be a number"),
        ("Choose smaller filters, dense_units", "Choose smaller --filters, --dense-units"),
        ("Input X contains NaN. See", "Input X contains NaN. The model takes finite values only."),
    ],
)
def test_parameters_are_shown_as_options(message, expected):
    translated = in_options(message)
    assert translated.startswith(expected)
    assert in_options(translated) == translated


@pytest.mark.parametrize(
    "message",
    [
        "Choose a slab between 0 and 7. The angle of the groups is in epochs.",
        "There is no file /data/angle=20/n_blocks.nii or angle=20.nii.",
        "There is no file C:\\\\data\\\\max_gap.",
        "the_slab must be, x.crop=1, --t-r 2, groups must not, one of 'high_pass'",
    ],
)
def test_other_words_stay_as_they_are(message):
    assert in_options(message) == message


def test_the_options_that_a_message_may_name_are_those_there_are():
    actions = make_parser()._subparsers._group_actions[0].choices["decode"]._actions
    options = {option for action in actions for option in action.option_strings}
    switched_off = {"crop", "detrend"}
    assert {option_of(name) for name in NAMES - switched_off} <= options
    assert {f"--no-{name}" for name in switched_off} <= options
    steps = (SLAB_CNN, VOLUME_CNN, ROTATOR, ZSCORER, BIDS)
    parameters = {name for defaults in steps for name in vars(defaults)}
    assert {name for name in parameters if option_of(name) in options} <= NAMES


@pytest.mark.parametrize(
    ("call", "phrases"),
    [
        (
            lambda: NiftiSlabRotator(angle=math.nan).fit("x"),
            ["--angle must be a finite number of radians, or in degrees as 20deg, but is nan"],
        ),
        (
            lambda: VoxelZScorer(-1).fit([[1.0], [2.0]]),
            ["--std-threshold must be a number of at least 0, \"auto\", or 'none' to turn it off"],
        ),
        (
            lambda: VoxelZScorer(9).fit([[1.0], [2.0]]),
            ["Set --std-threshold auto for", "or 'none' for no threshold."],
        ),
        (
            lambda: convolutional_network((4, 4, 1), 2, n_blocks=3),
            ["Choose --n-blocks 1 or fewer, or a larger slab or region."],
        ),
        (
            lambda: convolutional_network((2, 2, 1), 2, n_blocks=1),
            ["Choose --n-blocks 0 (only dense layers), or a larger slab or region."],
        ),
    ],
)
def test_advice_of_the_library_is_translated(call, phrases):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call()
    message = in_options(str(caught.value))
    for phrase in phrases:
        assert phrase in message


def test_every_phrase_that_is_translated_is_one_of_the_library():
    package = Path(skfmri.__file__).parent
    sources = [path.read_text() for path in package.rglob("*.py") if path.name != "wording.py"]
    text = re.sub(r"""["']\s*\n\s*f?["']""", "", "\n".join(sources))
    assert [phrase for phrase in PHRASES if phrase not in text] == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError(errno.EACCES, "Permission denied", "a.nii"), "a.nii: Permission denied"),
        (OSError(errno.EACCES, "a.nii is locked", "a.nii"), "a.nii is locked"),
        (OSError("no number"), "no number"),
    ],
)
def test_errors_of_the_system_name_the_file_and_no_number(error, expected):
    assert describe_error(error) == expected
