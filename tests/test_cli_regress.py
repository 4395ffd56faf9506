"""The command with numbers in place of classes."""

import json

import nibabel
import numpy as np
import pandas as pd
import pytest
from sklearn.base import is_regressor

import skfmri
from skfmri.cli import main
from skfmri.report import write_report
from tests.bids_trees import write_events, write_image

AFFINE = np.diag([3.0, 3, 3, 1])
SLAB = ["--angle", "0", "--slab", "all", "--no-crop"]


@pytest.fixture(autouse=True)
def without_report(monkeypatch):
    # Its pictures take seconds.
    monkeypatch.setattr("skfmri.cli.decode.build_report", lambda path, anatomy: None)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two maps of each of 20 subjects, in which a box of voxels rises with age."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(20), 2)
    age = rng.uniform(20, 80, 20).round(1)[subjects]
    volumes = rng.normal(100, 5, size=(9, 10, 4, 40))
    volumes[3:6, 3:7] += 0.3 * (age - 50)
    nibabel.save(nibabel.Nifti1Image(volumes.astype(np.float32), AFFINE), folder / "maps.nii.gz")
    table = pd.DataFrame({"age": age, "group": subjects, "label": ["old", "young"] * 20})
    table["comma"] = [str(number).replace(".", ",") for number in age]
    table["one text"] = ["?", *age[1:].astype(str)]
    table["spelt twice"], table["single"] = ["1", "1.0"] * 20, ["41", *[""] * 39]
    table.to_csv(folder / "table.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def decode(study):
    def run(*options, out="results"):
        argv = ["decode", str(study / "maps.nii.gz"), "--labels", str(study / "table.csv"), *SLAB]
        return main([*argv, "--folds", "4", "--out", str(study / out), *options])

    return run


@pytest.fixture(scope="module")
def results(decode, study):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skfmri.cli.decode.build_report", lambda path, anatomy: None)
        model = str(study / "model.skfmri")
        options = ["--label-column", "age", "--regress", "--decoder", "multiscale", "--quiet"]
        assert decode(*options, "--model", model) == 0
    return study / "results"


class TestDecode:
    def test_the_files_hold_numbers(self, results):
        summary = pd.read_csv(results / "summary.csv").set_index(["model", "metric"])["score"]
        assert summary["decoder", "r2"] > 0.5
        assert summary["dummy", "r2"] < 0.05
        predictions = pd.read_csv(results / "predictions.csv").query("model == 'decoder'")
        assert np.corrcoef(predictions["label"], predictions["predicted"])[0, 1] > 0.7
        assert json.loads((results / "settings.json").read_text())["predicts"] == "numbers"

    def test_the_report_is_of_numbers(self, results, undrawn):
        page = write_report(results, path=results.parent / "report.html").read_text()
        assert "<h1>Predicting age</h1>" in page
        assert "the same throughout each group" in page
        assert (
            "volumes_per_class" not in json.loads((results / "settings.json").read_text())["data"]
        )

    def test_the_map_is_where_the_voxels_are(self, results):
        values = nibabel.load(results / "saliency.nii.gz").get_fdata()
        inside = np.zeros(values.shape, bool)
        inside[3:6, 3:7] = True
        assert (values[inside][:, None] > values[~inside]).mean() > 0.85

    def test_the_model_predicts_numbers(self, results, study, capsys):
        argv = ["predict", str(study / "model.skfmri"), str(study / "maps.nii.gz"), "--quiet"]
        assert main([*argv, "--out", str(study / "new.csv")]) == 0
        table = pd.read_csv(study / "new.csv")
        assert list(table) == ["image", "volume", "predicted"]
        model = skfmri.load(study / "model.skfmri")
        expected = model.predict(skfmri.NiftiSamples(study / "maps.nii.gz"))
        np.testing.assert_allclose(table["predicted"], expected)

    @pytest.mark.parametrize("network", ["2d", "3d"])
    def test_the_network_is_a_regressor(self, decode, monkeypatch, capsys, network):
        seen = []

        def evaluate(pipeline, samples, **options):
            seen.extend([pipeline, samples])
            raise ValueError("seen enough")

        monkeypatch.setattr("skfmri.cli.decode.evaluate_decoder", evaluate)
        options = ["--label-column", "age", "--regress", "--network", network, "--n-blocks", "1"]
        assert decode(*options, out=f"of-{network}") == 2
        pipeline, samples = seen
        assert is_regressor(pipeline)
        assert samples.y.dtype == float
        printed = capsys.readouterr().out
        assert f"numbers from {samples.y.min():g} to {samples.y.max():g}, mean" in printed

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--regress"], "holds 'old', and 40 labels of 40 are not numbers"),
            (["--label-column", "one text", "--regress"], "and 1 label of 40 is not a number"),
            (["--label-column", "comma", "--regress"], "Write decimals with a point in place of"),
            (["--label-column", "comma"], "different numbers, such as"),
            (
                ["--label-column", "spelt twice", "--regress"],
                "40 volumes of 1 number are left; decoding needs two different numbers or more",
            ),
            (["--label-column", "single", "--regress"], "1 volume of 1 number is left; decoding"),
            (["--label-column", "age"], "different numbers, such as"),
            (["--label-column", "age", "--regress", "--undersample"], "--undersample is about cl"),
            (["--label-column", "age", "--regress", "--classes", "30"], "--classes is about cl"),
        ],
        ids=[
            *("text", "one text", "decimal commas", "decimal commas without --regress"),
            *("one number", "one volume", "no --regress", "--undersample", "--classes"),
        ],
    )
    def test_mistakes_are_named(self, decode, capsys, monkeypatch, options, message):
        monkeypatch.setattr("skfmri.cli.tables.MOST_NUMBERS", 10)
        assert decode(*options, out="mistakes") == 2
        assert message in capsys.readouterr().err

    def test_a_column_of_events_can_be_predicted(self, tmp_path, monkeypatch):
        rng, seen = np.random.default_rng(0), []
        for subject in "123":
            stem = tmp_path / f"bids/sub-{subject}/func/sub-{subject}_task-see"
            write_image(stem.with_name(f"{stem.name}_bold.nii.gz"), seed=int(subject))
            rows = [(10 * n, 10, "see", rng.integers(1, 8)) for n in range(4)]
            columns = ("onset", "duration", "trial_type", "rating")
            write_events(stem.with_name(f"{stem.name}_events.tsv"), rows, columns)

        def evaluate(pipeline, samples, **options):
            seen.append(samples)
            raise ValueError("seen enough")

        monkeypatch.setattr("skfmri.cli.decode.evaluate_decoder", evaluate)
        argv = ["decode", "--bids", str(tmp_path / "bids"), "--task", "see", *SLAB, "--quiet"]
        argv += ["--label-column", "rating", "--regress", "--decoder", "linear"]
        assert main([*argv, "--groups", "subject", "--out", str(tmp_path / "out")]) == 2
        assert seen[0].y.dtype == float
        assert set(seen[0].y) <= set(range(1, 8))


