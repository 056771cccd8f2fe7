import numpy as np
import pytest

from coreset.errors import RequestError
from coreset.numerics.grids import grid_points

CELL = np.array([[4.0, 0.5, 0.0], [0.0, 6.0, -1.0], [0.3, 0.0, 5.0]])


def test_points_follow_c_order():
    shape = (3, 4, 5)
    expected = [
        i / 3 * CELL[0] + j / 4 * CELL[1] + k / 5 * CELL[2] for i in range(3) for j in range(4) for k in range(5)
    ]
    points = grid_points(CELL, shape, np.arange(60))
    np.testing.assert_allclose(points, expected, rtol=0, atol=1e-14)
    assert points.dtype == np.float64


def test_bits_do_not_depend_on_the_other_points():
    shape = (7, 11, 13)
    everything = grid_points(CELL, shape, np.arange(7 * 11 * 13))
    for index in ([0], [1000], [5, 17, 900, 3], np.arange(100, 131)):
        np.testing.assert_array_equal(grid_points(CELL, shape, np.array(index)), everything[index])
    assert grid_points(CELL, shape, np.array([], dtype=np.int64)).shape == (0, 3)


@pytest.mark.parametrize("index", [-1, 60])
def test_an_index_outside_of_the_grid_is_refused(index):
    with pytest.raises(RequestError, match="0 to 59"):
        grid_points(CELL, (3, 4, 5), np.array([0, index]))


@pytest.mark.parametrize("shape", [(3, 4, 0), (3, 4)])
def test_a_shape_that_is_no_grid_is_refused(shape):
    with pytest.raises(RequestError, match="three positive"):
        grid_points(CELL, shape, np.array([0]))


def test_a_cell_of_wrong_shape_is_refused():
    with pytest.raises(RequestError, match="three lattice vectors"):
        grid_points(CELL[:2], (3, 4, 5), np.array([0]))
