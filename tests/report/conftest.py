"""Result directories that several test modules share."""

import nibabel
import numpy as np
import pandas as pd
import pytest

from skfmri.cli import main
from skfmri.model_selection import RepeatedGroupKFold
from skfmri.report import write_report

from .pages import AWKWARD, Page, write_numbers, write_results


@pytest.fixture(scope="session")
def ordinary(tmp_path_factory):
    """A directory of results with all that a run can leave, and its report."""
    directory = write_results(tmp_path_factory.mktemp("ordinary"))
    write_report(directory)
    return directory


@pytest.fixture(scope="session")
def awkward(tmp_path_factory):
    """Nine classes with names that break things, 48 groups, 30 folds, one slice."""
    directory = tmp_path_factory.mktemp("awkward")
    write_results(
        directory,
        AWKWARD,
        [f"sub-{number:02}<b>&{'x' * 40}" for number in range(48)],
        cv=RepeatedGroupKFold(6, n_repeats=5, random_state=0),
        shape=(7, 8, 1),
        argv=["--folds", "6", "--repeats", "5"],
        record={
            "leaks_ignored": ["Split 0 has <identical> volumes on both sides."],
            "source": {
                "kind": "table",
                "images": [f"/data/{'deep/' * 40}{number}.nii.gz" for number in range(9)],
                "labels": "<labels>.csv",
                "columns": {"label": "label", "group": "<group>", "run": None, "block": None},
                "classes": None,
                "drop": None,
            },
        },
    )
    write_report(directory)
    return directory


@pytest.fixture(scope="session")
def numbers(tmp_path_factory):
    """A directory of results of a regressor, with its report."""
    directory = write_numbers(tmp_path_factory.mktemp("numbers"))
    write_report(directory)
    return directory


@pytest.fixture(scope="session")
def page(ordinary):
    return Page((ordinary / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def awkward_page(awkward):
    return Page((awkward / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
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
