import numpy as np
import pytest

from skfmri.plotting import plot_activations


class TestActivations:
    def test_filters_fill_rows_of_eight(self):
        figure = plot_activations(np.random.default_rng(0).random((6, 7, 11)))
        *cells, colorbar = figure.axes
        figure.canvas.draw()
        tops = [round(ax.get_position().y1, 6) for ax in cells if ax.images]
        assert [tops.count(top) for top in sorted(set(tops), reverse=True)] == [8, 3]
        assert [ax.get_title() for ax in cells] == [*map(str, range(11)), *[""] * 5]
        assert not any(ax.axison for ax in cells)
        assert colorbar.get_ylabel() == "activation"

    def test_x_runs_to_the_right_and_y_upwards(self):
        activations = np.zeros((4, 6, 2))
        activations[3, 1, 1] = 5
        image = plot_activations(activations).axes[1].images[0]
        row, column = np.argwhere(image.get_array() == 5)[0]
        assert (column, row, image.origin) == (3, 1, "lower")
        assert image.get_array().shape == (6, 4)

    def test_filters_share_one_range(self):
        activations = np.random.default_rng(0).normal(size=(4, 6, 5))
        activations[0, 0, 0] = np.nan
        limits = {ax.images[0].get_clim() for ax in plot_activations(activations).axes[:5]}
        assert limits == {(np.nanmin(activations), np.nanmax(activations))}

    @pytest.mark.parametrize(("slice_index", "shown"), [(None, 2), (0, 0), (4, 4)])
    def test_one_slice_of_a_volume_is_shown(self, slice_index, shown):
        activations = np.random.default_rng(0).random((4, 6, 5, 3))
        figure = plot_activations(activations, slice_index=slice_index, title="block1")
        for i, ax in enumerate(figure.axes[:3]):
            np.testing.assert_array_equal(ax.images[0].get_array(), activations[:, :, shown, i].T)
        assert figure.get_suptitle() == f"block1, slice {shown} of 0 to 4"

    def test_rows_take_another_length(self):
        figure = plot_activations(np.ones((4, 6, 5)), n_columns=2)
        assert figure.axes[0].get_gridspec().get_geometry() == (3, 2)

    @pytest.mark.parametrize(
        ("activations", "options", "message"),
        [
            (np.ones(8), {}, r"shape \(8,\).*layer_activations\(decoder, X, layer\)\[0\].*dense"),
            (np.ones((2, 8)), {}, r"shape \(2, 8\)"),
            (np.ones((2, 3, 4, 5, 6)), {}, r"shape \(2, 3, 4, 5, 6\)"),
            (np.ones((4, 6, 0)), {}, r"shape \(4, 6, 0\)"),
            (np.full((4, 6, 5), np.nan), {}, "None of the 120 activations is finite"),
            (np.ones((4, 6, 5)), {"slice_index": 1}, "have no slices"),
            (np.ones((4, 6, 5, 2)), {"slice_index": 5}, "slice_index is 5.*slices 0 to 4"),
            (np.ones((4, 6, 5, 2)), {"slice_index": -1}, "slice_index must be an integer"),
            (np.ones((4, 6, 5)), {"n_columns": 0}, "n_columns must be an integer of at least 1"),
        ],
    )
    def test_bad_input_is_refused(self, activations, options, message):
        with pytest.raises(ValueError, match=message):
            plot_activations(activations, **options)
