"""Pictures of samples, slabs, maps, networks or scores, drawn with Matplotlib."""

try:
    from skfmri.plotting.brain import plot_map, plot_slab
    from skfmri.plotting.folds import plot_folds
    from skfmri.plotting.layers import plot_activations
    from skfmri.plotting.numbers import plot_predicted, plot_residuals
    from skfmri.plotting.scores import (
        plot_confusion,
        plot_learning_curves,
        plot_probabilities,
        plot_search,
    )
    from skfmri.plotting.subjects import plot_subjects
    from skfmri.plotting.voxels import (
        plot_embedding,
        plot_explained_variance,
        plot_voxel_statistics,
    )
except ImportError as error:
    if (error.name or "").partition(".")[0] != "matplotlib":
        raise
    raise ImportError(
        "skfmri.plotting needs Matplotlib, which is not installed. Install it with: "
        'pip install "skfmri[plot]"'
    ) from error

__all__ = [
    "plot_activations",
    "plot_confusion",
    "plot_embedding",
    "plot_explained_variance",
    "plot_folds",
    "plot_learning_curves",
    "plot_map",
    "plot_predicted",
    "plot_probabilities",
    "plot_residuals",
    "plot_search",
    "plot_slab",
    "plot_subjects",
    "plot_voxel_statistics",
]
