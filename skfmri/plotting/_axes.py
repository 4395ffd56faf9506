"""Axes, colours or labels that all pictures share."""

from itertools import cycle, islice

import matplotlib.pyplot as plt
import numpy as np

# Okabe & Ito (2008), distinguishable with any kind of colour vision; without yellow, which is too
# light for points on white.
CLASS_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
CLASS_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")

CHARACTER_WIDTH = 0.6
TICK_FONT_SIZE = 10


def make_axes(ax, figsize):
    """Return `ax`, or the axes of a new figure if it is None."""
    if ax is not None:
        return ax
    _, ax = plt.subplots(figsize=figsize, layout="constrained")
    return ax


def class_colors(n_classes):
    """Return a colour for each class; they repeat from the eighth on."""
    return list(islice(cycle(CLASS_COLORS), n_classes))


def style_cells(ax, image, texts):
    """Make the text in each cell of a matrix fit, black on light and white on dark."""
    values = image.get_array()
    longest = max(len(text.get_text()) for text in texts.flat)
    width = _width_in_points(ax) / values.shape[1]
    size = float(np.clip(0.85 * width / (CHARACTER_WIDTH * max(longest, 1)), 4, 11))
    for value, text in zip(values.ravel(), texts.flat, strict=True):
        if not text.get_text():
            continue
        red, green, blue, _ = image.cmap(image.norm(value))
        is_light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
        text.set(color="black" if is_light else "white", fontsize=size)


def turn_long_labels(ax):
    """Turn the labels of the x axis if they would overlap."""
    labels = ax.get_xticklabels()
    longest = max(len(label.get_text()) for label in labels)
    # A layout, which comes later, makes the axes narrower.
    if longest * CHARACTER_WIDTH * TICK_FONT_SIZE > 0.7 * _width_in_points(ax) / len(labels):
        for label in labels:
            label.set(rotation=45, ha="right", rotation_mode="anchor")


def _width_in_points(ax):
    return ax.get_window_extent().width * 72 / ax.figure.dpi
