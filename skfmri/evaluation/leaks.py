"""Checks for the ways in which a cross-validation can leak."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import _safe_indexing

from skfmri.estimators.origin import SOURCE
from skfmri.evaluation.folds import is_search
from skfmri.evaluation.seen import describe_seen, find_seen, splits_with_seen
from skfmri.evaluation.targets import are_classes
from skfmri.samples import NiftiSamples
from skfmri.samples.centered import centered_groups
from skfmri.samples.cleaned import batches_read_once
from skfmri.samples.nifti import trace

# About the length of the haemodynamic response, for a TR of 2 to 3 s.
NEIGHBOUR_VOLUMES = 5
# Minus the mean volume, volumes of different runs of one subject correlate at 0.93 at most in raw
# data with all their drift (Haxby et al. 2001), and at 0.62 after cleaning.
LARGEST_CORRELATION = 0.99
FEWEST_VOXELS = 50
MOST_VOXELS = 4096
STANDARD = 0.01


class Skip(Exception):
    """A check cannot be run; the message says why."""


@dataclass(frozen=True)
class Finding:
    """One leak.

    Attributes
    ----------
    check : str
        Name of the check.
    message : str
        What was found.
    split : int or None
        Position of the split, if the finding concerns a single one.
    train, test : ndarray of int
        Indices of the samples concerned on either side.
    """

    check: str
    message: str
    split: int | None = None
    train: np.ndarray = ()
    test: np.ndarray = ()


class Context:
    """Input of the checks; costly summaries are computed once."""

    def __init__(self, estimator, X, y, groups, splits):
        self.estimator, self.X, self.y = estimator, X, y
        self.groups, self.splits = groups, splits

    @property
    def has_classes(self):
        """Whether labels are classes."""
        return are_classes(self.estimator, self.y)

    def nested(self):
        """Return the estimator and all estimators inside it."""
        if self.estimator is None:
            return []
        inside = self.estimator.get_params(deep=True)
        # What a network starts from is fitted already, and splits nothing any more.
        inside = [value for name, value in inside.items() if name.split("__")[-1] != SOURCE]
        return [self.estimator, *(value for value in inside if hasattr(value, "get_params"))]

    @cached_property
    def transformers(self):
        """Unfitted pipeline of the steps before the last."""
        estimator = self.estimator
        if estimator is not None and is_search(estimator):
            estimator = estimator.estimator
        if len(getattr(estimator, "steps", ())) < 2:
            raise Skip("the estimator has no steps before the last")
        # A pipeline asks its last step whether it is fitted; a FunctionTransformer always is.
        return clone(Pipeline([*estimator.steps[:-1], ("last", FunctionTransformer())]))

    @cached_property
    def centrings(self):
        """For each time that the samples were centred, the group of each, and its source."""
        if not isinstance(self.X, NiftiSamples):
            return []
        found = centered_groups(self.X)
        # A sample that shows volumes of several groups counts for the first of them.
        return [(np.array([min(of) for of in groups]), source) for source, groups in found]

    @cached_property
    def summary(self):
        """Digest of each volume, and its values at some voxels that vary."""
        rng, chosen, digests, parts = np.random.default_rng(0), None, [], []
        for batch in _batches(self.X):
            flat = np.ascontiguousarray(batch.reshape(len(batch), -1), dtype=np.float32)
            digests += [hashlib.blake2b(row, digest_size=16).digest() for row in flat]
            if chosen is None:
                # Many, since some of them lie outside the head and never vary.
                chosen = np.sort(rng.permutation(flat.shape[1])[: 4 * MOST_VOXELS])
            parts.append(flat[:, chosen])
        values = np.concatenate(parts)
        varying = np.isfinite(values).all(axis=0) & (values != values[0]).any(axis=0)
        return np.array(digests), values[:, varying][:, :MOST_VOXELS]


def find_shared_groups(context):
    """Find groups on both sides of a split."""
    for number, (train, test) in enumerate(context.splits):
        shared = np.intersect1d(context.groups[train], context.groups[test])
        if len(shared):
            yield Finding(
                "groups",
                f"Split {number} has {named('group', 'groups', shared)} on both sides.",
                number,
                train[np.isin(context.groups[train], shared)],
                test[np.isin(context.groups[test], shared)],
            )


def find_duplicates(context):
    """Find volumes that are on both sides, unchanged or nearly so."""
    digests, values = context.summary
    copies = [np.flatnonzero(digests == digest) for digest in _repeated(digests)]
    pairs = [(i, j) for members in copies for i in members for j in members if i != j]
    n_exact = len(pairs)
    if values.shape[1] >= FEWEST_VOXELS:
        pairs += _similar_pairs(values)
    if not pairs:
        return
    first, second = np.array(pairs).T
    for number, (train, test) in enumerate(context.splits):
        crossing = np.isin(first, train) & np.isin(second, test)
        if crossing.any():
            i, j = first[crossing][0], second[crossing][0]
            word = "identical" if crossing[:n_exact].any() else "nearly identical"
            yield Finding(
                "duplicates",
                f"Split {number} has {word} volumes on both sides, such as samples {i} and {j}.",
                number,
                np.unique(first[crossing]),
                np.unique(second[crossing]),
            )


def find_neighbours(context):
    """Find volumes of one run, close in time, on both sides."""
    if not isinstance(context.X, NiftiSamples):
        raise Skip("X is an array, which does not say from which run and time its samples are")
    images, first, last, is_estimated = _acquisition(context.X)
    _, runs = np.unique(context.X.runs, return_inverse=True)
    for number, (train, test) in enumerate(context.splits):
        near_train, near_test = [], []
        for key in set(zip(runs[test].tolist(), images[test].tolist(), strict=True)):
            here = (runs == key[0]) & (images == key[1])
            ours, theirs = train[here[train]], test[here[test]]
            if len(ours):
                gaps = np.maximum(first[ours, None], first[theirs])
                gaps = gaps - np.minimum(last[ours, None], last[theirs])
                close = gaps <= NEIGHBOUR_VOLUMES
                near_train += ours[close.any(axis=1)].tolist()
                near_test += theirs[close.any(axis=0)].tolist()
        if near_test:
            found = (
                f"Split {number} tests {len(near_test)} volumes that are within "
                f"{NEIGHBOUR_VOLUMES} volumes of a training volume of the same run, such as "
                f"sample {near_test[0]}."
            )
            if is_estimated:
                found = (
                    f"Split {number} tests {len(near_test)} estimates from runs that it also "
                    f"trains on, such as sample {near_test[0]}. All estimates of a run share its "
                    "noise."
                )
            yield Finding("neighbours", found, number, np.sort(near_train), np.sort(near_test))


def _acquisition(X):
    """Return image, first and last volume that each sample shows, and whether a model was fitted.

    A model of a run makes each estimate from all its volumes.
    """
    originals, parents, derivations = trace(X)
    image_of, times = originals.acquisition_order()
    images = np.array([image_of[rows[0]] for rows in parents])
    first, last = (np.array([reach(times[rows]) for rows in parents]) for reach in (np.min, np.max))
    is_estimated = any(name.startswith("estimate_") for name, _ in derivations)
    return images, first, last, is_estimated


def find_missing_classes(context):
    """Find splits that train without one of the classes."""
    if not context.has_classes:
        raise Skip("y holds numbers, not classes")
    for number, (train, test) in enumerate(context.splits):
        missing = np.setdiff1d(context.y, context.y[train])
        if len(missing):
            yield Finding(
                "classes",
                f"Split {number} trains without {named('class', 'classes', missing)}.",
                number,
                test=test[np.isin(context.y[test], missing)],
            )


def splits_of_one_class(context):
    """Return the positions of splits that test one of several classes only."""
    if len(np.unique(context.y)) < 2:
        return []
    tested = [np.unique(context.y[test]) for _, test in context.splits]
    return [number for number, classes in enumerate(tested) if len(classes) == 1]


def find_standardised(context):
    """Find data that were z-scored over all samples beforehand."""
    values = context.summary[1].astype(np.float64)
    if values.shape[1] < FEWEST_VOXELS:
        raise Skip(f"fewer than {FEWEST_VOXELS} voxels vary")
    if not _is_standard(values):
        return
    units = [getattr(context.X, "runs", context.groups), *(of for of, _ in context.centrings)]
    if not any(_is_standard_within(values, unit_of) for unit_of in units):
        yield Finding(
            "standardised",
            "X was z-scored over all samples before it was split: each voxel has mean 0 and "
            "standard deviation 1 over training and test samples together. Z-score in the "
            "pipeline, with VoxelZScorer.",
        )


def find_cut_centring(context):
    """Find groups that were centred together and are on both sides of a split."""
    if not isinstance(context.X, NiftiSamples):
        raise Skip("X is an array, which does not say whether it was centred")
    for group_of, source in context.centrings:
        for number, (train, test) in enumerate(context.splits):
            cut = np.intersect1d(group_of[train], group_of[test])
            if len(cut):
                names = [source.names[group] for group in cut]
                yield Finding(
                    "centred",
                    f"Split {number} cuts through {named('group', 'groups', names)}, whose volumes "
                    "were centred together: training volumes hold the mean of test volumes. Centre "
                    "within what the split keeps together, with by= of center_groups.",
                    number,
                    train[np.isin(group_of[train], cut)],
                    test[np.isin(group_of[test], cut)],
                )


def find_repeats(context):
    """Find splits whose test samples occur twice."""
    first = {}
    for number, (_, test) in enumerate(context.splits):
        earlier = first.setdefault(np.sort(test).tobytes(), number)
        if earlier != number:
            yield Finding(
                "repeats",
                f"Split {number} tests the same samples as split {earlier}, so its score counts "
                "twice.",
                number,
                test=test,
            )


def find_inner_leaks(context):
    """Find inner validation samples whose groups are trained on."""
    for estimator in context.nested():
        name = type(estimator).__name__
        parameters = estimator.get_params(deep=False)
        if parameters.get("early_stopping") is True and parameters.get("validation_fraction"):
            yield Finding(
                "inner",
                f"{name} stops early on a random subset of the training samples, which cuts "
                "through groups. Turn early_stopping off.",
            )
        for number, (train, _) in enumerate(context.splits):
            groups = context.groups[train]
            for role, fitted, held_out in _inner_splits(
                estimator, context.y[train], groups, is_classes=context.has_classes
            ):
                shared = np.intersect1d(groups[fitted], groups[held_out])
                if len(shared):
                    yield Finding(
                        "inner",
                        f"In split {number} the {role} of {name} puts "
                        f"{named('group', 'groups', shared)} on both its training and its "
                        "validation side.",
                        number,
                        train[fitted[np.isin(groups[fitted], shared)]],
                        train[held_out[np.isin(groups[held_out], shared)]],
                    )
                    break


def find_seen_volumes(context):
    """Find test volumes that the initial weights of a network were trained on."""
    is_seen, unknown = find_seen([context.estimator], context.X)
    found = list(splits_with_seen(is_seen, context.splits))
    for number, seen, test in found:
        yield Finding(SOURCE, describe_seen(number, seen, test), number, test=seen)
    if unknown and not found:
        raise Skip(unknown)


def find_leaky_transformers(context):
    """Find transformers that look at test samples, by altering the test samples."""
    transformers = context.transformers
    for name, value in sorted(transformers.get_params(deep=True).items()):
        if isinstance(value, FrozenEstimator):
            yield Finding(
                "transformers",
                f"{name} was fitted before the split, on unknown samples. Pass it unfitted.",
            )
        elif len(getattr(value, "shape", ())) > 1 and len(value) == len(context.y):
            yield Finding(
                "transformers",
                f"{name} holds an array with a row for each of the {len(value)} samples, test "
                "samples included.",
            )
    train, test = context.splits[0]
    plain, altered = _with_altered(context.X, test)
    outputs = []
    for data in (plain, altered):
        fitted = clone(transformers).fit(_safe_indexing(data, train), context.y[train])
        outputs.append(np.asarray(fitted.transform(_safe_indexing(plain, train))))
    if _differ(*outputs):
        yield Finding(
            "transformers",
            "Fitted on the same training samples, the transformers give different values once the "
            "test samples have changed: they read more than they are given.",
            0,
            train,
            test,
        )
        return
    both = np.concatenate([train, test])
    together = np.asarray(fitted.transform(_safe_indexing(altered, both)))[: len(train)]
    if _differ(outputs[1], together):
        yield Finding(
            "transformers",
            "The transformers give training samples different values when test samples are in the "
            "same batch: they standardise each batch by itself, instead of with the statistics "
            "found in fit.",
            0,
            train,
            test,
        )


CHECKS = {
    "groups": find_shared_groups,
    "duplicates": find_duplicates,
    "neighbours": find_neighbours,
    "classes": find_missing_classes,
    "standardised": find_standardised,
    "centred": find_cut_centring,
    "repeats": find_repeats,
    "inner": find_inner_leaks,
    "initial_weights": find_seen_volumes,
    "transformers": find_leaky_transformers,
}
CHEAP_CHECKS = tuple(name for name in CHECKS if name != "transformers")


def _batches(X):
    if hasattr(X, "iter_batches"):
        yield from batches_read_once(X)
    else:
        X = np.asarray(X)
        for start in range(0, len(X), 64):
            yield X[start : start + 64]


def _repeated(digests):
    values, counts = np.unique(digests, return_counts=True)
    return values[counts > 1]


def _similar_pairs(values, n_at_once=1024):
    centred = values - values.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred -= centred.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    # A volume that equals the mean volume correlates with none.
    centred /= np.where(lengths > 1e-6 * lengths.max(), lengths, np.inf)
    pairs = []
    for start in range(0, len(centred), n_at_once):
        similar = centred[start : start + n_at_once] @ centred.T > LARGEST_CORRELATION
        pairs += [(i + start, j) for i, j in np.argwhere(similar) if i + start != j]
    return pairs


def _is_standard(values):
    standard = (np.abs(values.mean(axis=0)) < STANDARD) & (
        np.abs(values.std(axis=0) - 1) < STANDARD
    )
    return standard.mean() > 0.95


def _is_standard_within(values, unit_of):
    """Return whether values were z-scored in each unit by itself."""
    return all(_is_standard(values[unit_of == unit]) for unit in np.unique(unit_of))


def _inner_splits(estimator, y, groups, *, is_classes):
    """Return (role, fitted, held out) for each split that an estimator makes in its fit."""
    parameters = estimator.get_params(deep=False)
    samples = np.arange(len(y))
    found = []
    # Keras takes the last samples.
    share = parameters.get("validation_split") or parameters.get("fit__validation_split")
    if share:
        cut = int(len(y) * (1 - share))
        found.append(("validation_split", samples[:cut], samples[cut:]))
    if parameters.get("validation") is not None:
        cv = check_cv(parameters["validation"], y, classifier=is_classes)
        found.append(("validation", *next(iter(cv.split(samples, y, groups)))))
    if is_search(estimator):
        cv = check_cv(parameters["cv"], y, classifier=is_classes)
        found += [("cv", *split) for split in cv.split(samples, y, groups)]
    return found


def _with_altered(X, test):
    """Return X in memory, and a copy whose test samples are very different."""
    plain = np.array(X)
    altered = plain.copy()
    altered[test] = 1000 * altered[test] + 1000
    if isinstance(X, NiftiSamples):
        about = {"y": X.y, "groups": X.groups, "runs": X.runs, "subjects": X.subjects}
        return [NiftiSamples.from_array(data, X.affine, **about) for data in (plain, altered)]
    return plain, altered


def _differ(values, others):
    if values.shape != others.shape:
        return True
    size = np.nanmax(np.abs(values), initial=0)
    return not np.allclose(values, others, rtol=0, atol=1e-4 * size, equal_nan=True)


def named(singular, plural, names, most=5):
    """Return names after the word for them, abridged if there are many."""
    text = ", ".join(map(str, names[:most]))
    if len(names) > most:
        text += f" and {len(names) - most} more"
    return f"{singular if len(names) == 1 else plural} {text}"
