import json
import shutil

import pytest

from skfmri.report import write_report
from skfmri.report.methods import methods_paragraphs
from skfmri.report.results import read_results
from tests.report.pages import Page, plain

MODEL = {"hrf_model": "glover", "t_r": [2.0], "start": [1.0]}
TABLE = {
    "kind": "table",
    "images": ["a.nii"],
    "labels": "a.csv",
    "columns": {"label": "label", "group": "subject", "run": None, "block": None},
    "classes": None,
    "drop": None,
}
BIDS = {
    "kind": "bids",
    "root": "study",
    "task": "see",
    "images": ["a.nii"],
    "space": None,
    "derivatives": None,
    "groups": "run",
    "label": "trial_type",
    "shift": 5,
    "keep_transitions": False,
    "duration": None,
    "max_gap": 0,
    "classes": None,
    "drop": None,
}


@pytest.fixture
def say(ordinary, tmp_path):
    """Return a function of the settings of a function that gives the paragraphs of a run."""
    shutil.copytree(ordinary, tmp_path / "results")

    def paragraphs(derivations, **record):
        content = json.loads((ordinary / "settings.json").read_text()) | record
        content["data"]["derivations"] = derivations
        (tmp_path / "results" / "settings.json").write_text(json.dumps(content))
        said = methods_paragraphs(read_results(tmp_path / "results"))
        return {title: plain(text) for title, text in said}

    return paragraphs


def test_single_trials_are_told_with_their_model(say):
    said = say({"estimate_trials": {"method": "lss", **MODEL}}, source=TABLE)
    assert said["Data"].startswith("The data are 16 trial estimates of 2 classes")
    assert "of 4 trial estimates, from 4 runs" in said["Data"]
    text = said["Preprocessing"]
    assert "one for all other trials, whatever their labels (least squares separate; Mum" in text
    assert "response of nilearn (Glover 1999), sampled every 2 s from 1 s on. Models had" in text
    assert "all steps but the models of runs were fitted" in said["Cross-validation"]
    assert "12 trial estimates for training" in said["Cross-validation"]
    text = say({"estimate_trials": {"method": "lsa", **MODEL}}, source=TABLE)["Preprocessing"]
    assert "one regressor per trial (least squares all; Mumford et al. 2012)" in text


def test_cleaning_is_part_of_the_model(say):
    cleaning = {"detrend": True, "high_pass": None, "t_r": None, "confounds": None}
    derivations = {"estimate_conditions": {**MODEL, "hrf_model": "spm", "t_r": [1.5, 2.0]}}
    text = say(derivations, source=TABLE, cleaning=cleaning)["Preprocessing"]
    assert "Before responses were estimated, the time series" in text
    assert "one regressor per label" in text
    assert "every 1.5 or 2 s from 1 s on. These regressors were cleaned in the same way" in text


def test_events_of_a_dataset_label_trials_without_a_shift(say):
    text = say({"estimate_trials": {"method": "lss", **MODEL}}, source=BIDS)["Data"]
    assert "column 'trial_type')." in text
    assert "s before" not in text
    text = say({"average_blocks": {}}, source=BIDS)["Data"]
    assert "a volume shows what happened 5 s before" in text


def test_means_of_blocks_are_told(say):
    said = say({"average_blocks": {}}, source=TABLE)
    assert said["Data"].startswith("The data are 16 block means")
    assert "The volumes of each block in a run were averaged" in said["Preprocessing"]
    assert "averaged" not in say({}, source=TABLE)["Preprocessing"]


def test_tables_and_facts_count_what_was_decoded(say, tmp_path):
    size = {"asked": "auto", "name": "small", "n_train": 12, "limit": 1000}
    said = say({"estimate_trials": {"method": "lss", **MODEL}}, source=TABLE, size=size)
    assert "the smallest training set has 12 trial estimates, fewer than" in said["Decoder"]
    text = Page(write_report(tmp_path / "results").read_text(encoding="utf-8")).section("data")
    assert "Trial estimates 16" in text
    assert "of 4 trial estimates" in text
    assert "Trial estimates of each group and class" in text
    assert "olumes" not in text.split("Images")[0]
