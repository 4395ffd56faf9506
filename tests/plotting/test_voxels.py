import numpy as np
import pytest
from sklearn.decomposition import PCA

from skfmri import VoxelZScorer
from skfmri.plotting import (
    plot_embedding,
    plot_explained_variance,
    plot_voxel_statistics,
)


class TestVoxelStatistics:
    def test_bars_are_those_of_numpy(self, samples):
        figure = plot_voxel_statistics(samples)
        volumes = np.asarray(samples, dtype=np.float64)
        for ax, values in zip(
            figure.axes, (volumes.mean(axis=0), volumes.std(axis=0)), strict=True
        ):
            expected, _ = np.histogram(values.astype(np.float32), bins=50)
            np.testing.assert_array_equal([bar.get_height() for bar in ax.patches], expected)

    def test_lines_are_at_the_thresholds_and_the_legends_count(self, samples):
        volumes = np.asarray(samples)
        figure = plot_voxel_statistics(samples, mean_threshold=1.5, std_threshold=0.25)
        statistics = (volumes.mean(axis=0), volumes.std(axis=0))
        for ax, values, threshold in zip(figure.axes, statistics, (1.5, 0.25), strict=True):
            assert list(ax.lines[0].get_xdata()) == [threshold] * 2
            n_below = (values < threshold).sum()
            share = f"{n_below} of 1,287 voxels below {threshold} ({100 * n_below / 1287:.1f} %)"
            assert [text.get_text() for text in ax.get_legend().get_texts()] == [share]

    def test_counts_agree_with_the_scorer(self, samples):
        X = np.asarray(samples)
        figure = plot_voxel_statistics(X, mean_threshold=None, std_threshold=0.25)
        n_silenced = (VoxelZScorer(std_threshold=0.25).fit(X).scale_ == 0).sum()
        assert figure.axes[1].get_legend().get_texts()[0].get_text().startswith(f"{n_silenced} of")
        assert figure.axes[0].get_legend() is None
        assert not figure.axes[0].lines

    def test_a_peak_of_empty_voxels_makes_the_axis_logarithmic(self, samples):
        X = np.asarray(samples).reshape(8, -1)
        assert [ax.get_yscale() for ax in plot_voxel_statistics(X).axes] == ["linear"] * 2
        empty = np.pad(X, [(0, 0), (0, 5000)])
        figure = plot_voxel_statistics(empty)
        assert [ax.get_yscale() for ax in figure.axes] == ["log"] * 2
        assert figure.axes[0].get_ylim()[0] < 1

    def test_damaged_voxels_count_as_empty(self):
        X = np.array([[1.0, np.nan], [2.0, 1.0]])
        assert plot_voxel_statistics(X).axes[0].patches[0].get_height() == 1

    @pytest.mark.parametrize(
        ("X", "options", "message"),
        [
            (np.ones((1, 3)), {}, "needs 2 samples or more, but X has 1"),
            (np.ones((2, 3)), {"std_threshold": "low"}, "std_threshold must be a number"),
        ],
    )
    def test_bad_input_is_refused(self, X, options, message):
        with pytest.raises(ValueError, match=message):
            plot_voxel_statistics(X, **options)


class TestExplainedVariance:
    def test_it_is_that_of_singular_values(self, samples):
        X = np.asarray(samples, dtype=float).reshape(8, -1)
        squares = np.linalg.svd(X - X.mean(axis=0), compute_uv=False) ** 2
        (line, mark) = plot_explained_variance(samples).lines
        np.testing.assert_allclose(line.get_ydata(), np.cumsum(squares / squares.sum()), rtol=1e-4)
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 9))
        assert mark.get_label() == "90 % with 7 components"
        assert list(mark.get_xdata()) == [7, 7]

    def test_the_first_components_are_the_same_whatever_their_number(self, samples):
        some = plot_explained_variance(samples, n_components=3).lines
        every = plot_explained_variance(samples).lines
        assert len(some) == 1
        np.testing.assert_allclose(some[0].get_ydata(), every[0].get_ydata()[:3], rtol=1e-4)

    @pytest.mark.parametrize(
        ("X", "n_components", "message"),
        [
            (np.eye(4), 5, "n_components is 5, but 4 samples of 4 voxels have at most 4"),
            (np.eye(4), 0, "n_components must be an integer of at least 1"),
            (np.ones((4, 3)), None, "All 4 samples of X are the same"),
            (np.array([[1, np.nan], [2, 3]]), None, "holds 1 values that are not finite, of 4"),
            (np.arange(4), None, r"X has shape \(4,\)"),
            (np.array([["a", "b"]]), None, "type <U1"),
            (np.ones((1, 3)), None, "X has 1 samples, but this picture needs 2"),
        ],
    )
    def test_bad_input_is_refused(self, X, n_components, message):
        with pytest.raises(ValueError, match=message):
            plot_explained_variance(X, n_components=n_components)


