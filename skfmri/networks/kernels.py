"""Faster ways to compute what Keras' layers compute, with equal results up to rounding."""

# Keras builds some layers from many small operations, and TensorFlow chooses slow kernels for some
# gradients. Each function here takes the place of `call` on one instance of a layer (or of
# `update_step` on an optimizer); class, weights and settings stay those of Keras. A function first
# checks that it computes what Keras would, and leaves every other case (unusual settings, other
# precisions, inference) to the method of the class.

from functools import partial

import numpy as np

from skfmri.networks.backend import keras
from skfmri.networks.keras_private import adam_moments, layers_inside

# If the units of a dense layer are a multiple of this, the rows of its kernel begin at the same
# place of a memory page and drive each other out of the cache.
ALIASED_UNITS = 512
PRECISIONS = ("float32", "float64")
CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


def use_fast_kernels(model):
    """Make the layers and the optimizer of a compiled model use the functions of this module.

    They keep their classes, weights and settings, so a copy or a saved file of the model needs
    nothing but Keras. Subclasses of Keras' classes are left as they are.

    Parameters
    ----------
    model : keras.Model
        Compiled, but not yet traced.

    Returns
    -------
    dropouts : list of keras.layers.Dropout
        Layers that read their rate from a variable, ``current_rate``.
    """
    import tensorflow as tf

    dropouts = []
    for layer in leaf_layers(model):
        if type(layer) is keras.layers.BatchNormalization:
            layer.call = partial(normalize_batch, layer)
        elif type(layer) in CONVOLUTIONS and layer.use_bias:
            layer.call = partial(convolve, layer)
        elif type(layer) is keras.layers.Dense and layer.units % ALIASED_UNITS == 0:
            layer.call = partial(multiply, layer)
        elif type(layer) is keras.layers.Dropout and layer.rate > 0 and not layer.noise_shape:
            layer.current_rate = tf.Variable(layer.rate, trainable=False, dtype="float32")
            layer.call = partial(drop, layer)
            dropouts.append(layer)
    if type(model.optimizer) is keras.optimizers.Adam:
        model.optimizer.update_step = partial(adam_step, model.optimizer)
    return dropouts


def leaf_layers(model):
    """Yield the layers of a model; models and composite layers are replaced by their layers."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from leaf_layers(layer)
            continue
        parts = [layer, *layers_inside(layer)]
        # A composite layer may have weights or dropouts besides those of its layers.
        yield from (part for part in parts if not layers_inside(part) or own_state(part))


def own_state(layer):
    """Return the variables of a layer that belong to none of the layers inside it."""
    inner = {id(v) for part in layers_inside(layer) for v in part.variables}
    return [variable for variable in layer.variables if id(variable) not in inner]


def normalize_batch(layer, inputs, training=None, mask=None):
    """Call a `keras.layers.BatchNormalization`, in training by a single fused kernel."""
    is_last = layer.axis in (-1, len(inputs.shape) - 1)
    is_plain = layer.trainable and mask is None and layer.center and layer.scale
    is_single = inputs.dtype == layer.variable_dtype == "float32"
    if not (training and is_last and is_plain and is_single):
        return type(layer).call(layer, inputs, training=training, mask=mask)
    import tensorflow as tf

    # Statistics are per channel, so the position of a value in the grid does not matter.
    rows = tf.reshape(inputs, (1, 1, -1, inputs.shape[-1]))
    output, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=rows,
        scale=layer.gamma.value,
        offset=layer.beta.value,
        mean=np.zeros(0, np.float32),
        variance=np.zeros(0, np.float32),
        epsilon=layer.epsilon,
        is_training=True,
    )
    # The kernel divides by n - 1 (by 1 if n is 1), but Keras by n.
    count = tf.cast(tf.shape(rows)[2], "float32")
    variance *= tf.maximum(count - 1, 1) / count
    for moving, now in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(moving * layer.momentum + now * (1 - layer.momentum))
    return tf.reshape(output, tf.shape(inputs))


def convolve(layer, inputs):
    """Call a convolution of Keras, with a separate sum for the gradient of the bias.

    TensorFlow would fuse that sum with the gradient of the kernel, which takes longer than the two
    one after the other.
    """
    if layer.data_format != "channels_last" or not _has_one_precision(layer, inputs):
        return type(layer).call(layer, inputs)
    import tensorflow as tf

    @tf.custom_gradient
    def add(output, bias):
        def gradients(upstream):
            return upstream, tf.reduce_sum(upstream, range(len(upstream.shape) - 1))

        return tf.nn.bias_add(output, bias), gradients

    output = layer.convolution_op(inputs, layer.kernel)
    output = add(output, tf.convert_to_tensor(layer.bias))
    return output if layer.activation is None else layer.activation(output)


def multiply(layer, inputs, training=None):
    """Call a `keras.layers.Dense`, in training with a reordered gradient of its inputs.

    To multiply a few samples by a transposed kernel, TensorFlow reads down the columns of the
    kernel. If its rows are aliased, this takes three times as long as the transposed product.
    """
    is_plain = layer.quantization_mode is None and len(inputs.shape) == 2
    if not (training and is_plain and _has_one_precision(layer, inputs)):
        return type(layer).call(layer, inputs, training=training)
    import tensorflow as tf

    @tf.custom_gradient
    def product(inputs, kernel):
        def gradients(upstream):
            of_inputs = tf.transpose(tf.matmul(kernel, tf.transpose(upstream)))
            return of_inputs, tf.matmul(inputs, upstream, transpose_a=True)

        return tf.matmul(inputs, kernel), gradients

    output = product(inputs, tf.convert_to_tensor(layer.kernel))
    if layer.bias is not None:
        output = keras.ops.add(output, layer.bias)
    return output if layer.activation is None else layer.activation(output)


def _has_one_precision(layer, inputs):
    return inputs.dtype == layer.variable_dtype and inputs.dtype.name in PRECISIONS


def drop(layer, inputs, training=False):
    """Call a `keras.layers.Dropout` so that one trace serves all rates but 0."""
    if not training:
        return inputs
    shape = keras.ops.shape(inputs)
    drawn = keras.random.uniform(shape, dtype=inputs.dtype, seed=layer.seed_generator)
    rate = keras.ops.cast(layer.current_rate, inputs.dtype)
    return keras.ops.where(drawn >= rate, inputs / (1 - rate), 0)


def adam_step(optimizer, gradient, variable, learning_rate):
    """Update a weight as `keras.optimizers.Adam` does, in a single pass over memory."""
    import tensorflow as tf

    dtype = gradient.dtype
    is_plain = dtype == variable.dtype and dtype.name in PRECISIONS
    if optimizer.amsgrad or not is_plain or isinstance(gradient, tf.IndexedSlices):
        type(optimizer).update_step(optimizer, gradient, variable, learning_rate)
        return
    step = tf.cast(optimizer.iterations + 1, dtype)
    momentum, velocity = adam_moments(optimizer, variable)
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=momentum.value.handle,
        v=velocity.value.handle,
        beta1_power=tf.pow(tf.cast(optimizer.beta_1, dtype), step),
        beta2_power=tf.pow(tf.cast(optimizer.beta_2, dtype), step),
        lr=tf.cast(learning_rate, dtype),
        beta1=optimizer.beta_1,
        beta2=optimizer.beta_2,
        epsilon=optimizer.epsilon,
        grad=gradient,
    )
