import json
import re
import shutil

import pandas as pd
import pytest

from skfmri.report.methods import methods_paragraphs
from skfmri.report.references import REFERENCES, cited
from skfmri.report.results import read_results

from .pages import TABLE, method_record, plain

BIDS = {
    "kind": "bids",
    "root": "/data/ds1",
    "images": ["one.nii.gz"],
    "task": "faces",
    "space": "MNI152",
    "derivatives": None,
    "label": "trial_type",
    "groups": "subject",
    "shift": 4.5,
    "keep_transitions": False,
    "duration": None,
    "max_gap": 0.0,
    "classes": None,
    "drop": None,
}
CLEANING = {"high_pass": None, "t_r": None, "confounds": None}


class TestMethods:
    """The paragraphs say what the run did."""

    @pytest.fixture
    def say(self, ordinary, tmp_path):
        """Return a function of options and parts of the record that gives the paragraphs."""
        directory = tmp_path / "results"
        shutil.copytree(ordinary, directory)

        def paragraphs(*argv, **record):
            content = json.loads((ordinary / "settings.json").read_text())
            content |= {**method_record(argv), **record}
            (directory / "settings.json").write_text(json.dumps(content))
            said = methods_paragraphs(read_results(directory))
            return {title: plain(text) for title, text in said}

        return paragraphs

    def test_simulated_data_are_called_simulated(self, say):
        text = say()["Data"]
        assert "simulated, not measured: 16 maps" in text
        assert "make_eyes_open_closed with seed 7, in 4 groups" in text

    def test_measured_data_are_counted(self, say):
        text = say(source=TABLE)["Data"]
        assert text == (
            "The data are 16 volumes of 2 classes (8 closed and 8 open) on a grid of 7 x 8 x 9 "
            "voxels of 4 x 4 x 4 mm, in 4 groups (column 'subject' of the table of labels) of 4 "
            "volumes, from 4 runs."
        )
        text = say(source=TABLE | {"drop": ["rest", "cue"]})["Data"]
        assert "Volumes labelled rest or cue were left out." in text

    def test_cleaning_is_told_with_its_filter(self, say):
        assert "No cleaning" in say(source=TABLE)["Preprocessing"]
        cleaning = CLEANING | {"high_pass": 0.01, "t_r": 2.5}
        text = say(source=TABLE, cleaning=cleaning)["Preprocessing"]
        assert "linearly detrended, high-pass filtered at 0.01 Hz" in text
        assert "repetition time 2.5 s" in text
        assert "the volumes of one group in one image" in text
        columns = TABLE["columns"] | {"run": "run"}
        said = say(source=TABLE | {"columns": columns}, cleaning=CLEANING)
        text = said["Preprocessing"]
        assert "time series of each run was linearly detrended and standardised" in text
        assert "cleaning" not in say()["Preprocessing"]

    def test_a_bids_dataset_is_told_with_how_volumes_got_their_labels(self, say):
        said = say(source=BIDS, cleaning=CLEANING)
        assert "in 4 groups (one per subject) of 4 volumes" in said["Data"]
        assert "(Gorgolewski et al. 2016; task faces, space MNI152; column" in said["Data"]
        assert "what happened 4.5 s before" in said["Data"]
        assert "the border of an event were left out" in said["Data"]
        assert "each run was linearly detrended and standardised" in said["Preprocessing"]
        said = say(
            "--permutations",
            "100",
            source=BIDS | {"shift": 5.0, "keep_transitions": True, "duration": 2.0, "max_gap": 1.5},
            cleaning=CLEANING | {"confounds": ["motion", "wm_csf"]},
            permutation_test={"p_value": 0.01, "n_permutations": 100},
        )
        assert "what happened 5 s before" in said["Data"]
        assert "border of an event were kept" in said["Data"]
        assert "Every event was taken to last 2 s." in said["Data"]
        assert "within 1.5 s counted as one" in said["Data"]
        assert "fMRIPrep (Esteban et al. 2019; motion and wm_csf)" in said["Preprocessing"]
        assert "events as a whole" in said["Statistics"]

    def test_the_slab_is_told_as_it_was_cut(self, say):
        text = say()["Preprocessing"]
        assert "rotated by 0.35 rad (20.1 degrees) about the world x axis" in text
        assert "cubic splines (Unser 1999)" in text
        assert "Slices 12 to 14 of the last axis (7 x 8 x 3 voxels in all) were kept" in text
        assert "counted from zero in the cropped volume" in text
        text = say("--angle", "0", "--no-crop", "--slab", "all")["Preprocessing"]
        assert text.startswith("Volumes were not rotated. All slices")
        assert "Unser" not in text
        argv = ["--slab", "3:4", "--slab-reference", "grid", "--interpolation", "linear"]
        text = say(*argv)["Preprocessing"]
        assert "Slice 3 of the last axis" in text
        assert "uncropped grid" in text
        assert "linear interpolation" in text

    def test_a_region_is_named_with_its_labels(self, say):
        slab = {"shape": [5, 4, 3], "n_in_region": 27, "first_slice": 2}
        text = say("--mask", "masks/roi.nii", slab=slab)["Preprocessing"]
        assert "Slices 12 to 14 of the last axis were kept, counted" in text
        assert (
            "The slab was cut to the box of a region (roi.nii, 5 x 4 x 3 voxels with 27 in the "
            "region), which was brought to its grid by nearest neighbour. Voxels outside the "
            "region were set to 0 after the resampling." in text
        )
        text = say("--mask", "atlas.nii:17", slab=slab)["Preprocessing"]
        assert "(label 17 of atlas.nii, 5" in text
        text = say("--mask", "atlas.nii:17,53,4", slab=slab)["Preprocessing"]
        assert "(labels 17, 53 and 4 of atlas.nii, 5" in text
        assert "region" not in say(slab=slab | {"n_in_region": None})["Preprocessing"]

    def test_an_angle_in_degrees_and_a_spread_of_its_own_are_described(self, say):
        text = say("--angle", "20deg", "--std-threshold", "auto")["Preprocessing"]
        assert "rotated by 0.349065850399 rad (20.0 degrees)" in text
        assert "below 0.05 of the median standard deviation of the voxels that vary" in text

    def test_thresholds_that_are_off_are_not_told(self, say):
        assert "below 0.05 were set to 0 and means below 0.05" in say()["Preprocessing"]
        text = say("--std-threshold", "none", "--mean-threshold", "none")["Preprocessing"]
        assert "set to 0" not in text
        assert "subtracted" not in text

    def test_the_notebooks_network_is_described(self, say):
        text = say()["Decoder"]
        assert "3 blocks of a convolution (3 x 3 voxels, 32, 64 and 128 filters" in text
        assert "3 dense layers of 1,024, 256 and 64" in text
        assert "1,234 parameters in all" in text
        assert "for 20 epochs" in text
        for word in ("Prechelt", "logistic", "such networks"):
            assert word not in text

    @pytest.mark.parametrize(
        ("kind", "name"), [("2d", "SlabCNNClassifier"), ("3d", "VolumeCNNClassifier")]
    )
    def test_what_the_command_leaves_alone_is_what_the_network_has(self, say, kind, name):
        import skfmri.classifier

        decoder = getattr(skfmri.classifier, name)()
        words = {"valid": "no padding", "same": "zero padding"}
        text = say("--network", kind)["Decoder"]
        assert words[decoder.padding] in text
        assert f"over {' x '.join(['2'] * int(kind[0]))} voxels" in text
        assert getattr(decoder, "pool_size", 2) == 2
        assert getattr(decoder, "dense_batch_norm", True)
        assert decoder.optimizer == "adam"

    @pytest.mark.parametrize(
        ("n_train", "name", "expected"),
        [
            (336, "small", "for small samples was used, since the smallest training set has 336 "),
            (1200, "notebook", "of the workshop notebook was used, since the smallest training "),
        ],
    )
    def test_the_size_of_the_network_has_its_reason(self, say, n_train, name, expected):
        size = {"name": name, "asked": "auto", "n_train": n_train, "limit": 1000}
        few = "fewer than" if name == "small" else "not fewer than"
        text = say(size=size)["Decoder"]
        assert text.startswith(f"The configuration {expected}")
        assert f" volumes, {few} 1,000. The decoder is a network" in text
        assert "configuration" not in say(size={**size, "asked": name})["Decoder"]

    def test_a_network_that_starts_from_the_ridge_says_when_it_is_kept(self, say):
        text = say("--linear-path", "multiscale")["Decoder"]
        assert "It starts from a multiscale ridge: ridge regressions" in text
        assert "the weight is 0 if that lowers the loss by less than a standard error" in text

    def test_two_linear_models_are_both_described_and_what_better_means(self, ordinary, tmp_path):
        directory = tmp_path / "results"
        shutil.copytree(ordinary, directory)
        for name in ("folds", "predictions", "summary", "comparisons"):
            path = directory / f"{name}.csv"
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
            column = "baseline" if name == "comparisons" else "model"
            copied = table[table[column] == "linear"].assign(**{column: "multiscale"})
            pd.concat([table, copied]).to_csv(path, index=False)
        text = {title: plain(text) for title, text in methods_paragraphs(read_results(directory))}
        assert (
            "logistic regression (L2 penalty, C = 1) and a multiscale ridge: ridge regressions"
            in (text["Cross-validation"])
        )
        assert "(stacking, Breiman 1996)" in text["Cross-validation"]
        assert "clearly better than each (Berger 1982)" in text["Statistics"]
        assert "The multiscale ridge reached" in text["Results"]
        found = {each.citation for each in cited(" ".join(text.values()))}
        assert {"Berger 1982", "Breiman 1996", "Holm 1979"} <= found

    def test_the_configuration_for_small_samples_is_described(self, say):
        small = ["--small-sample", "--n-blocks", "0", "--dropout", "0", "--dense-units"]
        assert "multiscale" in say(*small, "", "--members", "3")["Decoder"]
        text = say(*small, "", "--members", "3", "--linear-path", "100")["Decoder"]
        assert "logistic regression of all voxels (L2 penalty, C = 100)" in text
        assert "3 such networks" in text
        for word in ("Ioffe", "Hinton", "dense layer", "block"):
            assert word not in text

    def test_early_stopping_is_told_with_what_it_held_out(self, say):
        said = say("--patience", "15")
        assert "for at most 20 epochs" in said["Decoder"]
        assert "20% of the training groups, rounded up, were held out" in said["Decoder"]
        assert "stopped after 15 epochs without a lower loss" in said["Decoder"]
        assert "those held out for early stopping included" in said["Cross-validation"]

    def test_each_way_to_make_folds_is_named(self, say):
        text = say()["Cross-validation"]
        assert "each of the 4 groups was tested once" in text
        assert "12 volumes for training and 4 for testing" in text
        assert "derived from seed 7" in text
        text = say("--folds", "3")["Cross-validation"]
        assert "4 groups were divided at random into 3 folds of whole groups (GroupKFold)" in text
        text = say("--folds", "2", "--repeats", "3")["Cross-validation"]
        assert "2 folds of whole groups, 3 times and never twice alike" in text

    def test_the_interval_and_the_tests_are_those_of_the_evaluation(self, say):
        text = say()["Statistics"]
        assert "95% intervals come from drawing whole groups with replacement, 10,000 times" in text
        assert "Efron 1987" in text
        assert "corrected resampled t-test (Nadeau and Bengio 2003)" in text
        assert "shuffled" not in text
        columns = TABLE["columns"] | {"block": "block"}
        said = say(
            "--permutations",
            "1000",
            source=TABLE | {"columns": columns},
            permutation_test={"p_value": 0.001, "n_permutations": 999},
        )
        assert "blocks (column 'block') as a whole, at most 1,000 times" in said["Statistics"]
        assert "ending when 10 of them" in said["Statistics"]
        assert "p = 0.001 after 999 permutations" in said["Results"]

    def test_a_test_with_kept_predictions_is_said_to_be_one(self, say):
        test = {"p_value": 0.002, "n_permutations": 1000, "scheme": "within", "refitted": False}
        text = say(permutation_test=test)["Statistics"]
        assert "within groups, stretches of volumes with one label as a whole, 1,000 times" in text
        assert "spread out from their mean by the square root of two" in text
        assert "Besag" not in text
        text = say(permutation_test=test | {"scheme": "groups"})["Statistics"]
        assert "the labels of whole groups shuffled among groups, 1,000 times" in text

    def test_results_are_those_of_the_tables(self, say, ordinary):
        table = pd.read_csv(ordinary / "summary.csv")
        row = table[(table["model"] == "decoder") & (table["metric"] == "accuracy")].iloc[0]
        text = say()["Results"]
        interval = f"95% interval {row['low']:.3f} to {row['high']:.3f}"
        assert text.startswith(f"Accuracy was {row['score']:.3f} ({interval}), at a chance level")
        assert "Logistic regression reached" in text

    def test_leaks_are_told_whether_found_or_not(self, say):
        assert "A check found no volumes" in say()["Cross-validation"]
        text = say(leaks_ignored=["Split 0 leaks."])["Cross-validation"]
        assert "found the following and was overruled: Split 0 leaks." in text

    @pytest.mark.parametrize("method", ["gradient", "smoothgrad", "occlusion", "grad_cam", "new"])
    def test_each_method_of_maps_is_named(self, say, method):
        text = say(saliency={"method": method, "n_steps": 1})["Maps"]
        assert "averaged over 4 folds" in text
        assert cited(text) or "by new;" in text

    def test_only_what_was_cited_is_a_reference(self, say):
        names = {reference.citation for reference in cited(" ".join(say().values()))}
        assert {"Nadeau and Bengio 2003", "Unser 1999", "Kingma and Ba 2015"} <= names
        assert not names & {"Prechelt 2012", "Besag and Clifford 1991", "Selvaraju et al. 2017"}
        names = {
            reference.citation for reference in cited(" ".join(say("--patience", "1").values()))
        }
        assert "Prechelt 2012" in names

    def test_every_reference_has_a_doi_and_names_its_authors(self):
        for reference in REFERENCES:
            assert re.fullmatch(r"10\.\d{4,}/\S+", reference.doi)
            assert reference.citation.split()[0] in reference.text
            assert reference.citation.split()[-1] in reference.text
