"""Private parts of Keras that skfmri uses."""

# No other file reads a name of Keras that begins with an underscore. A new version of Keras may
# rename any of them, so look here first if one breaks skfmri. Written for Keras 3.12 and later.


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
