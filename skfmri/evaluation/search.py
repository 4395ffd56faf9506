"""Parameter searches that continue where they were interrupted."""

from __future__ import annotations

from contextlib import nullcontext
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import hash as content_hash
from sklearn.base import BaseEstimator, clone
from sklearn.metrics import check_scoring
from sklearn.utils.metaestimators import available_if

from skfmri.evaluation.fingerprints import fingerprint, parameters_of, versions
from skfmri.evaluation.ledger import Ledger

if TYPE_CHECKING:
    from skfmri._types import Estimator, FilePath, Values, Volumes


def fit_search(
    search: Estimator,
    X: Volumes,
    y: Values,
    *,
    groups: Values | None = None,
    ledger: FilePath | Ledger,
    **params: Any,
) -> Any:
    """Fit a search over parameters so that it can be killed and resumed.

    A grid of filters and dropout in six folds takes hours, and scikit-learn keeps nothing of it
    before the last fit is done. Here the outputs of each fitted candidate and split are on
    disk before the next begins; the same call continues from there.

    Parameters
    ----------
    search : GridSearchCV, RandomizedSearchCV or another search of scikit-learn
        Fitted in place, as by ``search.fit(X, y, groups=groups, **params)``.
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples.
    y : array-like of shape (n_samples,)
        Labels.
    groups : array-like of shape (n_samples,), default=None
        Passed to the splitter of the search. Splitters of skfmri find those of X themselves.
    ledger : path-like or Ledger
        File of finished fits, for this search alone.
    **params : dict
        Further parameters of ``search.fit``.

    Returns
    -------
    search : object
        The search itself, with all its attributes.

    Raises
    ------
    ValueError
        If the ledger belongs to other data or parameters; the message lists what differs.

    Notes
    -----
    Estimators and splitters need an int `random_state`, or a resumed search mixes different
    networks and splits. In a resumed search, ``cv_results_["mean_fit_time"]`` is close to 0 for
    candidates that were not fitted again. The best candidate is always fitted again.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV, GroupKFold
    >>> from skfmri.evaluation import fit_search
    >>> X, y, groups = np.arange(12.0)[:, np.newaxis], np.arange(12) > 5, np.tile([0, 1], 6)
    >>> search = GridSearchCV(LogisticRegression(), {"C": [1, 10]}, cv=GroupKFold(2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     search = fit_search(search, X, y, groups=groups, ledger=f"{folder}/search.jsonl")
    >>> search.best_params_
    {'C': 1}
    """
    if groups is not None:
        params["groups"] = groups
    if isinstance(ledger, Ledger):
        opened = nullcontext(ledger)
    else:
        opened = Ledger(ledger, _identity(search, X, y, params))
    estimator = search.estimator
    with opened as book:
        search.estimator = _Recorded(estimator, book)
        try:
            search.fit(X, y, **params)
        finally:
            search.estimator = estimator
    if hasattr(search, "best_estimator_"):
        search.best_estimator_ = search.best_estimator_.fitted()
    if search.scoring is None:
        # scikit-learn's default scorer keeps the estimator it was made for.
        search.scorer_ = check_scoring(estimator)
    return search


def _identity(search, X, y, params):
    return {
        "samples": content_hash(X),
        "labels": content_hash(np.asarray(y)),
        "fit parameters": fingerprint(params),
        **{f"parameter {name}": value for name, value in parameters_of(search).items()},
        **{f"version of {name}": value for name, value in versions().items()},
    }


def _has(name):
    return lambda recorded: hasattr(recorded.estimator, name)


class _Recorded(BaseEstimator):
    """An estimator whose fit is put off if the ledger already has its outputs."""

    def __init__(self, estimator, ledger):
        self.estimator = estimator
        self.ledger = ledger

    def __sklearn_clone__(self):
        return _Recorded(clone(self.estimator), self.ledger)

    def __sklearn_tags__(self):
        return self.estimator.__sklearn_tags__()

    def get_params(self, deep=True):
        return self.estimator.get_params(deep)

    def set_params(self, **params):
        self.estimator.set_params(**params)
        return self

    def get_metadata_routing(self):
        return self.estimator.get_metadata_routing()

    def fit(self, X, y=None, **params):
        self._data = X, y, params
        self._key = fingerprint([parameters_of(self.estimator), X, y, params])
        if self._recorded() is None:
            self.fitted()
        return self

    def fitted(self):
        """Return the estimator, after fitting it if that was put off."""
        if self._data is not None:
            X, y, params = self._data
            self.estimator.fit(X, y, **params)
            self._data = None
            if self._recorded() is None:
                self.ledger.add(self._key, {"classes": getattr(self.estimator, "classes_", None)})
        return self.estimator

    @property
    def classes_(self):
        known = self._recorded()
        return known["classes"] if known else self.fitted().classes_

    def predict(self, X):
        return self._output("predict", X)

    @available_if(_has("predict_proba"))
    def predict_proba(self, X):
        return self._output("predict_proba", X)

    @available_if(_has("decision_function"))
    def decision_function(self, X):
        return self._output("decision_function", X)

    @available_if(_has("score"))
    def score(self, X, y=None, sample_weight=None, **params):
        if sample_weight is not None:
            params["sample_weight"] = sample_weight
        return self._output("score", X, y, **params)

    def _recorded(self):
        return self.ledger.get(self._key, itemgetter("classes"))

    def _output(self, name, *data, **params):
        key = fingerprint([self._key, name, data, params])
        known = self.ledger.get(key, itemgetter("output"))
        if known is None:
            known = {"output": getattr(self.fitted(), name)(*data, **params)}
            self.ledger.add(key, known)
        return known["output"]
