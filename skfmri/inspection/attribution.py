"""What a trained network puts out, layer by layer, with maps of the voxels that decide."""

import copy
from itertools import product
from numbers import Integral, Real

import nibabel
import numpy as np
import pandas as pd
from scipy import ndimage, stats

from skfmri._validation import check_fitted_shape, check_number
from skfmri.estimators.classifier import SlabCNNClassifier, VolumeCNNClassifier
from skfmri.networks.backend import keras
from skfmri.preprocessing import NiftiSlabRotator

__all__ = [
    "layer_activations",
    "randomization_check",
    "saliency",
    "saliency_image",
    "sign_consistency_image",
]


def layer_activations(estimator, X, layer):
    """Return what a layer of a trained network puts out for each sample.

    Parameters
    ----------
    estimator : SlabCNNClassifier, VolumeCNNClassifier or pipeline
        Fitted; of a pipeline the classifier is the last step.
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples, as the estimator takes them.
    layer : str or int
        Name of a layer, or its number, where negative ones count from the end. Of several members
        it is that of the first; ``"member2/dense1"`` is a layer of the second.

    Returns
    -------
    activations : ndarray of shape (n_samples, ...), float32
        Convolutions and poolings give a last axis of filters.

    Raises
    ------
    ValueError
        If there is no such layer; the message lists those that there are.

    Examples
    --------
    >>> import numpy as np
    >>> from skfmri import SlabCNNClassifier
    >>> from skfmri.inspection import layer_activations
    >>> X, y = np.random.default_rng(0).normal(size=(12, 8, 9, 3)), np.arange(12) % 2
    >>> decoder = SlabCNNClassifier(filters=4, n_blocks=1, dense_units=(8,), epochs=1).fit(X, y)
    >>> layer_activations(decoder, X, "block1_convolution").shape
    (12, 6, 7, 4)
    """
    classifier, X = _network_input(estimator, X)
    models = _members(classifier)
    member, _, name = layer.rpartition("/") if isinstance(layer, str) else ("", "", layer)
    names = [found.name for found in models[0].layers]
    numbers = {f"member{number}": number - 1 for number in range(1, len(models) + 1)}
    known = name in names if isinstance(name, str) else -len(names) <= name < len(names)
    if not known or (member and member not in numbers):
        raise ValueError(
            f"There is no layer {layer!r}. The layers are {', '.join(names)}, or their numbers "
            f"from 0 to {len(names) - 1}."
            + (f" Put member1/ to member{len(models)}/ before." if len(models) > 1 else "")
        )
    model = models[numbers.get(member, 0)]
    found = model.get_layer(name) if isinstance(name, str) else model.layers[name]
    part = keras.Model(model.input, found.output)
    return np.concatenate(
        [np.asarray(part(batch, training=False)) for batch, _ in _batches(classifier, X)]
    )


