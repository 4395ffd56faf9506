"""Compare maps as they are with maps centred by subject, on simulated data.

Logistic regression on the slab, four folds of whole subjects, accuracy averaged over folds and
seeds. Each seed simulates different subjects. The last two columns show what `clean_runs` does to
maps in a fixed order of conditions.

Run: python benchmarks/centering.py     (5 minutes; --quick takes a tenth)
"""

import argparse
import warnings

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skfmri import NiftiSamples, NiftiSlabRotator, VoxelZScorer, center_groups, clean_runs
from skfmri.datasets import make_eyes_open_closed


def slabs_of_subjects(n_subjects, seed):
    """Return the slabs of simulated maps; they are cut once, since centring is linear, too."""
    data = make_eyes_open_closed(n_subjects, random_state=seed)
    rotator = NiftiSlabRotator()
    slabs = rotator.fit_transform(NiftiSamples(data.images))
    about = {"y": data.labels, "groups": data.subjects}
    return NiftiSamples.from_array(slabs, rotator.slab_affine_, **about)


def some_left_out(samples, rng):
    """Leave out a quarter of the maps at random, but not the last two of a subject."""
    kept = rng.random(len(samples)) > 0.25
    for subject in np.unique(samples.groups):
        rows = np.flatnonzero(samples.groups == subject)
        kept[rng.permutation(rows)[:2]] = True
    return samples[kept]


def pairs(samples):
    """Return one map per subject and class."""
    names = pd.DataFrame({"subject": samples.groups, "label": samples.y})
    return samples[~names.duplicated().to_numpy()]


VARIANTS = {
    "as they are": lambda samples, rng: samples,
    "centred": lambda samples, rng: center_groups(samples),
    "and scaled": lambda samples, rng: center_groups(samples, scale=True),
    "a pair each": lambda samples, rng: pairs(samples),
    "centred pairs": lambda samples, rng: center_groups(pairs(samples)),
    "some left out": some_left_out,
    "the same, centred": lambda samples, rng: center_groups(some_left_out(samples, rng)),
    "clean_runs": lambda samples, rng: clean_runs(samples),
    "detrend=False": lambda samples, rng: clean_runs(samples, detrend=False),
}


def accuracy(samples):
    """Return the mean accuracy over folds of whole subjects."""
    flatten = FunctionTransformer(lambda slabs: np.asarray(slabs).reshape(len(slabs), -1))
    decoder = make_pipeline(flatten, VoxelZScorer("auto", None), LogisticRegression(max_iter=1000))
    options = {"groups": samples.groups, "cv": GroupKFold(4)}
    return cross_val_score(decoder, samples, samples.y, **options).mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one seed, 12 subjects")
    options = parser.parse_args()
    sizes, seeds = ([12], 1) if options.quick else ([12, 24, 48], options.seeds)
    # They warn of unbalanced classes, and of trends that take the effect: that is shown here.
    warnings.simplefilter("ignore", UserWarning)
    rows = []
    for n_subjects in sizes:
        for seed in range(seeds):
            samples = slabs_of_subjects(n_subjects, seed)
            row = {"subjects": n_subjects, "seed": seed}
            for name, prepare in VARIANTS.items():
                row[name] = accuracy(prepare(samples, np.random.default_rng(seed)))
            rows.append(row)
            print(f"{n_subjects} subjects, seed {seed}: done", flush=True)
    table = pd.DataFrame(rows).set_index(["subjects", "seed"])
    print(f"\nAccuracy, mean over {seeds} seeds")
    print(table.groupby("subjects").mean().T.to_string(float_format="{:.3f}".format))
    gains = table["centred"] - table["as they are"]
    error = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.nan
    print(f"\nGain of centring: {gains.mean():+.3f} (SE over simulations {error:.3f})")


if __name__ == "__main__":
    main()
