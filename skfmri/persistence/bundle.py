"""Files of fitted estimators that are safe to read."""

from __future__ import annotations

import platform
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, is_regressor

from skfmri._validation import shortened
from skfmri.estimators.origin import (
    check_same_start,
    describe_fit,
    last_network,
    note_training,
    trained_on,
)
from skfmri.evaluation.encoding import array_from_bytes, array_to_bytes
from skfmri.evaluation.fingerprints import versions
from skfmri.evaluation.result import describe_result
from skfmri.persistence.archive import COPY_AGAIN, from_json, read_archive, to_json, write_archive
from skfmri.persistence.card import write_card
from skfmri.persistence.estimators import classes_by_name, custom_classes, from_plain, to_plain
from skfmri.persistence.parameters import ALTERED
from skfmri.persistence.provenance import (
    check_grid,
    check_record,
    check_samples,
    describe_samples,
)
from skfmri.persistence.trial import try_out
from skfmri.samples import as_samples
from skfmri.samples.digests import all_digests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from skfmri._types import Estimator, FilePath, ImageSamples
    from skfmri.evaluation import DecodingResult
    from skfmri.samples import NiftiSamples

# A file may hold a value of any length, which an error would repeat.
MOST_WORDS = 1000
MODEL, TRAINING, CARD = "model.json", "training.json", "README.md"
# Digests of the volumes of the fit, and of fits that the weights come from.
VOLUMES, EARLIER_VOLUMES = "volumes.npy", "initial_volumes.npy"


def save(
    estimator: Estimator,
    path: FilePath,
    *,
    samples: NiftiSamples | None = None,
    result: DecodingResult | None = None,
) -> None:
    """Write a fitted pipeline or estimator to a file that is safe to read.

    Loading a pickle runs whatever code its author put into it. This file holds only numbers and
    text: a zip archive of JSON, arrays as ``.npy`` and a model card in Markdown. The model that
    :func:`load` returns makes the same predictions to the last bit, on the same machine with the
    same number of threads. Later versions of skfmri can read the file.

    Parameters
    ----------
    estimator : estimator
        Fitted: a `DecodingPipeline` or `Pipeline`, or one estimator. It may be built of
        `NiftiSlabRotator`, `VoxelZScorer`, `SlabCNNClassifier`, `VolumeCNNClassifier`,
        `SlabCNNRegressor`, `VolumeCNNRegressor`, subclasses of these four with different networks,
        `MultiscaleRidgeClassifier`, `MultiscaleRidgeRegressor`, and scikit-learn's
        `StandardScaler`, `PCA`, `LogisticRegression`, `LinearSVC`, `Ridge` and `RidgeCV`. The
        pipelines that :func:`~skfmri.evaluation.linear_baseline` and
        :func:`~skfmri.evaluation.multiscale_baseline` return can also be saved.
    path : str or path-like
        The file, by convention ``name.skfmri``. An existing one is replaced once the new one is
        complete.
    samples : NiftiSamples, default=None
        The samples that it was fitted on. The file then records the numbers of volumes, the
        classes, the groups, the names of the files without their folders, how runs were cleaned,
        and a digest of each volume, by which :func:`find_training_volumes` recognises it. It does
        not hold the volumes. None keeps what is known of a network that was loaded. What is known
        of its `initial_weights` is always recorded.
    result : DecodingResult, default=None
        From :func:`~skfmri.evaluate_decoder`, for the scores in the model card.

    Raises
    ------
    ValueError
        If the estimator is not fitted, if a part of it cannot be saved, if a parameter that affects
        predictions was changed since it was fitted, if samples have different classes or a
        different grid than the model, or if the directory does not exist.

    Warns
    -----
    UserWarning
        If parameters are left out because they cannot be saved and no prediction needs them: Keras
        callbacks, a `memory`, a `random_state` that is not an int, a `validation` that is not one
        of the splitters for groups. They are None in the loaded estimator.

    See Also
    --------
    load : Reads the file.
    skfmri.persistence.model_card : Shows the card.

    Examples
    --------
    >>> import numpy as np
    >>> import skfmri
    >>> X = np.array([[1.0, -1.0, 5.00], [3.0, -3.0, 5.01]])
    >>> skfmri.save(skfmri.VoxelZScorer().fit(X), "scorer.skfmri")
    >>> skfmri.load("scorer.skfmri").transform(X)
    array([[-1., -1.,  0.],
           [ 1., -3.,  0.]])
    """
    if not isinstance(estimator, BaseEstimator):
        raise TypeError(
            f"estimator is a {type(estimator).__name__}. Pass a fitted pipeline or estimator."
        )
    content, arrays, left_out = to_plain(estimator)
    members = _model_members(content, arrays)
    _check_round_trip(members, estimator)
    training, digests = _training(estimator, samples)
    training["result"] = None if result is None else describe_result(result)
    members |= {name: _digests_to_bytes(found) for name, found in digests.items()}
    members[TRAINING] = to_json(training)
    found = {**versions(), "python": platform.python_version()}
    members[CARD] = write_card(estimator, training, found).encode()
    write_archive(path, members, {"skfmri": found["skfmri"], "versions": found})
    if left_out:
        warnings.warn(
            f"Not saved, because no prediction needs it: {', '.join(left_out)}. It is None in the "
            "loaded estimator. To silence this warning, set it to None before saving.",
            stacklevel=2,
        )


