"""How much each voxel counts for the class or number of a sample, by one of several methods."""

from __future__ import annotations

import inspect
from functools import partial
from itertools import product
from numbers import Integral, Real
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from sklearn.base import is_regressor

from skfmri._validation import check_number
from skfmri.inspection.linear import linear_maps
from skfmri.inspection.network_input import batches, member_models, network_input, output_columns
from skfmri.networks.backend import keras

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from skfmri._types import Estimator, Volumes

__all__ = ["saliency"]


def saliency(
    estimator: Estimator,
    X: Volumes,
    y: object = None,
    *,
    method: str | None = None,
    n_steps: int | None = None,
    noise: float | None = None,
    patch_size: int | None = None,
    random_state: int | None = None,
) -> NDArray[np.float32]:
    """Return how much each voxel counts for the class, or for the predicted number, of each sample.

    The maps explain the network's output for the class before the softmax, or the predicted number
    in units of its target. If the network has several members, their maps are averaged.

    Parameters
    ----------
    estimator : network, linear model or pipeline
        Fitted classifier or regressor; that of a pipeline is its last step, and maps are in its
        space. A linear one has `coef_`, as :class:`~skfmri.MultiscaleRidgeClassifier` does.
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples, as the estimator takes them.
    y : class or array-like of shape (n_samples,), default=None
        Class to explain, one for all samples or one for each; None means the predicted classes. Of
        a regressor with several targets, the number of the column to explain.
    method : str, default=None
        "gradient", "gradient_x_input", "integrated_gradients", "smoothgrad", "occlusion" or
        "grad_cam"; see the notes. None means "integrated_gradients" for classes and "gradient" for
        numbers: the voxels of z-scored samples are above 0 as often as below, so the mean over
        samples of a map that is multiplied by them says little about a number.
    n_steps : int, default=None
        Only for "integrated_gradients" (points between the baseline and the sample) and
        "smoothgrad" (noisy copies of the sample); None means 64.
    noise : float, default=None
        Only for "smoothgrad": standard deviation of the noise as a fraction of the range of a
        sample; None means 0.15.
    patch_size : int, default=None
        Only for "occlusion": voxels along each axis that are set to 0 at once, within a slice for
        slabs; None means 3.
    random_state : int, default=None
        Only for "smoothgrad": seed of the noise.

    Returns
    -------
    maps : ndarray, float32
        One number per voxel that the network sees, in the shape of its samples.

    Raises
    ------
    TypeError
        If the method does not have one of the options; the message names those it has.
    ValueError
        If there is no such method or class, or no convolution for "grad_cam".

    Notes
    -----
    - gradient: how much the output would change with the voxel (Simonyan et al. 2013).
    - gradient_x_input: that times the voxel; for a linear network, the contribution of each voxel
      to the output.
    - integrated_gradients: the gradient, averaged along the straight line from 0, times the voxel
      (Sundararajan et al. 2017). After z-scoring, 0 is the training mean of a voxel. A map sums to
      the output minus the output at 0.
    - smoothgrad: the gradient, averaged over noisy copies of the sample (Smilkov et al. 2017).
    - occlusion: how much the output falls when a patch is set to 0 (Zeiler and Fergus 2014).
    - Of a linear model, "gradient" and "smoothgrad" are the weights of the class or number, and
      "gradient_x_input" and "integrated_gradients" are these times the voxels, exactly. The other
      methods need a network.
    - grad_cam: where the filters of the last convolution that support the output are active
      (Selvaraju et al. 2017), interpolated to the voxels; never negative, the same in all slices of
      a slab, and blind to the linear path.

    Examples
    --------
    >>> import numpy as np
    >>> from skfmri import SlabCNNClassifier
    >>> from skfmri.inspection import saliency
    >>> X, y = np.random.default_rng(0).normal(size=(12, 8, 9, 3)), np.arange(12) % 2
    >>> decoder = SlabCNNClassifier(filters=4, n_blocks=1, dense_units=(8,), epochs=1).fit(X, y)
    >>> saliency(decoder, X, y).shape
    (12, 8, 9, 3)
    """
    step = getattr(estimator, "steps", [(None, estimator)])[-1][1]
    method = method or ("gradient" if is_regressor(step) else "integrated_gradients")
    explain = choose_method(
        method, n_steps=n_steps, noise=noise, patch_size=patch_size, random_state=random_state
    )
    if hasattr(step, "coef_"):
        return linear_maps(estimator, X, y, method)
    network, X = network_input(estimator, X)
    columns = output_columns(network, X, y)
    return mean_maps(member_models(network), network, X, columns, explain)


