"""Rules that every picture keeps."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from skfmri import NiftiSlabRotator
from skfmri.plotting import (
    plot_activations,
    plot_confusion,
    plot_embedding,
    plot_explained_variance,
    plot_folds,
    plot_learning_curves,
    plot_map,
    plot_predicted,
    plot_probabilities,
    plot_residuals,
    plot_search,
    plot_slab,
    plot_subjects,
    plot_voxel_statistics,
)

from .images import SHAPE, image_of


@pytest.fixture
def pictures(samples, predictions, curves, search, folds, subjects, numbers):
    """All functions on small data."""
    rotator = NiftiSlabRotator(angle=0, slab=(3, 6), crop=False).fit(samples)
    with_axes = {
        "slab": lambda ax: plot_slab(rotator, samples, ax=ax),
        "map": lambda ax: plot_map(image_of(np.ones(SHAPE)), samples, ax=ax),
        "explained variance": lambda ax: plot_explained_variance(samples, ax=ax),
        "embedding": lambda ax: plot_embedding(samples, samples.y, ax=ax),
        "learning curves": lambda ax: plot_learning_curves(curves, ax=ax),
        "folds": lambda ax: plot_folds(folds, ax=ax),
        "predicted": lambda ax: plot_predicted(numbers, ax=ax),
        "residuals": lambda ax: plot_residuals(numbers, ax=ax),
        "subjects": lambda ax: plot_subjects(subjects, ax=ax),
        "confusion": lambda ax: plot_confusion(predictions, ax=ax),
        "probabilities": lambda ax: plot_probabilities(predictions, ax=ax),
        "search": lambda ax: plot_search(search, "max_depth", "splitter", ax=ax),
    }
    whole = {
        "voxel statistics": lambda: plot_voxel_statistics(samples),
        "activations": lambda: plot_activations(np.ones((4, 6, 5))),
    }
    return with_axes, whole


def test_every_function_draws_into_the_axes_it_is_given(pictures):
    for name, draw in pictures[0].items():
        figure, axes = plt.subplots(2, 2, layout="constrained")
        assert draw(axes[1, 0]) is axes[1, 0], name
        figure.canvas.draw()
        assert plt.get_fignums() == [figure.number], name
        assert not axes[0, 1].has_data(), name
        plt.close(figure)


def test_every_function_makes_one_new_figure_and_leaves_matplotlib_alone(pictures, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a figure is shown")

    monkeypatch.setattr(plt, "show", refuse)
    monkeypatch.setattr(Figure, "show", refuse)
    settings = dict(matplotlib.rcParams)
    with_axes, whole = pictures
    for draw in [
        *(lambda draw=draw: draw(None).figure for draw in with_axes.values()),
        *whole.values(),
    ]:
        figure = draw()
        assert isinstance(figure, Figure)
        assert plt.get_fignums() == [figure.number]
        plt.close(figure)
    assert dict(matplotlib.rcParams) == settings


def test_nothing_sticks_out_of_a_picture(pictures):
    with_axes, whole = pictures
    for name, draw in (with_axes | whole).items():
        figure = draw(None).figure if name in with_axes else draw()
        figure.canvas.draw()
        box = figure.get_tightbbox()
        assert box.x0 >= -0.05, name
        assert box.y0 >= -0.05, name
        assert box.x1 <= figure.get_figwidth() + 0.05, name
        assert box.y1 <= figure.get_figheight() + 0.05, name


def test_without_matplotlib_the_way_out_is_named():
    code = "import sys; sys.modules['matplotlib'] = None; import skfmri.plotting"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: skfmri.plotting needs Matplotlib")
    assert 'pip install "skfmri[plot]"' in last
    assert "direct cause" in result.stderr
