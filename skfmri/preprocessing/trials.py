"""Estimates of the response to each event."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Literal

import pandas as pd

from skfmri.preprocessing.event_tables import LABEL
from skfmri.preprocessing.run_models import models_of_runs
from skfmri.samples import as_samples
from skfmri.samples.combined import combine_runs
from skfmri.temporal.trials import lsa_weights, lss_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skfmri._types import FilePath, ImageSamples
    from skfmri.samples import NiftiSamples

    Events = pd.DataFrame | FilePath | Sequence[pd.DataFrame | FilePath]

METHODS = {"lss": lss_weights, "lsa": lsa_weights}
MOST_NAMED = 3


def estimate_trials(
    samples: ImageSamples,
    events: Events,
    *,
    method: Literal["lss", "lsa"] = "lss",
    hrf_model: Literal["glover", "spm"] = "glover",
    t_r: float | Sequence[float] | None = None,
    start: float | Sequence[float] = 0.0,
) -> NiftiSamples:
    """Estimate the response to each trial, as one sample.

    In rapid event-related designs a volume shows the responses to several trials, so no label fits
    it. A general linear model of each run takes them apart: the estimates, one map per trial, are
    the samples. It looks at onsets and durations, never at labels, and at each run by itself, so it
    may come before cross-validation as long as that splits no run.

    Drift, confounds and filters belong into the same model. Pass the runs that
    :func:`~skfmri.clean_runs` returns: the expected responses are then multiplied by the same
    matrix as the data, which equals a model with drift and confounds as further regressors. A model
    of data that were cleaned by other means is biased, since the responses in them have changed.

    Parameters
    ----------
    samples : NiftiSamples or images
        Whole runs in time order, raw or from :func:`~skfmri.clean_runs`; volumes that
        `sample_masks` left out there have no part in the model. With ``standardize=True`` there,
        the estimates are divided by the spread of each voxel over its cleaned run.
    events : DataFrame, path, or sequence of them
        Trials with the columns of BIDS: ``onset`` and ``duration`` in seconds, and ``trial_type``,
        the label, which may be left out. Either one table with a column ``run`` that holds the
        names in ``samples.runs``, or one table per run, in the order in which runs first appear; a
        single run needs neither. Paths name tab-separated files, or comma-separated ``.csv`` files.
        Trials without a label have a part in the model; their label is the empty string.
    method : {"lss", "lsa"}, default="lss"
        "lss" (least squares separate) fits a model for each trial, with one regressor for the trial
        and one for all others, whatever their labels. "lsa" (least squares all) fits one model with
        a regressor for each trial, whose estimates vary much if responses overlap.
    hrf_model : {"glover", "spm"}, default="glover"
        Haemodynamic response, as in nilearn.
    t_r : float or sequence of float, default=None
        Time from one volume to the next, in seconds; a sequence has one time per run. None takes
        that of :func:`~skfmri.clean_runs`, else that of the image headers if these give its unit.
    start : float or sequence of float, default=0.0
        Time of the first volume in the image of each run on the clock of the onsets, in seconds. If
        slices were brought to the middle of their acquisition it is ``t_r / 2``; if the image lacks
        the first 4 volumes that were acquired, it is ``4 * t_r`` more. Volumes of the image that
        are not among the samples count. If an image holds several runs, or a run consists of files
        of one volume, it is the time of the first sample of each run.

    Returns
    -------
    trials : NiftiSamples
        One sample per trial, run by run in the order in which runs first appear, in the order of
        the table, with the label as `y` and with group, run and subject. The estimates are computed
        when they are first read, in bounded memory, and kept in the cache directory (4 bytes per
        voxel and trial). For a slab only voxels that have a part in it are kept. Values that are
        not finite count as 0.

    Raises
    ------
    ValueError
        If trials cannot be told apart from each other or from what cleaning removes, which are
        named; if no trial is left; if `samples` are a selection from cleaned runs, or come from
        any other function; if the time between volumes is unknown; if events do not fit the runs,
        or their onsets and durations are not numbers; or if a run lies in several groups or images.

    Warns
    -----
    UserWarning
        If trials begin before the first volume of their run, end after its last, or have less than
        half of their response in the volumes that are kept. They are named, left out, and still
        have a part in the model of others. When data are read, for each run with values that are
        not finite in voxels that have finite ones, too.

    See Also
    --------
    average_blocks : For designs in which a block lasts several volumes.
    estimate_conditions : One estimate per label and run.
    nilearn.glm.first_level.FirstLevelModel : Gives the same estimates, model by model.

    Notes
    -----
    A model is fitted by ordinary least squares with a constant, which equals nilearn's
    ``FirstLevelModel(noise_model="ols", signal_scaling=False, drift_model=None)`` with the
    confounds as further regressors. All estimates of a run are one matrix, which is multiplied by
    the matrix of the cleaning: a run is read once, however many trials it has.

    Estimates of one run share its noise, so a run must not be on both sides of a split.

    References
    ----------
    J. A. Mumford, B. O. Turner, F. G. Ashby and R. A. Poldrack (2012). Deconvolving BOLD activation
    in event-related designs for multivoxel pattern classification analyses. NeuroImage 59(3),
    2636-2643. https://doi.org/10.1016/j.neuroimage.2011.08.076

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skfmri import NiftiSamples, clean_runs, estimate_trials
    >>> volumes = np.random.default_rng(0).normal(100, 1, size=(40, 2, 3, 4))
    >>> runs = clean_runs(NiftiSamples.from_array(volumes, np.eye(4)), standardize=False)
    >>> events = pd.DataFrame({"onset": [4, 9, 15], "duration": 1, "trial_type": list("aba")})
    >>> trials = estimate_trials(runs, events, t_r=2.0)
    >>> trials.shape, trials.y.tolist()
    ((3, 2, 3, 4), ['a', 'b', 'a'])
    """
    if method not in METHODS:
        raise ValueError(
            f"method must be one of {', '.join(map(repr, METHODS))}, but is {method!r}."
        )
    samples = as_samples(samples, "estimate_trials")
    options = {"hrf_model": hrf_model, "t_r": t_r, "start": start}
    models, has_labels, settings = models_of_runs(samples, events, "estimate_trials", **options)
    weights, chosen, left_out, mixed = [], [], [], []
    for model in models:
        of_run, left = METHODS[method](model.regressors, model.constant)
        left_out += model.describe(~model.is_whole)
        mixed += model.describe(model.is_whole & model.find_mixed(left))
        weights.append(of_run[model.is_whole])
        chosen.append(model.is_whole)
    _refuse_mixed(mixed, models, method)
    _warn_of_left_out(left_out, models)
    derivation = "estimate_trials", {"method": method, **settings}
    return _combined(samples, models, weights, chosen, has_labels, "trial estimates", derivation)


def estimate_conditions(
    samples: ImageSamples,
    events: Events,
    *,
    hrf_model: Literal["glover", "spm"] = "glover",
    t_r: float | Sequence[float] | None = None,
    start: float | Sequence[float] = 0.0,
) -> NiftiSamples:
    """Estimate the response to each kind of trial in each run, as one sample.

    The model of a run has one regressor for all trials of a label, so a run gives one map per
    label: few samples with little noise. Labels decide which trials are estimated together, but a
    run is only looked at by itself, so this may come before cross-validation as long as that splits
    no run.

    Parameters
    ----------
    samples : NiftiSamples or images
        As in :func:`~skfmri.estimate_trials`.
    events : DataFrame, path, or sequence of them
        As in :func:`~skfmri.estimate_trials`. Trials without a label share one regressor, which
        gives no sample.
    hrf_model : {"glover", "spm"}, default="glover"
        Haemodynamic response, as in nilearn.
    t_r : float or sequence of float, default=None
        As in :func:`~skfmri.estimate_trials`.
    start : float or sequence of float, default=0.0
        As in :func:`~skfmri.estimate_trials`.

    Returns
    -------
    conditions : NiftiSamples
        One sample per label and run, run by run, labels in the order of their first trials, with
        the label as `y` and with group, run and subject. They are computed when they are first
        read, as in :func:`~skfmri.estimate_trials`.

    Raises
    ------
    ValueError
        As in :func:`~skfmri.estimate_trials`, or if no trial has a label.

    See Also
    --------
    estimate_trials : One estimate per trial, which no label enters.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skfmri import NiftiSamples, estimate_conditions
    >>> volumes = np.random.default_rng(0).normal(100, 1, size=(40, 2, 3, 4))
    >>> events = pd.DataFrame({"onset": [4, 9, 15], "duration": 1, "trial_type": list("aba")})
    >>> samples = NiftiSamples.from_array(volumes, np.eye(4))
    >>> estimate_conditions(samples, events, t_r=2.0).y.tolist()
    ['a', 'b']
    """
    samples = as_samples(samples, "estimate_conditions")
    options = {"hrf_model": hrf_model, "t_r": t_r, "start": start, "by_label": True}
    models, _, settings = models_of_runs(samples, events, "estimate_conditions", **options)
    weights, chosen, mixed = [], [], []
    for model in models:
        of_run, left = lsa_weights(model.regressors, model.constant)
        has_label = (model.events[LABEL].astype(str) != "").to_numpy()
        mixed += model.describe(has_label & model.find_mixed(left))
        weights.append(of_run[has_label])
        chosen.append(has_label)
    if not any(map(len, weights)):
        raise ValueError(
            "No trial has a label. Give the events a column trial_type, or use estimate_trials, "
            "which needs none."
        )
    _refuse_mixed(mixed, models, "lsa")
    derivation = "estimate_conditions", settings
    return _combined(samples, models, weights, chosen, True, "condition estimates", derivation)


def _combined(samples, models, weights, chosen, has_labels, name, derivation):
    """Return the samples that weights of the volumes of each run give."""
    used = [number for number, of_run in enumerate(weights) if len(of_run)]
    estimates = combine_runs(
        samples,
        [models[number].rows for number in used],
        [weights[number] for number in used],
        name=name,
        derivation=derivation,
        removes_mean=True,
    )
    if has_labels:
        labels = [models[number].events[LABEL][chosen[number]] for number in used]
        estimates.y = pd.concat(labels).to_numpy()
    return estimates


def _refuse_mixed(mixed, models, method):
    """Raise ValueError if trials cannot be told apart."""
    if not mixed:
        return
    n_all = sum(len(model.events) for model in models)
    advice = "Name each trial once"
    if method == "lsa":
        advice += ', choose method="lss" if trials follow each other fast'
    raise ValueError(
        f"{len(mixed)} of {n_all} trials cannot be told apart from others, or from the drift and "
        f"confounds that were removed: {_some(mixed)}. {advice}, or remove less before."
    )


def _warn_of_left_out(left_out, models):
    """Warn of trials that their run does not show, or raise ValueError if it shows none."""
    n_all = sum(len(model.events) for model in models)
    if not left_out:
        return
    found = (
        f"{len(left_out)} of {n_all} trials begin before the first volume of their run, end after "
        f"its last, or have less than half of their response in it: {_some(left_out)}."
    )
    if len(left_out) == n_all:
        raise ValueError(
            f"{found} Check the onsets, which are in seconds, and the times of the volumes "
            "(t_r=, start=)."
        )
    warnings.warn(
        f"{found} They are left out; the models of other trials contain them.",
        UserWarning,
        stacklevel=3,
    )


def _some(names):
    text = "; ".join(names[:MOST_NAMED])
    return text if len(names) <= MOST_NAMED else f"{text} and {len(names) - MOST_NAMED} more"
