"""Metrics of classes for many label vectors at once."""

import numpy as np


def _accuracies(predicted, labels):
    return (labels == predicted).mean(axis=1)


def _balanced_accuracies(predicted, labels):
    recalls = []
    for code in np.unique(labels):
        is_class = labels == code
        n_class = is_class.sum(axis=1)
        hits = (is_class & (predicted == code)).sum(axis=1)
        recalls.append(np.where(n_class, hits / np.maximum(n_class, 1), np.nan))
    return np.nanmean(recalls, axis=0)


# Scikit-learn's scorers take a millisecond per call.
QUICK_SCORES = {"accuracy": _accuracies, "balanced_accuracy": _balanced_accuracies}
