"""Weights that turn the volumes of a run into estimates of its trials."""

# The estimate of a regressor in a least-squares fit is the product of the data with one weight per
# volume: the residual of the regressor after a fit of all others, divided by the sum of its squares
# (Frisch, Waugh and Lovell). That sum also says how well the regressor can be told from the others.

import numpy as np

HRF_MODELS = ("glover", "spm")
# Seconds after which nothing of a response is left, as in nilearn's models.
RESPONSE_SECONDS = 32
# Seconds before the first volume from which nilearn takes events.
EARLIEST_ONSET = 24
# Below this fraction of its length, a regressor is what rounding left of it.
ROUNDING = 1e-10


def event_regressors(onsets, durations, frame_times, hrf_model):
    """Return the expected response to each event, as nilearn models it.

    Parameters
    ----------
    onsets, durations : ndarray of shape (n_events,)
        In seconds.
    frame_times : ndarray of shape (n_volumes,)
        Times of the volumes in seconds, in equal steps.
    hrf_model : {"glover", "spm"}
        Haemodynamic response.

    Returns
    -------
    regressors : ndarray of shape (n_volumes, n_events)
        0 for events more than 24 s before the first volume.
    """
    # Imported here, so that the package loads faster for those who estimate nothing.
    from nilearn.glm.first_level import compute_regressor

    regressors = np.zeros((len(frame_times), len(onsets)))
    for number, event in enumerate(zip(onsets, durations, strict=True)):
        if event[0] >= frame_times[0] - EARLIEST_ONSET and event[0] <= frame_times[-1]:
            condition = np.array([[event[0]], [event[1]], [1.0]])
            found, _ = compute_regressor(condition, hrf_model, frame_times)
            regressors[:, number] = found[:, 0]
    return regressors


def seen_shares(onsets, durations, frame_times, regressors, kept, hrf_model):
    """Return the share of each response that falls on volumes that are kept.

    Parameters
    ----------
    onsets, durations, frame_times, hrf_model
        As in `event_regressors`.
    regressors : ndarray of shape (n_volumes, n_events)
        What that returned.
    kept : ndarray of int
        Positions of the volumes that are kept.

    Returns
    -------
    shares : ndarray of shape (n_events,)
        Shares of the sum of squares, from 0 to 1; 0 for events that begin more than one volume
        before the first, or end more than one after the last.
    """
    step, whole = frame_times[1] - frame_times[0], (regressors**2).sum(axis=0)
    # A volume may be represented by any time while it was acquired.
    is_inside = (onsets >= frame_times[0] - step) & (onsets + durations <= frame_times[-1] + step)
    ends = onsets + durations + RESPONSE_SECONDS
    for number in np.flatnonzero(is_inside & (ends > frame_times[-1])):
        n_more = int(np.ceil((ends[number] - frame_times[-1]) / step))
        times = np.append(frame_times, frame_times[-1] + step * np.arange(1, n_more + 1))
        event = slice(number, number + 1)
        response = event_regressors(onsets[event], durations[event], times, hrf_model)
        whole[number] = (response**2).sum()
    return is_inside * (regressors[kept] ** 2).sum(axis=0) / np.where(whole > 0, whole, 1)


def lsa_weights(regressors, constant):
    """Return weights for the estimates of all regressors in one model.

    Parameters
    ----------
    regressors : ndarray of shape (n_volumes, n)
        One column per trial, as cleaning leaves it.
    constant : ndarray of shape (n_volumes,)
        A further regressor, which is ignored if it is 0 but for rounding: what cleaning leaves of a
        constant.

    Returns
    -------
    weights : ndarray of shape (n, n_volumes)
        Their product with cleaned volumes is the estimates; 0 if a regressor is a sum of others.
    left : ndarray of shape (n,)
        Sum of squares of what no other regressor explains of each.
    """
    columns = _without(constant, regressors)
    lengths = np.linalg.norm(columns, axis=0)
    scaled = columns / np.where(lengths > 0, lengths, 1)
    left_vectors, sizes, right_vectors = np.linalg.svd(scaled, full_matrices=False)
    is_there = sizes > ROUNDING * max(1, *columns.shape)
    inverse = (right_vectors[is_there].T / sizes[is_there]) @ left_vectors[:, is_there].T
    # A regressor can be estimated if no sum of regressors that has a part of it is 0.
    shares = (right_vectors[is_there] ** 2).sum(axis=0)
    can_be = (shares > 1 - 1e-6) & (lengths > 0)
    weights = inverse * (can_be / np.where(lengths > 0, lengths, 1))[:, np.newaxis]
    squares = (weights**2).sum(axis=1)
    return weights, can_be / np.where(can_be, squares, 1)


def lss_weights(regressors, constant):
    """Return weights for the estimate of each regressor in a model of its own.

    Parameters
    ----------
    regressors, constant
        As in `lsa_weights`. The model of a regressor has the sum of all others as one more.

    Returns
    -------
    weights : ndarray of shape (n, n_volumes)
        As in `lsa_weights`; 0 if a regressor is a multiple of the sum of the others.
    left : ndarray of shape (n,)
        As in `lsa_weights`.
    """
    columns = _without(constant, regressors)
    others = columns.sum(axis=1, keepdims=True) - columns
    squares = (others**2).sum(axis=0)
    # Of a single trial there are no others but for rounding.
    is_there = squares > ROUNDING**2 * (columns**2).sum(axis=0)
    slopes = (others * columns).sum(axis=0) * is_there / np.where(is_there, squares, 1)
    residuals = columns - others * slopes
    left, whole = (residuals**2).sum(axis=0), (columns**2).sum(axis=0)
    can_be = left > ROUNDING * whole
    return (residuals * can_be / np.where(can_be, left, 1)).T, left * can_be


def _without(constant, columns):
    """Return columns without what a constant explains of them."""
    square = constant @ constant
    if square <= ROUNDING**2 * len(constant):
        return columns
    return columns - np.outer(constant, constant @ columns / square)
