"""A report of a run as one HTML file."""

import lazy_loader

# Matplotlib is optional, and what names the files of a run does not need it.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
