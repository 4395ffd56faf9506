"""Write the results folder of 0.1.0 that every later version must still report on.

Run once, by 0.1.0; never again, for the folders of users cannot be made anew either.
"""

import os
import shutil
import tempfile
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd

from skfmri.cli import main as skfmri

HERE = Path(__file__).resolve().parent
AFFINE = np.array([[-3.0, 0, 0, 12], [0, 3, 0, -13], [0, 0, 3, -15], [0, 0, 0, 1]])


def main():
    rng = np.random.default_rng(0)
    labels = np.array(["face", "house", "rest"])[np.arange(36) % 3]
    volumes = rng.integers(80, 120, size=(36, 9, 10, 11)).astype(np.int16)
    volumes[labels == "face", 2:5, 3:6, 2:9] += 25
    groups = np.repeat(["run 1", "run 2", "run 3"], 12)
    options = ["--drop", "rest", "--clean", "--small-sample", "--filters", "2", "--n-blocks", "1"]
    options += ["--dense-units", "4", "--epochs", "4", "--slab", "2:5", "--angle", "0.1"]
    options += ["--patience", "2", "--permutations", "5", "--quiet"]
    with tempfile.TemporaryDirectory() as folder:
        # Relative paths: settings.json must name no folder of the machine.
        os.chdir(folder)
        image = nibabel.Nifti1Image(np.moveaxis(volumes, 0, -1), AFFINE)
        nibabel.save(image, "bold.nii.gz")
        pd.DataFrame({"label": labels, "group": groups}).to_csv("labels.csv", index=False)
        argv = ["decode", "bold.nii.gz", "--labels", "labels.csv", "--out", "results", *options]
        assert skfmri(argv) == 0
        Path("results/report.html").unlink()
        shutil.copytree("results", HERE / "results_v0.1.0")


if __name__ == "__main__":
    main()
