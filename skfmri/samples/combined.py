"""Weighted sums of the volumes of each run."""

import numpy as np

from skfmri.samples.cleaned import RunSource, RunStep
from skfmri.samples.nifti import origin_of, samples_from_source


def combine_runs(samples, rows_of_runs, weights_of_runs, *, name, derivation, removes_mean):
    """Return samples that are sums of volumes, computed when they are first read.

    Sums of volumes that are computed themselves, such as cleaned runs, are made of the measured
    volumes in one step.

    Parameters
    ----------
    samples : NiftiSamples
        Volumes.
    rows_of_runs : list of ndarray of int
        For each run the rows of the samples that have a part in any sum.
    weights_of_runs : list of ndarray of shape (n_sums, n_rows)
        Weights of these rows in each sum.
    name : str
        What the sums are called in messages, such as "block means".
    derivation : tuple of (str, dict)
        The public function that makes them, and its settings as JSON-serialisable values.
    removes_mean : bool
        Whether the weights of a sum add up to 0, so that constants have no part in it.

    Returns
    -------
    sums : NiftiSamples
        Run by run, with the groups, runs and subjects of their volumes, without labels.
    """
    like = samples[np.repeat([rows[0] for rows in rows_of_runs], list(map(len, weights_of_runs)))]
    # Whatever the labels, the same volumes share one copy of what is computed from them.
    volumes = samples[:]
    volumes.y = like.y = None
    measured = _measured(volumes, rows_of_runs)
    steps, n_sums = [], 0
    for rows, weights in zip(rows_of_runs, weights_of_runs, strict=True):
        outputs = np.arange(n_sums, n_sums + len(weights))
        # Shared, because each trial shows its whole run.
        parents = [rows if row.all() else rows[row != 0] for row in weights]
        if measured is volumes:
            step = RunStep(rows, outputs, parents, removes_mean=removes_mean, weights=weights)
        else:
            step = _step_from_measured(volumes, rows, weights, outputs, parents, removes_mean)
        steps.append(step)
        n_sums += len(weights)
    source = RunSource(volumes, measured, steps, n_sums, name=name, derivation=derivation)
    return samples_from_source(source, like)


def _measured(volumes, rows_of_runs):
    """Return the volumes that sums can be made of in one step: the samples or what is below."""
    source, positions = origin_of(volumes), volumes.acquisition_order()[1]
    if not isinstance(source, RunSource):
        return volumes
    # Samples may have been given other runs since then.
    is_one_run = all(len(np.unique(source.where(positions[rows])[0])) == 1 for rows in rows_of_runs)
    return source.measured if is_one_run else volumes


def _step_from_measured(volumes, rows, weights, outputs, parents, removes_mean):
    """Return the step that does what the step below does, and then makes the sums."""
    source, positions = origin_of(volumes), volumes.acquisition_order()[1]
    runs, places = source.where(positions[rows])
    below = source.steps[runs[0]]
    whole = np.zeros((len(weights), len(below.outputs)))
    np.add.at(whole.T, places, weights.T)
    return RunStep(
        rows=below.rows,
        outputs=outputs,
        parents=parents,
        cleaning=below.cleaning,
        standardize=below.standardize,
        removes_mean=below.removes_mean or removes_mean,
        weights=whole if below.weights is None else whole @ below.weights,
    )
