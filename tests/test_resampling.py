import pickle
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import ndimage, sparse

from skfmri.resampling import (
    SPLINE_ORDERS,
    apply_operator,
    apply_transpose,
    resample_back,
    resampled_bound,
    resampling_operator,
    unchanged_axis,
)
from skfmri.resampling.splines import resample_planes
from skfmri.spatial import rotated_grid, rotation_matrix

GRID = (7, 8, 9)
ALIGNED = np.array([[-3.0, 0, 0, 10], [0, 3.3, 0, -12], [0, 0, 2.5, -9], [0, 0, 0, 1]])
PERMUTED = np.array([[0, 0, 3.0, -12], [-2.5, 0, 0, 9], [0, 4, 0, -14], [0, 0, 0, 1]])
OBLIQUE = rotation_matrix(0.2, "y") @ rotation_matrix(-0.1, "z") @ ALIGNED
AFFINES = {"aligned": ALIGNED, "permuted": PERMUTED, "oblique": OBLIQUE}
needs_compiled = pytest.mark.skipif(
    resample_planes is None, reason="skfmri.resampling._splines was not compiled"
)


def full_box(shape):
    return [(0, length) for length in shape]


def random_volumes(count=3, shape=GRID, seed=0):
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


@pytest.mark.parametrize("name", AFFINES)
def test_no_rotation_is_the_identity(name):
    transform, shape = rotated_grid(GRID, AFFINES[name], rotation_matrix(0.0, "x"))
    volumes = random_volumes()
    for order in (0, 1, 3):
        operator = resampling_operator(transform, GRID, full_box(GRID), order)
        np.testing.assert_allclose(apply_operator(operator, volumes), volumes, atol=2e-6)
    np.testing.assert_array_equal(transform, np.eye(4))
    assert all(new in (old, old + 1) for new, old in zip(shape, GRID, strict=True))


def test_a_quarter_turn_is_rot90():
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = [-3, -7, -7]  # the turn's axis runs through the middle of y and z
    volumes = np.zeros((2, 4, 8, 8), dtype=np.float32)
    volumes[:, 1:3, 1:7, 1:7] = random_volumes(2, (2, 6, 6))
    transform, shape = rotated_grid((4, 8, 8), affine, rotation_matrix(np.pi / 2, "x"))
    for order in (0, 1, 3):
        operator = resampling_operator(transform, (4, 8, 8), full_box(shape), order)
        turned = apply_operator(operator, volumes)[:, :4, :8, :8]
        np.testing.assert_allclose(turned, np.rot90(volumes, axes=(2, 3)), atol=2e-6)


both_ways = pytest.mark.parametrize(
    "compiled",
    [pytest.param(True, marks=needs_compiled, id="compiled"), pytest.param(False, id="matrices")],
)


def test_the_extension_is_compiled_if_there_is_a_compiler():
    has_headers = Path(sysconfig.get_paths()["include"], "Python.h").exists()
    if not (has_headers and shutil.which("cc")):
        pytest.skip("there is no C compiler, or no Python.h")
    assert resample_planes is not None


WITHOUT_EXTENSION = """
import pickle, sys
sys.modules["skfmri.resampling._splines"] = None
import numpy as np
from skfmri.resampling import apply_operator, resampling_operator

with open(sys.argv[1], "rb") as file:
    operator, volumes, arguments = pickle.load(file)
made_here = resampling_operator(*arguments)
print(operator.is_recursive, made_here.is_recursive)
np.save(sys.argv[2], [apply_operator(each, volumes) for each in (operator, made_here)])
"""


