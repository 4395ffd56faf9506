"""The samples of a fetched study are its volumes with its labels, cleaned by run."""

import nibabel
import nilearn.datasets
import numpy as np
import pandas as pd
import pytest
from nilearn.maskers import NiftiMasker
from sklearn.utils import Bunch

from skfmri.datasets import fetch_haxby_samples
from skfmri.preprocessing import clean_runs
from skfmri.samples import NiftiSamples

CATEGORIES = ["bottle", "cat", "chair", "face", "house", "scissors", "scrambledpix", "shoe"]


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFMRI_CACHE", str(tmp_path / "store"))


@pytest.fixture
def fetched(monkeypatch):
    """Let nilearn's fetcher give an image and a table, and note what it is asked for."""
    asked = {}

    def install(image, labels, runs, folder):
        target = folder / "labels.txt"
        table = pd.DataFrame({"labels": labels, "chunks": runs})
        table.to_csv(target, sep=" ", index=False)

        def fetch_haxby(**options):
            asked.update(options)
            return Bunch(func=[str(image)], session_target=[str(target)], t_r=2.5)

        monkeypatch.setattr(nilearn.datasets, "fetch_haxby", fetch_haxby)
        return asked

    return install


@pytest.fixture
def simulated(fetched, tmp_path):
    """Two runs of 10 volumes, with rest at both ends."""
    volumes = np.random.default_rng(0).normal(100, 1, size=(3, 4, 5, 20)).astype(np.float32)
    image = tmp_path / "bold.nii.gz"
    nibabel.save(nibabel.Nifti1Image(volumes, np.eye(4)), image)
    labels = ["rest", *["face"] * 4, *["cat"] * 4, "rest"] * 2
    return fetched(image, labels, np.repeat([0, 1], 10), tmp_path)


def test_one_subject_is_asked_of_nilearn(simulated, tmp_path):
    fetch_haxby_samples(5, data_dir=tmp_path)
    assert simulated == {"subjects": [5], "data_dir": tmp_path, "verbose": 0}
    fetch_haxby_samples()
    assert simulated["subjects"] == [2]


def test_rest_is_left_out_after_cleaning_unless_it_is_named(simulated, tmp_path):
    whole = NiftiSamples(tmp_path / "bold.nii.gz", groups=np.repeat([0, 1], 10))
    samples = fetch_haxby_samples()
    assert samples.y.tolist() == [*["face"] * 4, *["cat"] * 4] * 2
    assert samples.groups.tolist() == samples.runs.tolist() == [0] * 8 + [1] * 8
    rows = np.r_[1:9, 11:19]
    cleaned = np.asarray(clean_runs(whole))
    np.testing.assert_array_equal(np.asarray(samples), cleaned[rows])
    raw = fetch_haxby_samples(classes=["rest", "cat"], clean=False)
    assert raw.y.tolist() == ["rest", *["cat"] * 4, "rest"] * 2
    np.testing.assert_array_equal(np.asarray(raw), np.asarray(whole)[np.r_[0, 5:10, 10, 15:20]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subject": 7}, "subject must be a number from 1 to 6, but is 7"),
        ({"subject": 0}, "subject must be an integer of at least 1"),
        ({"classes": ["dog"]}, "classes contains 'dog', .* subject 2 are 'cat', 'face', 'rest'"),
        ({"classes": "cat"}, "classes must be a list of labels"),
        ({"clean": False, "high_pass": 0.01}, "high_pass= has no effect with clean=False"),
    ],
)
def test_what_does_not_fit_is_refused(simulated, options, message):
    with pytest.raises(ValueError, match=message):
        fetch_haxby_samples(**options)


@pytest.mark.real_data
def test_measured_runs_are_filtered_as_a_masker_filters_each(real_data, fetched, tmp_path):
    folder, image = real_data / "haxby_subject1", tmp_path / "bold.nii.gz"
    table = pd.read_csv(folder / "bold_vt_labels.csv")[:144]
    series = nibabel.load(folder / "bold_vt.nii.gz").slicer[10:30, 5:15, 5:8, :144]
    nibabel.save(series, image)
    fetched(image, table["label"], table["run"], tmp_path)
    samples = fetch_haxby_samples(1, high_pass=0.01)
    assert np.unique(samples.y).tolist() == CATEGORIES
    assert samples.y.tolist() == table["label"].tolist()
    assert samples.groups.tolist() == table["run"].tolist()
    mask = nibabel.Nifti1Image(np.ones(series.shape[:3], dtype=np.int8), series.affine)
    options = {"detrend": True, "standardize": "zscore_sample", "high_pass": 0.01, "t_r": 2.5}
    masker = NiftiMasker(mask, **options).fit()
    for run in (0, 1):
        expected = masker.transform(series.slicer[..., 72 * run : 72 * run + 72])
        found = np.asarray(samples[samples.groups == run]).reshape(72, -1)
        np.testing.assert_allclose(found, expected, atol=2e-4)