def saliency(
    estimator,
    X,
    y=None,
    *,
    method="integrated_gradients",
    n_steps=64,
    noise=0.15,
    patch_size=3,
    random_state=None,
):
    """Return how much each voxel counts for the class of each sample.

    What is explained is the network's output for the class before the softmax, of several members
    their mean.

    Parameters
    ----------
    estimator : SlabCNNClassifier, VolumeCNNClassifier or pipeline
        Fitted; of a pipeline the classifier is the last step, and maps are in its space.
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples, as the estimator takes them.
    y : class or array-like of shape (n_samples,), default=None
        Class to explain, one for all samples or one for each; None takes the predicted ones.
    method : str, default="integrated_gradients"
        "gradient", "gradient_x_input", "integrated_gradients", "smoothgrad", "occlusion" or
        "grad_cam"; see the notes.
    n_steps : int, default=64
        Points between baseline and sample of "integrated_gradients", noisy copies of "smoothgrad".
    noise : float, default=0.15
        Standard deviation of the noise of "smoothgrad", as a share of the range of a sample.
    patch_size : int, default=3
        Voxels along each axis that "occlusion" sets to 0 at once; within a slice for slabs.
    random_state : int, default=None
        Seed of the noise of "smoothgrad".

    Returns
    -------
    maps : ndarray, float32
        One number per voxel of what the network sees, with the shape of its samples.

    Raises
    ------
    ValueError
        If there is no such method or class, or no convolution for "grad_cam".

    Notes
    -----
    - gradient: by how much the output would change with the voxel (Simonyan et al. 2013).
    - gradient_x_input: that times the voxel; of a linear network each voxel's share of the output.
    - integrated_gradients: the gradient, averaged on the straight line from 0, times the voxel
      (Sundararajan et al. 2017). 0 is the training mean of a voxel that was z-scored. A map sums to
      the output minus the output at 0.
    - smoothgrad: the gradient, averaged over noisy copies of the sample (Smilkov et al. 2017).
    - occlusion: by how much the output falls when a patch is set to 0 (Zeiler and Fergus 2014).
    - grad_cam: where the filters of the last convolution that speak for the class are active
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
    classifier, X = _network_input(estimator, X)
    options = _check_options(method, n_steps, noise, patch_size, random_state)
    return _maps(_members(classifier), classifier, X, _columns(classifier, X, y), method, options)


def saliency_image(estimators, X, y=None, **options):
    """Return the mean saliency map as an image on the native grid.

    The map of each sample is averaged over samples in slab space, carried to the native grid by the
    transpose of the slab's resampling, and averaged over estimators.

    Parameters
    ----------
    estimators : pipeline or sequence of pipelines
        Fitted, with a :class:`~skfmri.NiftiSlabRotator` among the steps, such as ``"estimator"`` of
        ``cross_validate(return_estimator=True)``.
    X : NiftiSamples or list of images
        Samples to explain.
    y : class or array-like of shape (n_samples,), default=None
        Class to explain, as in :func:`saliency`.
    **options : dict
        As in :func:`saliency`.

    Returns
    -------
    image : nibabel.Nifti1Image
        3-D, float32, on the grid of the images; next to 0 where the slab does not reach.

    Raises
    ------
    TypeError
        If a pipeline has no rotator.

    Notes
    -----
    For two classes the gradients of both nearly cancel in the mean over samples of either class.
    Explain one class for all samples, ``y="open"``, or take a method whose map says what speaks for
    the sample's own class: all but "gradient" and "smoothgrad".
    """
    images = [_image(estimator, X, y, options) for estimator in _as_list(estimators)]
    mean = np.mean([image.get_fdata(dtype=np.float32) for image in images], axis=0)
    return nibabel.Nifti1Image(mean, images[0].affine, images[0].header)


def sign_consistency_image(estimators, X, y=None, **options):
    """Return how well fitted pipelines agree about the sign of the saliency of each voxel.

    Parameters
    ----------
    estimators : sequence of pipelines
        Two or more, as in :func:`saliency_image`.
    X : NiftiSamples or list of images
        Samples to explain.
    y : class or array-like of shape (n_samples,), default=None
        Class to explain, as in :func:`saliency`.
    **options : dict
        As in :func:`saliency`.

    Returns
    -------
    image : nibabel.Nifti1Image
        3-D, float32: the mean sign, from -1 where all maps are negative to 1 where all are
        positive. Less than a thousandth of a map's largest value counts as 0, for the transpose of
        a spline reaches far beyond the slab, but hardly.

    Raises
    ------
    ValueError
        If there are fewer than two pipelines.
    """
    estimators = _as_list(estimators)
    if len(estimators) < 2:
        raise ValueError(
            "Agreement needs two or more fitted pipelines, but there is one. Pass those of "
            "cross_validate(return_estimator=True)."
        )
    images = [_image(estimator, X, y, options) for estimator in estimators]
    agreement = mean_sign([image.get_fdata(dtype=np.float32) for image in images])
    return nibabel.Nifti1Image(agreement, images[0].affine, images[0].header)


def mean_sign(maps):
    """Return the mean sign of maps, where next to nothing has none.

    Parameters
    ----------
    maps : sequence of ndarray
        Of one shape.

    Returns
    -------
    agreement : ndarray, float32
        From -1 to 1.
    """
    signs = [np.sign(m) * (np.abs(m) > 1e-3 * np.abs(m).max()) for m in np.asarray(maps)]
    return np.mean(signs, axis=0, dtype=np.float32)


def randomization_check(estimator, X, y=None, *, random_state=None, **options):
    """Compare saliency maps with those of a network whose weights are shuffled.

    A map that stays as it was shows the image, not what the network has learnt. Each layer draws
    its weights anew from its own, from the output towards the input, and all keep what they drew.

    Parameters
    ----------
    estimator : SlabCNNClassifier, VolumeCNNClassifier or pipeline
        Fitted; never changed.
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Samples, as the estimator takes them.
    y : class or array-like of shape (n_samples,), default=None
        Class to explain, as in :func:`saliency`; predicted ones are those of the trained network.
    random_state : int, default=None
        Seed of the draws, and of the noise of "smoothgrad".
    **options : dict
        As in :func:`saliency`.

    Returns
    -------
    table : pandas.DataFrame
        One row per layer with weights, in the order in which they were shuffled: "layer", and
        "correlation", Spearman's of the absolute maps before and after, mean over samples whose
        maps are not constant; NaN where all are. Voxels that are 0 in both maps do not count: most
        of them are 0 in the sample, whatever the network.

    Notes
    -----
    The cascading randomization of Adebayo et al. 2018. Weights are drawn without replacement from
    those of the same kind in the layer, which keeps their distribution.
    """
    classifier, X = _network_input(estimator, X)
    columns = _columns(classifier, X, y)
    method = options.pop("method", "integrated_gradients")
    defaults = {"n_steps": 64, "noise": 0.15, "patch_size": 3}
    options = _check_options(method, **{**defaults, **options}, random_state=random_state)
    models = _members(copy.deepcopy(classifier))
    rng = np.random.default_rng(random_state)
    before = np.abs(_maps(models, classifier, X, columns, method, options)).reshape(len(X), -1)
    rows = []
    for name in [layer.name for layer in reversed(models[0].layers) if layer.weights]:
        for model in models:
            layer = model.get_layer(name)
            shuffled = [rng.permuted(w.ravel()).reshape(w.shape) for w in layer.get_weights()]
            layer.set_weights(shuffled)
        after = np.abs(_maps(models, classifier, X, columns, method, options)).reshape(len(X), -1)
        rows.append({"layer": name, "correlation": _mean_spearman(before, after)})
    return pd.DataFrame(rows)


def _network_input(estimator, X):
    """Return the fitted classifier, and samples as it takes them."""
    *steps, (_, classifier) = getattr(estimator, "steps", [(None, estimator)])
    if not isinstance(classifier, SlabCNNClassifier | VolumeCNNClassifier):
        raise TypeError(
            f"There is no network in {classifier!r}. Pass a fitted SlabCNNClassifier or "
            "VolumeCNNClassifier, or a pipeline that ends in one."
        )
    classifier.model_  # noqa: B018 - raises NotFittedError
    for _, step in steps:
        if step is not None and step != "passthrough":
            X = step.transform(X)
    X = np.array(X, np.float32)
    check_fitted_shape(X.shape[1:], classifier.X_shape_[1:], type(classifier).__name__)
    return classifier, X


def _members(classifier):
    model = classifier.model_
    if classifier.n_members == 1:
        return [model]
    return [model.get_layer(f"member{n}") for n in range(1, classifier.n_members + 1)]


def _batches(classifier, X, columns=None):
    columns = np.zeros(len(X), int) if columns is None else columns
    shape = _members(classifier)[0].input_shape[1:]
    for start in range(0, len(X), classifier.batch_size):
        batch = slice(start, start + classifier.batch_size)
        yield X[batch].reshape(-1, *shape), columns[batch]


def _columns(classifier, X, y):
    if y is None:
        return classifier.predict_proba(X).argmax(axis=1)
    y = np.broadcast_to(np.asarray(y), len(X)) if np.ndim(y) == 0 else np.asarray(y)
    if len(y) != len(X):
        raise ValueError(f"y has {len(y)} classes for {len(X)} samples. Pass one, or one for each.")
    unknown = np.setdiff1d(y, classifier.classes_)
    if len(unknown):
        raise ValueError(
            f"y holds the class {unknown.tolist()[0]!r}, which the network does not know. Its "
            f"classes are {', '.join(map(repr, classifier.classes_.tolist()))}."
        )
    return np.searchsorted(classifier.classes_, y)


def _check_options(method, n_steps, noise, patch_size, random_state):
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}, but is {method!r}.")
    check_number(n_steps, "n_steps", Integral, least=1)
    check_number(noise, "noise", Real, least=0)
    check_number(patch_size, "patch_size", Integral, least=1)
    return {
        "n_steps": n_steps,
        "noise": noise,
        "patch_size": patch_size,
        "rng": lambda: np.random.default_rng(random_state),
    }


def _maps(models, classifier, X, columns, method, options):
    """Return the mean over models of the maps that a method gives."""
    maps = 0
    for model in models:
        network = _Logits(model, lambda samples, classes: _batches(classifier, samples, classes))
        maps = maps + _METHODS[method](network, X, columns, options)
    return (maps / len(models)).astype(np.float32)


def _softmax_layer(model):
    last = model.layers[-1]
    is_softmax = getattr(last, "activation", None) is keras.activations.softmax
    if isinstance(last, keras.layers.Softmax) or (
        is_softmax and isinstance(last, keras.layers.Dense | keras.layers.Activation)
    ):
        return last
    raise TypeError(
        f"The network ends in {last.name!r}, which is no softmax, so there is no output before it "
        "to explain. End it in Dense(n_classes, 'softmax') or in a Softmax layer."
    )


class _Logits:
    """The output of a network before its softmax, of a class for each sample."""

    def __init__(self, model, batches, layer=None):
        self.model, self._batches = model, batches
        last = _softmax_layer(model)
        # A softmax layer of its own gets the logits; a dense one computes them first.
        self._weights = getattr(last, "kernel", None), getattr(last, "bias", None)
        features = last.input if layer is None else layer.output
        self._part = keras.Model(model.input, [last.input, features])

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
        batches = self._batches(X, columns)
        return np.concatenate([self._scores(*batch)[0].numpy() for batch in batches])

    def gradient(self, X, columns):
        import tensorflow as tf

        found = []
        for batch, of_batch in self._batches(X, columns):
            batch = tf.constant(batch)
            with tf.GradientTape() as tape:
                tape.watch(batch)
                scores, _ = self._scores(batch, of_batch)
            # Samples do not meet in inference, so the gradient of each stays its own.
            found.append(tape.gradient(scores, batch).numpy())
        return np.concatenate(found).reshape(X.shape)

    def features_and_gradients(self, X, columns):
        import tensorflow as tf

        for batch, of_batch in self._batches(X, columns):
            with tf.GradientTape() as tape:
                batch = tf.constant(batch)
                # Features are no variables: they are watched through the tape of the input.
                tape.watch(batch)
                scores, features = self._scores(batch, of_batch)
            yield features.numpy(), tape.gradient(scores, features).numpy()


def _gradient(network, X, columns, options):
    return network.gradient(X, columns)


def _gradient_x_input(network, X, columns, options):
    return X * network.gradient(X, columns)


def _integrated_gradients(network, X, columns, options):
    n_steps = options["n_steps"]
    # Midpoints: twice the order of the rule with the ends, for the same number of gradients.
    points = (np.arange(n_steps, dtype=np.float32) + 0.5) / n_steps
    return X * sum(network.gradient(point * X, columns) for point in points) / n_steps


def _smoothgrad(network, X, columns, options):
    rng, n_steps = options["rng"](), options["n_steps"]
    scale = options["noise"] * np.ptp(X.reshape(len(X), -1), axis=1)
    scale = scale.reshape(-1, *[1] * (X.ndim - 1))
    noisy = (X + scale * rng.standard_normal(X.shape, np.float32) for _ in range(n_steps))
    return sum(network.gradient(copy_, columns) for copy_ in noisy) / n_steps


def _occlusion(network, X, columns, options):
    # Slices of a slab are channels, so a patch lies within one.
    rank = len(network.model.input_shape) - 2
    sizes = [options["patch_size"]] * rank + [1] * (X.ndim - 1 - rank)
    before, maps, occluded = network(X, columns), np.empty_like(X), X.copy()
    for corner in product(*(range(0, n, p) for n, p in zip(X.shape[1:], sizes, strict=False))):
        patch = tuple(slice(a, a + p) for a, p in zip(corner, sizes, strict=False))
        window = (slice(None), *patch)
        occluded[window] = 0
        fall = before - network(occluded, columns)
        maps[window] = fall.reshape(-1, *[1] * (X.ndim - 1))
        occluded[window] = X[window]
    return maps


def _grad_cam(network, X, columns, options):
    kinds = keras.layers.Conv2D | keras.layers.Conv3D
    convolutions = [layer for layer in network.model.layers if isinstance(layer, kinds)]
    if not convolutions:
        raise ValueError('"grad_cam" needs a convolution, but the network has none.')
    network = _Logits(network.model, network._batches, convolutions[-1])
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


_METHODS = {
    "gradient": _gradient,
    "gradient_x_input": _gradient_x_input,
    "integrated_gradients": _integrated_gradients,
    "smoothgrad": _smoothgrad,
    "occlusion": _occlusion,
    "grad_cam": _grad_cam,
}


def _as_list(estimators):
    return [estimators] if hasattr(estimators, "steps") else list(estimators)


def _image(estimator, X, y, options):
    steps = [step for _, step in getattr(estimator, "steps", [])]
    rotators = [step for step in steps if isinstance(step, NiftiSlabRotator)]
    if not rotators:
        raise TypeError(
            f"There is no NiftiSlabRotator in {estimator!r}, so nothing tells where its maps lie. "
            "Pass a fitted pipeline with one."
        )
    return rotators[0].back_project(saliency(estimator, X, y, **options).mean(axis=0))


def _mean_spearman(before, after):
    found = []
    for one, other in zip(before, after, strict=True):
        kept = (one != 0) | (other != 0)
        one, other = one[kept], other[kept]
        constant = not kept.any() or np.ptp(one) == 0 or np.ptp(other) == 0
        found.append(np.nan if constant else stats.spearmanr(one, other).statistic)
    return float(np.nanmean(found)) if np.isfinite(found).any() else np.nan
