"""Private names of scikit-learn that skfmri relies on.

A release of scikit-learn may rename them without notice, so they are used through this file alone.
What its documentation describes despite an underscore, such as `_init_callback_context` or
`_safe_indexing`, is not listed here.
"""

from sklearn.base import BaseEstimator

# Reads the parameters from the signature of the constructor.
parameter_names = vars(BaseEstimator)["_get_param_names"]

# `set_output` stores its choice under this name.
OUTPUT_CONFIG = "_sklearn_output_config"
# The names of metadata requests and of callbacks begin like this.
BOOKKEEPING = ("_metadata_request", "_skl", "_parent_callback_ctx")


def has_callbacks(estimator):
    """Return whether callbacks of scikit-learn watch an estimator."""
    return bool(vars(estimator).get("_skl_callbacks"))
