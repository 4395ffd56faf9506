import warnings

import nibabel
import numpy as np
import pandas as pd
import pytest

from skfmri.cli.arguments import make_parser
from skfmri.cli.inputs import read_inputs
from skfmri.cli.nonfinite import find_damaged, find_dropped, name_volumes, ranges
from skfmri.preprocessing import clean_runs
from skfmri.samples import NiftiSamples

SHAPE = (3, 4, 5)


def samples_of(volumes, **options):
    return NiftiSamples.from_array(volumes.astype(np.float32), np.eye(4), **options)


@pytest.fixture
def masked():
    """Volumes of which the first plane holds no data; 2 and 5 of them are damaged."""
    volumes = np.random.default_rng(0).normal(size=(8, *SHAPE))
    volumes[:, 0] = np.nan
    volumes[2, 1, 1, 1] = np.inf
    volumes[5] = np.nan
    return samples_of(volumes)


def test_voxels_without_data_do_not_count_as_damage(masked):
    is_damaged, is_empty, share = find_damaged(masked)
    assert np.flatnonzero(is_damaged).tolist() == [2, 5]
    assert np.flatnonzero(is_empty).tolist() == [5]
    assert share == 1
    is_damaged, is_empty, share = find_damaged(masked[:5])
    assert np.flatnonzero(is_damaged).tolist() == [2]
    assert not is_empty.any()
    assert share == pytest.approx(1 / (2 * 4 * 5))


def test_volumes_are_named_by_image_and_number(tmp_path):
    paths = [str(tmp_path / name) for name in ("b.nii", "a.nii")]
    for path in paths:
        nibabel.save(nibabel.Nifti1Image(np.zeros((*SHAPE, 6), np.float32), np.eye(4)), path)
    chosen = NiftiSamples(paths)[[1, 2, 3, 5, 10]]
    assert name_volumes(chosen) == f"{paths[0]}: 1 to 3, 5; {paths[1]}: 4"


@pytest.mark.parametrize(
    ("numbers", "text"), [([4], "4"), ([0, 1, 2], "0 to 2"), ([0, 2, 3], "0, 2 to 3")]
)
def test_neighbours_are_ranges(numbers, text):
    assert ranges(np.array(numbers)) == text


class TestDropped:
    ALL = np.ones(8, bool)

    def test_they_are_the_damaged_ones_among_those_used(self, masked):
        options = {"drop": True, "is_cleaned": False}
        found = find_dropped(masked, self.ALL, **options)
        assert np.flatnonzero(found).tolist() == [2, 5]
        found = find_dropped(masked, np.arange(8) != 5, **options)
        assert np.flatnonzero(found).tolist() == [2]

    @pytest.mark.parametrize(
        ("is_cleaned", "effect"),
        [(False, "100.0 % of the voxels that hold data"), (True, "count as 0 when runs are")],
    )
    def test_without_the_option_a_warning_names_them_and_it(self, masked, is_cleaned, effect):
        with pytest.warns(UserWarning, match="2 of 8 volumes hold NaN") as caught:
            assert not find_dropped(masked, self.ALL, drop=False, is_cleaned=is_cleaned).any()
        message = str(caught[0].message)
        assert "the array: 2, 5. Without any finite value: the array: 5." in message
        assert effect in message
        assert "with --drop-nonfinite" in message

    def test_sound_volumes_are_passed_without_a_word(self, masked):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for drop in (True, False):
                found = find_dropped(
                    masked, np.isin(np.arange(8), [0, 1, 3]), drop=drop, is_cleaned=False
                )
                assert not found.any()

    def test_nothing_left_is_an_error(self, masked):
        volumes = np.ones((3, *SHAPE))
        for volume in range(3):
            volumes[volume, volume] = np.nan  # no mask is like another
        with pytest.raises(ValueError, match=r"would leave no volume.*mask that they share"):
            find_dropped(samples_of(volumes), np.ones(3, bool), drop=True, is_cleaned=False)
        with pytest.warns(UserWarning, match=r"3 of 3 volumes .* trains on such a volume\.$"):
            find_dropped(samples_of(volumes), np.ones(3, bool), drop=False, is_cleaned=False)
        for drop in (True, False):
            with pytest.raises(ValueError, match="No finite value in any of 1 volume, such as"):
                find_dropped(masked, np.arange(8) == 5, drop=drop, is_cleaned=False)


class TestInputs:
    @pytest.fixture
    def study(self, tmp_path):
        """Two runs of 10 volumes, of which volumes 3 and 14 are damaged, and their table."""
        volumes = np.random.default_rng(0).normal(50, 5, size=(20, *SHAPE)).astype(np.float32)
        volumes[3], volumes[14, 1, 2, 3] = np.nan, np.inf
        for name, part in (("one.nii", volumes[:10]), ("two.nii", volumes[10:])):
            image = nibabel.Nifti1Image(np.moveaxis(part, 0, -1), np.eye(4))
            nibabel.save(image, tmp_path / name)
        labels = np.array(["a", "b", ""])[np.arange(20) % 3]
        table = pd.DataFrame({"label": labels, "group": np.repeat([1, 2], 10)})
        table.to_csv(tmp_path / "labels.csv", index=False)
        return tmp_path

    def read(self, study, *more):
        images = [str(study / "one.nii"), str(study / "two.nii")]
        argv = ["decode", *images, "--labels", str(study / "labels.csv"), "--out", "x", *more]
        return read_inputs(make_parser().parse_args(argv))

    @pytest.mark.parametrize("clean", [[], ["--clean"]])
    def test_dropped_volumes_are_recorded_and_the_rows_of_the_others_kept(self, study, clean):
        inputs = self.read(study, "--drop-nonfinite", *clean)
        # Volume 14 has no label: only the cleaning of its run needs it.
        expected = [("one.nii", 3)] + [("two.nii", 4)] * bool(clean)
        assert inputs.source["not_finite"] == [
            {"image": str(study / name), "volume": volume} for name, volume in expected
        ]
        assert len(inputs.not_finite) == len(expected)
        labels = pd.read_csv(study / "labels.csv", keep_default_na=False)["label"]
        rows = [row for row in range(20) if row % 3 < 2 and row not in (3, 14)]
        assert inputs.rows.tolist() == rows
        assert inputs.samples.y.tolist() == labels[rows].tolist()
        assert inputs.samples.groups.tolist() == [1 + (row >= 10) for row in rows]
        assert len(inputs.originals) == len(rows)
        assert inputs.originals.finite.all()

    def test_cleaning_does_not_see_dropped_volumes(self, study):
        cleaned = np.asarray(self.read(study, "--drop-nonfinite", "--clean").samples)
        originals = NiftiSamples([study / "one.nii", study / "two.nii"])
        masks = [np.arange(10) != 3, np.arange(10) != 4]
        expected = clean_runs(originals, sample_masks=masks)
        kept = np.delete(np.arange(20), [3, 14]) % 3 < 2
        np.testing.assert_array_equal(cleaned, np.asarray(expected)[kept])

    def test_too_few_classes_afterwards_are_an_error(self, study):
        labels = np.full(20, "a")
        labels[3] = "b"
        table = pd.DataFrame({"label": labels, "group": np.repeat([1, 2], 10)})
        table.to_csv(study / "labels.csv", index=False)
        with pytest.raises(ValueError, match="18 volumes of 1 class are left without volumes that"):
            self.read(study, "--drop-nonfinite")
