"""Compiled networks that are lent out, each to one fit at a time."""

import threading
import weakref

from skfmri.networks.backend import check_fork

MOST_IDLE = 4


class Lease:
    """The exclusive right to use a network, for as long as this object lives.

    Attributes
    ----------
    network : CompiledNetwork
        The borrowed network.
    """

    def __init__(self, network):
        self.network = network


class NetworkPool:
    """Idle compiled networks, kept for the next fit of the same architecture.

    Building and tracing a network takes seconds, and TensorFlow never releases all of the memory
    it took, so a cross-validation should do it once. A network has one borrower at a time.

    Parameters
    ----------
    most_idle : int
        Number of idle networks to keep; the one that has been idle longest is dropped first.

    Attributes
    ----------
    most_idle : int
        As given; may be changed at any time and takes effect when the next network comes back.
    """

    def __init__(self, most_idle=MOST_IDLE):
        self.most_idle = most_idle
        self._idle = []
        # Networks come back during garbage collection, which may run inside any of these methods.
        self._lock = threading.RLock()

    def borrow(self, key, build):
        """Lend an idle network of this key, or a new one if there is none.

        Parameters
        ----------
        key : hashable
            Everything that determines the compiled network.
        build : callable
            Returns a `CompiledNetwork`; called only if no network of this key is idle.

        Returns
        -------
        Lease
            Its ``network`` is in an unknown state: call ``reset``, or set all weights. It returns
            to the pool by itself once nothing refers to the lease any more.

        Raises
        ------
        RuntimeError
            If this process was forked after TensorFlow had been used.
        """
        check_fork()
        lease = Lease(self._take(key) or build())
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

    def idle_networks(self):
        """Return the networks that nobody has borrowed, the longest idle first.

        Returns
        -------
        list of CompiledNetwork
        """
        with self._lock:
            return [network for _, network in self._idle]

    def clear(self):
        """Forget all idle networks; those on loan still come back."""
        with self._lock:
            self._idle.clear()

    def __len__(self):
        return len(self._idle)


POOL = NetworkPool()
