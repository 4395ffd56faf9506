"""Linear models on the features that a decoder's network sees."""

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skfmri.estimators.ridge import MultiscaleRidgeClassifier
from skfmri.evaluation.folds import is_search
from skfmri.evaluation.result import DECODER, DUMMY
from skfmri.pipeline import DecodingPipeline
from skfmri.preprocessing import VoxelZScorer


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
    steps, memory = _steps_before_classifier(estimator)
    flatten = ("flatten", FunctionTransformer(flatten_samples))
    linear = ("linear", LogisticRegression(max_iter=1000))
    if steps is None:
        return Pipeline([flatten, ("scale", StandardScaler()), linear])
    return Pipeline([*steps, flatten, linear], memory=memory)


def multiscale_baseline(estimator):
    """Return a pipeline that ends in a multiscale ridge on the slab or volume the network sees.

    Parameters
    ----------
    estimator : classifier, pipeline or search
        As for `linear_baseline`.

    Returns
    -------
    pipeline : skfmri.DecodingPipeline
        Unfitted; it has no validation set, but its fit takes groups.
    """
    steps, memory = _steps_before_classifier(estimator)
    if steps is None:
        steps = [("scale", VoxelZScorer(std_threshold=None, mean_threshold=None))]
    return DecodingPipeline([*steps, ("ridge", MultiscaleRidgeClassifier())], memory=memory)


def _steps_before_classifier(estimator):
    """Return clones of the steps of a pipeline but the last, None without one, and its memory."""
    if is_search(estimator):
        estimator = estimator.estimator
    if hasattr(estimator, "steps"):
        return clone(estimator).steps[:-1], estimator.memory
    return None, None


BASELINES = {"linear": linear_baseline, "multiscale": multiscale_baseline}


def flatten_samples(X):
    """Return samples as rows of features."""
    X = np.asarray(X)
    return X.reshape(len(X), -1)


def baselines_by_name(baseline, estimator):
    """Return the models that an estimator is compared with, by name.

    Parameters
    ----------
    baseline : {"linear", "multiscale"}, list of these, estimator, dict of str to estimator, or None
        As in `evaluate_decoder`.
    estimator : classifier, pipeline or search
        The decoder.

    Returns
    -------
    baselines : dict of str to estimator
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
        return {name: BASELINES[name](estimator) for name in names}
    baselines = {"baseline": baseline} if isinstance(baseline, BaseEstimator) else dict(baseline)
    taken = {DECODER, DUMMY} & baselines.keys()
    if taken:
        raise ValueError(f"A baseline cannot be called {taken.pop()!r}. Choose another name.")
    return baselines