def test_centring_ages_of_whole_subjects_is_warned_of(study):
    table = pd.read_csv(study / "table.csv")
    samples = skfmri.NiftiSamples(
        study / "maps.nii.gz", y=table["age"].to_numpy(), groups=table["group"].to_numpy()
    )
    with pytest.warns(UserWarning, match="100% of the variance of the labels lies between the 20"):
        skfmri.center_groups(samples)


class TestParticipants:
    """A participants.tsv of a BIDS dataset as the table, with a map per subject."""

    @pytest.fixture
    def maps(self, tmp_path):
        rng = np.random.default_rng(0)
        ages = ["34.5", "n/a", "61", "22", "48", "70"]
        names = [f"sub-{number:02}" for number in range(1, 7)]
        for name in names:
            volume = rng.normal(100, 5, size=(9, 10, 4)).astype(np.float32)
            nibabel.save(nibabel.Nifti1Image(volume, AFFINE), tmp_path / f"{name}_map.nii")
        table = pd.DataFrame({"participant_id": names, "age": ages, "sex": "n/a"})
        table.to_csv(tmp_path / "participants.tsv", sep="\t", index=False)
        return [str(tmp_path / f"{name}_map.nii") for name in names]

    @pytest.fixture
    def run(self, tmp_path):
        def run(images, *more):
            options = ["--labels", str(tmp_path / "participants.tsv"), "--label-column", "age"]
            options += ["--group-column", "participant_id", "--regress", "--decoder", "linear"]
            options += [*SLAB, "--no-baseline", "--no-maps", "--out", str(tmp_path / "out")]
            return main(["decode", *images, *options, *more])

        return run

    def test_the_table_of_a_dataset_is_read(self, maps, run, capsys):
        assert run(maps) == 0, capsys.readouterr().err
        said = capsys.readouterr().out
        assert "5 volumes of 9 x 10 x 4: numbers from 22 to 70, mean 47.1; 5 groups" in said
        assert "1 volume without a label is left out" in said

    def test_rows_in_another_order_than_the_images_are_refused(self, maps, run, capsys):
        assert run([*maps[1::-1], *maps[2:]]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "names other subjects than the images in 2 rows of 6" in line
        assert "row 1 below the header has sub-01 in the column 'participant_id'" in line
        assert "its volume is from" in line
        assert "sub-02_map.nii. Put the rows in the order of the images" in line

    @pytest.mark.parametrize("names", ["site{}", "sub-{}_run-1", "sub-000{}", "sub-A{}"])
    def test_names_that_do_not_contradict_are_taken(self, maps, run, tmp_path, names, capsys):
        table = pd.read_csv(tmp_path / "participants.tsv", sep="\t", dtype=str)
        table["participant_id"] = [names.format(number) for number in range(1, 7)]
        table.fillna("n/a").to_csv(tmp_path / "participants.tsv", sep="\t", index=False)
        assert run(maps, "--quiet") == 0, capsys.readouterr().err
