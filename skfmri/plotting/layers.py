"""Outputs of the filters of a layer for one sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from skfmri._validation import check_number
from skfmri.docstrings import fill_docstring
from skfmri.plotting._parameter_docs import PLOTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skfmri._types import Values


@fill_docstring(PLOTS)
def plot_activations(
    activations: Values,
    *,
    slice_index: int | None = None,
    n_columns: int = 8,
    title: str | None = None,
) -> Figure:
    """Draw the output of each filter of a layer for one sample, as a grid of pictures.

    Parameters
    ----------
    activations : array-like of shape (x, y, n_filters) or (x, y, z, n_filters)
        Of one sample: ``layer_activations(decoder, X, layer)[0]``.
    slice_index : int, default=None
        Slice along z to show, counted from 0; None takes the one in the middle. For
        ``(x, y, z, n_filters)`` only.
    n_columns : int, default=8
        Filters per row.
    {title}

    Returns
    -------
    figure : matplotlib.figure.Figure
        One axes per cell of the grid, then that of the colour bar. Filters are numbered from 0; x
        runs to the right, y upwards, and all filters share one range of colours.

    Raises
    ------
    ValueError
        If `activations` has the wrong number of axes, no finite value, or no such slice.

    Examples
    --------
    >>> import numpy as np
    >>> from skfmri.plotting import plot_activations
    >>> figure = plot_activations(np.random.default_rng(0).random((6, 7, 11)))
    >>> [ax.get_title() for ax in figure.axes[:11]]
    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '10']
    """
    activations, slice_text = _one_slice(np.asarray(activations, dtype=float), slice_index)
    n_columns = min(check_number(n_columns, "n_columns", least=1), activations.shape[-1])
    n_rows = -(-activations.shape[-1] // n_columns)
    limits = {"vmin": np.nanmin(activations), "vmax": np.nanmax(activations)}
    figure, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(max(1.2 * n_columns + 1.0, 3.6), 1.5 * n_rows + 0.6),
        squeeze=False,
        layout="constrained",
    )
    for ax in axes.flat:
        ax.set_axis_off()
    for i, ax in zip(range(activations.shape[-1]), axes.flat, strict=False):
        image = ax.imshow(activations[..., i].T, origin="lower", cmap="viridis", **limits)
        ax.set_title(str(i), fontsize=8, pad=2)
    # The bar is at most as long as four rows, however many filters there are.
    figure.colorbar(
        image,
        ax=axes,
        label="activation",
        fraction=0.04,
        shrink=min(1, 4 / n_rows),
        anchor=(0, 1),
        aspect=20 * min(n_rows, 4),
    )
    text = ", ".join(part for part in (title, slice_text) if part)
    if text:
        figure.suptitle(text)
    return figure


def _one_slice(activations, slice_index):
    """Return activations of shape (x, y, n_filters), and which slice they show in words."""
    if activations.ndim not in (3, 4) or 0 in activations.shape:
        raise ValueError(
            f"activations has shape {activations.shape}, but a grid of filters needs one sample of "
            "shape (x, y, n_filters) or (x, y, z, n_filters). Take one of the samples of a "
            "convolution or pooling: layer_activations(decoder, X, layer)[0]; a dense layer has "
            "no grid."
        )
    if not np.isfinite(activations).any():
        raise ValueError(f"None of the {activations.size} activations is finite.")
    activations = np.where(np.isfinite(activations), activations, np.nan)
    if activations.ndim == 3:
        if slice_index is not None:
            raise ValueError(
                f"slice_index is {slice_index!r}, but activations of shape {activations.shape} "
                "have no slices. Omit it."
            )
        return activations, None
    n_slices = activations.shape[2]
    index = (
        n_slices // 2 if slice_index is None else check_number(slice_index, "slice_index", least=0)
    )
    if index >= n_slices:
        raise ValueError(
            f"slice_index is {index}, but activations of shape {activations.shape} have the slices "
            f"0 to {n_slices - 1}."
        )
    return activations[:, :, index], f"slice {index} of 0 to {n_slices - 1}"
