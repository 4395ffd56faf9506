"""The classifiers under their path of version 0.1."""

from skfmri.estimators.classifier import SlabCNNClassifier, VolumeCNNClassifier

__all__ = ["SlabCNNClassifier", "VolumeCNNClassifier"]
