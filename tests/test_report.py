import base64
import inspect
import json
import os
import re
import select
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.naive_bayes import GaussianNB

from skfmri import evaluate_decoder
from skfmri.cli import main
from skfmri.cli.arguments import make_parser
from skfmri.model_selection import RepeatedGroupKFold
from skfmri.report import pictures, write_report
from skfmri.report.directory import write_tables
from skfmri.report.methods import methods_paragraphs
from skfmri.report.references import REFERENCES, cited
from skfmri.report.results import read_results
from skfmri.report.words import NOTHING, TIMES, by

SHAPE, AFFINE = (7, 8, 9), np.diag([4.0, 4, 4, 1])
LONG = "a_very_long_name_of_a_class_that_nobody_would_type_twice_" * 2
AWKWARD = ["1", "NA", "<script>alert(1)</script>", 'say "hi" & go', "$5 or $6", "_hidden", LONG]
AWKWARD += [LONG + "b", "\N{GREEK SMALL LETTER ALPHA}"]
SALIENCY = {"method": "integrated_gradients", "n_steps": 16, "n_folds": 4}


def write_results(
    directory,
    classes=("closed", "open"),
    groups=range(4),
    *,
    settings=None,
    record=None,
    cv=None,
    decoder=None,
    curves=None,
    volumes=("mean", "slab", "saliency", "sign_consistency"),
    shape=SHAPE,
    change=lambda result: None,
):
    """Write what the command leaves behind, but of a quick decoder; return the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    parser = make_parser(*[None] * len(inspect.signature(make_parser).parameters))
    arguments = vars(parser.parse_args(["demo", "--seed", "7"]))
    arguments = {**arguments, "run": None, **(settings or {})}
    del arguments["run"]
    rng = np.random.default_rng(0)
    y = np.tile(np.repeat(np.array(classes), 2), len(groups))
    groups = np.repeat(np.array(groups), 2 * len(classes))
    X = np.eye(len(classes))[np.unique(y, return_inverse=True)[1]]
    result = evaluate_decoder(
        decoder or GaussianNB(),
        X + rng.normal(scale=0.4, size=X.shape),
        y,
        groups=groups,
        cv=cv,
        baseline={"linear": GaussianNB(var_smoothing=0.1)} if arguments["baseline"] else None,
        n_bootstraps=100,
        random_state=0,
    )
    change(result)
    write_tables(directory, result, np.arange(len(y)))
    curves = curves or {"loss": [0.9, 0.7, 0.4], "accuracy": [0.5, 0.625, 0.75]}
    tables = [pd.DataFrame({"fold": fold, "epoch": [1, 2, 3], **curves}) for fold in range(4)]
    pd.concat(tables).to_csv(directory / "learning_curves.csv", index=False)
    counts = pd.crosstab(groups, y)
    content = {
        "settings": arguments,
        "data": {
            "n_volumes": len(y),
            "n_runs": len(counts),
            "grid_shape": shape,
            "voxel_sizes_mm": [4.0, 4.0, 4.0],
            "affine": AFFINE.tolist(),
            "volumes_per_class": counts.sum().to_dict(),
            "volumes_per_group": counts.to_dict("index"),
            "groups": counts.index.tolist(),
        },
        "slab": {"shape": [7, 8, 3], "first_slice": 2, "affine": AFFINE.tolist()},
        "network": {"n_parameters": 1234},
        "saliency": SALIENCY,
        "sentences": result.sentences(),
        "permutation_test": None,
        "leaks_ignored": [],
        "versions": {"skfmri": "0.1.0", "tensorflow": "2.21.0"},
        **(record or {}),
    }
    (directory / "settings.json").write_text(json.dumps(content))
    inside = np.zeros(shape, np.float32)
    inside[1:6, 1:7, shape[2] // 3 : shape[2] // 2 + 1] = 1
    drawn = {
        "mean": rng.uniform(1, 2, size=shape),
        "slab": inside,
        "saliency": inside * rng.normal(size=shape),
        "sign_consistency": inside * rng.choice([-1, 0, 1], size=shape),
    }
    for name in volumes:
        image = nibabel.Nifti1Image(drawn[name].astype(np.float32), AFFINE)
        nibabel.save(image, directory / f"{name}.nii.gz")
    return directory


class Page(HTMLParser):
    """Elements of a page, with their attributes and their text."""

    EMPTY = ("meta", "link", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.handle_data(" ")
        element = {"tag": tag, "text": "", **dict(attributes)}
        self.elements.append(element)
        if tag not in self.EMPTY:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, tag, **attributes):
        return [
            element
            for element in self.elements
            if element["tag"] == tag
            and all(element.get(name) == value for name, value in attributes.items())
        ]

    def section(self, name):
        (found,) = self.all("section", **{"aria-labelledby": name})
        return plain(found["text"])


def plain(text):
    """Return a text with single spaces and with signs that are on every keyboard."""
    return " ".join(text.replace(TIMES, "x").replace(NOTHING, "none").split())


def page_of(directory, **options):
    return Page(write_report(directory, **options).read_text(encoding="utf-8"))


def methods_of(directory):
    return dict(methods_paragraphs(read_results(directory)))


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory):
    """A directory of results with all that a run can leave, and its report."""
    directory = write_results(tmp_path_factory.mktemp("ordinary"))
    write_report(directory)
    return directory


@pytest.fixture(scope="module")
def awkward(tmp_path_factory):
    """Nine classes with names that break things, 48 groups, 30 folds, one slice."""
    directory = tmp_path_factory.mktemp("awkward")
    write_results(
        directory,
        AWKWARD,
        [f"sub-{number:02}<b>&{'x' * 40}" for number in range(48)],
        cv=RepeatedGroupKFold(6, n_repeats=5, random_state=0),
        shape=(7, 8, 1),
        record={"leaks_ignored": ["Split 0 has <identical> volumes on both sides."]},
        settings={
            "images": [f"/data/{'deep/' * 40}{number}.nii.gz" for number in range(9)],
            "labels": "<labels>.csv",
            "folds": 6,
            "repeats": 5,
        },
    )
    write_report(directory)
    return directory


@pytest.fixture(scope="module")
def page(ordinary):
    return Page((ordinary / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def awkward_page(awkward):
    return Page((awkward / "report.html").read_text(encoding="utf-8"))


class TestThePage:
    def test_has_its_sections_in_order_each_in_the_table_of_contents(self, page):
        headings = [element["text"] for element in page.all("h2")]
        assert headings == [
            *("Data", "Slab", "Scores", "Folds", "Learning curves", "Confusion matrix"),
            *("Probabilities", "Maps", "Methods", "References", "Settings", "Software"),
        ]
        links = [a for a in page.all("a") if a["href"].startswith("#")]
        assert [a["text"] for a in links] == headings
        assert [a["href"] for a in links] == [f"#{h2['id']}" for h2 in page.all("h2")]
        assert page.all("html")[0]["lang"] == "en"
        assert page.all("meta", name="viewport")

    @pytest.mark.parametrize("name", ["page", "awkward_page"])
    def test_holds_every_image_and_says_what_it_shows(self, name, request):
        images = request.getfixturevalue(name).all("img")
        assert len(images) == 7
        for image in images:
            assert re.match(r"data:image/(png|svg\+xml);base64,", image["src"])
            assert re.search(r"\d", image["alt"])

    @pytest.mark.parametrize("name", ["page", "awkward_page"])
    def test_refers_to_nothing_outside_but_for_links_to_publications(self, name, request):
        for element in request.getfixturevalue(name).elements:
            for attribute in ("src", "href", "srcset", "action", "data", "poster"):
                value = element.get(attribute, "")
                if "//" in value and not value.startswith("data:"):
                    assert element["tag"] == "a"
                    assert value.startswith("https://doi.org/10.")
            assert element["tag"] != "script"
            assert "url(" not in element.get("style", "")

    def test_style_loads_nothing(self, page):
        (style,) = page.all("style")
        assert not re.search(r"url\(|@import|//", style["text"])

    def test_alt_text_gives_the_numbers_of_the_confusion_matrix(self, page, ordinary):
        rows = pd.read_csv(ordinary / "predictions.csv")
        rows = rows[rows["model"] == "decoder"]
        right = (rows["label"] == rows["predicted"]).groupby(rows["label"]).mean()
        alt = (
            f"Confusion matrix: closed {right['closed']:.2f} right, open {right['open']:.2f} right."
        )
        assert page.all("img", alt=alt)

    def test_begins_with_the_answer(self, page, ordinary):
        sentences = json.loads((ordinary / "settings.json").read_text())["sentences"]
        (header,) = page.all("header")
        for sentence in sentences:
            assert sentence in header["text"]
        assert page.all("p", **{"class": "answer"})[0]["text"] == sentences[0]
        assert not page.all("div", **{"class": "warning"})

    def test_shows_scores_of_folds_with_their_mean_and_standard_deviation(self, page, ordinary):
        folds = pd.read_csv(ordinary / "folds.csv")
        scores = folds.loc[folds["model"] == "decoder", "accuracy"]
        text = page.section("folds")
        assert f"Mean {scores.mean():.3f}" in text
        assert f"SD {scores.std():.3f}" in text

    def test_counts_volumes_of_each_group_and_class(self, page):
        text = page.section("data")
        assert "Volumes 16" in text
        assert "Group closed open All 0 2 2 4 1 2 2 4" in text
        assert "All 8 8 16 Share 0.500 0.500 1.000" in text

    def test_shows_differences_with_intervals_and_p(self, page, ordinary):
        row = pd.read_csv(ordinary / "comparisons.csv").iloc[2]
        assert (row["baseline"], row["metric"]) == ("dummy", "accuracy")
        shown = f"dummy accuracy +{row['difference']:.3f} +{row['low']:.3f} to +{row['high']:.3f}"
        assert shown in page.section("scores")

    def test_says_that_a_map_is_not_where_information_is(self, page):
        text = page.section("maps")
        assert "Integrated gradients (Sundararajan et al. 2017; 16 steps" in text
        assert "It does not show where information is" in text

    def test_is_small(self, ordinary, awkward):
        assert (ordinary / "report.html").stat().st_size < 1e6
        assert (awkward / "report.html").stat().st_size < 3e6

    def test_is_the_same_for_the_same_results(self, ordinary, tmp_path):
        again = write_report(ordinary, path=tmp_path / "again.html")
        assert again.read_bytes() == (ordinary / "report.html").read_bytes()

    def test_can_be_read_by_a_program_that_reads_tables_aloud(self, page):
        tables = page.all("table")
        assert len(page.all("caption")) == len(tables) == 7
        assert all(element.get("scope") in ("col", "row") for element in page.all("th"))
        for box in page.all("div", **{"class": "scroll"}):
            assert box["tabindex"] == "0"
            assert box["aria-label"]


class TestAwkwardNames:
    def test_stay_text(self, awkward_page, awkward):
        text = (awkward / "report.html").read_text(encoding="utf-8")
        assert "<script" not in text
        assert "<identical>" not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
        data = awkward_page.section("data")
        assert all(name in data for name in AWKWARD)
        assert "sub-47<b>&xxx" in data

    def test_stay_what_they_are(self, awkward):
        results = read_results(awkward)
        assert results.classes == sorted(AWKWARD)
        assert set(results.predictions["label"]) == set(AWKWARD)
        assert results.volumes_per_group().to_numpy().tolist() == 48 * [9 * [2]]

    def test_stay_apart_in_pictures(self):
        short = pictures.short_names(AWKWARD)
        assert len(set(short.values())) == len(AWKWARD)
        assert max(map(len, short.values())) <= pictures.LONGEST_NAME + 1
        assert not any(name.startswith("_") for name in short.values())

    def test_leaks_that_were_ignored_stand_in_the_header(self, awkward_page):
        (box,) = awkward_page.all("div", **{"class": "leak"})
        assert "These scores may not be trusted" in box["text"]
        assert "Split 0 has <identical> volumes on both sides." in box["text"]


class TestWhatMayBeAbsent:
    def test_a_better_linear_model_is_a_warning(self, tmp_path):
        page = page_of(write_results(tmp_path, decoder=DummyClassifier(strategy="uniform")))
        (warning,) = page.all("div", **{"class": "warning"})
        assert "The decoder is worse than linear by" in warning["text"]
        assert "Prefer linear here." in warning["text"]

    def test_images_of_an_older_version(self, tmp_path):
        write_results(tmp_path, volumes=[])
        record = json.loads((tmp_path / "settings.json").read_text())
        for name in ("slab", "network", "saliency"):
            del record[name]
        for name in ("volumes_per_group", "voxel_sizes_mm", "n_runs"):
            del record["data"][name]
        (tmp_path / "settings.json").write_text(json.dumps(record))
        page = page_of(tmp_path)
        assert "slab.nii.gz and mean.nii.gz are not in the directory" in page.section("slab")
        assert "saliency.nii.gz and mean.nii.gz are not" in page.section("maps")
        assert "Group closed open All 0 2 2 4" in page.section("data")
        assert "Voxel size 4 x 4 x 4 mm" in page.section("data")
        assert len(page.all("img")) == 4
        assert "Maps" not in methods_of(tmp_path)

    def test_maps(self, tmp_path):
        page = page_of(write_results(tmp_path, volumes=["mean", "slab"], record={"saliency": None}))
        assert "The run was made without maps." in page.section("maps")
        assert len(page.all("img")) == 5

    def test_baseline_probabilities_curves_and_scores(self, tmp_path):
        def poor(result):
            for table in (result.summary, result.folds, result.comparisons):
                numbers = table.columns.intersection(["score", "low", "high", "std", "p_value"])
                table[numbers] = np.nan
            result.folds["accuracy"] = np.nan
            result.comparisons["difference"] = np.nan
            for name in ("p_closed", "p_open"):
                del result.predictions[name]

        write_results(tmp_path, change=poor, settings={"baseline": None})
        (tmp_path / "learning_curves.csv").write_text("fold,epoch,loss,accuracy\n")
        page = page_of(tmp_path)
        assert "left no learning curves" in page.section("curves")
        assert "gave no probabilities" in page.section("probabilities")
        assert "decoder accuracy none none none 0.500" in page.section("scores")
        assert "Mean none" in page.section("folds")
        assert "nan" not in page.section("scores") + page.section("folds")
        assert "Accuracy has no mean" in page.section("methods")
        assert "logistic regression" not in page.section("methods")

    def test_validation_curves_are_described_where_there_are_some(self, tmp_path, page):
        assert "No groups were held out for validation" in page.section("curves")
        curves = {"loss": [3.0, 2, 1], "accuracy": [0.5, 0.6, 0.7]}
        curves |= {f"val_{name}": values for name, values in curves.items()}
        validated = page_of(write_results(tmp_path, curves=curves, settings={"patience": 2}))
        assert "held out of training for early stopping" in validated.section("curves")
        alts = [image["alt"] for image in validated.all("img")]
        assert any("validation from 3.000 to 1.000" in alt for alt in alts)

    def test_an_anatomy_of_the_users_own_is_drawn_on(self, ordinary, tmp_path):
        volume = np.random.default_rng(1).random((14, 16, 18))
        image = nibabel.Nifti1Image(volume.astype(np.float32), np.diag([2.0, 2, 2, 1]))
        page = page_of(ordinary, path=tmp_path / "report.html", anatomy=image)
        assert "on the given anatomy" in page.section("slab")
        far = nibabel.Nifti1Image(
            image.get_fdata(), nibabel.affines.from_matvec(np.eye(3), [500] * 3)
        )
        with pytest.raises(ValueError, match="The anatomy does not fit the results"):
            write_report(ordinary, path=tmp_path / "far.html", anatomy=far)
        assert not (tmp_path / "far.html").exists()


MEASURED = {
    "images": ["one.nii.gz"],
    "labels": "labels.csv",
    "group_column": "subject",
    "run_column": None,
    "block_column": None,
    "classes": None,
    "drop": None,
    "clean": False,
    "high_pass": None,
    "t_r": None,
}
BIDS = MEASURED | {
    "labels": None,
    "group_column": None,
    "label_column": "trial_type",
    "clean": True,
    "bids": "/data/ds1",
    "task": "faces",
    "space": "MNI152",
    "derivatives": None,
    "groups": "subject",
    "shift": None,
    "keep_transitions": None,
    "event_duration": None,
    "max_gap": None,
    "confounds": None,
}


class TestMethods:
    """The paragraphs say what the settings did."""

    @pytest.fixture
    def say(self, ordinary, tmp_path):
        """Return a function of settings that gives the paragraphs in plain signs."""
        directory = tmp_path / "results"
        shutil.copytree(ordinary, directory)

        def paragraphs(record=None, **settings):
            content = json.loads((ordinary / "settings.json").read_text())
            content["settings"] |= settings
            content |= record or {}
            (directory / "settings.json").write_text(json.dumps(content))
            said = methods_paragraphs(read_results(directory))
            return {title: plain(text) for title, text in said}

        return paragraphs

    def test_simulated_data_are_called_simulated(self, say):
        text = say()["Data"]
        assert "simulated, not measured: 16 maps" in text
        assert "make_eyes_open_closed with seed 7, in 4 groups" in text

    def test_measured_data_are_counted(self, say):
        text = say(**MEASURED)["Data"]
        assert text == (
            "The data are 16 volumes of 2 classes (8 closed and 8 open) on a grid of 7 x 8 x 9 "
            "voxels of 4 x 4 x 4 mm, in 4 groups (column 'subject' of the table of labels) of 4 "
            "volumes, from 4 runs."
        )
        text = say(**MEASURED | {"drop": ["rest", "cue"]})["Data"]
        assert "Volumes labelled rest or cue were left out." in text

    def test_cleaning_is_told_with_its_filter(self, say):
        assert "No cleaning" in say(**MEASURED)["Preprocessing"]
        text = say(**MEASURED | {"clean": True, "high_pass": 0.01, "t_r": 2.5})["Preprocessing"]
        assert "linearly detrended, high-pass filtered at 0.01 Hz" in text
        assert "repetition time 2.5 s" in text
        assert "the volumes of one group in one image" in text
        text = say(**MEASURED | {"clean": True, "run_column": "run"})["Preprocessing"]
        assert "time series of each run was linearly detrended and standardised" in text
        assert "cleaning" not in say()["Preprocessing"]

    def test_a_bids_dataset_is_told_with_how_volumes_got_their_labels(self, say):
        said = say(**BIDS)
        assert "in 4 groups (one per subject) of 4 volumes" in said["Data"]
        assert "(Gorgolewski et al. 2016; task faces, space MNI152; column" in said["Data"]
        assert "what happened 4.5 s before" in said["Data"]
        assert "the border of an event were left out" in said["Data"]
        assert "each run was linearly detrended and standardised" in said["Preprocessing"]
        said = say(
            **BIDS
            | {"shift": 5.0, "keep_transitions": True, "event_duration": 2.0, "max_gap": 1.5}
            | {"confounds": ["motion", "wm_csf"], "permutations": 100}
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
        text = say(angle=0.0, crop=False, slab=None)["Preprocessing"]
        assert text.startswith("Volumes were not rotated. All slices")
        assert "Unser" not in text
        text = say(slab=[3, 4], slab_reference="grid", interpolation="linear")["Preprocessing"]
        assert "Slice 3 of the last axis" in text
        assert "uncropped grid" in text
        assert "linear interpolation" in text

    def test_thresholds_that_are_off_are_not_told(self, say):
        assert "below 0.05 were set to 0 and means below 0.05" in say()["Preprocessing"]
        text = say(std_threshold=None, mean_threshold=None)["Preprocessing"]
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
        text = say(network=kind)["Decoder"]
        assert words[decoder.padding] in text
        assert f"over {' x '.join(['2'] * int(kind[0]))} voxels" in text
        assert getattr(decoder, "pool_size", 2) == 2
        assert getattr(decoder, "dense_batch_norm", True)
        assert decoder.optimizer == "adam"

    def test_the_configuration_for_small_samples_is_described(self, say):
        small = {"n_blocks": 0, "dense_units": [], "dropout": 0.0, "linear_path": 100.0}
        text = say(**small, n_members=3)["Decoder"]
        assert "logistic regression of all voxels (L2 penalty, C = 100)" in text
        assert "3 such networks" in text
        for word in ("Ioffe", "Hinton", "dense layer", "block"):
            assert word not in text

    def test_early_stopping_is_told_with_what_it_held_out(self, say):
        said = say(patience=15)
        assert "for at most 20 epochs" in said["Decoder"]
        assert "20% of the training groups, rounded up, were held out" in said["Decoder"]
        assert "stopped after 15 epochs without a lower loss" in said["Decoder"]
        assert "those held out for early stopping included" in said["Cross-validation"]

    def test_each_way_to_make_folds_is_named(self, say):
        text = say()["Cross-validation"]
        assert "each of the 4 groups was tested once" in text
        assert "12 volumes for training and 4 for testing" in text
        assert "derived from seed 7" in text
        text = say(folds=3)["Cross-validation"]
        assert "4 groups were divided at random into 3 folds of whole groups (GroupKFold)" in text
        text = say(folds=2, repeats=3)["Cross-validation"]
        assert "2 folds of whole groups, 3 times and never twice alike" in text

    def test_the_interval_and_the_tests_are_those_of_the_evaluation(self, say):
        text = say()["Statistics"]
        assert "95% intervals come from drawing whole groups with replacement, 10,000 times" in text
        assert "Efron 1987" in text
        assert "corrected resampled t-test (Nadeau and Bengio 2003)" in text
        assert "shuffled" not in text
        said = say(
            **MEASURED | {"permutations": 1000, "block_column": "block"},
            record={"permutation_test": {"p_value": 0.001, "n_permutations": 999}},
        )
        assert "blocks (column 'block') as a whole, at most 1,000 times" in said["Statistics"]
        assert "ending when 10 of them" in said["Statistics"]
        assert "p = 0.001 after 999 permutations" in said["Results"]

    def test_results_are_those_of_the_tables(self, say, ordinary):
        table = pd.read_csv(ordinary / "summary.csv")
        row = table[(table["model"] == "decoder") & (table["metric"] == "accuracy")].iloc[0]
        text = say()["Results"]
        interval = f"95% interval {row['low']:.3f} to {row['high']:.3f}"
        assert text.startswith(f"Accuracy was {row['score']:.3f} ({interval}), at a chance level")
        assert "Logistic regression reached" in text

    def test_leaks_are_told_whether_found_or_not(self, say):
        assert "A check found no volumes" in say()["Cross-validation"]
        text = say(record={"leaks_ignored": ["Split 0 leaks."]})["Cross-validation"]
        assert "found the following and was overruled: Split 0 leaks." in text

    @pytest.mark.parametrize("method", ["gradient", "smoothgrad", "occlusion", "grad_cam", "new"])
    def test_each_method_of_maps_is_named(self, say, method):
        text = say(record={"saliency": {"method": method, "n_steps": 1}})["Maps"]
        assert "averaged over 4 folds" in text
        assert cited(text) or "by new;" in text

    def test_only_what_was_cited_is_a_reference(self, say):
        names = {reference.citation for reference in cited(" ".join(say().values()))}
        assert {"Nadeau and Bengio 2003", "Unser 1999", "Kingma and Ba 2015"} <= names
        assert not names & {"Prechelt 2012", "Besag and Clifford 1991", "Selvaraju et al. 2017"}
        names = {reference.citation for reference in cited(" ".join(say(patience=1).values()))}
        assert "Prechelt 2012" in names

    def test_every_reference_has_a_doi_and_names_its_authors(self):
        for reference in REFERENCES:
            assert re.fullmatch(r"10\.\d{4,}/\S+", reference.doi)
            assert reference.citation.split()[0] in reference.text
            assert reference.citation.split()[-1] in reference.text


MISTAKES = {
    "no directory": (lambda d: d / "nowhere", r"There is no directory .*nowhere.*--out"),
    "no table": (lambda d: (d / "folds.csv").unlink(), "has no folds.csv. Pass a directory that"),
    "cut settings": (
        lambda d: (d / "settings.json").write_text('{"settings": {'),
        r"settings.json is damaged: .*--resume",
    ),
    "other settings": (
        lambda d: (d / "settings.json").write_text("[]"),
        "settings.json is damaged: it holds no settings",
    ),
    "missing setting": (
        lambda d: (d / "settings.json").write_text(
            '{"settings": {"seed": 1}, "data": {}, "sentences": []}'
        ),
        "settings.json is damaged: it has no setting 'angle'",
    ),
    "cut table": (
        lambda d: (d / "predictions.csv").write_text("model,repeat,fold,sample,group,label\n"),
        "predictions.csv is damaged: it has no column predicted",
    ),
    "cut row": (
        lambda d: cut(d / "predictions.csv", 40),
        "predictions.csv is damaged: a row ends before its last field",
    ),
    "no rows": (
        lambda d: (d / "folds.csv").write_text((d / "folds.csv").read_text().splitlines()[0]),
        "folds.csv is damaged: it has no row of the decoder",
    ),
    "empty table": (lambda d: (d / "summary.csv").write_text(""), "summary.csv is damaged"),
    "words for numbers": (
        lambda d: (d / "learning_curves.csv").write_text("fold,epoch,loss,accuracy\n0,1,x,1\n"),
        "learning_curves.csv is damaged: .*x",
    ),
    "cut image": (
        lambda d: (d / "saliency.nii.gz").write_bytes((d / "saliency.nii.gz").read_bytes()[:200]),
        "saliency.nii.gz cannot be read: .*--resume",
    ),
}


def cut(path, n_bytes):
    """Cut a table off in the middle of its last row but one."""
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]) + lines[-1][: lines[-1].index(",", 8)])


class TestMistakes:
    @pytest.mark.parametrize("mistake", MISTAKES)
    def test_name_the_file_and_the_way_out_and_leave_no_report(self, ordinary, tmp_path, mistake):
        damage, message = MISTAKES[mistake]
        directory = tmp_path / "results"
        shutil.copytree(ordinary, directory, ignore=shutil.ignore_patterns("report.html"))
        outcome = damage(directory)
        before = sorted(directory.iterdir())
        with pytest.raises(ValueError, match=message):
            write_report(outcome if isinstance(outcome, Path) else directory)
        assert sorted(directory.iterdir()) == before

    def test_a_run_that_was_cut_off_is_told_apart(self, tmp_path):
        (tmp_path / "ledger.jsonl").touch()
        with pytest.raises(
            ValueError, match=r"Its run did not end: the same command with --resume"
        ):
            write_report(tmp_path)

    def test_a_place_to_write_to_must_exist(self, ordinary, tmp_path):
        with pytest.raises(ValueError, match=r"no directory .*there to write report.html to"):
            write_report(ordinary, path=tmp_path / "there" / "report.html")

    def test_an_anatomy_must_be_one_volume(self, ordinary):
        image = nibabel.Nifti1Image(np.zeros((4, 5, 6, 2), np.float32), np.eye(4))
        with pytest.raises(ValueError, match=r"shape 4 x 5 x 6 x 2. Pass a single 3-D volume"):
            write_report(ordinary, anatomy=image)
        with pytest.raises(ValueError, match=r"There is no image nowhere.nii"):
            write_report(ordinary, anatomy="nowhere.nii")


# Chromium speaks its protocol through the file descriptors 3 and 4.
LAUNCH = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for place, end in enumerate(ends, start=3):
    os.dup2(end, place)
os.execv(sys.argv[3], sys.argv[3:])
"""
BINARIES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPTIONS = (
    *("--headless", "--remote-debugging-pipe", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"),
    # Root has no sandbox, and the only page that is opened is our own.
    "--no-sandbox",
)
COMPLAINTS = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
PROBE = """({
    broken: [...document.images].filter(image => !image.naturalWidth).map(image => image.alt),
    images: document.images.length,
    width: document.documentElement.scrollWidth,
    wide: [...document.querySelectorAll("main *")].filter(
        element => element.getBoundingClientRect().right > innerWidth + 1
            && !element.closest(".scroll")).map(element => element.outerHTML.slice(0, 80)),
})"""


class Browser:
    """Chromium without a window, told what to do through its DevTools protocol."""

    def __init__(self, binary, profile):
        theirs_in, self._write = os.pipe()
        self._read, theirs_out = os.pipe()
        ends = (theirs_in, theirs_out)
        command = [sys.executable, "-S", "-c", LAUNCH, *map(str, ends), binary, *OPTIONS]
        self._process = subprocess.Popen(
            [*command, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=ends,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in ends:
            os.close(end)
        self._received, self._n_sent, self._session, self.events = b"", 0, {}, []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}
        for domain in ("Page", "Network", "Log", "Runtime"):
            self(f"{domain}.enable")

    def __call__(self, method, **params):
        self._n_sent += 1
        message = {"id": self._n_sent, "method": method, "params": params, **self._session}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._n_sent:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _receive(self, seconds=30):
        end = time.monotonic() + seconds
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._read], [], [], max(0, end - time.monotonic()))
            part = os.read(self._read, 1 << 16) if ready else b""
            assert part, f"Chromium has said nothing for {seconds} s, or has ended."
            self._received += part
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)

    def open(self, path, width, media=""):
        """Open a file at a width in CSS pixels and return what the probe finds there."""
        self.events.clear()
        self("Emulation.setEmulatedMedia", media=media)
        self(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self("Page.navigate", url=path.resolve().as_uri())
        while not self.named("Page.loadEventFired"):
            self.events.append(self._receive())
        return self("Runtime.evaluate", expression=PROBE, returnByValue=True)["result"]["value"]

    def named(self, *names):
        return [event["params"] for event in self.events if event.get("method") in names]

    def photograph(self, path):
        shot = self("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self):
        try:
            self("Browser.close")
            self._process.wait(10)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._read)
        os.close(self._write)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = [path for name in BINARIES if (path := shutil.which(name))]
    if not found:
        text = f"There is no Chromium: none of {', '.join(BINARIES)} is on the PATH"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{text}. Install it, such as with apt-get install chromium.")
        pytest.skip(f"{text}.")
    browser = Browser(found[0], tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@contextmanager
def photographed(browser, name, folder):
    """Keep a picture of the page where an assertion fails, and say where it is."""
    try:
        yield
    except AssertionError as error:
        folder = Path(os.environ.get("SKFMRI_SCREENSHOTS") or folder)
        folder.mkdir(parents=True, exist_ok=True)
        browser.photograph(folder / f"{name}.png")
        raise AssertionError(f"{error}\nThe page: {folder / name}.png") from error


@pytest.fixture(scope="module")
def decoded(tmp_path_factory):
    """The directory that the command leaves after training networks on a few small volumes."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    volumes = rng.normal(10, 0.3, size=(12, 13, 10, 18)).astype(np.float32)
    volumes[4:8, 4:9, 2:8, ::2] += 3
    nibabel.save(nibabel.Nifti1Image(volumes, np.diag([3.0, 3, 3, 1])), folder / "bold.nii.gz")
    table = pd.DataFrame({"label": ["cat", "dog"] * 9, "group": np.repeat([1, 2, 3], 6)})
    table.to_csv(folder / "labels.csv", index=False)
    argv = ["decode", str(folder / "bold.nii.gz"), "--labels", str(folder / "labels.csv")]
    argv += ["--out", str(folder / "out"), "--filters", "2", "--n-blocks", "1", "--epochs", "2"]
    argv += [
        "--dense-units",
        "4",
        "--slab",
        "2:5",
        "--angle",
        "0.1",
        "--batch-size",
        "8",
        "--quiet",
    ]
    assert main(argv) == 0
    return folder / "out"


def test_results_of_0_1_0_still_get_their_report(tmp_path):
    out = tmp_path / "results"
    shutil.copytree(Path(__file__).parent / "data" / "results_v0.1.0", out)
    text = write_report(out).read_text()
    for words in (
        "Decoding face or house",
        "Slices 2 to 4 of the last axis",
        "standardised to mean 0",
        "{3 3} voxels, 2 filters",
        "stopped after 2 epochs without a lower loss",
        "skfmri 0.1.0",
    ):
        assert words.replace("{3 3}", by([3, 3])) in text


def test_the_command_leaves_a_report_of_its_run(decoded):
    page = Page((decoded / "report.html").read_text(encoding="utf-8"))
    assert page.all("h1")[0]["text"] == "Decoding cat or dog"
    assert len(page.all("img")) == 7
    said = plain(page.section("methods"))
    assert "18 volumes of 2 classes (9 cat and 9 dog)" in said
    assert "rotated by 0.1 rad" in said
    assert "averaged over 3 folds" in said
    record = json.loads((decoded / "settings.json").read_text())
    assert f"{record['network']['n_parameters']:,} parameters" in said
    shown = {row["text"].split()[0] for row in page.all("tr")}
    assert record["settings"].keys() | record["versions"].keys() <= shown


class TestInABrowser:
    # 673 CSS pixels are what the margins leave of A4.
    @pytest.mark.parametrize(("media", "width"), [("", 390), ("", 1200), ("print", 673)])
    @pytest.mark.parametrize("name", ["ordinary", "awkward"])
    def test_nothing_is_broken_cut_or_fetched(self, browser, name, media, width, request, tmp_path):
        report = request.getfixturevalue(name) / "report.html"
        found = browser.open(report, width, media)
        with photographed(browser, f"{name}-{media or 'screen'}-{width}", tmp_path):
            assert found["images"] == 7
            assert found["broken"] == []
            assert found["wide"] == []
            assert found["width"] <= width
            assert browser.named(*COMPLAINTS) == []
            asked = [
                event["request"]["url"] for event in browser.named("Network.requestWillBeSent")
            ]
            assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]