def load(path: FilePath, *, classes: Sequence[type] = ()) -> Any:
    """Read a fitted estimator that :func:`save` has written.

    No code from the file is run, no module that it names is imported, and no path in it is used:
    classes and functions are looked up in fixed lists. Every part must have the size and the
    SHA-256 that the manifest of the file states. The model is then tried on one empty volume, up
    to its network.

    Parameters
    ----------
    path : str or path-like
        The file.
    classes : sequence of type, default=()
        Your own subclasses of the networks of skfmri, such as `SlabCNNClassifier`, if the file
        names any. Their code must be the same as when the model was saved.

    Returns
    -------
    estimator : estimator
        Fitted, with its parameters; it can be fitted again. The state of a network's optimizer is
        not kept, since every fit begins with a new one.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file was not written by skfmri, has an unknown format version, is truncated, damaged
        or altered, or names an unknown class or a folder for `memory`; or if its parts do not fit
        together, such as weights and their network.
    RuntimeError
        If the file holds a network and this process was forked after TensorFlow had been used.

    See Also
    --------
    save : Writes the file.

    Notes
    -----
    The checksums reveal damage, not malice: anyone who can change the file can change them too. A
    model from a stranger cannot run code on your machine, but you can trust its predictions only
    as far as you trust the stranger, and the sizes in it may demand more memory than there is.

    Examples
    --------
    >>> import numpy as np
    >>> import skfmri
    >>> X, y = np.array([[0.0], [1.0], [4.0], [5.0]]), ["closed", "closed", "open", "open"]
    >>> from sklearn.linear_model import LogisticRegression
    >>> skfmri.save(LogisticRegression().fit(X, y), "model.skfmri")
    >>> skfmri.load("model.skfmri").predict([[1.5], [4.5]]).tolist()
    ['closed', 'open']
    """
    by_name = classes_by_name(classes)
    members = read_archive(path)[1]
    record = _record(path, members)
    samples = record["samples"]
    volumes = [_digests(path, members, name) for name in (VOLUMES, EARLIER_VOLUMES)]
    try:
        estimator = _rebuild(members, by_name)
        if samples is not None:
            grid = tuple(samples["grid_shape"]), np.array(samples["affine"], float)
            check_grid(estimator, *grid, f"the training data in {TRAINING}")
    except ValueError as error:
        raise ValueError(f"{path} cannot be loaded. {shortened(error, MOST_WORDS)}") from error
    network = last_network(estimator)
    if network is not None:
        fits = [describe_fit(network, samples), *record["initial_weights"]]
        note_training(network, *volumes, fits)
    return estimator


def model_card(path: FilePath) -> str:
    """Return the model card in a file as Markdown.

    Parameters
    ----------
    path : str or path-like
        A file that :func:`save` has written.

    Returns
    -------
    card : str
        How to use the model, what it was trained on, scores with their intervals, settings,
        limits, versions.

    Raises
    ------
    FileNotFoundError, ValueError
        As in :func:`load`.
    """
    data = _member(path, read_archive(path)[1], CARD)
    try:
        return data.decode()
    except ValueError as error:
        raise _unreadable(path, CARD, error) from error


def training_record(path: FilePath) -> dict[str, Any]:
    """Return what a file records about the training of its model.

    Parameters
    ----------
    path : str or path-like
        A file that :func:`save` has written.

    Returns
    -------
    record : dict
        ``samples`` with numbers of volumes, runs and groups, ``grid_shape``, ``affine``,
        ``volumes_per_group``, ``files``, ``cleaning`` and ``derivations``; ``result`` with the
        table ``summary``, ``sentences`` and the numbers of folds and groups. Each is None if it was
        not passed to `save`. ``initial_weights`` lists the fits that the network started from, the
        last one first, each with ``class``, ``frozen`` layers and ``samples``.

    Raises
    ------
    FileNotFoundError, ValueError
        As in :func:`load`.
    """
    return _record(path, read_archive(path)[1])


