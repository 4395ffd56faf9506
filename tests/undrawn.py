"""Reports whose pictures are not drawn, which takes nearly all of the time of a report."""

import contextlib
from unittest import mock


@contextlib.contextmanager
def undrawn_pictures():
    """Put an empty image with its text alternative in the place of each picture."""
    from skfmri.report import pictures

    def undrawn(draw, alt, *_, **options):
        return pictures.Picture("data:,", alt)

    with (
        mock.patch.object(pictures, "_drawn", undrawn),
        mock.patch.object(pictures, "interactive_map", return_value=None),
    ):
        yield
