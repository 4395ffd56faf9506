import numpy as np
import pytest

from skfmri.spatial import native_affine, rotated_grid, rotation_matrix

GRID = (7, 8, 9)
ALIGNED = np.array([[-3.0, 0, 0, 10], [0, 3.3, 0, -12], [0, 0, 2.5, -9], [0, 0, 0, 1]])
OBLIQUE = rotation_matrix(0.2, "y") @ rotation_matrix(-0.1, "z") @ ALIGNED
AFFINES = {"aligned": ALIGNED, "oblique": OBLIQUE}


@pytest.mark.parametrize(("axis", "turned"), [("x", [0, 0, 1]), ("y", [1, 0, 0]), ("z", [0, 1, 0])])
def test_a_quarter_turn_takes_each_axis_to_the_next(axis, turned):
    following = {"x": [0, 1, 0], "y": [0, 0, 1], "z": [1, 0, 0]}[axis]
    rotation = rotation_matrix(np.pi / 2, axis)[:3, :3]
    np.testing.assert_allclose(rotation @ following, turned, atol=1e-15)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-15)


@pytest.mark.parametrize("name", AFFINES)
def test_native_affine_puts_a_voxel_where_it_was_sampled(name):
    affine, rotation = AFFINES[name], rotation_matrix(0.35, "y")
    transform, _ = rotated_grid(GRID, affine, rotation)
    first = np.array([2, 1, 3])
    for voxel in ([0, 0, 0], [3, 2, 1]):
        sampled = affine @ transform @ [*(first + voxel), 1]
        placed = native_affine(affine, rotation, first) @ [*voxel, 1]
        np.testing.assert_allclose(placed, sampled, atol=1e-12)


def test_a_rotation_off_the_grid_is_refused():
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = [500, 500, 500]
    with pytest.raises(ValueError, match="moves the volumes off the grid"):
        rotated_grid(GRID, affine, rotation_matrix(1.5, "z"))


@pytest.mark.parametrize("turns", range(-9, 10))
@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_quarter_turns_are_exact(turns, axis):
    rotation = rotation_matrix(turns * np.pi / 2, axis)
    expected = np.linalg.matrix_power(np.rint(rotation_matrix(np.pi / 2, axis)), turns % 4)
    np.testing.assert_array_equal(rotation, expected)


def test_a_small_angle_is_not_taken_for_none():
    assert rotation_matrix(1e-12, "x")[2, 1] == 1e-12


@pytest.mark.parametrize("distance", [0, 100])
def test_a_thin_slice_or_a_far_origin_may_need_a_grid_many_times_as_large(distance):
    affine = np.diag([1.0, 1, 3, 1])
    affine[1, 3] = distance
    _, shape = rotated_grid((80, 90, 1), affine, rotation_matrix(np.pi / 4, "x"))
    assert np.prod(shape) > 10 * 80 * 90


@pytest.mark.parametrize("grid", [(7, 8, 9), (200, 210, 220)])
def test_a_grid_that_no_head_needs_is_refused_with_both_sizes(grid):
    affine = np.diag([3.0, 1e6, 3, 1])
    with pytest.raises(ValueError, match=rf"run.nii would need .* instead of {np.prod(grid)}, "):
        rotated_grid(grid, affine, rotation_matrix(0.35, "x"), "run.nii")
