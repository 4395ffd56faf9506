"""Ridge regression on kernels of samples at several smoothness scales.

The model of one scale predicts from smoothed voxels a number, or which class a sample belongs to (1
for its class, 0 for the others), by ridge regression with an intercept that is not penalised. The
n x n kernel of the samples holds all that this needs, however many voxels there are. With U and w
the eigenvectors and eigenvalues of the centred kernel, and Y the targets,

- the fitted model weights the training samples by ``U (w + alpha)^-1 U' Y``;
- the hat matrix is ``H = 1/n + U w (w + alpha)^-1 U'``;
- the model fitted without the group g predicts ``Y_g - (I - H_gg)^-1 (Y - H Y)_g`` for it. This is
  exact: no refit is needed.

U and w depend on neither labels nor strength, so trying many strengths is cheap, as is fitting
many permutations of the labels.
"""

from skfmri.kernel_ridge.fits import can_be_left_out, fit_samples, scores_of_labelings
from skfmri.kernel_ridge.kernels import centred_batches
from skfmri.kernel_ridge.maps import activation_patterns

__all__ = [
    "activation_patterns",
    "can_be_left_out",
    "centred_batches",
    "fit_samples",
    "scores_of_labelings",
]
