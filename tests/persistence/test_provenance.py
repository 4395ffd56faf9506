import json
import os
import sys

import nibabel
import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

import skfmri
from skfmri.evaluation.encoding import array_to_bytes
from skfmri.persistence import (
    archive,
    find_training_volumes,
    load,
    model_card,
    save,
    training_record,
)

AFFINE = np.array([[-3.0, 0, 0, 12], [0, 3, 0, -13], [0, 0, 3, -15], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with an image of two runs, saved as whole numbers."""
    folder = tmp_path_factory.mktemp("study-of-somebody")
    volumes = np.random.default_rng(1).integers(0, 900, (9, 10, 11, 20)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volumes, AFFINE), folder / "bold.nii.gz")
    return folder


class TestTrainingRecord:
    def test_it_tells_what_the_samples_were_but_no_folder(self, study, tmp_path):
        samples = skfmri.NiftiSamples(
            study / "bold.nii.gz", y=list("ab" * 10), groups=np.repeat([1, 2], 10)
        )
        model = make_pipeline(skfmri.NiftiSlabRotator(0, slab=(2, 4)), skfmri.VoxelZScorer())
        path = tmp_path / "model.skfmri"
        save(model.fit(samples), path, samples=samples[:12])
        record = training_record(path)["samples"]
        assert (record["n_volumes"], record["n_groups"], record["n_runs"]) == (12, 2, 2)
        assert record["volumes_per_group"] == {"1": {"a": 5, "b": 5}, "2": {"a": 1, "b": 1}}
        assert record["files"] == [{"name": "bold.nii.gz", "n_volumes": 12}]
        assert record["grid_shape"] == [9, 10, 11]
        np.testing.assert_array_equal(record["affine"], AFFINE)
        assert record["cleaning"] is None
        assert b"study-of-somebody" not in path.read_bytes()
        assert find_training_volumes(path, samples).tolist() == [True] * 12 + [False] * 8

    def test_training_volumes_are_known_in_another_file_of_another_type(
        self, study, models, tmp_path
    ):
        samples = skfmri.NiftiSamples(study / "bold.nii.gz")
        path = tmp_path / "model.skfmri"
        scorer = skfmri.VoxelZScorer().fit(samples)
        save(scorer, path, samples=samples[[3, 7]])
        data = nibabel.load(study / "bold.nii.gz").get_fdata()[..., ::-1]
        data[0, 0, 0, 16] += 1  # volume 3 of the original
        copied = nibabel.Nifti1Image(data.astype(np.float64), AFFINE)
        nibabel.save(copied, tmp_path / "renamed.nii")
        found = find_training_volumes(path, tmp_path / "renamed.nii")
        assert np.flatnonzero(found).tolist() == [12]

    def test_the_sign_of_zero_and_the_order_in_memory_hide_no_volume(self, tmp_path):
        volumes = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
        volumes[:, 1] = 0
        path = tmp_path / "model.skfmri"
        samples = skfmri.NiftiSamples.from_array(volumes, AFFINE)
        save(skfmri.VoxelZScorer().fit(samples), path, samples=samples)
        copied = np.asfortranarray(np.where(volumes == 0, np.float32(-0.0), volumes))
        assert find_training_volumes(path, skfmri.NiftiSamples.from_array(copied, AFFINE)).all()

    def test_volumes_of_cleaned_runs_are_known_before_and_after_cleaning(self, study, tmp_path):
        raw = skfmri.NiftiSamples(study / "bold.nii.gz")
        cleaned = skfmri.clean_runs(raw, high_pass=0.02, t_r=2.5)[2:9]
        path = tmp_path / "model.skfmri"
        save(skfmri.VoxelZScorer().fit(cleaned), path, samples=cleaned)
        assert training_record(path)["samples"]["cleaning"] == {
            "detrend": True,
            "standardize": True,
            "high_pass": 0.02,
            "t_r": [2.5],
            "confounds": False,
            "sample_masks": False,
        }
        how = "each run by clean_runs with detrend, standardize, high_pass=0.02 Hz with t_r=2.5 s"
        assert f"cleaning: {how}" in model_card(path)
        expected = np.isin(range(20), range(2, 9))
        np.testing.assert_array_equal(find_training_volumes(path, raw), expected)
        as_files = skfmri.NiftiSamples.from_array(np.asarray(cleaned), AFFINE)
        assert find_training_volumes(path, as_files).all()
        untouched = skfmri.clean_runs(raw, detrend=False, standardize=False)
        np.testing.assert_array_equal(find_training_volumes(path, untouched), expected)

    def test_a_model_without_samples_does_not_know_them(self, models, study, tmp_path):
        save(models["linear"], tmp_path / "model.skfmri")
        record = training_record(tmp_path / "model.skfmri")
        assert record == {"samples": None, "result": None, "initial_weights": []}
        with pytest.raises(ValueError, match=r"Save the model again with save\(..., samples=\)"):
            find_training_volumes(tmp_path / "model.skfmri", study / "bold.nii.gz")
        assert "Unknown: the model was saved without `samples`" in model_card(
            tmp_path / "model.skfmri"
        )

    def test_samples_of_another_study_are_refused(self, models, samples, tmp_path):
        volumes = np.asarray(samples)
        other = skfmri.NiftiSamples.from_array(volumes, 2 * AFFINE, y=samples.y)
        with pytest.raises(ValueError, match=r"samples has the affine .* but the model has"):
            save(models["linear"], tmp_path / "model.skfmri", samples=other)
        other = skfmri.NiftiSamples.from_array(volumes, AFFINE, y=["cat", "dog"] * 12)
        with pytest.raises(ValueError, match="class 'dog' is only in the samples or only in"):
            save(models["linear"], tmp_path / "model.skfmri", samples=other)

    @pytest.mark.skipif(sys.platform != "linux", reason="names are UTF-8 or UTF-16 there")
    def test_a_file_name_that_is_not_utf_8_is_kept(self, study, tmp_path):
        image = tmp_path / os.fsdecode(b"scan\xe9.nii.gz")
        image.write_bytes((study / "bold.nii.gz").read_bytes())
        samples = skfmri.NiftiSamples(image)
        path = tmp_path / "model.skfmri"
        save(skfmri.VoxelZScorer().fit(samples), path, samples=samples)
        (file,) = training_record(path)["samples"]["files"]
        assert os.fsencode(file["name"]) == b"scan\xe9.nii.gz"
        assert r"scan\\xe9.nii.gz" in model_card(path)
        assert find_training_volumes(path, image).all()


def set_record(**entries):
    def change(members):
        record = json.loads(members["training.json"])
        record["samples"] |= entries
        members["training.json"] = json.dumps(record).encode()

    return change


def set_trials(**settings):
    """Change the record to that of trial estimates with some settings altered or, if None, gone."""
    made = {"method": "lss", "hrf_model": "glover", "t_r": [2.0], "start": [0.0]} | settings
    made = {name: value for name, value in made.items() if value is not None}
    return set_record(derivations={"estimate_trials": made})


def set_part(name, data):
    return lambda members: members.update({name: data})


ALTERED = {
    "no JSON": (set_part("training.json", b"{"), "training.json cannot be read"),
    "a list": (set_part("training.json", b"[]"), "there is no samples"),
    "a number": (set_part("training.json", b'{"samples": 3, "result": null}'), "samples is 3"),
    "no result": (set_part("training.json", b'{"samples": null}'), "there is no result"),
    "a grid of two axes": (set_record(grid_shape=[9, 10]), r"samples.grid_shape is \[9, 10\]"),
    "a dict for a number": (set_record(affine=[[{}] * 4] * 4), "samples.affine is"),
    "text for an affine": (set_record(affine=[["x"] * 4] * 4), "samples.affine is"),
    "text that reads like a number": (set_record(affine=[["1"] * 4] * 4), "samples.affine is"),
    "a number that is missing": (set_record(affine=[[1, 2, 3, None]] * 4), "samples.affine is"),
    "a number that is not finite": (set_record(affine=[[float("nan")] * 4] * 4), "samples.affine"),
    "rows of several lengths": (set_record(affine=[[1.0], [2.0, 3.0]]), "samples.affine is"),
    "an affine of three rows": (set_record(affine=[[1, 0, 0, 0]] * 3), "samples.affine is"),
    "half of a cleaning": (set_record(cleaning={"detrend": True}), "no samples.cleaning.standard"),
    "a cleaning of text": (set_record(cleaning="all"), "samples.cleaning is 'all'"),
    "derivations in a list": (set_record(derivations=[]), r"samples.derivations is \[\]"),
    "trials without a method": (set_trials(method=None), "no .*estimate_trials.method"),
    "trials of a number": (set_trials(hrf_model=3), "estimate_trials.hrf_model is 3"),
    "times in words": (set_trials(t_r=["two"]), r"estimate_trials.t_r is \['two'\]"),
    "one time for a list": (set_trials(start=0.0), "estimate_trials.start is 0.0"),
    "no such part": (lambda members: members.pop("training.json"), "lacks its part training.json"),
}


class TestAlteredRecords:
    """Files whose checksums are right, but whose record nobody has written."""

    def alter(self, saved, tmp_path, change):
        _, members = archive.read_archive(saved / "linear.skfmri")
        change(members)
        path = tmp_path / "altered.skfmri"
        archive.write_archive(path, members, {"skfmri": "0", "versions": {}})
        return path

    @pytest.mark.parametrize("change", ALTERED)
    def test_are_refused_with_the_file_and_what_is_wrong(self, change, saved, tmp_path):
        edit, message = ALTERED[change]
        path = self.alter(saved, tmp_path, edit)
        for read in (training_record, load):
            with pytest.raises(ValueError, match=rf"altered.skfmri.*{message}.*Copy the file"):
                read(path)

    def test_a_grid_other_than_that_of_the_model_is_refused(self, saved, tmp_path):
        path = self.alter(saved, tmp_path, set_record(grid_shape=[9, 10, 12]))
        with pytest.raises(ValueError, match=r"altered.skfmri .*9 x 10 x 12 voxels, but the model"):
            load(path)

    @pytest.mark.parametrize(
        "data", [b"?", archive.to_json(3), np.zeros(3).tobytes(), b"\x93NUMPY\x09\x00"]
    )
    def test_digests_that_are_none_are_refused_with_the_file(self, data, saved, samples, tmp_path):
        path = self.alter(saved, tmp_path, set_part("volumes.npy", data))
        message = r"altered.skfmri was altered: its part volumes.npy cannot be read.*Copy the file"
        with pytest.raises(ValueError, match=message):
            find_training_volumes(path, samples)

    @pytest.mark.parametrize("array", [np.zeros((3, 32)), np.zeros((3, 31), np.uint8), np.zeros(3)])
    def test_digests_of_another_kind_are_refused_with_the_file(
        self, array, saved, samples, tmp_path
    ):
        path = self.alter(saved, tmp_path, set_part("volumes.npy", array_to_bytes(array)))
        with pytest.raises(ValueError, match=r"altered.skfmri was altered.* in the shape \(3"):
            find_training_volumes(path, samples)

    def test_a_card_that_is_not_text_is_refused_with_the_file(self, saved, tmp_path):
        path = self.alter(saved, tmp_path, set_part("README.md", b"\xff\xfe"))
        with pytest.raises(ValueError, match=r"altered.skfmri was altered: its part README.md"):
            model_card(path)
