import nibabel
import numpy as np
import pandas as pd
import pytest

from skfmri import NiftiSamples, NiftiSlabRotator, average_blocks, center_groups, clean_runs
from skfmri.samples.nifti import trace

GRID = (5, 6, 31)
RUNS = np.repeat([1, 0], [24, 30])
BLOCKS = np.r_[
    np.repeat([-1, 0, 1, 2, -1], [4, 5, 6, 5, 4]), np.repeat([0, 3, -1, 4], [9, 9, 6, 6])
]
LABELS = np.array(["", "a", "b", "a", "b", "a"])[
    np.r_[np.repeat([0, 1, 2, 3, 0], [4, 5, 6, 5, 4]), np.repeat([5, 4, 0, 5], [9, 9, 6, 6])]
]


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFMRI_CACHE", str(tmp_path / "store"))


@pytest.fixture
def samples():
    rng = np.random.default_rng(0)
    volumes = rng.normal(100, 10, (len(RUNS), *GRID)) + np.arange(len(RUNS))[:, None, None, None]
    volumes[:, :2] = 0
    return NiftiSamples.from_array(
        volumes.astype(np.float32),
        np.diag([2, 3, 4, 1]),
        y=LABELS,
        runs=RUNS,
        groups=np.where(RUNS == 1, "one", "two"),
        subjects=np.where(RUNS == 1, "s1", "s2"),
    )


def means_of(volumes, blocks=BLOCKS):
    """Independent means, run by run in the order of the runs."""
    found = []
    for run in (1, 0):
        for block in pd.unique(blocks[(run == RUNS) & (blocks >= 0)]):
            found.append(volumes[(run == RUNS) & (blocks == block)].mean(axis=0))
    return np.array(found)


@pytest.mark.parametrize(
    "options",
    [
        None,
        {"standardize": False},
        {"standardize": True},
        {"standardize": True, "high_pass": 0.02, "t_r": 2.0},
        {"standardize": False, "detrend": False},
    ],
)
def test_means_equal_those_of_numpy(samples, options):
    volumes = samples if options is None else clean_runs(samples, **options)
    means = average_blocks(volumes, BLOCKS)
    expected = means_of(np.asarray(volumes, dtype=np.float64))
    np.testing.assert_allclose(np.asarray(means), expected, atol=1e-5 * np.ptp(expected))


def test_confounds_and_masks_of_the_runs_count(samples):
    confounds = np.random.default_rng(1).normal(size=(len(RUNS), 3))
    masks = [np.delete(np.arange(24), [0, 6, 7]), np.delete(np.arange(30), [3, 29])]
    cleaned = clean_runs(samples, confounds=confounds, sample_masks=masks, standardize=False)
    kept = np.r_[masks[0], 24 + masks[1]]
    means = average_blocks(cleaned, BLOCKS[kept])
    volumes = np.zeros((len(RUNS), *GRID))
    volumes[kept] = np.asarray(cleaned)
    expected = means_of(volumes, np.where(np.isin(np.arange(len(RUNS)), kept), BLOCKS, -1))
    np.testing.assert_allclose(np.asarray(means), expected, atol=1e-5 * np.ptp(expected))


def test_each_mean_has_the_label_and_run_of_its_volumes(samples):
    means = average_blocks(samples, BLOCKS)
    assert means.y.tolist() == ["a", "b", "a", "a", "b", "a"]
    assert means.runs.tolist() == [1, 1, 1, 0, 0, 0]
    assert means.groups.tolist() == ["one"] * 3 + ["two"] * 3
    assert means.subjects.tolist() == ["s1"] * 3 + ["s2"] * 3
    samples.y = None
    assert average_blocks(samples, BLOCKS).y is None


def test_labels_as_blocks_give_one_mean_per_label_and_run(samples):
    means = average_blocks(clean_runs(samples), LABELS)
    assert means.y.tolist() == ["a", "b", "a", "b"]
    expected = np.asarray(clean_runs(samples))[(RUNS == 0) & (LABELS == "b")].mean(axis=0)
    np.testing.assert_allclose(np.asarray(means)[3], expected, atol=1e-5)


def test_a_selection_of_volumes_in_any_order_gives_the_same_means(samples):
    order = np.random.default_rng(2).permutation(np.flatnonzero(BLOCKS >= 0))
    means = average_blocks(clean_runs(samples)[order], BLOCKS[order])
    whole = average_blocks(clean_runs(samples), BLOCKS)
    found, expected = np.asarray(means), np.asarray(whole)
    for run in (0, 1):
        for block in np.unique(BLOCKS[(run == RUNS) & (BLOCKS >= 0)]):
            names = pd.unique(BLOCKS[order][RUNS[order] == run]).tolist()
            i = np.flatnonzero(means.runs == run)[names.index(block)]
            names = pd.unique(BLOCKS[(run == RUNS) & (BLOCKS >= 0)]).tolist()
            j = np.flatnonzero(whole.runs == run)[names.index(block)]
            np.testing.assert_allclose(found[i], expected[j], atol=1e-5)


