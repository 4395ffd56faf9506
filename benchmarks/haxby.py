"""What a linear SVM reaches on the single slice of Haxby et al. 2001, to set beside the network.

The network's side is the command line, shown in the README. Both leave one run out at a time and
use `clean_runs`. Run: SKFMRI_DATA=FOLDER python benchmarks/haxby.py
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score
from sklearn.svm import SVC

from skfmri.preprocessing import clean_runs
from skfmri.samples import NiftiSamples

TASKS = {
    "face or house": ["face", "house"],
    "8 categories": ["bottle", "cat", "chair", "face", "house", "scissors", "scrambledpix", "shoe"],
}


def main():
    folder = Path(os.environ["SKFMRI_DATA"]) / "haxby_subject1"
    table = pd.read_csv(folder / "bold_slice_labels.csv")
    image = folder / "bold_slice.nii.gz"
    samples = clean_runs(NiftiSamples(image, y=table["label"], groups=table["run"]))
    for task, labels in TASKS.items():
        chosen = samples[np.isin(table["label"], labels)]
        voxels = np.asarray(chosen).reshape(len(chosen), -1)
        scores = cross_val_score(
            SVC(kernel="linear"), voxels, chosen.y, groups=chosen.groups, cv=LeaveOneGroupOut()
        )
        print(
            f"{task}: linear SVM {scores.mean():.3f}, standard deviation {scores.std(ddof=1):.3f}"
        )


if __name__ == "__main__":
    main()