class TestEmbedding:
    def test_points_are_the_first_two_components(self, samples):
        ax = plot_embedding(samples, samples.y)
        pca = PCA(2, random_state=0)
        expected = pca.fit_transform(np.asarray(samples).reshape(8, -1))
        for points, label in zip(ax.collections, "ab", strict=True):
            np.testing.assert_allclose(
                points.get_offsets(), expected[samples.y == label], atol=1e-4
            )
        shares = pca.explained_variance_ratio_
        assert ax.get_xlabel() == f"component 1 ({100 * shares[0]:.0f} % of variance)"
        assert ax.get_ylabel() == f"component 2 ({100 * shares[1]:.0f} % of variance)"

    @pytest.mark.parametrize("n_classes", [2, 7, 12])
    def test_every_class_has_one_entry_and_a_distinct_look(self, n_classes):
        X = np.random.default_rng(0).normal(size=(36, 4))
        y = np.arange(36) % n_classes
        ax = plot_embedding(X, y)
        entries = [text.get_text() for text in ax.get_legend().get_texts()]
        assert entries == [str(i) for i in range(n_classes)]
        looks = {
            (tuple(points.get_facecolor()[0]), points.get_paths()[0].vertices.tobytes())
            for points in ax.collections
        }
        assert len(looks) == n_classes
        if n_classes <= 7:
            assert len({color for color, _ in looks}) == n_classes

    @pytest.mark.parametrize("n_samples", [4, 5])
    def test_the_perplexity_of_tsne_is_legal(self, n_samples):
        X = np.random.default_rng(0).normal(size=(n_samples, 3))
        ax = plot_embedding(X, np.arange(n_samples) % 2, method="tsne", random_state=0)
        assert ax.get_xlabel() == f"t-SNE 1 (perplexity {(n_samples - 1) / 3:.3g})"
        assert sum(len(points.get_offsets()) for points in ax.collections) == n_samples

    def test_tsne_parts_what_is_far_apart(self):
        X = np.random.default_rng(0).normal(size=(94, 60)) + np.repeat([[0], [20]], 47, axis=0)
        ax = plot_embedding(X, np.repeat([0, 1], 47), method="tsne", random_state=0)
        assert ax.get_xlabel() == "t-SNE 1 (perplexity 30)"
        first, second = (points.get_offsets() for points in ax.collections)
        between = np.linalg.norm(first.mean(axis=0) - second.mean(axis=0))
        assert between > 2 * max(first.std(axis=0).max(), second.std(axis=0).max())

    @pytest.mark.parametrize(
        ("X", "y", "method", "message"),
        [
            (np.eye(4), [0, 1, 0, 1], "umap", "method must be 'pca' or 'tsne', but is 'umap'"),
            (np.eye(4), [0, 1, 0], "pca", "3 labels for 4 volumes"),
            (np.eye(3), [0, 1, 0], "tsne", "X has 3 samples, but this picture needs 4"),
            (np.arange(4.0)[:, None], [0, 1, 0, 1], "pca", "2 voxels or more, but X has 1"),
        ],
    )
    def test_bad_input_is_refused(self, X, y, method, message):
        with pytest.raises(ValueError, match=message):
            plot_embedding(X, y, method=method)