def test_means_of_means_are_computed_in_one_step(samples):
    means = average_blocks(clean_runs(samples), BLOCKS)
    pairs = average_blocks(means, [0, 1, 0, 0, 1, 0])
    expected = np.asarray(means)
    np.testing.assert_allclose(np.asarray(pairs)[0], expected[[0, 2]].mean(axis=0), atol=1e-5)
    assert pairs.y.tolist() == ["a", "b", "a", "b"]
    assert [name for name, _ in trace(pairs)[2]] == [
        "clean_runs",
        "average_blocks",
        "average_blocks",
    ]
    originals, parents, _ = trace(pairs)
    shown = originals.acquisition_order()[1][parents[0]]
    assert sorted(shown.tolist()) == [*range(4, 9), *range(15, 20)]


def test_means_of_samples_that_are_no_runs_are_read_from_them(samples):
    means = average_blocks(center_groups(samples), BLOCKS)
    expected = means_of(np.asarray(center_groups(samples), dtype=np.float64))
    np.testing.assert_allclose(np.asarray(means), expected, atol=1e-4)


def test_other_runs_than_those_that_were_cleaned_are_averaged_too(samples):
    cleaned = clean_runs(samples)
    halves = cleaned[:]
    halves.groups = halves.runs = np.repeat(["x", "y", "x"], [10, 30, 14])
    blocks = np.where(halves.runs == "y", 1, 0)
    halves.y = None
    means = np.asarray(average_blocks(halves, blocks))
    expected = np.asarray(cleaned)
    np.testing.assert_allclose(means[0], expected[blocks == 0].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(means[1], expected[blocks == 1].mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("is_cleaned", [False, True])
def test_a_slab_of_means_equals_that_of_means_in_memory(samples, is_cleaned, tmp_path):
    means = average_blocks(clean_runs(samples) if is_cleaned else samples, BLOCKS)
    options = {"angle": 0.2, "slab": (14, 16), "interpolation": "linear"}
    rotator = NiftiSlabRotator(**options)
    slabs = rotator.fit(means).transform(means)
    sizes = [path.stat().st_size for path in (tmp_path / "store").glob("*-part-*")]
    assert 0 < sum(sizes) < 0.5 * 4 * len(means) * np.prod(GRID)
    in_memory = NiftiSamples.from_array(np.asarray(means), means.affine)
    other = NiftiSlabRotator(**options).fit(in_memory)
    assert rotator.crop_ == other.crop_
    np.testing.assert_allclose(slabs, other.transform(in_memory), atol=1e-4 * np.abs(slabs).max())


def test_voxels_that_never_vary_keep_their_value_unless_a_mean_is_removed(samples):
    volumes = np.asarray(samples).copy()
    volumes[:, 3, 3, 3] = 0.1
    still = NiftiSamples.from_array(volumes, samples.affine, runs=RUNS, y=LABELS)
    assert (np.asarray(average_blocks(still, BLOCKS))[:, 3, 3, 3] == np.float32(0.1)).all()
    assert (np.asarray(average_blocks(clean_runs(still), BLOCKS))[:, 3, 3, 3] == 0).all()


def test_nothing_is_read_before_it_is_needed_and_only_what_is_in_a_block(samples, tmp_path):
    data = np.moveaxis(np.asarray(samples), 0, -1).copy()
    data[..., BLOCKS < 0] = np.nan
    nibabel.save(nibabel.Nifti1Image(data, samples.affine), tmp_path / "run.nii.gz")
    raw = NiftiSamples(tmp_path / "run.nii.gz", runs=RUNS)
    means = average_blocks(raw, BLOCKS)
    assert not (tmp_path / "store").exists()
    np.testing.assert_allclose(np.asarray(means), means_of(np.asarray(samples)), rtol=1e-5)


def test_values_that_are_not_finite_are_told(samples):
    volumes = np.asarray(samples).copy()
    volumes[5, 3, 3, 3] = np.nan
    damaged = NiftiSamples.from_array(volumes, samples.affine, runs=RUNS)
    with pytest.warns(
        UserWarning, match=r"1 values .* of run 1 .*average_blocks counts .*finite\]"
    ):
        assert np.isfinite(np.asarray(average_blocks(damaged, BLOCKS))).all()


def test_blocks_may_be_named_in_any_way(samples):
    expected = np.asarray(average_blocks(samples, BLOCKS))
    words = np.where(BLOCKS < 0, "", np.array([f"block {b}" for b in BLOCKS]))
    missing = pd.Series(BLOCKS.astype(float)).where(BLOCKS >= 0)
    missing.index += 7
    for blocks in (words, words.tolist(), missing, BLOCKS.tolist()):
        np.testing.assert_array_equal(np.asarray(average_blocks(samples, blocks)), expected)


class TestErrors:
    def test_a_block_of_two_labels(self, samples):
        with pytest.raises(ValueError, match=r"A block of run 0 .* 2 labels: b, "):
            average_blocks(samples, np.where(RUNS == 1, BLOCKS, np.arange(54) // 11))

    def test_too_few_blocks(self, samples):
        with pytest.raises(ValueError, match="Found 53 blocks for 54 volumes"):
            average_blocks(samples, BLOCKS[1:])

    def test_no_block(self, samples):
        with pytest.raises(ValueError, match="None of the 54 volumes is in a block"):
            average_blocks(samples, np.full(54, -1))

    def test_a_run_in_two_groups(self, samples):
        samples.groups = np.arange(54) // 12
        with pytest.raises(ValueError, match=r"Run 1 lies in 2 groups .* Averaging it would mix"):
            average_blocks(samples, BLOCKS)
