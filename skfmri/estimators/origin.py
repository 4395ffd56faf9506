"""Where the weights come from that a network starts with."""

# Nothing here loads Keras: audits and ledgers ask about estimators of any kind. A network keeps in
# `_trained_on` what is known of the volumes behind its weights, in this fit and in those that its
# initial weights come from. Only a file knows the volumes of a fit: a network sees arrays.

import hashlib
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator

# The parameter that holds a fitted estimator.
SOURCE = "initial_weights"
# Parameters of searches that list values of other parameters.
GRIDS = ("param_grid", "param_distributions")
EXPECTED = (
    "a fitted network, such as a SlabCNNClassifier, or a fitted pipeline that ends in one, as "
    "skfmri.load returns"
)


@dataclass(frozen=True)
class TrainedOn:
    """What is known of the volumes that weights were trained on.

    Attributes
    ----------
    volumes, earlier : frozenset of bytes
        Digests of known volumes, from `skfmri.samples.digests`: of the last fit, and of those
        before it.
    fits : tuple of dict
        Fits that led to the weights, the last one first: ``class`` of the network, ``frozen``
        layers, and ``samples``, a description of its training samples as a file records it, or
        None if they are not known.
    remembered : tuple of FittedGroups
        What pipelines before the last one remember of fits in this process.
    """

    volumes: frozenset
    earlier: frozenset
    fits: tuple
    remembered: tuple = ()

    @property
    def digests(self):
        """Digests of all volumes that are known."""
        return self.volumes | self.earlier

    @property
    def is_complete(self):
        """Whether the volumes of all fits are known."""
        return self.fits[0]["samples"] is not None and self.knows_earlier

    @property
    def knows_earlier(self):
        """Whether the volumes of all fits before the last are known."""
        return all(fit["samples"] is not None for fit in self.fits[1:])


def steps_of(estimator):
    """Return the steps of a pipeline, or the estimator itself, also if it is frozen."""
    while isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    if not hasattr(estimator, "steps"):
        return [estimator]
    return [step for _, part in estimator.steps for step in steps_of(part)]


def last_network(estimator):
    """Return the network that an estimator is, or ends in; None if there is none."""
    last = steps_of(estimator)[-1]
    return last if hasattr(type(last), "network_function") else None


def fitted_network(source):
    """Return the network whose weights another one starts from, or raise an error.

    Parameters
    ----------
    source : estimator
        The value of `initial_weights`.

    Returns
    -------
    network : classifier or regressor
    """
    network = last_network(source)
    if network is None:
        found = f"a {type(source).__name__}" if isinstance(source, BaseEstimator) else repr(source)
        hint = ""
        if hasattr(source, "best_estimator_"):
            hint = " Of a search, pass best_estimator_."
        elif isinstance(source, str) or hasattr(source, "__fspath__"):
            hint = " Load a file first: initial_weights=skfmri.load(path)."
        raise TypeError(f"{SOURCE} must be {EXPECTED}, but is {found}.{hint}")
    if not hasattr(network, "_members"):
        raise ValueError(
            f"{SOURCE} holds a {type(network).__name__} that is not fitted. Fit it first. A search "
            "over several decoders clones them, which forgets their weights, unless each is "
            "wrapped: sklearn.frozen.FrozenEstimator(decoder)."
        )
    return network


def sources_of(estimator):
    """Return what networks in an estimator start from, also as candidates of a search.

    Parameters
    ----------
    estimator : estimator or None
        A network, a pipeline or a search.

    Returns
    -------
    sources : list of estimator
    """
    if estimator is None:
        return []
    found = []
    for name, value in {"": estimator, **estimator.get_params(deep=True)}.items():
        last = name.split("__")[-1]
        if last in GRIDS:
            found += _candidates(value)
        elif last != SOURCE and last_network(value) is value:
            # An attribute, for the constructor of a subclass may set what it does not name.
            found.append(getattr(value, SOURCE, None))
    return [source for source in found if last_network(source) is not None]


