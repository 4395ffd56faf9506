import warnings

import nibabel
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from nibabel.affines import apply_affine
from sklearn.exceptions import NotFittedError

from skfmri import NiftiSamples, NiftiSlabRotator
from skfmri.plotting import plot_map, plot_slab

from .images import LAS, PLANES, RAS, SHAPE, TURN, cut_axes, drawn_points, image_of, moved, outline

MINUS = "\N{MINUS SIGN}"


class TestSlab:
    def test_the_outline_runs_along_the_faces_of_the_voxels(self, samples):
        rotator = NiftiSlabRotator(angle=0, slab=(3, 6), crop=False).fit(samples)
        planes = cut_axes(plot_slab(rotator, samples))
        assert list(planes) == ["x", "y", "z"]
        # Slices 3 to 5 of 2 mm, the first of which is centred at -10 mm.
        for direction in "xy":
            heights = outline(planes[direction]).vertices[:, 1]
            np.testing.assert_allclose([heights.min(), heights.max()], [-5, 1], atol=1e-9)
        across = outline(planes["y"]).vertices[:, 0]
        np.testing.assert_allclose([across.min(), across.max()], [-16, 20], atol=0.15)

    @pytest.mark.parametrize("affine", [RAS, LAS], ids=["RAS", "LAS"])
    def test_the_outline_holds_the_voxels_that_the_slab_reaches(self, samples, affine):
        volumes = NiftiSamples.from_array(np.asarray(samples), affine)
        rotator = NiftiSlabRotator(angle=0.3, slab=(4, 7)).fit(volumes)
        reached = np.isfinite(rotator.inverse_transform(np.ones(rotator.slab_shape_)).get_fdata())
        plane = cut_axes(plot_slab(rotator, volumes, cut_coords=apply_affine(affine, [4, 5, 6])))
        voxels = np.array([[4, j, k] for j in range(SHAPE[1]) for k in range(SHAPE[2])])
        points = apply_affine(affine, voxels)[:, PLANES["x"]]
        inside = outline(plane["x"]).contains_points(points)
        np.testing.assert_array_equal(inside, reached[4].ravel())
        assert 0 < inside.sum() < len(inside)

    @pytest.mark.parametrize("axis", ["x", "y"])
    def test_planes_through_a_voxel_of_an_oblique_grid_show_whether_it_is_reached(
        self, samples, axis
    ):
        affine = TURN @ LAS
        volumes = NiftiSamples.from_array(np.asarray(samples), affine)
        rotator = NiftiSlabRotator(angle=0.3, axis=axis, slab=(4, 7)).fit(volumes)
        reached = np.isfinite(rotator.inverse_transform(np.ones(rotator.slab_shape_)).get_fdata())
        inner = np.pad(np.ones(np.array(SHAPE) - 2, dtype=bool), 1)
        rng = np.random.default_rng(0)
        for voxel in rng.permutation(np.argwhere(reached & inner))[:2]:
            assert all(self.shown(rotator, volumes, voxel))
        for voxel in rng.permutation(np.argwhere(~reached & inner))[:2]:
            assert not any(self.shown(rotator, volumes, voxel))

    def shown(self, rotator, volumes, voxel):
        """Whether a voxel is inside the outline, in each of the planes through its centre."""
        where = apply_affine(volumes.affine, voxel)
        ax = plot_slab(rotator, volumes, cut_coords=where)
        for direction, plane in cut_axes(ax).items():
            has_outline = len(plane.collections) > 0
            yield has_outline and outline(plane).contains_point(where[list(PLANES[direction])])

    def test_an_image_is_outlined_half_a_voxel_around_its_ones(self, anatomy):
        block = np.zeros(SHAPE)
        block[2:5, 3:7, 4:10] = 7
        planes = cut_axes(plot_slab(image_of(block), anatomy))
        # On x, voxels 2 to 4 of a grid that runs from 18 mm down in steps of 4.
        faces = np.array([[0, 12], [-4.5, 7.5], [-3, 9]])
        for direction, axes in PLANES.items():
            vertices = outline(planes[direction]).vertices
            found = np.column_stack([vertices.min(axis=0), vertices.max(axis=0)])
            np.testing.assert_allclose(found, faces[list(axes)], atol=0.15)
            # Interpolated, the corner of the last voxel has a quarter of its value.
            corner = faces[list(axes), 1]
            assert not outline(planes[direction]).contains_point(corner - 0.1)
            assert outline(planes[direction]).contains_point(corner - [1.3, 0.9])

    def test_the_outline_of_a_region_is_that_of_its_voxels(self, samples):
        values = np.zeros(SHAPE)
        values[2:5, 2:4, 4:10] = values[2:5, 6:9, 4:10] = 1
        mask = image_of(values, samples.affine)
        rotator = NiftiSlabRotator(angle=0, slab=None, crop=False, mask=mask).fit(samples)
        cut_coords = apply_affine(samples.affine, [3, 5, 6])
        plane = cut_axes(plot_slab(rotator, samples, cut_coords=cut_coords))["x"]
        voxels = np.array([[3, j, k] for j in range(SHAPE[1]) for k in range(SHAPE[2])])
        points = apply_affine(samples.affine, voxels)[:, PLANES["x"]]
        inside = outline(plane).contains_points(points).reshape(SHAPE[1:])
        np.testing.assert_array_equal(inside, values[3] > 0)

    def test_there_is_no_scale_for_the_anatomy(self, anatomy):
        figure = plot_slab(image_of(np.ones(SHAPE)), anatomy).figure
        assert len(figure.axes) == 4

    def test_the_planes_meet_in_the_centre_of_the_slab(self, anatomy):
        block = np.zeros(SHAPE)
        block[1, 2, 3] = 1
        texts = [
            plane.texts[-1].get_text()
            for plane in cut_axes(plot_slab(image_of(block), anatomy)).values()
        ]
        assert texts == ["x = 14 mm", f"y = {MINUS}6 mm", f"z = {MINUS}4 mm"]

    def test_samples_are_drawn_by_their_mean(self, samples):
        rotator = NiftiSlabRotator(angle=0, slab=(3, 6), crop=False).fit(samples)
        ax = plot_slab(rotator, samples, cut_coords=(2, 3, -4))
        _, _, values = drawn_points(cut_axes(ax)["z"].images[-1])
        mean = np.asarray(samples).mean(axis=0, dtype=np.float64)
        # Its rim is dark; its darkest value is 0.
        shades = (mean - mean.min()) / np.ptp(mean)
        np.testing.assert_allclose(
            values.reshape(11, 9), np.rot90(shades[::-1, :, 3]), rtol=1e-5, atol=1e-6
        )

    def test_an_empty_slab_is_refused(self, anatomy):
        with pytest.raises(ValueError, match="slab is empty: all 1287 voxels"):
            plot_slab(image_of(np.zeros(SHAPE)), anatomy)

    def test_a_rotator_must_be_fitted(self, anatomy):
        with pytest.raises(NotFittedError):
            plot_slab(NiftiSlabRotator(), anatomy)

    def test_several_volumes_are_no_anatomy(self, samples, anatomy):
        series = image_of(np.moveaxis(np.asarray(samples), 0, -1))
        with pytest.raises(ValueError, match=r"holds 8 volumes of 9 x 11 x 13.*NiftiSamples"):
            plot_slab(anatomy, series)


