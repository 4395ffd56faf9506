"""Show how well each saliency method finds the true effect of the simulated data.

A decoder is cross-validated by chunk; each fold explains its held-out samples, and the maps of the
folds are averaged in native space. "auc" is the area under the ROC curve with which the absolute
map separates voxels of the true effect (above a quarter of its maximum) from all others in the
slab. The row "linear" shows the same for the weights of a linear model on the same folds.
"shuffled" is, for one fold, the correlation with the map of the same network after all its weights
were shuffled; it should be small.
"""

import argparse
import time
import warnings

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline

from skfmri import DecodingPipeline, NiftiSamples, NiftiSlabRotator, SlabCNNClassifier, VoxelZScorer
from skfmri.datasets import make_eyes_open_closed
from skfmri.inspection import mean_map, randomization_check, saliency_image

METHODS = {
    "gradient": {},
    "gradient_x_input": {},
    "integrated_gradients": {"n_steps": 16},
    "smoothgrad": {"n_steps": 16},
    "occlusion": {},
    "grad_cam": {},
}


def decoders(epochs):
    small = SlabCNNClassifier.for_small_samples(epochs=epochs, random_state=0)
    return {
        "small samples": small,
        "small samples of 0.1": clone(small).set_params(linear_path=100, learning_rate=0.001),
        "notebook": SlabCNNClassifier(epochs=epochs, batch_norm_momentum=0.9, random_state=0),
    }


def fitted_folds(pipeline, samples):
    """Yield each fitted pipeline with the samples it has not seen."""
    splits = GroupKFold(6).split(samples, samples.y, samples.groups)
    for train, test in splits:
        yield clone(pipeline).fit(samples[train], samples.y[train]), samples[test]


def auc(volumes, effect, rotator):
    """Return the ROC AUC of the mean map among the voxels of the slab."""
    inside = np.isfinite(rotator.inverse_transform(np.ones(rotator.slab_shape_)).get_fdata())
    strength = np.abs(effect)[inside]
    return roc_auc_score(strength > 0.25 * strength.max(), np.abs(mean_map(volumes))[inside])


def rows_of(name, network, samples, effect):
    # Hands the groups on to networks that leave some out.
    steps = [("slab", NiftiSlabRotator()), ("zscore", VoxelZScorer()), ("cnn", network)]
    pipeline = DecodingPipeline(steps)
    folds = list(fitted_folds(pipeline, samples))
    accuracy = np.mean([fitted.score(test, test.y) for fitted, test in folds])
    print(f"{name}: accuracy {accuracy:.3f} by chunk", flush=True)
    for method, options in METHODS.items():
        start = time.perf_counter()
        # The two classes nearly cancel in the mean gradient over samples of both.
        of_one = "open" if method in ("gradient", "smoothgrad") else None
        maps = [
            saliency_image(fitted, test, of_one or test.y, method=method, **options).get_fdata()
            for fitted, test in folds
        ]
        seconds = time.perf_counter() - start
        fitted, test = folds[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check = randomization_check(
                fitted, test[:16], test.y[:16], method=method, random_state=0, **options
            )
        yield {
            "decoder": name,
            "method": method,
            "auc": auc(maps, effect, fitted[0]),
            "shuffled": check["correlation"].iloc[-1],
            "seconds": seconds,
        }


def linear_row(samples, effect):
    maps = []
    for fitted, test in fitted_folds(make_pipeline(NiftiSlabRotator(), VoxelZScorer()), samples):
        train = samples[~np.isin(samples.groups, test.groups)]
        slabs = fitted.transform(train)
        model = LogisticRegression(max_iter=1000).fit(slabs.reshape(len(slabs), -1), train.y)
        maps.append(fitted[0].back_project(model.coef_.reshape(slabs.shape[1:])).get_fdata())
    return {"decoder": "linear", "method": "weights", "auc": auc(maps, effect, fitted[0])}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    args = parser.parse_args()
    if args.quick:
        args.subjects, args.epochs = 12, 2
    data = make_eyes_open_closed(args.subjects)
    samples = NiftiSamples(data.images, y=data.labels, groups=data.chunks)
    effect = data.effect.get_fdata()
    rows = [linear_row(samples, effect)]
    for name, network in decoders(args.epochs).items():
        rows += rows_of(name, network, samples, effect)
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
