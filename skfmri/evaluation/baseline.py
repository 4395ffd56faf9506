"""Linear models on the features that a decoder's network sees."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.validation import has_fit_parameter

from skfmri.estimators.ridge import MultiscaleRidgeClassifier
from skfmri.estimators.ridge_regressor import MultiscaleRidgeRegressor
from skfmri.evaluation.fingerprints import is_estimator, parameters_of
from skfmri.evaluation.folds import is_search
from skfmri.evaluation.kinds import Classes, Numbers, kind_of
from skfmri.evaluation.result import DECODER, DUMMY
from skfmri.evaluation.targets import predicts_numbers
from skfmri.pipeline import DecodingPipeline
from skfmri.preprocessing import VoxelZScorer

if TYPE_CHECKING:
    from skfmri._types import Estimator

# Training samples beyond which kernels take gigabytes, and their eigenvectors minutes.
MOST_KERNEL_SAMPLES = 10_000
RIDGES = {Classes: MultiscaleRidgeClassifier, Numbers: MultiscaleRidgeRegressor}
# From hardly any ridge for a few standardised features to a strong one for a whole brain of them,
# whose squares add up to their number.
RIDGE_STRENGTHS = np.logspace(-1, 8, 10)


def linear_baseline(estimator: Estimator) -> Pipeline:
    """Return a pipeline that ends in a linear model of the features the network sees.

    The model of a classifier is a logistic regression. That of a regressor is a ridge regression,
    whose strength is chosen by leaving out one training sample at a time in closed form: the right
    strength depends on the number of features, their scale and the unit of y.

    Parameters
    ----------
    estimator : classifier, regressor, pipeline or search
        All steps of a pipeline but the last are kept, so both models see the same slab. For a
        search, the pipeline that it searches is taken. For a single model, features are
        standardised. Classes are weighted, and samples left out by `undersample`, as there.

    Returns
    -------
    pipeline : sklearn.pipeline.Pipeline
        Unfitted; it has no validation set, so it is fitted on all training samples.

    Notes
    -----
    If the samples of a group resemble each other, leaving out one sample chooses too little ridge.
    The multiscale ridge leaves out groups.

    Examples
    --------
    >>> from skfmri import SlabCNNClassifier, VoxelZScorer
    >>> from sklearn.pipeline import make_pipeline
    >>> from skfmri.evaluation import linear_baseline
    >>> list(linear_baseline(make_pipeline(VoxelZScorer(), SlabCNNClassifier())).named_steps)
    ['voxelzscorer', 'flatten', 'linear']
    """
    steps, options = _steps_before_classifier(estimator)
    flatten = FunctionTransformer(flatten_samples)
    if predicts_numbers(estimator):
        linear = RidgeCV(alphas=RIDGE_STRENGTHS)
    else:
        linear = LogisticRegression(max_iter=1000, class_weight=_class_weight(estimator))
    if steps is None:
        return Pipeline([("flatten", flatten), ("scale", StandardScaler()), ("linear", linear)])
    cls = DecodingPipeline if "undersample" in options else Pipeline
    return cls(_extended(steps, flatten=flatten, linear=linear), **options)


def multiscale_baseline(estimator: Estimator) -> DecodingPipeline:
    """Return a pipeline that ends in a multiscale ridge on the slab or volume the network sees.

    Parameters
    ----------
    estimator : classifier, regressor, pipeline or search
        As for `linear_baseline`.

    Returns
    -------
    pipeline : skfmri.DecodingPipeline
        Unfitted; it has no validation set, but its fit takes groups.

    Examples
    --------
    >>> from skfmri import SlabCNNClassifier, VoxelZScorer
    >>> from sklearn.pipeline import make_pipeline
    >>> from skfmri.evaluation import multiscale_baseline
    >>> list(multiscale_baseline(make_pipeline(VoxelZScorer(), SlabCNNClassifier())).named_steps)
    ['voxelzscorer', 'ridge']
    """
    steps, options = _steps_before_classifier(estimator)
    if steps is None:
        steps = [("scale", VoxelZScorer(std_threshold=None, mean_threshold=None))]
    return DecodingPipeline(_extended(steps, ridge=RIDGES[kind_of(estimator)]()), **options)


def _steps_before_classifier(estimator):
    """Return clones of the steps of a pipeline but the last, None without one, and its options.

    A last step that flattens samples, as `linear_baseline` has it, is left out too.
    """
    if is_search(estimator):
        estimator = estimator.estimator
    if not hasattr(estimator, "steps"):
        return None, {}
    steps = clone(estimator).steps[:-1]
    if steps and getattr(steps[-1][1], "func", None) is flatten_samples:
        steps = steps[:-1]
    options = {"memory": estimator.memory}
    if getattr(estimator, "undersample", False):
        options |= {"undersample": True, "random_state": estimator.random_state}
    return steps, options


def _class_weight(estimator):
    """Return how the classifier of a decoder weights classes."""
    if is_search(estimator):
        estimator = estimator.estimator
    classifier = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    return getattr(classifier, "class_weight", None)


def _extended(steps, **more):
    """Return steps followed by others, whose names are changed if they are taken."""
    steps = list(steps)
    for name, step in more.items():
        taken = {other for other, _ in steps}
        while name in taken:
            name = f"{name}_"
        steps.append((name, step))
    return steps


BASELINES = {"linear": linear_baseline, "multiscale": multiscale_baseline}


def flatten_samples(X):
    """Return samples as rows of features."""
    X = np.asarray(X)
    return X.reshape(len(X), -1)


def baselines_by_name(baseline, estimator, n_train=0):
    """Return the models that an estimator is compared with, by name.

    Parameters
    ----------
    baseline : {"linear", "multiscale"}, list of these, estimator, dict of str to estimator, or None
        As in `evaluate_decoder`.
    estimator : classifier, regressor, pipeline or search
        The decoder.
    n_train : int, default=0
        Number of samples in the largest training set.

    Returns
    -------
    baselines : dict of str to estimator
        Without those that are the decoder itself, and without "multiscale" if there are more than
        `MOST_KERNEL_SAMPLES` training samples.

    Warns
    -----
    UserWarning
        If there are too many samples for "multiscale".
    """
    if baseline is None:
        return {}
    if isinstance(baseline, (str, list, tuple)):
        names = [baseline] if isinstance(baseline, str) else baseline
        unknown = [name for name in names if not isinstance(name, str) or name not in BASELINES]
        if unknown:
            raise ValueError(
                f"Unknown baseline {unknown[0]!r}. Pass 'linear', 'multiscale', a list of both, an "
                "estimator, a dict of names and estimators, or None."
            )
        if "multiscale" in names and n_train > MOST_KERNEL_SAMPLES:
            warnings.warn(
                f"The decoder is not compared with the multiscale ridge: kernels of {n_train} x "
                f"{n_train} training samples would take {8e-9 * n_train**2:.1f} GB each. To do so "
                'nevertheless, pass baseline={"multiscale": multiscale_baseline(estimator)}; '
                'baseline="linear" silences this.',
                stacklevel=3,
            )
            names = [name for name in names if name != "multiscale"]
        found = {name: BASELINES[name](estimator) for name in names}
        return {name: model for name, model in found.items() if not _are_alike(model, estimator)}
    baselines = dict(baseline) if isinstance(baseline, dict) else {"baseline": baseline}
    taken = {DECODER, DUMMY} & baselines.keys()
    if taken:
        raise ValueError(f"A baseline cannot be called {taken.pop()!r}. Choose another name.")
    for name, model in baselines.items():
        if not is_estimator(model):
            raise ValueError(
                f"The baseline {name!r} is {model!r}, not an estimator. Pass one, such as "
                f"linear_baseline(estimator), or baseline={list(BASELINES)}."
            )
        if kind_of(model) is not kind_of(estimator):
            words = ("classifier", "regressor")[:: -1 if predicts_numbers(estimator) else 1]
            raise ValueError(
                f"The decoder is a {words[0]}, but the baseline {name!r} is a {words[1]}. Compare "
                "models of one kind."
            )
    return baselines


def _are_alike(baseline, estimator):
    """Return whether a pipeline classifies the same features in the same way as a decoder."""
    if not hasattr(estimator, "steps") or getattr(estimator, "validation", None) is not None:
        return False
    # The steps before are those of the decoder, but for one that flattens samples.
    ours, theirs = baseline[-1], estimator.steps[-1][1]
    if has_fit_parameter(ours, "groups") and not has_fit_parameter(estimator, "groups"):
        return False
    return type(ours) is type(theirs) and parameters_of(ours) == parameters_of(theirs)
