"""What a model was trained on, told without its data."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from nibabel.affines import voxel_sizes

from skfmri._validation import check_same_grid


def describe_samples(samples):
    """Return what the training samples were, in values that JSON knows.

    Parameters
    ----------
    samples : NiftiSamples
        The training samples.

    Returns
    -------
    description : dict
        Numbers of volumes, runs and files, the grid, the volumes of each class and group, and
        how the runs were cleaned.
    """
    originals, cleaning = before_cleaning(samples)
    files = [Path(source.name).name for source in originals._sources]
    places = originals.acquisition_order()[0]
    counts = None
    if samples.y is not None:
        table = pd.crosstab(samples.groups.astype(str), samples.y.astype(str))
        counts = table.to_dict("index")
    return {
        "n_volumes": len(samples),
        "n_runs": len(np.unique(samples.runs)),
        "n_groups": len(np.unique(samples.groups)),
        "grid_shape": list(samples.grid_shape),
        "affine": samples.affine.tolist(),
        "voxel_sizes_mm": voxel_sizes(samples.affine).tolist(),
        "volumes_per_group": counts,
        # Folders say more about a machine than a model should.
        "files": [
            {"name": name, "n_volumes": int((places == number).sum())}
            for number, name in enumerate(files)
            if (places == number).any()
        ],
        "cleaning": cleaning,
    }


def before_cleaning(samples):
    """Return samples as they were before `clean_runs`, and its settings, or None.

    Parameters
    ----------
    samples : NiftiSamples
        Samples.

    Returns
    -------
    originals : NiftiSamples
        The same volumes in the same order.
    cleaning : dict or None
        The arguments of `clean_runs` in values that JSON knows: ``t_r`` lists the different ones,
        ``confounds`` and ``sample_masks`` tell only whether there were any.
    """
    source = samples._sources[0]
    if not hasattr(source, "rows_of_runs"):
        return samples, None
    parameters = source.parameters
    cleaning = {
        "detrend": parameters["detrend"],
        "standardize": parameters["standardize"] is not None,
        "high_pass": parameters["high_pass"],
        "t_r": sorted(set(source.t_r) - {None}),
        "confounds": any(table is not None for table in source.confounds),
        "sample_masks": sum(map(len, source.kept)) < source.n_volumes,
    }
    return source.samples[samples.acquisition_order()[1]], cleaning


def volume_digests(samples):
    """Return the SHA-256 of each volume's values, whatever the file that holds them.

    Parameters
    ----------
    samples : NiftiSamples
        Samples.

    Returns
    -------
    digests : list of bytes
    """
    # Zero has two signs and one meaning.
    return [
        hashlib.sha256(np.ascontiguousarray(volume + np.float32(0), "<f4").data).digest()
        for batch in samples.iter_batches()
        for volume in batch
    ]


def all_digests(samples):
    """Return the digests of volumes before cleaning and of those that are trained on.

    Parameters
    ----------
    samples : NiftiSamples
        Samples.

    Returns
    -------
    digests : list of set of bytes
        One set per sample.
    """
    originals, cleaning = before_cleaning(samples)
    kinds = [originals] if cleaning is None else [originals, samples]
    return [set(found) for found in zip(*map(volume_digests, kinds), strict=True)]


def check_samples(samples, estimator):
    """Raise ValueError where samples cannot be those an estimator was trained on."""
    classes = getattr(estimator, "classes_", None)
    if samples.y is not None and classes is not None:
        unknown = np.setxor1d(samples.y.astype(str), classes.astype(str))
        if len(unknown):
            raise ValueError(
                f"The class {str(unknown[0])!r} is only in the samples or only in the model, whose "
                f"classes are {', '.join(map(str, classes))}. Pass the samples that it was fitted "
                "on."
            )
    for _, step in getattr(estimator, "steps", [(None, estimator)]):
        if hasattr(step, "affine_"):
            reference = step.grid_shape_, step.affine_, "the model"
            check_same_grid(samples.grid_shape, samples.affine, "samples", *reference)


def describe_result(result):
    """Return scores and tests of a `DecodingResult` in values that JSON knows."""
    decoder = result.folds[result.folds["model"] == "decoder"]
    test = result.permutation_test
    return {
        # JSON has no NaN.
        "summary": result.summary.astype(object).replace(np.nan, None).to_dict("records"),
        "sentences": result.sentences(),
        "n_folds": len(decoder),
        "n_groups": int(result.groups["group"].nunique()),
        "confidence": result.confidence,
        "random_state": int(result.random_state),
        "permutation_test": None
        if test is None
        else {"p_value": test.pvalue, "n_permutations": test.n_permutations},
    }
