"""Descriptions that the docstrings of the plots share."""

PLOTS = {
    "ax": """
        ax : matplotlib.axes.Axes, default=None
            Axes to draw into; None makes a new figure.
        """,
    "ax_replaced": """
        ax : matplotlib.axes.Axes, default=None
            Axes whose place the picture takes; None makes a new figure.
        """,
    "ax_with_planes": """
        ax : matplotlib.axes.Axes
            The axes; the planes are drawn in further axes of the figure, at the same place.
        """,
    "title": """
        title : str, default=None
            Text above the picture.
        """,
    "anatomy": """
        A 3-D image, or samples, of which the mean volume is drawn.
        """,
    "cut_coords": """
        cut_coords : sequence of 3 floats, default=None
            Point ``(x, y, z)`` in mm through which the three planes are cut. None takes the centre
            of the slab, or the voxel with the largest absolute value of the map. Images of one
            slice show that slice regardless.
        """,
    "image_types": """
        TypeError
            If something is neither an image nor a path.
        """,
    "model": """
        model : str, default="decoder"
            Which rows to take, if the table has a column "model".
        """,
    "predictions_type": """
        TypeError
            If `predictions` is not a table.
        """,
    "X": """
        X : NiftiSamples or array-like of shape (n_samples, ...)
            Samples, flattened to rows of voxels; finite.
        """,
}