def _candidates(grids):
    """Return the sources that a search tries, as far as they are listed."""
    found = []
    for grid in [grids] if isinstance(grids, dict) else grids:
        for name, listed in grid.items():
            values = listed if isinstance(listed, list | tuple | np.ndarray) else []
            if name.split("__")[-1] == SOURCE:
                found += list(values)
            else:
                # A search may replace whole steps.
                for value in values:
                    found += sources_of(value) if isinstance(value, BaseEstimator) else []
    return found


def remembered_fits(source):
    """Return what the steps of a source remember of a fit in this process."""
    found = [getattr(step, "_fitted_on", None) for step in steps_of(source)]
    return [fitted for fitted in found if fitted is not None]


def trained_on(network):
    """Return what is known of the volumes that the weights of a fitted network were trained on.

    Parameters
    ----------
    network : classifier or regressor
        Fitted or loaded.

    Returns
    -------
    known : TrainedOn
    """
    # The first of several fits leaves no note.
    known = vars(network).get("_trained_on")
    if known is None:
        return TrainedOn(frozenset(), frozenset(), (describe_fit(network, None),))
    return known


def trained_further(network):
    """Return what is known of the volumes behind a network that starts from initial weights.

    Parameters
    ----------
    network : classifier or regressor
        With fitted `initial_weights`.

    Returns
    -------
    known : TrainedOn
    """
    earlier = trained_on(fitted_network(network.initial_weights))
    fits = describe_fit(network, None), *earlier.fits
    remembered = *remembered_fits(network.initial_weights), *earlier.remembered
    return TrainedOn(frozenset(), earlier.digests, fits, remembered)


def check_same_start(network):
    """Raise ValueError if a network holds initial weights other than those that it started from.

    Parameters
    ----------
    network : classifier or regressor
        Fitted.
    """
    if network.initial_weights is None:
        return
    known, now = trained_on(network), trained_further(network)
    if (known.earlier, known.fits[1:]) != (now.earlier, now.fits[1:]):
        raise ValueError(
            f"{type(network).__name__} cannot be saved: its {SOURCE} were replaced or fitted again "
            "after it had started from them, so the file would not say what they were trained on. "
            "Fit it again first."
        )


def note_training(network, volumes, earlier, fits):
    """Let a network that was read from a file know what the file says of its training.

    Parameters
    ----------
    network : classifier or regressor
        Fitted.
    volumes, earlier : frozenset of bytes
        Digests of the volumes of its fit, and of the fits before it.
    fits : sequence of dict
        As in `TrainedOn`.
    """
    network._trained_on = TrainedOn(volumes, earlier, tuple(fits))
    # An altered file may say nothing of what the network started from.
    if network.initial_weights is not None and len(fits) > 1:
        # Its volumes are those of all earlier fits, for a file does not keep these apart.
        note_training(fitted_network(network.initial_weights), earlier, frozenset(), fits[1:])


def bare_network(source):
    """Return the network of a source without a source: all that a fit needs.

    Parameters
    ----------
    source : estimator
        The value of `initial_weights`.

    Returns
    -------
    network : classifier or regressor
        Fitted; a copy that shares the weights.
    """
    network = fitted_network(source)
    bare = copy(network)
    bare.initial_weights, bare.frozen = None, ()
    bare._fitted_recipe = replace(network._fitted_recipe, frozen=())
    return bare


def describe_fit(network, samples):
    """Return the note on one fit of a network, with a description of its samples or None."""
    return {"class": type(network).__name__, "frozen": list(network.frozen), "samples": samples}


def weights_digest(source):
    """Return a digest of the weights and outputs of a fitted source, the same in any process.

    Parameters
    ----------
    source : estimator
        The value of `initial_weights`.

    Returns
    -------
    digest : str
    """
    network = fitted_network(source)
    learnt = [np.asarray(getattr(network, name)).tolist() for name in network.learnt_of_targets]
    found = hashlib.sha256(repr(learnt).encode())
    for weights in network._members:
        for weight in weights:
            found.update(f"{weight.dtype.str}{weight.shape}".encode())
            found.update(weight.tobytes())
    return found.hexdigest()[:32]
