"""The runs of Haxby et al. 2001 as samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nilearn.datasets
import numpy as np
import pandas as pd

from skfmri._validation import check_number
from skfmri.datasets._parameter_docs import LOADERS
from skfmri.docstrings import fill_docstring
from skfmri.preprocessing import clean_runs
from skfmri.samples import NiftiSamples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skfmri._types import FilePath

N_SUBJECTS = 6
REST = "rest"


@fill_docstring(LOADERS)
def fetch_haxby_samples(
    subject: int = 2,
    *,
    classes: Sequence[str] | None = None,
    clean: bool = True,
    detrend: bool = True,
    standardize: bool = True,
    high_pass: float | None = None,
    data_dir: FilePath | None = None,
    verbose: int = 0,
) -> NiftiSamples:
    """Fetch a subject of Haxby et al. 2001, ready to be decoded.

    Six subjects saw pictures of eight categories in 12 runs of 121 volumes. nilearn downloads
    each subject once. The runs are the groups: volumes of one run resemble each other, whatever
    they show.

    Parameters
    ----------
    subject : int, default=2
        Number of the subject, from 1 to 6.
    classes : list of str, default=None
        Labels to keep. None keeps the eight categories: bottle, cat, chair, face, house,
        scissors, scrambledpix and shoe; "rest", the time between blocks, must be listed.
    {clean}
    high_pass : float, default=None
        Lowest frequency to keep, in Hz; a volume takes 2.5 s.
    data_dir : str or path-like, default=None
        Folder for the download. None takes nilearn's.
    verbose : int, default=0
        How much nilearn prints while it downloads.

    Returns
    -------
    samples : NiftiSamples
        Volumes in the native space of the subject, with labels, and runs as groups. The files
        have been downloaded when the function returns; volumes are read when data are first needed.

    Raises
    ------
    ValueError
        If there is no such subject or label.

    See Also
    --------
    nilearn.datasets.fetch_haxby : Downloads the files.

    Notes
    -----
    Labels are taken as the study gives them, one per volume, without a further haemodynamic delay.

    References
    ----------
    J. V. Haxby, M. I. Gobbini, M. L. Furey, A. Ishai, J. L. Schouten and P. Pietrini (2001).
    Distributed and overlapping representations of faces and objects in ventral temporal cortex.
    Science 293, 2425. https://doi.org/10.1126/science.1063736
    """
    subject = check_number(subject, "subject", least=1)
    if subject > N_SUBJECTS:
        raise ValueError(f"subject must be a number from 1 to {N_SUBJECTS}, but is {subject}.")
    if isinstance(classes, str):
        raise ValueError(f"classes must be a list of labels, but is {classes!r}.")
    if not clean and high_pass is not None:
        raise ValueError("high_pass= has no effect with clean=False. Omit one of them.")
    files = nilearn.datasets.fetch_haxby(subjects=[subject], data_dir=data_dir, verbose=verbose)
    table = pd.read_csv(files.session_target[0], sep=" ")
    labels, runs = table["labels"].to_numpy(dtype=str), table["chunks"].to_numpy()
    samples = NiftiSamples(str(files.func[0]), y=labels, groups=runs)
    there = np.unique(labels).tolist()
    classes = [name for name in there if name != REST] if classes is None else list(classes)
    unknown = [name for name in classes if name not in there]
    if unknown:
        raise ValueError(
            f"classes contains {', '.join(map(repr, unknown))}, but the labels of subject "
            f"{subject} are {', '.join(map(repr, there))}."
        )
    if clean:
        samples = clean_runs(
            samples,
            detrend=detrend,
            standardize=standardize,
            high_pass=high_pass,
            t_r=files.t_r,
        )
    return samples[np.isin(samples.y, classes)]