class TestShades:
    @pytest.mark.parametrize(("slope", "offset"), [(1, -1e3), (1e-9, 0)])
    @pytest.mark.parametrize("ground", [0, 1], ids=["dark", "light"])
    @pytest.mark.parametrize(("draw", "layer"), [(plot_slab, -1), (plot_map, -2)])
    def test_do_not_depend_on_unit_and_zero_of_the_anatomy(
        self, draw, layer, ground, slope, offset
    ):
        values = np.full(SHAPE, float(ground))
        values[2:-2, 2:-2, 2:-2] = np.random.default_rng(0).random(np.array(SHAPE) - 4)
        block = np.zeros(SHAPE)
        block[3:5, 3:7, 4:10] = 7
        first, other = (
            self.colours(draw(image_of(block), image_of(anatomy)), layer)
            for anatomy in (values, slope * values + offset)
        )
        np.testing.assert_allclose(other, first, atol=0.01)
        assert len(np.unique(first)) > 50

    def colours(self, ax, layer):
        """Colours of the pixels of the anatomy, in all planes."""
        drawn = [plane.images[layer] for plane in cut_axes(ax).values()]
        return np.concatenate([i.to_rgba(i.get_array()).reshape(-1, 4) for i in drawn])

    def test_of_volumes_that_are_negative_everywhere_show_what_is_in_them(self):
        volume = image_of(-np.random.default_rng(0).normal(1, 0.01, SHAPE))
        ax = plot_slab(image_of(np.ones(SHAPE)), volume)
        ax.figure.canvas.draw()
        colours = self.colours(ax, -1)
        assert np.ptp(colours[:, 0]) > 0.5


