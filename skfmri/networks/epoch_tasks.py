"""Epochs of a training as tasks for scikit-learn's callbacks."""

from skfmri.networks.backend import keras


class EpochTasks(keras.callbacks.Callback):
    """Shows each epoch to scikit-learn's callbacks as a task, and stops when one asks for it.

    Weights are copied only if a callback asks for the fitted estimator.

    Parameters
    ----------
    context : sklearn.callback.CallbackContext
        The task whose subtasks are the epochs.
    estimator : estimator
        The estimator in training.
    given : dict
        Training data and metadata, as passed to its `fit`.
    learnt : dict
        Attributes of the fitted estimator that no epoch changes.
    is_member : bool
        Whether the network is one of several, so that its training is a separate task.
    """

    def __init__(self, context, estimator, given, learnt, is_member):
        super().__init__()
        self.context, self.estimator = context, estimator
        self.given, self.learnt, self.is_member = given, learnt, is_member

    def on_train_begin(self, logs=None):
        """Begin the task of a member."""
        self.history, self.n_epochs = {}, 0
        if self.is_member:
            self.context.call_on_fit_task_begin(estimator=self.estimator, **self.given)

    def on_epoch_begin(self, epoch, logs=None):
        """Begin the task of an epoch."""
        self.task = self.context.subcontext(task_name="epoch")
        self.task.call_on_fit_task_begin(**self._now())

    def on_epoch_end(self, epoch, logs=None):
        """End the task of an epoch, and training if a callback asks for it."""
        self.n_epochs += 1
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)
        if self.task.call_on_fit_task_end(**self._now()):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        """End the task of a member."""
        if self.is_member:
            self.context.call_on_fit_task_end(estimator=self.estimator, **self.given)

    def _now(self):
        return {
            "estimator": self.estimator,
            **self.given,
            "reconstruction_attributes": self._attributes,
        }

    def _attributes(self):
        """Return attributes with which a copy of the estimator predicts by the present weights."""
        return {
            **self.learnt,
            # Members are trained in parallel, so none knows the weights of the others.
            "n_members": 1,
            "_members": (self.model.get_weights(),),
            "history_": {name: list(values) for name, values in self.history.items()},
            "n_epochs_": self.n_epochs,
        }