@needs_compiled
def test_operators_work_in_a_process_without_the_extension(tmp_path):
    volumes = random_volumes()
    transform, shape = rotated_grid(GRID, ALIGNED, rotation_matrix(0.35, "x"))
    arguments = transform, GRID, [(0, 7), (0, shape[1]), (3, 5)], 3
    operator = resampling_operator(*arguments)
    pickled, saved = tmp_path / "operator.pkl", tmp_path / "boxes.npy"
    pickled.write_bytes(pickle.dumps((operator, volumes, arguments)))
    command = [sys.executable, "-P", "-c", WITHOUT_EXTENSION, str(pickled), str(saved)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["True", "False"]
    for boxes in np.load(saved):
        np.testing.assert_allclose(boxes, apply_operator(operator, volumes), atol=5e-6)


@both_ways
@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("name", AFFINES)
def test_operator_equals_scipy_on_thick_and_thin_boxes(name, axis, order, compiled):
    volumes = random_volumes()
    transform, shape = rotated_grid(GRID, AFFINES[name], rotation_matrix(0.35, axis))
    expected = np.stack(
        [
            ndimage.affine_transform(
                volume.astype(float), transform[:3, :3], transform[:3, 3], shape, order=order
            )
            for volume in volumes
        ]
    )
    for box in (full_box(shape), [(1, shape[0]), (0, shape[1] - 1), (3, 5)]):
        part = expected[(slice(None), *(slice(*span) for span in box))]
        operator = resampling_operator(transform, GRID, box, order, compiled=compiled)
        assert not operator.is_recursive or compiled
        np.testing.assert_allclose(apply_operator(operator, volumes), part, atol=5e-6)
        # Volumes come from a file with x running fastest.
        in_file_order = np.ascontiguousarray(volumes.transpose(0, 3, 2, 1)).transpose(0, 3, 2, 1)
        np.testing.assert_allclose(apply_operator(operator, in_file_order), part, atol=5e-6)
        for order_of_bytes in "<>":
            stored = volumes.astype(np.dtype(np.float32).newbyteorder(order_of_bytes))
            np.testing.assert_allclose(apply_operator(operator, stored), part, atol=5e-6)


@both_ways
@pytest.mark.parametrize("grid", [(3, 70, 90), (5, 1, 33), (1, 40, 2), (130, 3, 20)])
@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_operator_equals_scipy_on_grids_longer_and_shorter_than_the_filter(axis, grid, compiled):
    volumes = 1000 + random_volumes(2, grid)
    transform, shape = rotated_grid(grid, np.diag([2.0, 2, 2, 1]), rotation_matrix(0.1, axis))
    box = [(length // 2, min(length // 2 + 3, length)) for length in shape]
    operator = resampling_operator(transform, grid, box, 3, compiled=compiled)
    assert operator.is_recursive == compiled
    got = apply_operator(operator, volumes)
    for volume, part in zip(volumes, got, strict=True):
        expected = ndimage.affine_transform(
            volume.astype(float), transform[:3, :3], transform[:3, 3], shape
        )
        np.testing.assert_allclose(part, expected[tuple(slice(*span) for span in box)], rtol=2e-6)


@both_ways
def test_thin_boxes_beside_an_unchanged_axis_get_a_dense_matrix(compiled):
    transform, shape = rotated_grid(GRID, ALIGNED, rotation_matrix(0.35, "x"))
    assert unchanged_axis(transform) == 0
    box = [(0, 7), (0, shape[1]), (3, 5)]
    operator = resampling_operator(transform, GRID, box, 3, compiled=compiled)
    assert sparse.issparse(operator.weights) == compiled
    thin = resampling_operator(transform, GRID, box, 3, keeps_zeros=True, compiled=compiled)
    assert isinstance(thin.weights, np.ndarray)
    assert thin.weights.shape == (shape[1] * 2, 8 * 9)
    oblique, _ = rotated_grid(GRID, OBLIQUE, rotation_matrix(0.35, "x"))
    assert unchanged_axis(oblique) is None


def plane_parts(volumes, n_rows=6, seed=0):
    """Return arguments of the compiled function: a random sparse matrix for planes of volumes."""
    rng = np.random.default_rng(seed)
    weights = sparse.random(
        n_rows, volumes.shape[1] * volumes.shape[2], 0.2, "csr", np.float32, rng=rng
    )
    out = np.full((len(volumes), n_rows, volumes.shape[3]), np.nan, np.float32)
    indices = [each.astype(np.int32) for each in (weights.indptr, weights.indices)]
    return [volumes, *indices, weights.data, out], weights


@needs_compiled
def test_compiled_planes_are_the_same_from_several_threads():
    arguments, weights = plane_parts(random_volumes(50, (20, 30, 12)))
    outs = [np.empty_like(arguments[-1]) for _ in range(8)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda out: resample_planes(*arguments[:-1], out), outs))
    for out in outs:
        np.testing.assert_array_equal(out, outs[0])
    coefficients = ndimage.spline_filter1d(arguments[0].astype(float), axis=1, mode="mirror")
    coefficients = ndimage.spline_filter1d(coefficients, axis=2, mode="mirror")
    expected = [weights @ each.reshape(600, 12) for each in coefficients]
    np.testing.assert_allclose(outs[0], expected, atol=1e-4)


@needs_compiled
def test_the_compiled_function_refuses_what_does_not_fit():
    arguments, _ = plane_parts(random_volumes(2, (4, 5, 3)))
    names = ("volumes", "starts", "columns", "weights", "out")
    with pytest.raises(TypeError, match="takes 5 arrays"):
        resample_planes(*arguments[:4])
    for place, name in enumerate(names):
        wrong = list(arguments)
        wrong[place] = arguments[place].astype(float)
        with pytest.raises(TypeError, match=rf"{name} must have \d axes"):
            resample_planes(*wrong)
        wrong[place] = arguments[place][np.newaxis]
        with pytest.raises(TypeError, match=rf"{name} must have \d axes"):
            resample_planes(*wrong)
    volumes, starts, columns, weights, out = arguments
    with pytest.raises((ValueError, BufferError), match="contiguous"):
        resample_planes(volumes[..., ::2], starts, columns, weights, out)
    out.flags.writeable = False
    with pytest.raises((ValueError, BufferError), match=r"read-?only|writable"):
        resample_planes(*arguments)
    out.flags.writeable = True
    for wrong, error in (
        ((volumes[:1], starts, columns, weights, out), "out must have"),
        ((volumes, starts[1:], columns, weights, out), "starts, columns and weights"),
        ((volumes, starts, columns[1:], weights, out), "starts, columns and weights"),
        ((volumes, starts + np.int32(1), columns, weights, out), "starts must begin"),
        ((volumes, starts[[0, 2, 1, 3, 4, 5, 6]], columns, weights, out), "must not decrease"),
        ((volumes, starts, columns - np.int32(20), weights, out), "positions of voxels"),
        ((volumes, starts, columns + np.int32(20), weights, out), "positions of voxels"),
    ):
        with pytest.raises(ValueError, match=error):
            resample_planes(*wrong)


@needs_compiled
def test_compiled_planes_may_be_empty():
    arguments, _ = plane_parts(random_volumes(2, (4, 5, 3)))
    volumes, starts, columns, weights, out = arguments
    resample_planes(volumes, starts * 0, columns[:0], weights[:0], out)
    assert (out == 0).all()
    none = volumes[..., :0].copy()
    resample_planes(none, starts, columns, weights, out[..., :0].copy())
    resample_planes(volumes[:0], starts, columns, weights, out[:0])


@given(
    name=st.sampled_from(sorted(AFFINES)),
    axis=st.sampled_from("xyz"),
    angle=st.floats(-0.6, 0.6),
    interpolation=st.sampled_from(sorted(SPLINE_ORDERS)),
    thin=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_operator_and_transpose_are_adjoint(name, axis, angle, interpolation, thin, seed):
    transform, shape = rotated_grid(GRID, AFFINES[name], rotation_matrix(angle, axis))
    box = full_box(shape)
    if thin:
        box[2] = (shape[2] // 2, shape[2] // 2 + 1)
    operator = resampling_operator(transform, GRID, box, SPLINE_ORDERS[interpolation])
    volumes, boxes = random_volumes(2, seed=seed), random_volumes(2, operator.box_shape, seed + 1)
    there = np.sum(apply_operator(operator, volumes).astype(float) * boxes)
    back = np.sum(volumes * apply_transpose(operator, boxes).astype(float))
    scale = float(np.linalg.norm(volumes) * np.linalg.norm(boxes))
    assert there == pytest.approx(back, abs=1e-6 * scale)


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("name", AFFINES)
def test_the_bound_holds_for_every_volume(name, order):
    volumes = random_volumes(5)
    transform, shape = rotated_grid(GRID, AFFINES[name], rotation_matrix(0.35, "x"))
    operator = resampling_operator(transform, GRID, full_box(shape), order)
    bound = resampled_bound(transform, np.abs(volumes).max(axis=0), shape, order)
    values = np.abs(apply_operator(operator, volumes)).max(axis=0)
    assert (values <= bound + 1e-5).all()
    assert bound.max() < 30 * values.max()


@given(angle=st.floats(-0.5, 0.5), axis=st.sampled_from("xyz"), order=st.sampled_from([1, 3]))
def test_resampling_back_recovers_a_smooth_volume_inside(angle, axis, order):
    grid = (14, 15, 16)
    places = np.meshgrid(*[np.linspace(0, 1, length) for length in grid], indexing="ij")
    volume = sum(np.cos(2 * place + i) for i, place in enumerate(places)).astype(np.float32)
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = [-13, -14, -15]
    transform, _ = rotated_grid(grid, affine, rotation_matrix(angle, axis))
    box = [(2, 11), (2, 12), (4, 10)]
    operator = resampling_operator(transform, grid, box, order)
    slab = apply_operator(operator, volume[np.newaxis])
    back = resample_back(slab, transform, [first for first, _ in box], grid, order)[0]
    inside = np.isfinite(back)
    inner = ndimage.binary_erosion(inside) & (np.abs(back) > 0)
    assert inside.sum() >= 0.7 * slab.size
    if inner.any():
        assert np.abs(back - volume)[inner].max() < 0.03 * np.ptp(volume)


def test_resampling_back_reaches_half_a_voxel():
    slab = random_volumes(1, (7, 8, 2))
    back = resample_back(slab, np.eye(4), (0, 0, 4), GRID, 3)[0]
    np.testing.assert_allclose(back[..., 4:6], slab[0], atol=1e-5)
    assert np.isnan(back[..., [0, 1, 2, 3, 6, 7, 8]]).all()


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("turned", [False, True], ids=["shifted", "turned"])
def test_whole_steps_copy_values_and_the_transpose_returns_them(order, turned):
    volumes = random_volumes(2)
    volumes[:, ::2] = 0
    transform = np.eye(4)
    transform[:3, 3] = 1, -2, 0
    if turned:
        transform[:3, :3] = [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    # Less than the rounding of an affine.
    transform[:3] += 1e-13 * np.arange(12).reshape(3, 4)
    box = [(2, 5), (3, 6), (1, 4)]
    operator = resampling_operator(transform, GRID, box, order)
    boxes = apply_operator(operator, volumes)
    indices = np.stack(np.meshgrid(*[np.arange(*span) for span in box], indexing="ij"))
    source = np.rint(np.tensordot(transform[:3, :3], indices, 1)).astype(int)
    source += np.array([1, -2, 0]).reshape(3, 1, 1, 1)
    np.testing.assert_array_equal(boxes, volumes[(slice(None), *source)])
    back = apply_transpose(operator, boxes)
    np.testing.assert_array_equal(back[(slice(None), *source)], boxes)
    assert np.count_nonzero(back) == np.count_nonzero(boxes)
    native = resample_back(boxes, transform, [first for first, _ in box], GRID, order)
    np.testing.assert_array_equal(native[(slice(None), *source)], boxes)
    assert np.isfinite(native).sum() == boxes.size


def test_a_step_that_is_not_whole_is_interpolated():
    volumes = random_volumes(1)
    transform = np.eye(4)
    transform[2, 3] = 1e-6
    boxes = apply_operator(resampling_operator(transform, GRID, [(1, 3)] * 3, 1), volumes)
    assert (boxes != volumes[:, 1:3, 1:3, 1:3]).any()
    np.testing.assert_allclose(boxes, volumes[:, 1:3, 1:3, 1:3], atol=1e-4)