class TestMap:
    @pytest.mark.parametrize("affine", [RAS, LAS], ids=["RAS", "LAS"])
    @pytest.mark.parametrize("with_anatomy", [True, False])
    def test_what_is_right_in_the_head_is_drawn_right(self, samples, affine, with_anatomy):
        x, _, _ = apply_affine(affine, np.moveaxis(np.indices(SHAPE), 0, -1)).transpose(3, 0, 1, 2)
        image = image_of(np.where(x > 0, 1.0, 0), affine)
        anatomy = image_of(np.asarray(samples)[0], affine) if with_anatomy else None
        planes = cut_axes(plot_map(image, anatomy, cut_coords=(2, 3, 4)))
        for direction in "yz":
            across, _, _ = drawn_points(planes[direction].images[-1])
            assert across.min() > 0
            assert planes[direction].get_xlim()[0] < planes[direction].get_xlim()[1]
            places = {text.get_text(): text.get_position()[0] for text in planes[direction].texts}
            assert places["L"] < 0.5 < places["R"]

    @pytest.mark.parametrize("affine", [RAS, LAS, RAS[[1, 0, 2, 3]]], ids=["RAS", "LAS", "swapped"])
    def test_a_voxel_is_drawn_at_its_position(self, affine):
        values = np.zeros(SHAPE)
        values[1, 2, 3] = -5
        planes = cut_axes(plot_map(image_of(values, affine)))
        where = apply_affine(affine, [1, 2, 3])
        for direction, axes in PLANES.items():
            across, up, value = drawn_points(planes[direction].images[-1])
            np.testing.assert_allclose([across[0], up[0], value[0]], [*where[list(axes)], -5])
            assert len(value) == 1

    def test_an_oblique_voxel_is_drawn_at_its_position(self, anatomy):
        values = np.zeros(SHAPE)
        values[1:4, 2:5, 3:6] = 5
        values[2, 3, 4] = 6
        affine = TURN @ LAS
        where = apply_affine(affine, [2, 3, 4])
        planes = cut_axes(plot_map(image_of(values, affine), image_of(anatomy.get_fdata(), affine)))
        for direction, axes in PLANES.items():
            across, up, value = drawn_points(planes[direction].images[-1])
            assert set(np.unique(value)) <= {5, 6}
            centre = [across[value == 6].mean(), up[value == 6].mean()]
            # Nearest neighbours move a voxel by half of its size at most.
            assert np.abs(centre - where[list(axes)]).max() <= 2

    def test_images_reach_to_the_faces_of_their_voxels(self, anatomy):
        planes = cut_axes(plot_map(image_of(np.ones(SHAPE)), anatomy))
        faces = np.array([[-16, 20], [-13.5, 19.5], [-11, 15]])
        for direction, axes in PLANES.items():
            for image in planes[direction].images[-2:]:
                np.testing.assert_allclose(image.get_extent(), faces[list(axes)].ravel())
            limits = [planes[direction].get_xlim(), planes[direction].get_ylim()]
            np.testing.assert_allclose(limits, faces[list(axes)])

    def test_colours_are_symmetric_with_grey_in_the_middle(self, anatomy):
        values = np.zeros(SHAPE)
        values[2:4], values[5] = -3, 1
        ax = plot_map(image_of(values), anatomy)
        image = cut_axes(ax)["x"].images[-1]
        assert image.get_clim() == (-3, 3)
        red, green, blue, _ = image.to_rgba(np.array([[0.0]]))[0, 0]
        assert red == green == blue
        (low, high) = image.to_rgba(np.array([[-3.0, 3.0]]))[0]
        assert low[2] > low[0]
        assert high[0] > high[2]
        assert ax.figure.axes[-1].get_ylim() == (-3, 3)
        assert ax.figure.axes[-1].get_ylabel() == "value"

    def test_the_planes_meet_in_the_largest_absolute_value(self):
        values = np.zeros(SHAPE)
        values[5:8], values[1, 2, 3] = 1, -2
        texts = [
            plane.texts[-1].get_text() for plane in cut_axes(plot_map(image_of(values))).values()
        ]
        assert texts == ["x = 14 mm", f"y = {MINUS}6 mm", f"z = {MINUS}4 mm"]

    @pytest.mark.parametrize(
        ("threshold", "shown"),
        [(None, {-4, 1, 0.05}), (0, {-4, 1, 0.05, 0.03}), (1, {-4}), (0.5, {-4, 1}), (9, set())],
    )
    def test_only_what_is_above_the_threshold_is_shown(self, anatomy, threshold, shown):
        values = np.zeros(SHAPE)
        for j, value in enumerate([-4, 1, 0.05, 0.03, np.nan, -np.inf]):
            values[4, j, 6] = value
        ax = plot_map(image_of(values), anatomy, threshold=threshold, cut_coords=(2, 3, 2))
        image = cut_axes(ax)["x"].images[-1]
        visible = set() if image.get_alpha() == 0 else set(drawn_points(image)[2].tolist())
        assert visible == {float(np.float32(value)) for value in shown}
        label = f"value (up to ±{threshold} hidden)" if threshold else "value"
        assert ax.figure.axes[-1].get_ylabel() == label

    def test_the_scale_can_be_named(self):
        values = np.zeros(SHAPE)
        values[4, 4, 4] = 1
        ax = plot_map(image_of(values), threshold=0.5, label="weight")
        assert ax.figure.axes[-1].get_ylabel() == "weight (up to ±0.5 hidden)"

    @pytest.mark.parametrize("value", [0, np.nan])
    @pytest.mark.parametrize("threshold", [None, 0, 1])
    def test_an_empty_map_shows_the_anatomy_alone_without_a_warning(
        self, anatomy, value, threshold
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ax = plot_map(image_of(np.full(SHAPE, value)), anatomy, threshold=threshold)
            ax.figure.canvas.draw()
        for plane in cut_axes(ax).values():
            assert plane.images[-1].get_alpha() == 0
            assert plane.images[-2].get_alpha() in (None, 1)
        assert ax.figure.axes[-1].get_ylim() == (-1, 1)

    def test_no_template_is_loaded(self, monkeypatch):
        def refuse(*args, **kwargs):
            raise AssertionError("nilearn loads a template")

        monkeypatch.setattr("nilearn.plotting.image.utils.load_mni152_template", refuse)
        monkeypatch.setattr("nilearn.datasets.load_mni152_template", refuse)
        ax = plot_map(image_of(np.ones(SHAPE)))
        ax.figure.canvas.draw()
        assert [len(plane.images) for plane in cut_axes(ax).values()] == [1, 1, 1]

    def test_a_finer_anatomy_is_drawn_under_the_map(self):
        values = np.zeros(SHAPE)
        values[1, 2, 3] = 1
        fine = moved(LAS, [-0.25, -0.25, -0.25]) @ np.diag([0.5, 0.5, 0.5, 1])
        anatomy = np.ones((18, 22, 26))
        anatomy[2:4, 4:6, 6:8] = 3
        for plane in cut_axes(plot_map(image_of(values), image_of(anatomy, fine))).values():
            across, up, value = drawn_points(plane.images[-2])
            bright = value == value.max()
            assert bright.sum() == 4
            spot = drawn_points(plane.images[-1])
            np.testing.assert_allclose(
                [across[bright].mean(), up[bright].mean()], np.ravel(spot[:2])
            )

    def test_a_peak_outside_of_the_anatomy_is_not_an_error(self, anatomy):
        values = np.zeros(SHAPE)
        values[0, 0, 0] = 1
        small = image_of(
            anatomy.get_fdata()[3:6, 3:6, 3:6],
            LAS @ nibabel.affines.from_matvec(np.eye(3), [3, 3, 3]),
        )
        assert len(cut_axes(plot_map(image_of(values), small))) == 3

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"cut_coords": (2, 3)}, r"3 finite numbers, x, y and z in mm, but is \(2, 3\)"),
            ({"cut_coords": (2, np.nan, 3)}, "3 finite numbers"),
            ({"cut_coords": (2, 3, 90)}, "z = 90 mm is outside anatomy.* -11 to 15 mm"),
            ({"cut_coords": (-17, 3, 0)}, "x = -17 mm is outside anatomy.* -16 to 20 mm"),
            ({"threshold": -1}, "threshold must be None or a number of at least 0, but is -1"),
            ({"threshold": "high"}, "threshold must be"),
            ({"threshold": np.nan}, "threshold must be"),
        ],
    )
    def test_bad_options_are_refused(self, anatomy, options, message):
        with pytest.raises(ValueError, match=message):
            plot_map(image_of(np.ones(SHAPE)), anatomy, **options)

    def test_an_array_is_refused(self, anatomy):
        with pytest.raises(TypeError, match=r"image must be.*is a ndarray.*Nifti1Image"):
            plot_map(np.ones(SHAPE), anatomy)
        with pytest.raises(TypeError, match=r"anatomy must be"):
            plot_map(anatomy, [anatomy])

    def test_several_maps_are_refused(self):
        with pytest.raises(
            ValueError, match="image must be 3-D, but holds 2 volumes of 9 x 11 x 13"
        ):
            plot_map(image_of(np.ones((*SHAPE, 2))))

    def test_paths_are_read(self, anatomy, tmp_path):
        path = tmp_path / "map.nii.gz"
        nibabel.save(image_of(np.ones(SHAPE)), path)
        assert len(cut_axes(plot_map(path, str(path)))) == 3


