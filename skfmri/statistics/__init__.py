"""Statistics of cross-validated scores, as functions of arrays."""

from skfmri.statistics.differences import (
    TTestResult,
    corrected_resampled_t_test,
    holm_correction,
)
from skfmri.statistics.intervals import (
    FEWEST_BOOTSTRAPS,
    Interval,
    bootstrap_interval,
    bootstrap_interval_of_sums,
)
from skfmri.statistics.permutations import (
    PermutationTest,
    exchangeable_units,
    label_stretches,
    permutation_scheme,
    permute_labels,
    place_labels,
    prediction_permutation_test,
    sequential_permutation_test,
)

__all__ = [
    "FEWEST_BOOTSTRAPS",
    "Interval",
    "PermutationTest",
    "TTestResult",
    "bootstrap_interval",
    "bootstrap_interval_of_sums",
    "corrected_resampled_t_test",
    "exchangeable_units",
    "holm_correction",
    "label_stretches",
    "permutation_scheme",
    "permute_labels",
    "place_labels",
    "prediction_permutation_test",
    "sequential_permutation_test",
]
