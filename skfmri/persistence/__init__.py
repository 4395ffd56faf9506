"""Fitted decoders in files: saved without pickle, read without running code from them."""

from skfmri.persistence.bundle import (
    find_training_volumes,
    load,
    model_card,
    save,
    training_record,
)

__all__ = ["find_training_volumes", "load", "model_card", "save", "training_record"]
