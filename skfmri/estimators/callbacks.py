"""Tasks of a fit, as callbacks of scikit-learn see them."""

from skfmri.estimators.scikit_learn import has_callbacks
from skfmri.networks.epoch_tasks import EpochTasks


def begin_fit(estimator, epochs, given):
    """Begin the task of a fit, whose subtasks are its epochs or its members, and return it.

    Parameters
    ----------
    estimator : BaseCNNClassifier
        What is fitted.
    epochs : int
        The most epochs of each member.
    given : dict
        Training data and metadata, as `fit` received them.

    Returns
    -------
    task : sklearn.callback.CallbackContext
    """
    is_single = estimator.n_members == 1
    n_subtasks = epochs if is_single else estimator.n_members
    task = estimator._init_callback_context(max_subtasks=n_subtasks, sequential_subtasks=is_single)
    return task.call_on_fit_task_begin(estimator=estimator, **given)


def epoch_tasks(estimator, task, epochs, given, learnt):
    """Return Keras callbacks for each member that show its epochs to those of scikit-learn.

    Parameters
    ----------
    estimator, epochs, given : BaseCNNClassifier, int, dict
        As in `begin_fit`.
    task : sklearn.callback.CallbackContext
        What `begin_fit` returned.
    learnt : dict
        Attributes of the fitted estimator that no epoch changes.

    Returns
    -------
    callbacks : list of list of keras.callbacks.Callback
        A list for each member, empty if nothing watches.
    """
    if not has_callbacks(estimator):
        return [[]] * estimator.n_members
    if estimator.n_members == 1:
        return [[EpochTasks(task, estimator, given, learnt, is_member=False)]]
    # Made before training begins: a worker gets a copy of the tree of tasks.
    tasks = [
        task.subcontext(task_name="member", task_id=number, max_subtasks=epochs)
        for number in range(estimator.n_members)
    ]
    return [[EpochTasks(each, estimator, given, learnt, is_member=True)] for each in tasks]