def method_options(method):
    """Return the names of the options that a method has, or raise ValueError."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, but is {method!r}.")
    parameters = inspect.signature(METHODS[method]).parameters.values()
    return [item.name for item in parameters if item.kind is item.KEYWORD_ONLY]


def choose_method(method, **options):
    """Return the function of a method, with those options set that are not None.

    Parameters
    ----------
    method : str
        Name of the method.
    **options : dict
        Options of the method.

    Returns
    -------
    explain : callable
        Takes a network, samples and columns.

    Raises
    ------
    TypeError
        If the method does not have an option.
    ValueError
        If there is no such method.
    """
    known = method_options(method)
    given = {name: value for name, value in options.items() if value is not None}
    unknown = [name for name in given if name not in known]
    if unknown:
        raise TypeError(
            f"The method {method!r} has no option {', '.join(unknown)}. Its options: "
            f"{', '.join(known) or 'none'}."
        )
    return partial(METHODS[method], **given)


def mean_maps(models, network, X, columns, explain):
    """Return the maps that a method gives, averaged over the models of a network.

    Parameters
    ----------
    models : list of keras.Model
        The members of the network, or copies with other weights.
    network : classifier or regressor
        Fitted.
    X : ndarray of shape (n_samples, ...), float32
        Samples in the space of the network.
    columns : ndarray of shape (n_samples,), int
        Column of the output to explain of each sample.
    explain : callable
        From `choose_method`.

    Returns
    -------
    maps : ndarray of the shape of X, float32
    """
    maps = 0
    for model in models:
        explained = Explained(model, partial(batches, network), is_regressor(network))
        maps = maps + explain(explained, X, columns)
    maps = maps / len(models)
    if is_regressor(network):
        # The network predicts standardised numbers.
        maps *= network.target_scale_[columns].reshape(-1, *[1] * (X.ndim - 1))
    return maps.astype(np.float32)


class Explained:
    """A network up to its softmax, if it has one, which returns one output for each sample.

    Parameters
    ----------
    model : keras.Model
        Ends in a softmax, unless it predicts numbers.
    batches : callable
        Splits samples with their columns into batches that the model takes.
    is_of_numbers : bool
        Whether the outputs are numbers.
    layer : keras.Layer, default=None
        Layer whose output serves as features; None means the input of the last layer.
    """

    def __init__(self, model, batches, is_of_numbers, layer=None):
        self.model, self.batches, self.is_of_numbers = model, batches, is_of_numbers
        last = model.layers[-1] if is_of_numbers else _softmax_layer(model)
        features = last.input if layer is None else layer.output
        if is_of_numbers:
            self._weights, before = (None, None), model.output
        else:
            # The input of a Softmax layer is the logits; a dense layer computes them first.
            self._weights = getattr(last, "kernel", None), getattr(last, "bias", None)
            before = last.input
        self._part = keras.Model(model.input, [before, features])

    def _scores(self, batch, columns):
        import tensorflow as tf

        logits, features = self._part(batch, training=False)
        kernel, bias = self._weights
        if kernel is not None:
            logits = tf.matmul(logits, kernel)
        if bias is not None:
            logits = logits + bias
        return tf.gather(logits, columns, axis=1, batch_dims=1), features

    def __call__(self, X, columns):
        """Return the output of each sample in its column."""
        found = self.batches(X, columns)
        return np.concatenate([self._scores(*batch)[0].numpy() for batch in found])

    def gradient(self, X, columns):
        """Return the gradient of the output with respect to each voxel."""
        import tensorflow as tf

        found = []
        for batch, of_batch in self.batches(X, columns):
            batch = tf.constant(batch)
            with tf.GradientTape() as tape:
                tape.watch(batch)
                scores, _ = self._scores(batch, of_batch)
            # In inference samples do not affect each other, so one call gives all gradients.
            found.append(tape.gradient(scores, batch).numpy())
        return np.concatenate(found).reshape(X.shape)

    def features_and_gradients(self, X, columns):
        """Yield, batch by batch, the features with the gradient of the output."""
        import tensorflow as tf

        for batch, of_batch in self.batches(X, columns):
            with tf.GradientTape() as tape:
                batch = tf.constant(batch)
                # Features are not variables: the tape sees them because it watches the input.
                tape.watch(batch)
                scores, features = self._scores(batch, of_batch)
            yield features.numpy(), tape.gradient(scores, features).numpy()


def _softmax_layer(model):
    last = model.layers[-1]
    is_softmax = getattr(last, "activation", None) is keras.activations.softmax
    if isinstance(last, keras.layers.Softmax) or (
        is_softmax and isinstance(last, keras.layers.Dense | keras.layers.Activation)
    ):
        return last
    raise TypeError(
        f"The network ends in {last.name!r}, which is not a softmax, so there is no output before "
        "it to explain. End the network in Dense(n_classes, 'softmax') or in a Softmax layer."
    )


# A method takes an Explained network, samples and columns. Its keyword-only parameters are the
# options that `saliency` accepts for it. A new method also needs a line in METHODS and in the notes
# there.


def gradient(network, X, columns):
    """Return the gradient of the output."""
    return network.gradient(X, columns)


def gradient_x_input(network, X, columns):
    """Return the gradient of the output times the voxel."""
    return X * network.gradient(X, columns)


def integrated_gradients(network, X, columns, *, n_steps=64):
    """Return the gradient, averaged at `n_steps` points on the line from 0, times the voxel."""
    check_number(n_steps, "n_steps", Integral, least=1)
    # Midpoints: twice the order of the rule with the ends, for the same number of gradients.
    points = (np.arange(n_steps, dtype=np.float32) + 0.5) / n_steps
    return X * sum(network.gradient(point * X, columns) for point in points) / n_steps


def smoothgrad(network, X, columns, *, n_steps=64, noise=0.15, random_state=None):
    """Return the gradient, averaged over `n_steps` noisy copies of each sample."""
    check_number(n_steps, "n_steps", Integral, least=1)
    check_number(noise, "noise", Real, least=0)
    rng = np.random.default_rng(random_state)
    scale = noise * np.ptp(X.reshape(len(X), -1), axis=1)
    scale = scale.reshape(-1, *[1] * (X.ndim - 1))
    noisy = (X + scale * rng.standard_normal(X.shape, np.float32) for _ in range(n_steps))
    return sum(network.gradient(copy, columns) for copy in noisy) / n_steps


def occlusion(network, X, columns, *, patch_size=3):
    """Return how much the output falls when the patch around a voxel is set to 0."""
    check_number(patch_size, "patch_size", Integral, least=1)
    # Slices of a slab are channels, so a patch stays within one.
    rank = len(network.model.input_shape) - 2
    sizes = [patch_size] * rank + [1] * (X.ndim - 1 - rank)
    before, maps, occluded = network(X, columns), np.empty_like(X), X.copy()
    for corner in product(*(range(0, n, p) for n, p in zip(X.shape[1:], sizes, strict=False))):
        patch = tuple(slice(a, a + p) for a, p in zip(corner, sizes, strict=False))
        window = (slice(None), *patch)
        occluded[window] = 0
        fall = before - network(occluded, columns)
        maps[window] = fall.reshape(-1, *[1] * (X.ndim - 1))
        occluded[window] = X[window]
    return maps


def grad_cam(network, X, columns):
    """Return where the filters of the last convolution that support the class are active."""
    kinds = keras.layers.Conv2D | keras.layers.Conv3D
    convolutions = [layer for layer in network.model.layers if isinstance(layer, kinds)]
    if not convolutions:
        raise ValueError(
            'method="grad_cam" needs a convolution, but the network has none. Choose another '
            "method."
        )
    network = Explained(
        network.model, network.batches, network.is_of_numbers, layer=convolutions[-1]
    )
    maps = []
    for features, gradients in network.features_and_gradients(X, columns):
        space = tuple(range(1, features.ndim - 1))
        shares = gradients.mean(axis=space, keepdims=True)
        coarse = np.maximum((shares * features).sum(axis=-1), 0)
        grid = X.shape[1 : coarse.ndim]
        factors = [1, *(n / m for n, m in zip(grid, coarse.shape[1:], strict=True))]
        maps.append(ndimage.zoom(coarse, factors, order=1, mode="nearest", grid_mode=True))
    maps = np.concatenate(maps)
    return np.broadcast_to(maps.reshape(*maps.shape, *[1] * (X.ndim - maps.ndim)), X.shape)


METHODS = {
    method.__name__: method
    for method in (
        gradient,
        gradient_x_input,
        integrated_gradients,
        smoothgrad,
        occlusion,
        grad_cam,
    )
}
