"""A pipeline that holds out validation samples before any step sees them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn import get_config
from sklearn.base import is_regressor
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.metadata_routing import UNUSED, get_routing_for_object, process_routing
from sklearn.utils.validation import has_fit_parameter

from skfmri._types import with_callbacks
from skfmri._validation import check_per_volume
from skfmri.preprocessing.cut_groups import carry_groups, count_as_fitted
from skfmri.samples import NiftiSamples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from skfmri._types import CrossValidation, RandomState, Values, Volumes


class DecodingPipeline(Pipeline):
    """A `sklearn.pipeline.Pipeline` that can stop training early without a leak.

    Early stopping needs validation samples. If the network splits them off from what a pipeline
    passes to it, that is too late: earlier steps have already seen them, and the loss that should
    warn of overfitting looks too good. Here `fit` first splits off whole groups, fits the
    transformers on the others alone, and passes both to the network.

    Without `validation` it is a plain `Pipeline`, also in `cross_val_score`, `GridSearchCV` and
    metadata routing.

    Parameters
    ----------
    steps : list of (str, estimator)
        As in `Pipeline`. With `validation`, the last one has a `fit` that takes `validation_data`,
        as that of :class:`~skfmri.SlabCNNClassifier` or :class:`~skfmri.SlabCNNRegressor` does.
    validation : int, splitter, iterable or None, default=None
        Any splitter of scikit-learn, such as ``GroupShuffleSplit(1, test_size=0.2)``. The test
        side of its first split is held out for validation. It must not split a group.
    refit : bool, default=False
        Whether to fit all steps again on all samples, for the number of epochs found.
    undersample : bool, default=False
        Whether `fit` leaves out samples of the more frequent classes at random, so that all steps
        are fitted on equally many of each class. The samples held out for validation are balanced
        separately. Samples to be predicted or scored are never left out.
    random_state : int, RandomState instance or None, default=None
        Draws the samples that `undersample` leaves out.
    transform_input : list of str or None, default=None
        As in `Pipeline`.
    memory : str, joblib.Memory or None, default=None
        As in `Pipeline`.
    verbose : bool, default=False
        As in `Pipeline`.

    Attributes
    ----------
    validation_groups_ : ndarray
        Groups that were held out; absent without `validation`.
    validation_history_ : dict of str to list of float
        Learning curves of the fit that was validated; absent without `validation`.
    named_steps, classes_, n_features_in_, feature_names_in_ : object
        As in `Pipeline`.

    See Also
    --------
    skfmri.evaluate_decoder : Scores it beside a linear model.

    Notes
    -----
    Groups come from ``fit(groups=)``, which metadata routing fills in, else from the fit parameter
    ``<last step>__groups``, else from ``X.groups``, which :class:`~skfmri.NiftiSamples` has. The
    last step gets them if its fit takes any, with and without validation. Fit
    parameters with one entry per sample are split like the samples; if the last step gets
    `sample_weight`, that of the validation samples weights the validation loss.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GroupShuffleSplit
    >>> from skfmri import DecodingPipeline, SlabCNNClassifier, VoxelZScorer
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(24, 6, 7, 2)), np.tile(["closed", "open"], 12)
    >>> X[y == "open", 2:4, 2:4] += 3
    >>> network = SlabCNNClassifier(
    ...     filters=4, n_blocks=1, dense_units=(8,), dropout=0, patience=10, random_state=0
    ... )
    >>> pipe = DecodingPipeline(
    ...     [("zscore", VoxelZScorer()), ("cnn", network)],
    ...     validation=GroupShuffleSplit(1, test_size=1, random_state=0),
    ... )
    >>> pipe.fit(X, y, groups=np.repeat([1, 2, 3], 8)).validation_groups_
    array([3])
    >>> pipe["cnn"].n_epochs_ <= 125
    True
    """

    validation_groups_: NDArray[Any]
    validation_history_: dict[str, list[float]]

    # Read by scikit-learn if metadata routing is on.
    __metadata_request__fit: ClassVar = {"groups": True}
    # The pipeline's score requests nothing itself; that of the last step does.
    __metadata_request__score: ClassVar = {"sample_weight": UNUSED}

    def __init__(
        self,
        steps: Sequence[tuple[str, Any]],
        *,
        validation: CrossValidation = None,
        refit: bool = False,
        undersample: bool = False,
        random_state: RandomState = None,
        transform_input: Sequence[str] | None = None,
        memory: Any = None,
        verbose: bool = False,
    ) -> None:
        self.validation = validation
        self.refit = refit
        self.undersample = undersample
        self.random_state = random_state
        super().__init__(steps, transform_input=transform_input, memory=memory, verbose=verbose)

    @with_callbacks
    def fit(
        self, X: Volumes, y: Values | None = None, *, groups: Values | None = None, **params: Any
    ) -> Self:
        """Hold out validation samples, fit the transformers on the rest, then the last step.

        Parameters
        ----------
        X : NiftiSamples, list of images or array-like of shape (n_samples, ...)
            Samples, as the first step takes them.
        y : array-like of shape (n_samples,), default=None
            Classes.
        groups : array-like of shape (n_samples,), default=None
            Groups; see the notes of the class.
        **params : dict
            As in `Pipeline.fit`. Without metadata routing `sample_weight` goes to the last step.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there are no groups, or if the validation split puts a group on both sides, leaves
            a side empty, or leaves a class without training samples.
        TypeError
            If the last step takes no validation data.
        """
        for name in ("validation_groups_", "validation_history_"):
            vars(self).pop(name, None)
        name = self.steps[-1][0]
        if not _routing_is_on() and "sample_weight" in params:
            params[f"{name}__sample_weight"] = params.pop("sample_weight")
        groups_of_step = params.pop(f"{name}__groups", None)
        for source in (groups_of_step, getattr(X, "groups", None)):
            groups = source if groups is None else groups
        if self.validation is None:
            takes_groups = groups_of_step is not None or self._ends_in_groups()
            return self._fit_on_all(X, y, groups, params, takes_groups=takes_groups)
        self._check_classifier()
        task = self._init_callback_context(max_subtasks=2 * (1 + bool(self.refit)))
        task.call_on_fit_task_begin(estimator=self, X=X, y=y)
        self._check_targets(y)
        y = np.asarray(y)
        train, held_out = self._split(X, y, groups)
        all_samples = None
        if self.undersample:
            all_samples = X if self.refit else _safe_indexing(X, train)
            rng = check_random_state(self.random_state)
            train, held_out = (rows[_balanced(y[rows], rng)] for rows in (train, held_out))
        groups = np.asarray(groups)
        X = carry_groups(X, groups)
        params_of_head, params_of_classifier = self._route(params, groups)

        head, Xt, classifier = self._fit_transformers(
            task, "fit", _safe_indexing(X, train), y[train], _share(params_of_head, train, len(y))
        )
        validation_data = (
            head.transform(_safe_indexing(X, held_out)),
            y[held_out],
            _share(params_of_classifier, held_out, len(y)).get("sample_weight"),
            groups[held_out],
        )
        with self._subtask(task, "fit-final-estimator", classifier, Xt, y[train]):
            classifier.fit(
                Xt,
                y[train],
                groups=groups[train],
                validation_data=validation_data,
                **_share(params_of_classifier, train, len(y)),
            )
        self.validation_groups_ = np.unique(groups[held_out])
        self.validation_history_ = classifier.history_
        if self.refit:
            n_epochs = classifier.n_epochs_
            if self.undersample:
                params = params_of_head, params_of_classifier
                X, y, groups, *params = self._undersampled(X, y, groups, *params)
                params_of_head, params_of_classifier = params
            _, Xt, _ = self._fit_transformers(task, "refit", X, y, params_of_head)
            with self._subtask(task, "refit-final-estimator", classifier, Xt, y):
                classifier.fit(Xt, y, groups=groups, epochs=n_epochs, **params_of_classifier)
        self._count_as_fitted(all_samples)
        task.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def _fit_on_all(self, X, y, groups, params, *, takes_groups):
        """Fit all steps as a plain pipeline does, without validation samples."""
        all_samples = X
        if self.undersample:
            self._check_targets(y)
            X, y, groups, params = self._undersampled(X, np.asarray(y), groups, params)
        if groups is not None and _routing_is_on():
            params["groups"] = groups
        elif groups is not None and takes_groups:
            params[f"{self.steps[-1][0]}__groups"] = groups
        super().fit(X, y, **params)
        self._count_as_fitted(all_samples)
        return self

    def _count_as_fitted(self, samples):
        """Let steps know of training samples that were left out, which are on no other side."""
        if self.undersample and isinstance(samples, NiftiSamples):
            count_as_fitted((step for _, step in self.steps[:-1]), samples)

    def _undersampled(self, X, y, groups, *params):
        """Return samples with all that belongs to them, equally many of each class."""
        kept, n_samples = _balanced(y, check_random_state(self.random_state)), len(y)
        if groups is not None:
            groups = np.asarray(check_per_volume(groups, n_samples, "group label"))[kept]
        shares = (_share(of_step, kept, n_samples) for of_step in params)
        return _safe_indexing(X, kept), y[kept], groups, *shares

    def get_metadata_routing(self) -> Any:
        """Return the requests of the steps, and that of the pipeline itself for groups.

        Returns
        -------
        routing : sklearn.utils.metadata_routing.MetadataRouter
        """
        return super().get_metadata_routing().add_self_request(self)

    def _ends_in_groups(self):
        """Return whether the fit of the last step takes groups."""
        step = self.steps[-1][1]
        return hasattr(step, "fit") and has_fit_parameter(step, "groups")

    def _check_targets(self, y):
        if y is None:
            raise ValueError(
                "There are no labels. Pass y, the class of each sample, or its number for a "
                "regressor."
            )
        if self.undersample and is_regressor(self.steps[-1][1]):
            raise ValueError(
                "undersample=True leaves out samples of larger classes, but "
                f"{type(self.steps[-1][1]).__name__} predicts numbers. Leave undersample out."
            )

    def _check_classifier(self):
        name, classifier = self.steps[-1]
        if not hasattr(classifier, "fit") or not has_fit_parameter(classifier, "validation_data"):
            raise TypeError(
                f"validation needs a last step whose fit takes validation_data, but {name!r} is "
                f"{classifier!r}. Use a network, such as SlabCNNClassifier, or leave "
                "validation out."
            )

    def _split(self, X, y, groups):
        if groups is None:
            # Without routing a search passes on what is named after a step, and no groups.
            of_search = "groups" if _routing_is_on() else f"{self.steps[-1][0]}__groups"
            raise ValueError(
                "validation holds out whole groups, but there are none. Pass samples that carry "
                "them, NiftiSamples(images, groups=...), or pass them beside X and y: to fit as "
                'groups=groups, to cross_val_score as params={"groups": groups}, to the fit of a '
                f"search as {of_search}=groups."
            )
        groups = check_per_volume(groups, len(y), "group label")
        is_of_numbers = is_regressor(self.steps[-1][1])
        cv = check_cv(self.validation, y, classifier=not is_of_numbers)
        train, held_out = next(iter(cv.split(X, y, groups)))
        shared = np.intersect1d(groups[train], groups[held_out])
        if len(shared):
            raise ValueError(
                f"validation={self.validation!r} puts group {shared[0]} into the training and "
                "into the validation samples. Use a splitter for groups, such as "
                "GroupShuffleSplit(1, test_size=0.2)."
            )
        missing = () if is_of_numbers else np.setdiff1d(y, y[train])
        if len(missing) or not len(held_out):
            found = "no validation"
            if len(missing):
                found = f"class {missing.tolist()[0]!r} without training"
            raise ValueError(
                f"validation={self.validation!r} leaves {found} samples. There are "
                f"{len(np.unique(groups))} groups; hold out different ones, or fewer."
            )
        return train, held_out

    def _route(self, params, groups):
        """Return the fit parameters for the transformers' pipeline and for the classifier."""
        name = self.steps[-1][0]
        if not _routing_is_on():
            prefix = f"{name}__"
            of_classifier = {
                key.removeprefix(prefix): params[key] for key in params if key.startswith(prefix)
            }
            return {key: params[key] for key in params if not key.startswith(prefix)}, of_classifier
        params = {**params, "groups": groups}
        of_classifier = dict(process_routing(self, "fit", **params)[name].fit)
        of_classifier.pop("groups", None)
        asked = get_routing_for_object(self._head()).consumes("fit_transform", params.keys())
        return {key: params[key] for key in asked}, of_classifier

    def _head(self):
        # Without a placeholder for the classifier, `memory` would not cache the last transformer.
        steps = [*self.steps[:-1], (self.steps[-1][0], "passthrough")]
        options = {"transform_input": self.transform_input, "memory": self.memory}
        return Pipeline(steps, **options, verbose=self.verbose)

    def _fit_transformers(self, task, verb, X, y, params):
        """Return the fitted transformers, X transformed by them, and the classifier."""
        head = self._head()
        with self._subtask(task, f"{verb}-transformers", head, X, y):
            Xt = head.fit_transform(X, y, **params)
        # A pipeline asks its last step whether it is fitted; a FunctionTransformer always is.
        head.steps[-1] = (head.steps[-1][0], FunctionTransformer())
        # With `memory`, clones are fitted instead of the steps themselves.
        self.steps = [*head.steps[:-1], self.steps[-1]]
        return head, Xt, self.steps[-1][1]

    @contextmanager
    def _subtask(self, task, name, part, X, y):
        """Present the fit of a part of the pipeline to callbacks as a separate task."""
        subtask = task.subcontext(task_name=name)
        with subtask.propagate_callback_context(part):
            subtask.call_on_fit_task_begin(estimator=self, X=X, y=y)
            yield
            subtask.call_on_fit_task_end(estimator=self, X=X, y=y)


def _routing_is_on():
    return get_config()["enable_metadata_routing"]


def _balanced(y, rng):
    """Return sorted positions of equally many samples of each class."""
    classes, counts = np.unique(y, return_counts=True)
    kept = [rng.choice(np.flatnonzero(y == name), counts.min(), replace=False) for name in classes]
    return np.sort(np.concatenate(kept))


def _share(params, indices, n_samples):
    """Return the parameters, of which those with one entry per sample are cut to some samples."""
    return {
        name: _safe_indexing(value, indices)
        if hasattr(value, "__len__") and len(value) == n_samples
        else value
        for name, value in params.items()
    }
