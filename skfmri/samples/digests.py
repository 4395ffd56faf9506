"""Digests by which volumes are recognised again, whatever the file that holds them."""

import hashlib

import numpy as np

from skfmri.samples.cleaned import batches_read_once
from skfmri.samples.nifti import trace


def volume_digests(samples):
    """Return the SHA-256 of each volume's values.

    Parameters
    ----------
    samples : NiftiSamples or ndarray of shape (n_samples, ...)
        Samples.

    Returns
    -------
    digests : list of bytes
    """
    batches = [samples] if isinstance(samples, np.ndarray) else batches_read_once(samples)
    # Adding 0 turns -0.0 into 0.0, which is the same value in different bytes.
    return [
        hashlib.sha256(np.ascontiguousarray(volume + np.float32(0), "<f4").data).digest()
        for batch in batches
        for volume in batch
    ]


def all_digests(samples):
    """Return the digests of samples, and of the volumes of files that they show.

    Parameters
    ----------
    samples : NiftiSamples
        Samples.

    Returns
    -------
    digests : list of set of bytes
        One set per sample.
    """
    originals, parents, derivations = trace(samples)
    of_originals = volume_digests(originals)
    digests = [{of_originals[row] for row in rows} for rows in parents]
    if derivations:
        for found, digest in zip(digests, volume_digests(samples), strict=True):
            found.add(digest)
    return digests
