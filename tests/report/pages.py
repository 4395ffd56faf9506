"""Results of quick decoders, with their pages taken apart."""

import json
from html.parser import HTMLParser

import nibabel
import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.naive_bayes import GaussianNB

from skfmri import (
    DecodingPipeline,
    NiftiSamples,
    NiftiSlabRotator,
    SlabCNNRegressor,
    VoxelZScorer,
    evaluate_decoder,
)
from skfmri.cli.arguments import make_parser
from skfmri.cli.method import build_pipeline, choose_splits
from skfmri.evaluation.result import describe_result
from skfmri.report import write_report
from skfmri.report.directory import write_tables
from skfmri.report.methods import methods_paragraphs
from skfmri.report.record import describe_data, describe_estimator
from skfmri.report.results import read_results
from skfmri.report.words import NOTHING, TIMES

SHAPE, AFFINE = (7, 8, 9), np.diag([4.0, 4, 4, 1])
LONG = "a_very_long_name_of_a_class_that_nobody_would_type_twice_" * 2
AWKWARD = ["1", "NA", "<script>alert(1)</script>", 'say "hi" & go', "$5 or $6", "_hidden", LONG]
AWKWARD += [LONG + "b", "\N{GREEK SMALL LETTER ALPHA}"]
VOLUMES = ("mean", "slab", "saliency", "sign_consistency")
TABLE = {
    "kind": "table",
    "images": ["one.nii.gz"],
    "labels": "labels.csv",
    "columns": {"label": "age", "group": "subject", "run": None, "block": None},
    "classes": None,
    "drop": None,
}
SALIENCY = {"method": "integrated_gradients", "n_steps": 16, "n_folds": 4}


def write_results(
    directory,
    classes=("closed", "open"),
    groups=range(4),
    *,
    argv=(),
    record=None,
    cv=None,
    decoder=None,
    curves=None,
    volumes=VOLUMES,
    shape=SHAPE,
    change=lambda result: None,
):
    """Write what ``skfmri demo`` leaves behind, but of a quick decoder; return the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    arguments = make_parser().parse_args(["demo", "--seed", "7", *argv])
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
        baseline={"linear": GaussianNB(var_smoothing=0.1)} if arguments.has_baseline else None,
        n_bootstraps=100,
        random_state=0,
    )
    change(result)
    write_tables(directory, result, np.arange(len(y)))
    write_curves(directory, curves or {"loss": [0.9, 0.7, 0.4], "accuracy": [0.5, 0.625, 0.75]})
    counts = pd.crosstab(groups, y)
    content = {
        "command": "demo",
        "settings": {name: value for name, value in vars(arguments).items() if name != "command"},
        "command_line": "skfmri demo --seed 7",
        "date": "2026-11-28 14:05+01:00",
        "source": {"kind": "simulated", "seed": 7},
        "cleaning": None,
        **method_record(argv, len(counts)),
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
    write_volumes(directory, volumes, shape, rng)
    return directory


def write_numbers(directory, *, varies=False, last=None, cv=None, record=None, change=None):
    """Write what a run leaves behind that predicts the age of six subjects; return the directory.

    Parameters
    ----------
    directory : pathlib.Path
        Where to.
    varies : bool, default=False
        Whether the three volumes of a subject differ in age.
    last : regressor, default=None
        What the record describes as the decoder, in place of a small network. What is evaluated is
        a quick ridge regression.
    cv, record
        As in `write_results`.
    change : callable, default=None
        Takes the result, before it is written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    rng, groups = np.random.default_rng(0), np.repeat([f"s{n}" for n in range(6)], 3)
    y = np.repeat([24.0, 61.5, 35.25, 78.0, 47.5, 52.0], 3)
    y += np.tile([-2.0, 0, 2], 6) if varies else 0
    X = (y[:, None] - 50) / 20 + rng.normal(scale=0.5, size=(18, 3))
    options = {"cv": cv, "n_bootstraps": 100, "random_state": 0}
    options["baseline"] = {"linear": Ridge(50.0), "multiscale": Ridge(5.0)}
    result = evaluate_decoder(Ridge(), X, y, groups=groups, **options)
    if change is not None:
        change(result)
    write_tables(directory, result, np.arange(len(y)))
    write_curves(directory, {"loss": [1.0, 0.6, 0.5], "mean_absolute_error": [1.1, 0.9, 0.8]})
    volumes = NiftiSamples.from_array(np.ones((18, *SHAPE), np.float32), AFFINE, y=y, groups=groups)
    last = last or SlabCNNRegressor.for_small_samples()
    steps = [("slab", NiftiSlabRotator()), ("zscore", VoxelZScorer()), ("last", last)]
    found = describe_result(result)
    content = {
        "command": "decode",
        "predicts": "numbers",
        "settings": {"regress": True},
        "source": TABLE,
        "pipeline": describe_estimator(DecodingPipeline(steps)),
        "cross_validation": {"n_folds": None, "n_repeats": 1, "seed": 0, "n_permutations": 0},
        "data": describe_data(volumes),
        "slab": {"shape": [7, 8, 3], "first_slice": 2, "affine": AFFINE.tolist()},
        "network": {"n_parameters": 1234},
        "saliency": {"method": "gradient", "n_folds": 6},
        "sentences": found["sentences"],
        "permutation_test": found["permutation_test"],
        "leaks_ignored": [],
        "versions": {"skfmri": "0.2.0"},
        **(record or {}),
    }
    (directory / "settings.json").write_text(json.dumps(content))
    write_volumes(directory, VOLUMES, SHAPE, rng)
    return directory


def write_curves(directory, curves):
    """Write learning curves of four folds that are alike."""
    tables = [pd.DataFrame({"fold": fold, "epoch": [1, 2, 3], **curves}) for fold in range(4)]
    pd.concat(tables).to_csv(directory / "learning_curves.csv", index=False)


def write_volumes(directory, volumes, shape, rng):
    """Write images of some names with random values."""
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


def method_record(argv, n_groups=4):
    """Return what the record says of the method that some options describe."""
    arguments = make_parser().parse_args(["demo", "--seed", "7", *argv])
    cv = choose_splits(arguments, n_groups)
    return {
        "pipeline": describe_estimator(build_pipeline(arguments)),
        "cross_validation": {
            "n_folds": cv.n_folds,
            "n_repeats": cv.n_repeats,
            "seed": cv.seed,
            "n_permutations": arguments.permutations,
        },
    }


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
