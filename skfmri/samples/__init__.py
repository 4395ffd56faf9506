"""Volumes as samples that scikit-learn can index."""

from skfmri.samples.nifti import NiftiSamples, as_samples

__all__ = ["NiftiSamples", "as_samples"]
