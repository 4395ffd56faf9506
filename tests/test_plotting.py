import subprocess
import sys
import warnings

import matplotlib

matplotlib.use("Agg")

import nibabel
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from nibabel.affines import apply_affine
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier

from skfmri import NiftiSamples, NiftiSlabRotator, VoxelZScorer
from skfmri.plotting import (
    plot_activations,
    plot_confusion,
    plot_embedding,
    plot_explained_variance,
    plot_learning_curves,
    plot_map,
    plot_probabilities,
    plot_search,
    plot_slab,
    plot_voxel_statistics,
)

SHAPE = (9, 11, 13)
RAS = np.array([[4, 0, 0, -18], [0, 3, 0, -12], [0, 0, 2, -10], [0, 0, 0, 1.0]])
LAS = RAS * [[-1, 1, 1, -1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
TURN = nibabel.affines.from_matvec(nibabel.eulerangles.euler2mat(z=0.1, y=-0.15, x=0.2))
PLANES = {"x": (1, 2), "y": (0, 2), "z": (0, 1)}


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def samples():
    """Volumes of unequal axes on a grid that is stored from right to left."""
    volumes = np.random.default_rng(0).random((8, *SHAPE), dtype=np.float32) + 1
    return NiftiSamples.from_array(volumes, LAS, y=list("abababab"))


@pytest.fixture(scope="module")
def anatomy(samples):
    return samples[0]


@pytest.fixture
def predictions():
    """Two models; 30 predictions of three classes each, with probabilities of the decoder."""
    rng = np.random.default_rng(1)
    labels = np.repeat(["cat", "face", "house"], [14, 10, 6])
    proba = rng.dirichlet([1, 1, 1], 30)
    classes = np.array(["cat", "face", "house"])
    decoder = pd.DataFrame(proba, columns=[f"p_{name}" for name in classes])
    decoder = decoder.assign(model="decoder", label=labels, predicted=classes[proba.argmax(1)])
    dummy = pd.DataFrame({"model": "dummy", "label": labels, "predicted": "cat"})
    return pd.concat([decoder, dummy], ignore_index=True)


@pytest.fixture
def curves():
    """Three folds that stop after 4, 3 and 4 epochs."""
    rng = np.random.default_rng(2)
    fold = np.repeat([0, 1, 2], [4, 3, 4])
    epoch = np.concatenate([np.arange(1, 5), np.arange(1, 4), np.arange(1, 5)])
    names = ["loss", "accuracy", "val_loss", "val_accuracy"]
    return pd.DataFrame({"fold": fold, "epoch": epoch} | {name: rng.random(11) for name in names})


@pytest.fixture(scope="module")
def search():
    """A fitted grid search over three parameters; no two scores of one cell are the same."""
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(200, 3)), rng.integers(2, size=200)
    grid = {"max_depth": [10, 2, 4], "splitter": ["best", "random"], "min_samples_leaf": [1, 9]}
    return GridSearchCV(DecisionTreeClassifier(random_state=0), grid, cv=2).fit(X, y)


def image_of(values, affine=LAS):
    return nibabel.Nifti1Image(np.asarray(values, dtype=np.float32), affine)


def moved(affine, voxel):
    """The affine of a grid that begins at another voxel."""
    return affine @ nibabel.affines.from_matvec(np.eye(3), voxel)


def cut_axes(ax):
    """Axes of the planes that nilearn has drawn for `ax`, by their direction."""
    found = {}
    for plane in ax.figure.axes:
        texts = [text.get_text() for text in plane.texts]
        names = [text[0] for text in texts if text[1:2] == "="]
        if names:
            found[names[0]] = plane
    return found


def drawn_points(image):
    """World coordinates of the pixels of a drawn image that are not hidden, with their values."""
    values = np.ma.masked_invalid(image.get_array())
    left, right, low, high = image.get_extent()
    assert image.origin == "upper"
    across = left + (np.arange(values.shape[1]) + 0.5) * (right - left) / values.shape[1]
    up = high - (np.arange(values.shape[0]) + 0.5) * (high - low) / values.shape[0]
    across, up = np.meshgrid(across, up)
    shown = ~np.ma.getmaskarray(values)
    return across[shown], up[shown], np.asarray(values)[shown]


def outline(plane):
    """Vertices of the outline of a slab."""
    (path,) = plane.collections[-1].get_paths()
    return path


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
        """Whether a voxel lies inside the outline, in each of the planes through its centre."""
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
        assert texts == ["x=14", "y=-6", "z=-4"]

    def test_samples_are_drawn_by_their_mean(self, samples):
        rotator = NiftiSlabRotator(angle=0, slab=(3, 6), crop=False).fit(samples)
        ax = plot_slab(rotator, samples, cut_coords=(2, 3, -4))
        _, _, values = drawn_points(cut_axes(ax)["z"].images[-1])
        mean = np.asarray(samples).mean(axis=0)[::-1, :, 3]
        np.testing.assert_allclose(values.reshape(11, 9), np.rot90(mean), rtol=1e-6)

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
    def test_a_voxel_is_drawn_where_it_lies(self, affine):
        values = np.zeros(SHAPE)
        values[1, 2, 3] = -5
        planes = cut_axes(plot_map(image_of(values, affine)))
        where = apply_affine(affine, [1, 2, 3])
        for direction, axes in PLANES.items():
            across, up, value = drawn_points(planes[direction].images[-1])
            np.testing.assert_allclose([across[0], up[0], value[0]], [*where[list(axes)], -5])
            assert len(value) == 1

    def test_an_oblique_voxel_is_drawn_where_it_lies(self, anatomy):
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
        assert texts == ["x=14", "y=-6", "z=-4"]

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

    def test_a_finer_anatomy_lies_under_the_map(self):
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

    def test_a_peak_outside_of_the_anatomy_is_no_error(self, anatomy):
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
            ({"cut_coords": (2, 3, 90)}, "z = 90 mm lies outside of anatomy.* -11 to 15 mm"),
            ({"cut_coords": (-17, 3, 0)}, "x = -17 mm lies outside of anatomy.* -16 to 20 mm"),
            ({"threshold": -1}, "threshold must be None or a number from 0 on, but is -1"),
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
        _, _, drawn = drawn_points(plane.images[-2])
        expected = np.rot90(np.asarray(samples)[0][::-1, :, 5])
        np.testing.assert_allclose(drawn.reshape(11, 9), expected, rtol=1e-5)

    @pytest.mark.parametrize(("head", "rim", "ground"), [(2, 0, "k"), (0, 2, "w")])
    def test_the_ground_goes_on_around_it(self, head, rim, ground):
        values = np.full((1, 11, 13), rim)
        values[:, 1:-1, 1:-1] = head
        (plane,) = cut_axes(plot_map(image_of(values), image_of(values))).values()
        assert plane.texts[-1].get_bbox_patch().get_facecolor() == to_rgba(ground)

    def test_a_line_of_voxels_is_refused(self):
        with pytest.raises(ValueError, match="9 x 1 x 1 voxels makes no picture"):
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
    def test_planes_lie_inside_of_their_subplot(self, samples, layout):
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


class TestVoxelStatistics:
    def test_bars_are_those_of_numpy(self, samples):
        figure = plot_voxel_statistics(samples)
        volumes = np.asarray(samples, dtype=np.float64)
        for ax, values in zip(
            figure.axes, (volumes.mean(axis=0), volumes.std(axis=0)), strict=True
        ):
            expected, _ = np.histogram(values.astype(np.float32), bins=50)
            np.testing.assert_array_equal([bar.get_height() for bar in ax.patches], expected)

    def test_lines_stand_at_the_thresholds_and_the_legends_count(self, samples):
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
            (np.eye(4), 5, "n_components is 5, but 4 samples of 4 voxels have 4"),
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
    def test_every_class_has_one_entry_and_a_look_of_its_own(self, n_classes):
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


class TestLearningCurves:
    def test_one_fit_is_drawn_as_it_is(self):
        history = {"loss": [3.0, 2.0], "accuracy": [0.5, 0.7], "val_accuracy": [0.4, 0.6]}
        ax = plot_learning_curves(history)
        assert [list(line.get_ydata()) for line in ax.lines] == [[0.5, 0.7], [0.4, 0.6]]
        assert list(ax.lines[0].get_xdata()) == [1, 2]
        assert ax.get_ylim() == (0, 1)
        assert not ax.collections

    def test_the_line_is_the_mean_of_the_folds_that_still_run(self, curves):
        ax = plot_learning_curves(curves)
        for line, column in zip(ax.lines, ["accuracy", "val_accuracy"], strict=False):
            expected = curves.groupby("epoch")[column].mean()
            np.testing.assert_allclose(line.get_ydata(), expected)
        assert ax.lines[0].get_ydata()[3] == curves["accuracy"].iloc[[3, 10]].mean()
        assert list(ax.lines[2].get_xdata()) == [3, 3]

    def test_the_band_reaches_from_the_lowest_to_the_highest_fold(self, curves):
        band = plot_learning_curves(curves, metric="loss").collections[0].get_paths()[0].vertices
        for epoch, rows in curves.groupby("epoch"):
            at = band[band[:, 0] == epoch, 1]
            np.testing.assert_allclose(
                [at.min(), at.max()], [rows["loss"].min(), rows["loss"].max()]
            )

    def test_folds_of_one_length_need_no_mark(self, curves):
        ax = plot_learning_curves(curves[curves["fold"] != 1])
        assert len(ax.lines) == 2
        texts = [text.get_text() for text in ax.get_legend().get_texts()]
        assert texts == [
            "training, mean of 2 folds",
            "validation, mean of 2 folds",
            "lowest to highest fold",
        ]

    def test_without_validation_there_is_one_line(self, curves):
        curves["val_accuracy"] = np.nan
        assert len(plot_learning_curves(curves[curves["fold"] != 1]).lines) == 1

    @pytest.mark.parametrize(
        ("history", "metric", "error", "message"),
        [
            (
                {"loss": [1.0]},
                "accuracy",
                ValueError,
                "no metric 'accuracy' in history, only 'loss'",
            ),
            ({"loss": [1.0], "val_loss": [1.0]}, "val_loss", ValueError, "no metric 'val_loss'"),
            ({}, "accuracy", ValueError, "holds no epochs"),
            (
                pd.DataFrame({"loss": [1]}),
                "loss",
                ValueError,
                "no column 'fold', 'epoch', only 'loss'",
            ),
            (pd.DataFrame({"fold": [], "epoch": []}), "loss", ValueError, "but no rows"),
            ([1, 2], "loss", TypeError, "is a list.*learning_curves"),
            (
                pd.DataFrame({"fold": [0, 0], "epoch": [1, 1], "loss": [1, 2]}),
                "loss",
                ValueError,
                "epoch 1 of fold 0 twice",
            ),
        ],
    )
    def test_bad_input_is_refused(self, history, metric, error, message):
        with pytest.raises(error, match=message):
            plot_learning_curves(history, metric=metric)


class TestConfusion:
    def test_cells_are_those_of_scikit_learn(self, predictions):
        rows = predictions[predictions["model"] == "decoder"]
        for normalize in ("true", "pred", "all", None):
            expected = confusion_matrix(rows["label"], rows["predicted"], normalize=normalize)
            image = plot_confusion(predictions, normalize=normalize).images[0]
            np.testing.assert_allclose(image.get_array(), expected)
            assert image.get_clim()[0] == 0

    def test_rows_sum_to_one_on_a_scale_from_0_to_1(self, predictions):
        image = plot_confusion(predictions).images[0]
        np.testing.assert_allclose(image.get_array().sum(axis=1), 1)
        assert image.get_clim() == (0, 1)

    def test_true_classes_are_rows(self, predictions):
        ax = plot_confusion(predictions, model="dummy")
        assert ax.images[0].get_array()[:, 0].tolist() == [1, 1, 1]
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
        assert [text.get_text() for text in ax.get_yticklabels()] == ["cat", "face", "house"]

    def test_short_names_are_not_turned(self, predictions):
        labels = plot_confusion(predictions).get_xticklabels()
        assert {label.get_rotation() for label in labels} == {0}

    def test_a_table_without_models_is_taken_whole(self, predictions):
        rows = predictions.query("model == 'decoder'").drop(columns="model")
        expected = plot_confusion(predictions).images[0].get_array()
        np.testing.assert_array_equal(plot_confusion(rows).images[0].get_array(), expected)

    @pytest.mark.parametrize("n_classes", [2, 12])
    def test_every_cell_can_be_read(self, n_classes):
        names = np.array([f"scrambled picture {i:02}" for i in range(n_classes)])
        rng = np.random.default_rng(0)
        labels, predicted = (names[rng.integers(n_classes, size=3000)] for _ in range(2))
        table = pd.DataFrame({"label": labels, "predicted": predicted})
        ax = plot_confusion(table)
        ax.figure.canvas.draw()
        boxes = [text.get_window_extent() for text in ax.texts]
        assert max(box.width for box in boxes) < ax.get_window_extent().width / n_classes
        assert {text.get_text() for text in ax.texts} >= {f"{ax.images[0].get_array()[0, 0]:.2f}"}
        # Cells of about 0.08 are light on a scale to 1, all of them.
        assert {text.get_color() for text in ax.texts} == {"black"} or n_classes == 2
        assert {label.get_rotation() for label in ax.get_xticklabels()} == {45}
        for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
            for label in labels:
                box = label.get_window_extent()
                assert ax.figure.bbox.x0 <= box.x0
                assert ax.figure.bbox.y0 <= box.y0

    @pytest.mark.parametrize(
        ("change", "options", "error", "message"),
        [
            (lambda t: t.drop(columns="predicted"), {}, ValueError, "no column 'predicted', only"),
            (lambda t: t[:0], {}, ValueError, "but no rows"),
            (lambda t: t, {"model": "svm"}, ValueError, "no model 'svm', only 'decoder', 'dummy'"),
            (lambda t: t, {"normalize": "row"}, ValueError, "normalize must be one of 'true'"),
            (lambda t: t.to_dict(), {}, TypeError, "must be a pandas.DataFrame, but is a dict"),
        ],
    )
    def test_bad_input_is_refused(self, predictions, change, options, error, message):
        with pytest.raises(error, match=message):
            plot_confusion(change(predictions), **options)


class TestProbabilities:
    BINS = np.linspace(0, 1, 21)

    def heights(self, ax):
        return {
            patch.get_label(): patch.get_data().values - np.ravel(patch.get_data().baseline)[0]
            for patch in ax.patches
        }

    def test_two_classes_show_the_probability_of_the_second(self):
        p = np.array([0.1, 0.3, 0.3, 0.6, 0.9, 1.0])
        table = pd.DataFrame({"label": list("aababb"), "p_a": 1 - p, "p_b": p})
        ax = plot_probabilities(table)
        found = self.heights(ax)
        for label in "ab":
            expected, _ = np.histogram(p[table["label"] == label], self.BINS)
            np.testing.assert_array_equal(found[label], expected)
        assert ax.get_xlabel() == "predicted probability of b"
        assert ax.get_xlim() == (0, 1)
        other = self.heights(plot_probabilities(table, of="a"))
        expected, _ = np.histogram((1 - p)[table["label"] == "b"], self.BINS)
        np.testing.assert_array_equal(other["b"], expected)

    def test_of_more_classes_the_true_one_is_shown(self, predictions):
        ax = plot_probabilities(predictions)
        rows = predictions[predictions["model"] == "decoder"]
        found = self.heights(ax)
        for label in ("cat", "face", "house"):
            of_class = rows[rows["label"] == label]
            expected, _ = np.histogram(of_class[f"p_{label}"], self.BINS)
            np.testing.assert_array_equal(found[label], expected)
        assert ax.get_xlabel() == "predicted probability of the true class"
        faces = [patch.get_facecolor() for patch in ax.patches]
        assert all(0 < alpha < 0.5 for *_, alpha in faces)

    def test_many_classes_stand_on_lines_of_their_own(self):
        rng = np.random.default_rng(0)
        proba, labels = rng.dirichlet(np.ones(5), 100), rng.integers(5, size=100)
        table = pd.DataFrame(proba, columns=[f"p_{i}" for i in range(5)]).assign(label=labels)
        ax = plot_probabilities(table)
        assert [text.get_text() for text in ax.get_yticklabels()] == list("01234")
        assert (np.diff(ax.get_yticks()) < 0).all()
        for patch, line, label in zip(ax.patches, ax.get_yticks(), range(5), strict=True):
            expected, _ = np.histogram(proba[labels == label, label], self.BINS)
            np.testing.assert_allclose(patch.get_data().values - line, expected)
            assert expected.max() < abs(ax.get_yticks()[0] - ax.get_yticks()[1])

    @pytest.mark.parametrize(
        ("change", "options", "message"),
        [
            (lambda t: t, {"of": "dog"}, "no probability of 'dog', only of 'cat', 'face', 'house'"),
            (lambda t: t, {"model": "dummy"}, "no probabilities of 'dummy'.*predict_proba"),
            (lambda t: t[["model", "label"]], {}, "no probabilities of 'decoder'"),
            (lambda t: t.drop(columns="label"), {}, "no column 'label'"),
            (lambda t: t.replace({"label": {"cat": "dog"}}), {}, "no probability of 'dog'"),
        ],
    )
    def test_bad_input_is_refused(self, predictions, change, options, message):
        with pytest.raises(ValueError, match=message):
            plot_probabilities(change(predictions), **options)


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


class TestSearch:
    def test_cells_hold_the_best_over_other_parameters(self, search):
        ax = plot_search(search, "max_depth", "splitter")
        results = pd.DataFrame(search.cv_results_)
        groups = results.groupby(["param_splitter", "param_max_depth"])["mean_test_score"]
        assert groups.nunique().min() == 2
        drawn = ax.images[0].get_array()
        # Rows are "best" and "random"; depths stand in order, whatever the order of the grid.
        np.testing.assert_allclose(drawn, groups.max().unstack())
        assert [text.get_text() for text in ax.get_yticklabels()] == ["best", "random"]
        assert [text.get_text() for text in ax.get_xticklabels()] == ["2", "4", "10"]
        assert [text.get_text() for text in ax.texts] == [f"{v:.3f}" for v in drawn.ravel()]
        places = [text.get_position() for text in ax.texts]
        assert places == [(j, i) for i in range(2) for j in range(3)]
        assert ax.figure.axes[-1].get_ylabel() == "best mean test score"

    def test_names_may_start_with_param(self, search):
        first = plot_search(search, "max_depth", "splitter").images[0].get_array()
        second = (
            plot_search(pd.DataFrame(search.cv_results_), "param_max_depth", "param_splitter")
            .images[0]
            .get_array()
        )
        third = plot_search(search.cv_results_, "max_depth", "splitter").images[0].get_array()
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first, third)

    def test_another_metric_and_cells_that_were_not_tried(self):
        results = {
            "param_a": [(64,), None, (64, 32)],
            "param_b": ["x", "y", "y"],
            "mean_test_auc": [0.9, np.nan, 0.2],
        }
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ax = plot_search(results, "a", "b", metric="auc")
        drawn = np.ma.filled(ax.images[0].get_array().astype(float), np.nan)
        np.testing.assert_array_equal(drawn, [[0.9, np.nan, np.nan], [np.nan, np.nan, 0.2]])
        assert [text.get_text() for text in ax.get_xticklabels()] == ["(64,)", "None", "(64, 32)"]
        assert [text.get_text() for text in ax.texts] == ["0.900", "", "", "", "", "0.200"]
        assert ax.figure.axes[-1].get_ylabel() == "mean test auc"

    def test_text_is_dark_on_light_and_light_on_dark(self, search):
        ax = plot_search(search, "max_depth", "splitter")
        image = ax.images[0]
        for value, text in zip(image.get_array().ravel(), ax.texts, strict=True):
            lightness = np.mean(image.cmap(image.norm(value))[:3])
            assert abs(lightness - np.mean(to_rgba(text.get_color())[:3])) > 0.3

    @pytest.mark.parametrize(
        ("x", "y", "options", "message"),
        [
            ("depth", "splitter", {}, "no parameter 'depth', only 'max_depth', 'min_samples_leaf'"),
            ("splitter", "param_splitter", {}, "x and y are both 'splitter'"),
            ("max_depth", "splitter", {"metric": "auc"}, "no metric 'auc'.*, only 'score'"),
        ],
    )
    def test_bad_names_are_refused(self, search, x, y, options, message):
        with pytest.raises(ValueError, match=message):
            plot_search(search, x, y, **options)

    def test_what_is_no_search_is_refused(self):
        with pytest.raises(NotFittedError):
            plot_search(GridSearchCV(DecisionTreeClassifier(), {"max_depth": [1]}), "a", "b")
        with pytest.raises(
            TypeError, match="fitted GridSearchCV or its cv_results_, but is a list"
        ):
            plot_search([1], "a", "b")
        results = {"param_a": [1], "param_b": [2], "mean_test_score": [np.nan]}
        with pytest.raises(ValueError, match="None of the 1 values of mean_test_score is finite"):
            plot_search(results, "a", "b")


@pytest.fixture
def pictures(samples, predictions, curves, search):
    """All functions on small data."""
    rotator = NiftiSlabRotator(angle=0, slab=(3, 6), crop=False).fit(samples)
    with_axes = {
        "slab": lambda ax: plot_slab(rotator, samples, ax=ax),
        "map": lambda ax: plot_map(image_of(np.ones(SHAPE)), samples, ax=ax),
        "explained variance": lambda ax: plot_explained_variance(samples, ax=ax),
        "embedding": lambda ax: plot_embedding(samples, samples.y, ax=ax),
        "learning curves": lambda ax: plot_learning_curves(curves, ax=ax),
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


def test_every_function_makes_one_figure_of_its_own_and_leaves_matplotlib_alone(
    pictures, monkeypatch
):
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
