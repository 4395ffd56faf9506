"""Keras on TensorFlow, held to the cores this process may use."""

import contextlib
import os
import sys


def load_keras():
    """Import Keras and scikeras' wrappers, and refuse any backend but TensorFlow.

    Asks before it imports: Keras set to a backend that is not installed cannot be imported at all.

    Returns
    -------
    keras, wrappers : module

    Raises
    ------
    ImportError
        If ``KERAS_BACKEND``, or Keras' own configuration file, names another backend.
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
    """Drop what is printed to stderr, where ``TF_CPP_MIN_LOG_LEVEL`` is set to ask for silence.

    TensorFlow heeds that variable only once its own logging has started; what it prints before,
    while it is imported, comes all the same. Errors are raised, not printed, so none is lost.
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
    """Keep TensorFlow to ``OMP_NUM_THREADS`` threads, where that is set.

    joblib tells each worker its share of the cores in ``OMP_NUM_THREADS``. TensorFlow does not
    read it: every worker would start as many threads as the machine has cores. A number of threads
    chosen through ``tf.config.threading`` before is left alone.

    Returns
    -------
    int or None
        The number of threads asked of TensorFlow; None if nothing was set, if the user has chosen
        already, or if TensorFlow has started, for then its number of threads cannot change.
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


keras, wrappers = load_keras()
# Here, not in fit: an optimizer among the parameters starts TensorFlow as soon as it is unpickled.
limit_threads()
