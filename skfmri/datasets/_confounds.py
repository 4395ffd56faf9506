"""Confounds that fMRIPrep wrote beside an image."""

import warnings
from pathlib import Path

from nilearn.interfaces.bids import parse_bids_filename
from nilearn.interfaces.fmriprep import load_confounds, load_confounds_strategy

from skfmri.datasets._bids_files import OF_A_FILE

CONFOUNDS = "_desc-confounds_timeseries.tsv"
# Images that ICA-AROMA has denoised.
DENOISED = "smoothAROMAnonaggr"
PRESETS = ("simple", "scrubbing", "compcor", "ica_aroma")


def read_confounds(image, n_volumes, confounds):
    """Return the confounds of an image, and which volumes to keep, as nilearn loads them.

    Parameters
    ----------
    image : dict
        Image, as nilearn parses its name.
    n_volumes : int
        Number of volumes of the image.
    confounds : str, sequence of str or dict
        A preset, components, or all arguments of nilearn's `load_confounds`.

    Returns
    -------
    table : pandas.DataFrame or None
        A row per volume.
    sample_mask : ndarray or None
        Positions of the volumes to keep; None keeps all.
    """
    path = image["file_path"]
    try:
        if isinstance(confounds, str) and confounds in PRESETS:
            table, mask = load_confounds_strategy(path, denoise_strategy=confounds)
        elif isinstance(confounds, dict):
            table, mask = load_confounds(path, **confounds)
        else:
            strategy = (confounds,) if isinstance(confounds, str) else tuple(confounds)
            with warnings.catch_warnings():
                # () is deliberate, not an oversight.
                warnings.filterwarnings("ignore", message="strategy is empty")
                table, mask = load_confounds(path, strategy=strategy)
    except (ValueError, KeyError, IndexError, TypeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"The confounds {confounds!r} of {path} cannot be loaded: {reason} "
            f"{_way_out(image, reason)}"
        ) from error
    if table is not None and len(table) != n_volumes:
        raise ValueError(
            f"{_expected(image)} has {len(table)} rows, but {path} has {n_volumes} volumes. A "
            "table of confounds needs one row per volume."
        )
    return table, mask


def _way_out(image, reason):
    """Return what to do about confounds that cannot be loaded."""
    if DENOISED not in reason or DENOISED in image["file_path"]:
        return (
            f"They are expected in {_expected(image)}, as fMRIPrep writes them. Presets are "
            f"{', '.join(PRESETS)}."
        )
    run = _expected(image).name.removesuffix(CONFOUNDS)
    found = sorted(Path(image["file_path"]).parent.glob(f"{run}*_desc-{DENOISED}_bold.nii*"))
    if not found:
        return (
            "There are no such images; fMRIPrep before version 24 wrote them if it was asked to. "
            f"Choose another preset: {', '.join(PRESETS[:-1])}."
        )
    space = parse_bids_filename(found[0])["entities"].get("space")
    in_space = f' and space="{space}"' if space else ""
    return f'Pass entities={{"desc": "{DENOISED}"}}{in_space}, which chooses {found[0].name}.'


def _expected(image):
    entities = image["entities"]
    name = "_".join(f"{key}-{entities[key]}" for key in OF_A_FILE if entities.get(key))
    return Path(image["file_path"]).parent / f"{name}{CONFOUNDS}"