class TestOneSlice:
    @pytest.mark.parametrize(("axis", "direction"), [(0, "x"), (1, "y"), (2, "z")])
    @pytest.mark.parametrize("affine", [LAS, TURN @ LAS], ids=["straight", "oblique"])
    def test_its_plane_alone_is_drawn(self, axis, direction, affine):
        shape = [7, 9, 12]
        shape[axis] = 1
        values = np.zeros(shape)
        spot = [5, 6, 8]
        spot[axis] = 0
        values[tuple(spot)] = 2
        planes = cut_axes(plot_map(image_of(values, affine), image_of(values + 1, affine)))
        assert list(planes) == [direction]
        across, up, value = drawn_points(planes[direction].images[-1])
        assert value.tolist() == [2]
        where = apply_affine(affine, spot)[list(PLANES[direction])]
        tolerance = 1e-6 if affine is LAS else 4
        np.testing.assert_allclose([across[0], up[0]], where, atol=tolerance)

    def test_a_slab_of_it_is_outlined(self, samples):
        slices = NiftiSamples.from_array(np.asarray(samples)[..., :1], LAS)
        rotator = NiftiSlabRotator(angle=0, slab=(0, 1), crop=False).fit(slices)
        planes = cut_axes(plot_slab(rotator, slices))
        assert list(planes) == ["z"]
        vertices = outline(planes["z"]).vertices
        np.testing.assert_allclose(vertices.min(axis=0), [-16, -13.5], atol=0.2)
        np.testing.assert_allclose(vertices.max(axis=0), [20, 19.5], atol=0.2)

    def test_the_plane_of_a_whole_anatomy_is_drawn_under_it(self, samples, anatomy):
        affine = moved(LAS, [0, 0, 5])
        values = np.zeros((9, 11, 1))
        values[1, 2] = 1
        (plane,) = cut_axes(plot_map(image_of(values, affine), anatomy)).values()
        drawn = np.ma.filled(plane.images[-2].get_array(), 0)
        expected = np.rot90(np.asarray(samples)[0][::-1, :, 5].astype(float))
        expected = (expected - expected.min()) / np.ptp(expected)
        np.testing.assert_allclose(drawn, expected, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize(("head", "rim", "ground"), [(2, 0, "k"), (0, 2, "w")])
    def test_the_ground_goes_on_around_it(self, head, rim, ground):
        values = np.full((1, 11, 13), rim)
        values[:, 1:-1, 1:-1] = head
        (plane,) = cut_axes(plot_map(image_of(values), image_of(values))).values()
        assert plane.texts[-1].get_bbox_patch().get_facecolor() == to_rgba(ground)

    def test_a_line_of_voxels_is_refused(self):
        with pytest.raises(ValueError, match="9 x 1 x 1 voxels cannot be drawn"):
            plot_map(image_of(np.ones((9, 1, 1))))

    @pytest.mark.real_data
    def test_measured_slices_are_drawn(self, real_data):
        slices = NiftiSamples(real_data / "haxby_subject1" / "bold_slice.nii.gz")[:3]
        values = np.zeros((40, 20, 1))
        values[3:9] = 1
        (plane,) = cut_axes(plot_map(image_of(values, slices.affine), slices)).values()
        across, _, _ = drawn_points(plane.images[-1])
        # The grid runs from 60.45 mm on the right in steps of 3.1 mm to the left.
        np.testing.assert_allclose([across.max(), across.min()], [51.15, 35.65])


@pytest.mark.real_data
def test_measured_oblique_volumes_are_drawn(real_data):
    paths = sorted((real_data / "oblique_epi").glob("*.nii.gz"))
    assert paths
    for path in paths:
        volumes = NiftiSamples(path)[:1]
        rotator = NiftiSlabRotator(angle=0.2, slab=(2, 4)).fit(volumes)
        planes = cut_axes(plot_slab(rotator, volumes))
        assert [len(plane.collections) for plane in planes.values()] == [2, 2, 2]


class TestPlace:
    """Brains take the place of the axes they are given."""

    def draw(self, samples, ax):
        return plot_map(image_of(np.ones(SHAPE)), samples, ax=ax, title="Map")

    @pytest.mark.parametrize("layout", [None, "constrained", "tight"])
    def test_planes_stay_inside_their_subplot(self, samples, layout):
        figure = plt.figure(figsize=(9, 6), layout=layout)
        axes = figure.subplots(2, 2)
        axes[0, 0].set_ylabel("a label\nof two lines")
        assert self.draw(samples, axes[0, 1]) is axes[0, 1]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the tight layout warns of nilearn's axes
            figure.canvas.draw()
        frame = axes[0, 1].get_position()
        planes = cut_axes(axes[0, 1])
        assert len(planes) == 3
        for plane in planes.values():
            box = plane.get_position()
            assert box.x0 >= frame.x0 - 1e-6
            assert box.x1 <= frame.x1 + 1e-6
            assert box.y0 >= frame.y0 - 1e-6
            assert box.y1 <= frame.y1 + 1e-6
        assert axes[0, 1].get_title() == "Map"
        assert axes[1, 0].axison

    def test_the_axes_stay_the_current_ones(self, samples):
        figure, axes = plt.subplots(1, 2)
        self.draw(samples, axes[0])
        assert figure.gca() is axes[0]

    def test_figures_that_pyplot_does_not_know_do(self, samples):
        figure = Figure()
        self.draw(samples, figure.subplots())
        figure.canvas.draw()
        assert not plt.get_fignums()

    def test_subfigures_are_refused(self, samples):
        part = plt.figure().subfigures(1, 2)[0]
        with pytest.raises(ValueError, match=r"in a SubFigure.*Figure\.subplots"):
            self.draw(samples, part.subplots())