def find_training_volumes(path: FilePath, X: ImageSamples) -> NDArray[np.bool_]:
    """Return which volumes a model was trained on, whatever the files are called now.

    A decoder may have memorised its training volumes, so its predictions for them say nothing about
    new ones. Volumes are compared by the SHA-256 of their values, both as they are in the files and
    as they are after :func:`~skfmri.clean_runs`. A volume that has since been smoothed, resampled
    or saved with different rounding is not recognised.

    Parameters
    ----------
    path : str or path-like
        A file that :func:`save` has written with `samples`.
    X : NiftiSamples, image, path, or list of images and paths
        Volumes.

    Returns
    -------
    known : ndarray of bool, shape (n_samples,)
        True if the model, or one that its initial weights come from, was trained on the volume.

    Raises
    ------
    FileNotFoundError, ValueError
        As in :func:`load`; and if the model was saved without `samples`.

    Warns
    -----
    UserWarning
        If only the volumes of some of the fits that led to its weights are recorded.
    """
    members = read_archive(path)[1]
    if not {VOLUMES, EARLIER_VOLUMES} & members.keys():
        raise ValueError(
            f"{path} does not record which volumes it was trained on. Save the model again with "
            "save(..., samples=)."
        )
    record = _record(path, members)
    fits = [record, *record["initial_weights"]]
    n_unknown = sum(fit["samples"] is None for fit in fits)
    if n_unknown:
        warnings.warn(
            f"{path} does not record the training volumes of {n_unknown} of {len(fits)} fits that "
            "led to its weights, so volumes may be missed. Save each model with samples, before "
            "another one starts from it.",
            stacklevel=2,
        )
    known = set().union(*(_digests(path, members, n) for n in (VOLUMES, EARLIER_VOLUMES)))
    return np.array([not known.isdisjoint(d) for d in all_digests(as_samples(X, "the model"))])


def _training(estimator, samples):
    """Return what is known of the training of an estimator, and digests by the part they go to."""
    network = last_network(estimator)
    known = None
    if network is not None:
        check_same_start(network)
        known = trained_on(network)
    training = {
        "samples": None if known is None else known.fits[0]["samples"],
        "result": None,
        "initial_weights": [] if known is None else list(known.fits[1:]),
    }
    digests = {} if known is None else {VOLUMES: known.volumes, EARLIER_VOLUMES: known.earlier}
    digests = {name: found for name, found in digests.items() if found}
    if samples is not None:
        samples = as_samples(samples, "save")
        check_samples(samples, estimator)
        training["samples"] = describe_samples(samples, has_classes=not is_regressor(estimator))
        # Of a network that was loaded, a file has said already what else it was trained on.
        digests[VOLUMES] = digests.get(VOLUMES, frozenset()).union(*all_digests(samples))
    return training, digests


def _digests_to_bytes(digests):
    rows = np.frombuffer(b"".join(sorted(digests)), np.uint8).reshape(-1, 32)
    return array_to_bytes(rows)


def _digests(path, members, name):
    """Return the digests in a part of a file; none if the file lacks it."""
    if name not in members:
        return frozenset()
    try:
        rows = array_from_bytes(members[name])
        if rows.dtype != np.uint8 or rows.shape[1:] != (32,):
            raise ValueError(f"it holds values of {rows.dtype} in the shape {rows.shape}")
    except ValueError as error:
        raise _unreadable(path, name, error) from error
    return frozenset(row.tobytes() for row in rows)


def _model_members(content, arrays):
    parts = {f"arrays/{number:04}.npy": array_to_bytes(each) for number, each in enumerate(arrays)}
    return {MODEL: to_json(content), **parts}


def _rebuild(members, classes):
    try:
        names = sorted(name for name in members if name.startswith("arrays/"))
        arrays = [_array(members, name) for name in names]
        estimator = from_plain(from_json(members[MODEL], MODEL), arrays, classes)
        try_out(estimator)
        return estimator
    except ValueError:
        raise
    except Exception as error:  # altered contents may fail anywhere, also in other libraries
        if type(error) is RuntimeError:
            # This process cannot use a network, which is not the fault of the file.
            raise
        raise ValueError(f"{type(error).__name__}: {error}. {ALTERED}") from error


def _array(members, name):
    try:
        return array_from_bytes(members[name])
    except ValueError as error:
        raise ValueError(f"Its part {name} is not an array: {error}. {ALTERED}") from error


def _record(path, members):
    data = _member(path, members, TRAINING)
    try:
        return check_record(from_json(data, TRAINING))
    except ValueError as error:
        raise _unreadable(path, TRAINING, error) from error


def _member(path, members, name):
    if name not in members:
        raise ValueError(f"{path} lacks its part {name}. {COPY_AGAIN}")
    return members[name]


def _unreadable(path, name, error):
    return ValueError(
        f"{path} was altered: its part {name} cannot be read: {shortened(error)}. {COPY_AGAIN}"
    )


def _check_round_trip(members, estimator):
    """Raise ValueError unless reading what is written gives the same estimator."""
    name = type(estimator).__name__
    try:
        again = _rebuild(members, classes_by_name(custom_classes(estimator)))
    except ValueError as error:
        raise ValueError(
            f"{name} cannot be saved: it could not be loaded again. {error}"
        ) from error
    if _model_members(*to_plain(again)[:2]) != members:
        raise ValueError(
            f"{name} cannot be saved: it does not come back the same. Parameters and attributes "
            "of its classes must be plain values, and __init__ must only assign."
        )
