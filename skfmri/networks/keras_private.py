"""Private parts of Keras, including its TensorFlow backend, that skfmri uses."""

# No other file reads a name of Keras or TensorFlow that is not public. A new version may rename any
# of them, so look here first if one breaks skfmri. Written for Keras 3.12, TensorFlow 2.20 and
# later.


def adam_moments(optimizer, variable):
    """Return the running moments that Adam keeps for a variable.

    Parameters
    ----------
    optimizer : keras.optimizers.Adam
        Built.
    variable : keras.Variable
        One of those it was built for.

    Returns
    -------
    momentum, velocity : keras.Variable
        Running means of the gradient and of its square.
    """
    index = optimizer._get_variable_index(variable)
    return optimizer._momentums[index], optimizer._velocities[index]


def learning_rate_of(optimizer):
    """Return the learning rate as the optimizer was given it: a schedule, if it has one.

    The public ``optimizer.learning_rate`` is the rate at the current step.

    Parameters
    ----------
    optimizer : keras.optimizers.Optimizer

    Returns
    -------
    learning_rate : keras.Variable or keras.optimizers.schedules.LearningRateSchedule
    """
    return optimizer._learning_rate


def layers_inside(layer):
    """Return all layers that a layer consists of, such as the projections of an attention.

    Parameters
    ----------
    layer : keras.Layer

    Returns
    -------
    layers : list of keras.Layer
        Each before the layers inside it; empty for most layers of Keras.
    """
    return list(layer._flatten_layers(include_self=False))


def parts_of_loss(loss):
    """Return the function of a loss object with its keyword arguments, or None and nothing.

    Parameters
    ----------
    loss : keras.losses.Loss
        Loss object.

    Returns
    -------
    function : callable or None
        None if the class computes its losses itself.
    keywords : dict
    """
    from keras.src.losses.losses import LossFunctionWrapper

    if not isinstance(loss, LossFunctionWrapper):
        return None, {}
    return loss.fn, dict(loss._fn_kwargs)


def tensorflow_has_started():
    """Return whether TensorFlow holds a device, whose threads it started along with it.

    The public ways to find out start TensorFlow themselves, or search for GPUs.

    Returns
    -------
    bool
    """
    from tensorflow.python.eager import context

    current = context.context_safe()
    return current is not None and current._context_handle is not None
