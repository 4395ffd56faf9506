"""Distributions of voxels or samples before a network sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from skfmri._validation import check_number, check_per_volume
from skfmri.docstrings import fill_docstring
from skfmri.plotting._axes import CLASS_MARKERS, class_colors, make_axes
from skfmri.plotting._fonts import fit_fonts
from skfmri.plotting._parameter_docs import PLOTS
from skfmri.preprocessing import VoxelZScorer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from skfmri._types import RandomState, Values, Volumes

N_BINS = 50
LOG_FROM = 5
METHODS = ("pca", "tsne")
PERPLEXITY = 30
N_COMPONENTS_BEFORE_TSNE = 50
SHARE_MARKED = 0.9


def plot_voxel_statistics(
    X: Volumes, *, std_threshold: float | None = 0.05, mean_threshold: float | None = 0.05
) -> Figure:
    """Draw histograms of the voxels' means and standard deviations with the two thresholds.

    :class:`~skfmri.VoxelZScorer` sets voxels to 0 by two thresholds in the units of the data.
    This shows whether they separate the head from its surroundings.

    Parameters
    ----------
    X : NiftiSamples or array-like of shape (n_samples, ...)
        Volumes, slabs or rows of voxels; read a batch at a time.
    std_threshold : float or None, default=0.05
        Threshold on the standard deviation, drawn as a line; None draws none.
    mean_threshold : float or None, default=0.05
        Threshold on the mean, drawn as a line; None draws none.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Two axes: means on the left, standard deviations on the right.

    Raises
    ------
    ValueError
        If X has fewer than two samples, or a threshold is not a number.

    Notes
    -----
    A voxel with a value that is not finite counts with mean and standard deviation 0, as in
    `VoxelZScorer`. If one bar is more than five times as high as the next, counts are on a log
    axis.

    Examples
    --------
    Four voxels, of which one never varies.

    >>> import numpy as np
    >>> from skfmri.plotting import plot_voxel_statistics
    >>> X = np.array([[1.0, 2.0, 3.0, 0.0], [3.0, 4.0, 3.5, 0.0]])
    >>> figure = plot_voxel_statistics(X)
    >>> print(figure.axes[1].get_legend().get_texts()[0].get_text())
    1 of 4 voxels below 0.05 (25.0 %)
    """
    VoxelZScorer(std_threshold, mean_threshold).fit(np.ones((2, 1)))
    n_samples = X.shape[0] if hasattr(X, "shape") else len(X)
    if n_samples < 2:
        raise ValueError(f"A standard deviation needs 2 samples or more, but X has {n_samples}.")
    scorer = VoxelZScorer(std_threshold=None, mean_threshold=None).fit(X)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    _draw_histogram(axes[0], scorer.mean_, mean_threshold, "mean of a voxel")
    _draw_histogram(axes[1], scorer.scale_, std_threshold, "standard deviation of a voxel")
    return figure


@fill_docstring(PLOTS)
def plot_explained_variance(
    X: Volumes, *, n_components: int | None = None, ax: Axes | None = None
) -> Axes:
    """Draw how much of the variance of samples the first principal components explain.

    Parameters
    ----------
    {X}
    n_components : int, default=None
        Number of components; None takes all, as many as there are samples or voxels.
    {ax}

    Returns
    -------
    ax : matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If X has fewer than two samples, values that are not finite or no variance, or
        `n_components` is more than there are.

    Examples
    --------
    >>> import numpy as np
    >>> from skfmri.plotting import plot_explained_variance
    >>> ax = plot_explained_variance(np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0], [2.0, 1.0]]))
    >>> ax.lines[0].get_ydata().round(2).tolist()
    [0.8, 1.0]
    """
    rows = _rows(X)
    most = min(rows.shape)
    n_components = (
        most if n_components is None else check_number(n_components, "n_components", least=1)
    )
    if n_components > most:
        raise ValueError(
            f"n_components is {n_components}, but {rows.shape[0]} samples of {rows.shape[1]} "
            f"voxels have at most {most} components."
        )
    cumulative = np.cumsum(PCA(n_components, random_state=0).fit(rows).explained_variance_ratio_)
    ax = make_axes(ax, (5.6, 3.8))
    numbers = np.arange(1, n_components + 1)
    ax.plot(numbers, cumulative, color="#0072B2", marker="o" if n_components <= 30 else None)
    reached = np.flatnonzero(cumulative >= SHARE_MARKED)
    if len(reached):
        count = reached[0] + 1
        label = f"{100 * SHARE_MARKED:.0f} % with {count} components"
        ax.axvline(count, color="0.4", linestyle="--", label=label)
        ax.legend(loc="lower right")
    ax.set(xlabel="number of components", ylabel="cumulative explained variance", ylim=(0, 1.02))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return ax


@fill_docstring(PLOTS)
def plot_embedding(
    X: Volumes,
    y: Values,
    *,
    method: Literal["pca", "tsne"] = "pca",
    random_state: RandomState = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw samples as points in two dimensions, one colour per class.

    Parameters
    ----------
    {X}
    y : array-like of shape (n_samples,)
        Labels.
    method : {"pca", "tsne"}, default="pca"
        The first two principal components, or t-SNE, which keeps neighbours together and distorts
        distances between groups of points.
    random_state : int, RandomState instance or None, default=None
        Seed of t-SNE.
    {ax}

    Returns
    -------
    ax : matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If `method` is unknown, labels do not fit, or there are too few samples.

    Notes
    -----
    t-SNE starts from the first 50 principal components; its perplexity is 30, or a third of
    ``n_samples - 1`` if that is less.

    Examples
    --------
    >>> import numpy as np
    >>> from skfmri.plotting import plot_embedding
    >>> X = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0], [2.0, 1.0]])
    >>> ax = plot_embedding(X, ["open", "closed", "open", "closed"])
    >>> ax.get_xlabel()
    'component 1 (80 % of variance)'
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['closed', 'open']
    """
    if method not in METHODS:
        raise ValueError(f"method must be 'pca' or 'tsne', but is {method!r}.")
    rows = _rows(X, least=3 if method == "pca" else 4)
    y = check_per_volume(y, len(rows), "label")
    embed = _principal_components if method == "pca" else _neighbour_embedding
    points, names = embed(rows, random_state)
    ax = make_axes(ax, (6.0, 4.4))
    classes = np.unique(y)
    colors = class_colors(len(classes))
    for i, label in enumerate(classes):
        ax.scatter(
            *points[y == label].T,
            color=colors[i],
            marker=CLASS_MARKERS[i % len(CLASS_MARKERS)],
            s=26,
            alpha=0.75,
            linewidths=0,
            label=str(label),
        )
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    ax.set(xlabel=names[0], ylabel=names[1])
    fit_fonts(ax)
    # Distances are what an embedding shows, so both axes have the same scale.
    ax.set_aspect("equal", adjustable="datalim")
    if method == "tsne":
        ax.set(xticks=[], yticks=[])
    return ax


