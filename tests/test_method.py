import numpy as np
import pytest

from skfmri import NiftiSlabRotator, SlabCNNClassifier, VolumeCNNClassifier, VoxelZScorer
from skfmri.cli.arguments import DEMO_EPOCHS, make_parser
from skfmri.cli.method import build_pipeline, choose_splits, suit_thresholds
from skfmri.estimators.defaults import SMALL_SAMPLE
from skfmri.samples import NiftiSamples

CLASSES = {"2d": SlabCNNClassifier, "3d": VolumeCNNClassifier}


def parse(*options, command="decode"):
    data = ["x.nii", "--labels", "x.csv", "--out", "x"] if command == "decode" else []
    return make_parser().parse_args([command, *data, *options])


def network(*options, command="decode"):
    return build_pipeline(parse(*options, command=command))[-1]


@pytest.mark.parametrize("kind", CLASSES)
def test_without_options_every_step_keeps_its_own_defaults(kind):
    pipeline = build_pipeline(parse("--network", kind))
    steps = NiftiSlabRotator(), VoxelZScorer(), CLASSES[kind](random_state=0)
    for found, expected in zip(pipeline, steps, strict=True):
        assert type(found) is type(expected)
        assert found.get_params() == expected.get_params()
    assert pipeline.validation is None


@pytest.mark.parametrize("kind", CLASSES)
def test_the_preset_for_small_samples_is_that_of_the_class(kind):
    found = network("--network", kind, "--small-sample")
    expected = CLASSES[kind].for_small_samples(random_state=0)
    assert found.get_params() == expected.get_params()


@pytest.mark.parametrize("order", [1, -1])
def test_options_beside_the_preset_still_count(order):
    options = ["--small-sample", "--filters=4", "--linear-path=none", "--members=2"][::order]
    found = network(*options)
    assert (found.filters, found.linear_path, found.n_members) == (4, None, 2)
    assert found.batch_norm_momentum == SMALL_SAMPLE["batch_norm_momentum"]


def test_the_demo_is_short_unless_told_otherwise():
    assert network(command="demo").epochs == DEMO_EPOCHS
    assert network("--epochs", "7", command="demo").epochs == 7
    assert network("--small-sample", command="demo").epochs == SMALL_SAMPLE["epochs"]


def test_every_option_of_a_step_reaches_it():
    options = [
        "--angle",
        "0.1",
        "--axis",
        "y",
        "--slab",
        "all",
        "--slab-reference",
        "grid",
        "--no-crop",
    ]
    options += ["--interpolation", "linear", "--std-threshold", "none", "--mean-threshold", "0"]
    rotator, scorer, _ = build_pipeline(parse(*options))
    assert rotator.get_params() | {"n_jobs": None} == {
        **{"angle": 0.1, "axis": "y", "slab": None, "slab_reference": "grid", "crop": False},
        **{"interpolation": "linear", "n_jobs": None},
    }
    assert scorer.get_params() == {"std_threshold": None, "mean_threshold": 0.0}


def test_patience_holds_out_a_fifth_of_the_groups():
    pipeline = build_pipeline(parse("--patience", "3", "--seed", "5"))
    assert pipeline[-1].patience == 3
    assert (pipeline.validation.test_size, pipeline.validation.random_state) == (0.2, 5)


@pytest.mark.parametrize(
    ("options", "n_splits"), [([], 8), (["--folds", "4"], 4), (["--folds=4", "--repeats=3"], 12)]
)
def test_splits_are_counted_before_they_are_made(options, n_splits):
    cv = choose_splits(parse(*options), n_groups=8)
    assert cv.n_splits == n_splits
    if cv.splitter is not None:
        groups = range(8)
        assert len(list(cv.splitter.split(groups, groups=groups))) == n_splits


def test_repeats_need_folds():
    with pytest.raises(ValueError, match="--repeats needs --folds"):
        choose_splits(parse("--repeats", "3"), n_groups=8)


@pytest.mark.parametrize(
    ("options", "n_groups", "message"),
    [
        ([], 1, "All volumes are in one group"),
        (["--folds", "9"], 3, "--folds 9 is not possible with 3 groups. Choose 2 to 3 folds"),
        (["--folds", "1"], 3, "--folds 1 is not possible"),
    ],
)
def test_splits_that_the_groups_do_not_allow_are_refused(options, n_groups, message):
    with pytest.raises(ValueError, match=message):
        choose_splits(parse(*options), n_groups)


class TestThresholds:
    """The command chooses those that the user leaves open."""

    AUTO, NONE = {"std_threshold": "auto"}, {"mean_threshold": None}

    @pytest.mark.parametrize(
        ("factor", "options", "expected"),
        [
            (1, [], {}),
            (1e-3, [], AUTO | NONE),
            (-1, [], NONE),
            (-1, ["--std-threshold=0.05"], NONE),
            (-1e-3, ["--std-threshold=none"], NONE),
            (-1e-3, ["--mean-threshold=0.05"], AUTO),
            (-1e-3, ["--std-threshold=0", "--mean-threshold=none"], {}),
        ],
    )
    def test_they_replace_defaults_that_do_not_suit(self, factor, options, expected):
        volumes = factor * np.random.default_rng(0).normal(1, 0.2, size=(12, 6, 7, 8))
        samples = NiftiSamples.from_array(volumes, np.eye(4), y=["a", "b"] * 6)
        args = parse("--angle", "0", "--slab", "2:5", *options)
        pipeline = build_pipeline(args)
        before = pipeline["zscore"].get_params()
        pipeline["slab"].fit(samples)
        choices = suit_thresholds(args, pipeline, samples)
        assert {name: found["value"] for name, found in choices.items()} == expected
        assert pipeline["zscore"].get_params() == before | expected

    def test_a_threshold_that_leaves_no_voxel_is_found_before_the_folds(self):
        volumes = np.random.default_rng(0).normal(1, 0.2, size=(12, 6, 7, 8))
        samples = NiftiSamples.from_array(volumes, np.eye(4))
        args = parse("--angle", "0", "--slab", "2:5", "--std-threshold", "9")
        pipeline = build_pipeline(args)
        pipeline["slab"].fit(samples)
        with pytest.raises(ValueError, match="No voxel is left that varies"):
            suit_thresholds(args, pipeline, samples)

    def test_labels_have_no_part_in_the_choice(self):
        volumes = -np.random.default_rng(0).normal(1, 0.2, size=(12, 6, 7, 8))
        args = parse("--angle", "0", "--slab", "2:5")
        found = []
        for y in (["a", "b"] * 6, ["a"] * 6 + ["b"] * 6, None):
            samples = NiftiSamples.from_array(volumes, np.eye(4), y=y)
            pipeline = build_pipeline(args)
            pipeline["slab"].fit(samples)
            found.append(suit_thresholds(args, pipeline, samples))
        assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("options", "n_groups"), [([], 2), (["--folds", "2"], 3), (["--folds", "2"], 2)]
)
def test_patience_needs_groups_to_hold_out(options, n_groups):
    choose_splits(parse(*options), n_groups)
    with pytest.raises(ValueError, match=f"of {n_groups} groups it trains on 1"):
        choose_splits(parse("--patience", "3", *options), n_groups)
    choose_splits(parse("--patience", "3", *options), n_groups + 2)
