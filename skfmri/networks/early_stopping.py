"""Which epoch of a training is kept."""

import numpy as np


class EarlyStopping:
    """Decides when training ends, then which epoch's weights the network keeps.

    With patience, training stops after that many epochs without a lower validation loss, and the
    network goes back to the epoch with the lowest; the first of several equal ones counts.
    Without, or if no epoch had a finite loss, it keeps the weights of the last epoch.

    Parameters
    ----------
    model : keras.Model
        The network in training.
    patience : int or None
        Epochs to wait for a lower validation loss.
    """

    def __init__(self, model, patience):
        self.model, self.patience = model, patience
        self._lowest, self._best_epoch, self._best_weights = np.inf, 0, None

    def should_stop(self, epoch, logs):
        """Take note of an epoch that has ended, and return whether it is the last.

        Parameters
        ----------
        epoch : int
            Number of the epoch, from 0.
        logs : dict
            Holds ``"val_loss"``, unless there is no patience.

        Returns
        -------
        stops : bool
        """
        if self.patience is None:
            return False
        if logs["val_loss"] < self._lowest:
            self._lowest, self._best_epoch = logs["val_loss"], epoch
            self._best_weights = self.model.get_weights()
        return epoch - self._best_epoch >= self.patience

    def keep_best(self, epoch):
        """Give the network the weights to keep, and return how many epochs these have seen.

        Parameters
        ----------
        epoch : int
            Number of the last epoch, from 0.

        Returns
        -------
        n_epochs : int
        """
        if self._best_weights is None:
            return epoch + 1
        self.model.set_weights(self._best_weights)
        return self._best_epoch + 1