def _rows(X, least=2):
    """Return samples as rows of finite voxels."""
    data = np.asarray(X)
    if data.ndim < 2 or data.dtype.kind not in "biuf":
        raise ValueError(
            f"X has shape {data.shape} and type {data.dtype}. Pass numbers of shape "
            "(n_samples, ...), such as NiftiSamples or what a transformer returns."
        )
    if len(data) < least:
        raise ValueError(f"X has {len(data)} samples, but this picture needs {least} or more.")
    rows = data.reshape(len(data), -1)
    n_damaged = rows.size - np.count_nonzero(np.isfinite(rows))
    if n_damaged:
        raise ValueError(
            f"X holds {n_damaged} values that are not finite, of {rows.size}. VoxelZScorer sets "
            "them to 0."
        )
    if not (rows != rows[0]).any():
        raise ValueError(f"All {len(rows)} samples of X are the same: there is no variance.")
    return rows


def _principal_components(rows, random_state):
    if min(rows.shape) < 2:
        raise ValueError(f"Two components need 2 voxels or more, but X has {rows.shape[1]}.")
    pca = PCA(2, random_state=0)
    points = pca.fit_transform(rows)
    shares = pca.explained_variance_ratio_
    return points, [
        f"component {i + 1} ({shares[i]:.0%} of variance)".replace("%", " %") for i in (0, 1)
    ]


def _neighbour_embedding(rows, random_state):
    n_components = min(*rows.shape, N_COMPONENTS_BEFORE_TSNE)
    rows = PCA(n_components, random_state=0).fit_transform(rows)
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    init = "pca" if n_components >= 2 else "random"
    tsne = TSNE(2, perplexity=perplexity, init=init, random_state=random_state)
    names = [f"t-SNE 1 (perplexity {perplexity:.3g})", "t-SNE 2"]
    return tsne.fit_transform(rows), names


def _draw_histogram(ax, values, threshold, name):
    values = np.ravel(values)
    counts, _, _ = ax.hist(values, bins=N_BINS, color="#56B4E9")
    second, first = np.sort(counts)[-2:]
    if first > LOG_FROM * second > 0:
        # A bar of one voxel keeps some height.
        ax.set(yscale="log", ylim=(0.5, 2 * first))
    if threshold is not None:
        # In the type of the data, as VoxelZScorer compares.
        n_below = int((values < values.dtype.type(threshold)).sum())
        label = (
            f"{n_below:,} of {values.size:,} voxels below {threshold:g} "
            f"({100 * n_below / values.size:.1f} %)"
        )
        ax.axvline(threshold, color="#D55E00", linestyle="--", label=label)
        # Above the axes, where it hides no bar.
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    ax.set(xlabel=name, ylabel="number of voxels")
