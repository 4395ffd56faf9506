"""Files of fitted estimators that are safe to read."""

import platform
import warnings

import numpy as np
from sklearn.base import BaseEstimator

from skfmri.evaluation.encoding import array_from_bytes, array_to_bytes
from skfmri.evaluation.fingerprints import versions
from skfmri.evaluation.result import describe_result
from skfmri.persistence.archive import from_json, read_archive, to_json, write_archive
from skfmri.persistence.card import write_card
from skfmri.persistence.estimators import classes_by_name, custom_classes, from_plain, to_plain
from skfmri.persistence.provenance import (
    all_digests,
    check_samples,
    describe_samples,
)
from skfmri.samples import as_samples

MODEL, TRAINING, CARD, VOLUMES = "model.json", "training.json", "README.md", "volumes.npy"


def save(estimator, path, *, samples=None, result=None):
    """Write a fitted pipeline or classifier to a file that is safe to read.

    Loading a pickle runs whatever code its author put into it. This file holds only numbers and
    text: a zip archive of JSON, arrays as ``.npy`` and a model card in Markdown. The model that
    :func:`load` returns makes the same predictions to the last bit, on the same machine with the
    same number of threads. Later versions of skfmri can read the file.

    Parameters
    ----------
    estimator : estimator
        Fitted: a `DecodingPipeline` or `Pipeline`, or one estimator. It may be built of
        `NiftiSlabRotator`, `VoxelZScorer`, `SlabCNNClassifier`, `VolumeCNNClassifier`, subclasses
        of these two with different networks, and scikit-learn's `StandardScaler`, `PCA`,
        `LogisticRegression` and `LinearSVC`. The pipeline that
        :func:`~skfmri.evaluation.linear_baseline` returns can also be saved.
    path : str or path-like
        The file, by convention ``name.skfmri``. An existing one is replaced once the new one is
        complete.
    samples : NiftiSamples, default=None
        The samples that it was fitted on. The file then records the numbers of volumes, the
        classes, the groups, the names of the files without their folders, how runs were cleaned,
        and a digest of each volume, by which :func:`find_training_volumes` recognises it. It does
        not hold the volumes.
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
            f"estimator is a {type(estimator).__name__}. Pass a fitted pipeline or classifier."
        )
    content, arrays, left_out = to_plain(estimator)
    members = _model_members(content, arrays)
    _check_round_trip(members, estimator)
    training = {"samples": None, "result": None if result is None else describe_result(result)}
    if samples is not None:
        samples = as_samples(samples, "save")
        check_samples(samples, estimator)
        training["samples"] = describe_samples(samples)
        digests = sorted(set().union(*all_digests(samples)))
        members[VOLUMES] = array_to_bytes(
            np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
        )
    members[TRAINING] = to_json(training)
    found = {**versions(), "python": platform.python_version()}
    members[CARD] = write_card(estimator, *training.values(), found).encode()
    write_archive(path, members, {"skfmri": found["skfmri"], "versions": found})
    if left_out:
        warnings.warn(
            f"Not saved, because no prediction needs it: {', '.join(left_out)}. It is None in the "
            "loaded estimator. To silence this warning, set it to None before saving.",
            stacklevel=2,
        )


def load(path, *, classes=()):
    """Read a fitted estimator that :func:`save` has written.

    No code from the file is run, and no module that it names is imported: classes are looked up
    in a fixed list. Every part must have the size and the SHA-256 that the manifest of the file
    states.

    Parameters
    ----------
    path : str or path-like
        The file.
    classes : sequence of type, default=()
        Your own subclasses of `SlabCNNClassifier` or `VolumeCNNClassifier`, if the file names
        any. Their code must be the same as when the model was saved.

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
        or altered, or names an unknown class; or if weights do not fit their network.

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
    try:
        return _rebuild(members, by_name)
    except ValueError as error:
        raise ValueError(f"{path} cannot be loaded. {error}") from error


def model_card(path):
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
    return _member(path, read_archive(path)[1], CARD).decode()


def training_record(path):
    """Return what a file records about the training of its model.

    Parameters
    ----------
    path : str or path-like
        A file that :func:`save` has written.

    Returns
    -------
    record : dict
        ``samples`` with numbers of volumes, runs and groups, ``grid_shape``, ``affine``,
        ``volumes_per_group``, ``files`` and ``cleaning``; ``result`` with the table ``summary``,
        ``sentences`` and the numbers of folds and groups. Each is None if it was not passed to
        `save`.

    Raises
    ------
    FileNotFoundError, ValueError
        As in :func:`load`.
    """
    return from_json(_member(path, read_archive(path)[1], TRAINING), TRAINING)


def find_training_volumes(path, X):
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
        True if the model was trained on the volume.

    Raises
    ------
    FileNotFoundError, ValueError
        As in :func:`load`; and if the model was saved without `samples`.
    """
    members = read_archive(path)[1]
    if VOLUMES not in members:
        raise ValueError(
            f"{path} does not record which volumes it was trained on. Save the model again with "
            "save(..., samples=)."
        )
    known = {row.tobytes() for row in array_from_bytes(members[VOLUMES])}
    return np.array([not known.isdisjoint(d) for d in all_digests(as_samples(X, "the model"))])


def _model_members(content, arrays):
    parts = {f"arrays/{number:04}.npy": array_to_bytes(each) for number, each in enumerate(arrays)}
    return {MODEL: to_json(content), **parts}


def _rebuild(members, classes):
    try:
        names = sorted(name for name in members if name.startswith("arrays/"))
        arrays = [_array(members, name) for name in names]
        return from_plain(from_json(members[MODEL], MODEL), arrays, classes)
    except ValueError:
        raise
    except Exception as error:  # altered contents may fail anywhere, also in other libraries
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _array(members, name):
    try:
        return array_from_bytes(members[name])
    except ValueError as error:
        raise ValueError(f"Its part {name} is not an array: {error}") from error


def _member(path, members, name):
    if name not in members:
        raise ValueError(f"{path} lacks its part {name}. Copy the file again.")
    return members[name]


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
