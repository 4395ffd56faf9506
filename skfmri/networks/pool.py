"""Compiled networks that are lent out for training, one fit at a time."""

import threading
import weakref

from skfmri.networks.compiled import CompiledNetwork

MOST_IDLE = 4


class Lease:
    """The right to use a network alone, for as long as this object lives."""

    def __init__(self, network):
        self.network = network


class NetworkPool:
    """Idle compiled networks, kept for the next fit of the same architecture.

    Building and tracing a network takes seconds, and TensorFlow never gives all of that memory
    back, so a cross-validation should do it once. A network belongs to one borrower at a time.

    Parameters
    ----------
    most_idle : int
        Number of idle networks kept; the longest idle one is dropped first.
    """

    def __init__(self, most_idle=MOST_IDLE):
        self.most_idle = most_idle
        self._idle = []
        # Returns happen in garbage collection, which may strike inside any of these methods.
        self._lock = threading.RLock()

    def borrow(self, key, build):
        """Lend an idle network of this key, or else what `build()` returns.

        Parameters
        ----------
        key : hashable
            Everything that shapes the compiled network.
        build : callable
            Returns a compiled `keras.Model`.

        Returns
        -------
        Lease
            Its ``network`` is in an unknown state: call ``reset``, or set all weights. It comes
            back to the pool by itself when nobody holds the lease any more.
        """
        lease = Lease(self._take(key) or CompiledNetwork(build()))
        weakref.finalize(lease, self._give_back, key, lease.network).atexit = False
        return lease

    def _take(self, key):
        with self._lock:
            for position, (idle_key, network) in enumerate(self._idle):
                if idle_key == key:
                    del self._idle[position]
                    return network
        return None

    def _give_back(self, key, network):
        with self._lock:
            self._idle.append((key, network))
            del self._idle[: -self.most_idle]

    def clear(self):
        """Forget all idle networks."""
        with self._lock:
            self._idle.clear()

    def __len__(self):
        return len(self._idle)


POOL = NetworkPool()
