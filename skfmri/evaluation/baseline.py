"""A linear model on the features that a decoder's network sees."""

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skfmri.evaluation.folds import is_search
from skfmri.evaluation.result import DECODER, DUMMY


def linear_baseline(estimator):
    """Return a pipeline that ends in logistic regression on the features the network sees.

    Parameters
    ----------
    estimator : classifier, pipeline or search
        All steps of a pipeline but the last are kept, so both models see the same slab. For a
        search, the pipeline that it searches is taken. For a single classifier, features are
        standardised.

    Returns
    -------
    pipeline : sklearn.pipeline.Pipeline
        Unfitted; it has no validation set, so it is fitted on all training samples.

    Examples
    --------
    >>> from skfmri import SlabCNNClassifier, VoxelZScorer
    >>> from sklearn.pipeline import make_pipeline
    >>> from skfmri.evaluation import linear_baseline
    >>> list(linear_baseline(make_pipeline(VoxelZScorer(), SlabCNNClassifier())).named_steps)
    ['voxelzscorer', 'flatten', 'linear']
    """
    if is_search(estimator):
        estimator = estimator.estimator
    flatten = ("flatten", FunctionTransformer(flatten_samples))
    linear = ("linear", LogisticRegression(max_iter=1000))
    if hasattr(estimator, "steps"):
        steps = [*clone(estimator).steps[:-1], flatten, linear]
        return Pipeline(steps, memory=estimator.memory)
    return Pipeline([flatten, ("scale", StandardScaler()), linear])


def flatten_samples(X):
    """Return samples as rows of features."""
    X = np.asarray(X)
    return X.reshape(len(X), -1)


def baselines_by_name(baseline, estimator):
    """Return the models that an estimator is compared with, by name.

    Parameters
    ----------
    baseline : {"linear"}, estimator, dict of str to estimator, or None
        As in `evaluate_decoder`.
    estimator : classifier, pipeline or search
        The decoder.

    Returns
    -------
    baselines : dict of str to estimator
    """
    if baseline is None:
        return {}
    if isinstance(baseline, str):
        if baseline != "linear":
            raise ValueError(
                f"Unknown baseline {baseline!r}. Pass 'linear', an estimator, a dict of names and "
                "estimators, or None."
            )
        return {"linear": linear_baseline(estimator)}
    baselines = {"baseline": baseline} if isinstance(baseline, BaseEstimator) else dict(baseline)
    taken = {DECODER, DUMMY} & baselines.keys()
    if taken:
        raise ValueError(f"A baseline cannot be called {taken.pop()!r}. Choose another name.")
    return baselines
