"""Keras on TensorFlow, limited to the cores this process may use."""

import contextlib
import os
import sys

from skfmri.networks.keras_private import tensorflow_has_started


def load_keras():
    """Import Keras and scikeras' wrappers, and refuse any backend but TensorFlow.

    The environment variable is checked before the import, because Keras cannot be imported if it
    is set to a backend that is not installed.

    Returns
    -------
    keras, wrappers : module

    Raises
    ------
    ImportError
        If ``KERAS_BACKEND`` or Keras' configuration file names another backend.
    """
    asked = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if asked == "tensorflow":
        with drop_native_messages():
            import keras
            from scikeras import wrappers

        asked = keras.backend.backend()
        if asked == "tensorflow":
            return keras, wrappers
    raise ImportError(
        f"Keras is set to the {asked!r} backend, but skfmri trains its networks with TensorFlow. "
        "Set KERAS_BACKEND=tensorflow, or unset it, before Python starts."
    )


@contextlib.contextmanager
def drop_native_messages():
    """Drop output to stderr, if ``TF_CPP_MIN_LOG_LEVEL`` asks for silence.

    TensorFlow heeds that variable only once its logging has started, and prints some messages
    before, during import. Errors are raised, not printed, so none is lost.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "0") == "0":
        yield
        return
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def limit_threads():
    """Limit TensorFlow to ``OMP_NUM_THREADS`` threads, if that is set.

    joblib sets ``OMP_NUM_THREADS`` to each worker's share of the cores. TensorFlow does not read
    it, so every worker would start as many threads as the machine has cores. A number of threads
    already chosen through ``tf.config.threading`` is kept.

    Returns
    -------
    int or None
        The number of threads requested; None if the variable is not set, if the user has chosen a
        number, or if TensorFlow has started, because then the number cannot change any more.
    """
    import tensorflow as tf

    threading = tf.config.threading
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if not first.isdecimal() or int(first) < 1 or threading.get_intra_op_parallelism_threads():
        return None
    try:
        threading.set_intra_op_parallelism_threads(int(first))
        threading.set_inter_op_parallelism_threads(int(first))
    except RuntimeError:
        return None
    return int(first)


def check_fork():
    """Raise RuntimeError in a process that was forked after TensorFlow had started.

    Its threads exist only in the parent, so in the child a computation would wait for them for
    ever.
    """
    if _is_late_fork:
        raise RuntimeError(
            "This process was forked after TensorFlow had been used in its parent. A network would "
            "hang here for ever, because TensorFlow's threads do not survive a fork. Start "
            'processes with multiprocessing.get_context("spawn") or "forkserver", or use joblib '
            'with its default backend, "loky".'
        )


def _note_fork():
    global _is_late_fork
    _is_late_fork = tensorflow_has_started()


keras, wrappers = load_keras()
_is_late_fork = False
# Windows cannot fork.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)
# Not left to fit: unpickling an estimator that holds an optimizer starts TensorFlow.
limit_threads()
