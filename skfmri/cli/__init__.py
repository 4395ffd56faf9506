"""The ``skfmri`` command."""

from skfmri.cli.commands import main

__all__ = ["main"]
