import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skfmri import (
    MultiscaleRidgeClassifier,
    NiftiSlabRotator,
    SlabCNNClassifier,
    VolumeCNNClassifier,
    VoxelZScorer,
)
from skfmri.cli.arguments import DEMO_EPOCHS, DEMO_EPOCHS_SMALL, make_parser
from skfmri.cli.method import (
    build_pipeline,
    check_decoder,
    choose_size,
    choose_splits,
    count_parameters,
    smallest_training_set,
    suit_thresholds,
)
from skfmri.cli.terminal import make_console, print_size
from skfmri.estimators.defaults import SMALL_SAMPLE
from skfmri.samples import NiftiSamples

CLASSES = {"2d": SlabCNNClassifier, "3d": VolumeCNNClassifier}


def parse(*options, command="decode"):
    data = ["x.nii", "--labels", "x.csv", "--out", "x"] if command == "decode" else []
    return make_parser().parse_args([command, *data, *options])


def network(*options, command="decode", n_train=10_000):
    args = parse(*options, command=command)
    return build_pipeline(args, choose_size(args, n_train))[-1]


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
    assert network("--small-sample", command="demo").epochs == DEMO_EPOCHS_SMALL
    assert network("--size", "auto", command="demo", n_train=9).epochs == DEMO_EPOCHS_SMALL


def test_the_size_follows_the_smallest_training_set_unless_it_is_chosen():
    for n_train, name in ((999, "small"), (1000, "notebook")):
        size = choose_size(parse(), n_train)
        assert size == {"name": name, "asked": "auto", "n_train": n_train, "limit": 1000}
        is_small = network(n_train=n_train).n_blocks == SMALL_SAMPLE["n_blocks"]
        assert is_small == (name == "small")
    assert choose_size(parse("--size", "notebook"), 10)["name"] == "notebook"
    assert choose_size(parse("--size", "small"), 10_000)["name"] == "small"
    assert choose_size(parse("--small-sample"), 10_000)["asked"] == "small"
    assert choose_size(parse("--decoder", "multiscale"), 10) is None


def test_the_terminal_says_why_a_size_was_chosen(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    console = make_console(False)
    print_size(console, choose_size(parse(), 999), "trial estimate")
    print_size(console, choose_size(parse(), 1000), "volume")
    print_size(console, choose_size(parse("--size", "notebook"), 10), "volume")
    print_size(console, None, "volume")
    assert capsys.readouterr().out.splitlines() == [
        "--size small is used, since a fold trains on 999 trial estimates, fewer than 1000; "
        "--size notebook overrides this",
        "--size notebook is used, since each fold trains on at least 1,000 volumes; --size small "
        "overrides this",
    ]


def test_the_smallest_training_set_is_that_of_the_largest_fold():
    groups = np.repeat([0, 1, 2, 3], [4, 8, 4, 2])
    volumes, y = np.zeros((18, 2, 3, 4)), np.arange(18) % 2
    samples = NiftiSamples.from_array(volumes, np.eye(4), y=y, groups=groups)
    assert smallest_training_set(choose_splits(parse(), 4), samples) == 10
    halves = choose_splits(parse("--folds", "2"), 4)
    sizes = [len(train) for train, _ in halves.splitter.split(volumes, y, groups)]
    assert smallest_training_set(halves, samples) == min(sizes)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("linear", ["slab", "zscore", "flatten", "linear"]),
        ("multiscale", ["slab", "zscore", "ridge"]),
    ],
)
def test_a_linear_model_can_be_the_decoder(name, steps):
    pipeline = build_pipeline(parse("--decoder", name, "--angle", "0.1", "--std-threshold", "auto"))
    assert [step for step, _ in pipeline.steps] == steps
    assert pipeline["slab"].angle == 0.1
    assert pipeline["zscore"].std_threshold == "auto"
    kind = {"linear": LogisticRegression, "multiscale": MultiscaleRidgeClassifier}[name]
    assert type(pipeline[-1]) is kind
    assert count_parameters(pipeline, (4, 5, 3), 2) is None


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--filters", "4"], "--filters"),
        (["--members", "4"], "--members"),
        (["--network", "3d"], "--network 3d"),
        (["--network", "2d"], "--network 2d"),
        (["--small-sample"], "--size small"),
        (["--patience", "3"], "--patience"),
    ],
)
def test_options_of_networks_mean_nothing_to_a_linear_decoder(options, named):
    check_decoder(parse("--decoder", "multiscale", "--seed", "3"))
    check_decoder(parse(*options))
    with pytest.raises(ValueError, match=f"--decoder linear is not a network, so {named} means"):
        check_decoder(parse("--decoder", "linear", *options))


def test_the_ridge_can_be_what_the_network_starts_from():
    assert network("--linear-path", "multiscale").linear_path == "multiscale"
    assert network("--linear-path", "3").linear_path == 3
    assert network("--size", "small", "--linear-path", "none").linear_path is None


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
    options += ["--mask", "atlas.nii:17,53"]
    rotator, scorer, _ = build_pipeline(parse(*options))
    assert rotator.get_params() | {"n_jobs": None} == {
        **{"angle": 0.1, "axis": "y", "slab": None, "slab_reference": "grid", "crop": False},
        **{"interpolation": "linear", "n_jobs": None, "mask": "atlas.nii", "label": (17, 53)},
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
