"""The ``skfmri`` command."""

from skfmri.cli.decode import main

__all__ = ["main"]
