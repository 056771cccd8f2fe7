from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.errors import RequestError
from coreset.numerics import descriptors
from coreset.numerics.descriptors import Descriptor, describe
from coreset.numerics.grids import grid_points

seeds = st.integers(0, 2**32 - 1)
COUNTS = [1, 2, 3, 8, 12, 13, 40]
counts = st.sampled_from(COUNTS)
handedness = st.sampled_from(["right", "free"])

A = 7.6
CUBE = A * np.eye(3)
FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
HEXAGONAL = np.array([[1, 0, 0], [-0.5, np.sqrt(0.75), 0], [0, 0, np.sqrt(8 / 3)]]) * A / np.sqrt(2)
# name: (cell, fractional positions, atomic numbers)
CRYSTALS = {
    "fcc": (CUBE, FCC, [13] * 4),
    "fcc primitive": (A * np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]), np.zeros((1, 3)), [13]),
    "bcc": (CUBE, np.array([[0, 0, 0], [0.5, 0.5, 0.5]]), [26] * 2),
    "bcc primitive": (A * np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]), np.zeros((1, 3)), [26]),
    "simple cubic": (CUBE, np.zeros((1, 3)), [84]),
    "hcp": (HEXAGONAL, np.array([[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]), [12] * 2),
    "diamond": (CUBE, np.vstack([FCC, FCC + 0.25]), [14] * 8),
    "rocksalt": (CUBE, np.vstack([FCC, FCC + 0.5]), [11] * 4 + [17] * 4),
    "B2": (CUBE, np.array([[0, 0, 0], [0.5, 0.5, 0.5]]), [28, 13]),
    "zincblende": (CUBE, np.vstack([FCC, FCC + 0.25]), [31] * 4 + [33] * 4),
}
# Atoms, bond centres, octahedral and tetrahedral sites, points on axes and on mirror planes, and some with no symmetry.
SITES = np.array(
    [
        *product((0, 0.25, 0.5), repeat=3),
        *[(x, x, x) for x in (0.1, 1 / 3, 0.375)],
        *[(x, 0, 0) for x in (0.1, 0.3)],
        *[(x, x, 0.5) for x in (0.1, 1 / 6)],
        *[(1 / 3, 2 / 3, z) for z in (0.25, 0.75, 0.5, 0.1)],
        (0.12, 0.3, 0.3),
        (0.1, 0.2, 0.3),
        (0.113, 0.224, 0.347),
    ]
)


def rotation(rng, sign=1):
    q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return q * sign * np.linalg.det(q)


def skewed(rng, atoms):
    cell = np.zeros((3, 3))
    while abs(np.linalg.det(cell)) < 30:  # a flatter one needs more replicas than the brute force can hold
        cell = rng.normal(size=(3, 3)) * 1.5 + np.diag(rng.uniform(3, 9, size=3))
    shear = np.array([[1, 0, 0], [rng.integers(-3, 4), 1, 0], [rng.integers(-3, 4), rng.integers(-3, 4), 1]])
    return shear @ cell, rng.normal(size=(atoms, 3)) * 8, rng.choice([1, 8, 13, 26], size=atoms)


def brute_force(points, cell, positions, numbers, descriptor):
    """Eq. 1 by explicit replication, numpy's eigenvectors and skew signs; rows and whether each of them is unique."""
    m = descriptor.neighbours
    inverse = np.linalg.inv(cell)
    # As many cells as have a sphere with surely more than M atoms inside, seen from the cell of the point.
    radius = 0.0
    while True:
        radius += 4.0
        reach = np.ceil(radius * np.linalg.norm(inverse, axis=0)).astype(int) + 1
        shifts = np.array(list(product(*[range(-n, n + 1) for n in reach]))) @ cell
        home = positions - np.floor(positions @ inverse) @ cell
        everything = (shifts[:, None] + home[None]).reshape(-1, 3)
        inside = points - np.floor(points @ inverse) @ cell
        if all(np.sum(np.linalg.norm(everything - p, axis=1) < radius) > m for p in inside):
            break
    species = np.tile(numbers, len(shifts))
    rows, unique = [], []
    for point in inside:
        vectors = everything - point
        distances = np.linalg.norm(vectors, axis=1)
        order = np.argsort(distances)
        gaps = np.diff(distances[order[: m + 1]])
        order = order[:m]
        vectors = vectors[order]
        centred = vectors - vectors.mean(axis=0)
        values, axes = np.linalg.eigh(centred.T @ centred)
        values, axes = values[::-1], axes[:, ::-1]
        skew = ((centred @ axes) ** 3).mean(axis=0)
        used = 3 if descriptor.handedness == "free" else 2
        relative = np.abs(skew[:used]) / (values.sum() / m) ** 1.5 if m > 1 else np.zeros(1)
        unique.append(
            gaps.min() > 1e-5 and m > 1 and -np.diff(values).max() > 1e-5 * values.sum() and relative.min() > 1e-5
        )
        axes = axes * np.where(skew < 0, -1, 1)
        if descriptor.handedness == "right":
            axes[:, 2] = np.cross(axes[:, 0], axes[:, 1])
        row = [(vectors @ axes).ravel(), species[order]]
        rows.append(np.concatenate([*row, distances[order]] if descriptor.distances else row))
    return np.array(rows), np.array(unique)


@given(seeds, counts, handedness, st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_unique_rows_equal_brute_force(seed, neighbours, hands, atoms):
    rng = np.random.default_rng(seed)
    cell, positions, numbers = skewed(rng, atoms)
    points = rng.normal(size=(7, 3)) * 10
    descriptor = Descriptor(neighbours, distances=True, handedness=hands)
    described = describe(points, cell, positions, numbers, descriptor)
    expected, unique = brute_force(points, cell, positions, numbers, descriptor)
    assert described.features.dtype == np.float32 and described.features.shape == (7, descriptor.length)
    np.testing.assert_array_equal(described.fallback, ~unique)
    np.testing.assert_allclose(described.features[unique], expected[unique], rtol=0, atol=1e-5)
    # Distances and, but for ties, species need no frame.
    np.testing.assert_allclose(described.features[:, 4 * neighbours :], expected[:, 4 * neighbours :], atol=2e-5)


def test_most_points_of_a_disordered_crystal_are_unique():
    rng = np.random.default_rng(0)
    cell, positions, numbers = skewed(rng, 6)
    points = rng.random((500, 3)) @ cell
    for neighbours in (8, 40):
        assert describe(points, cell, positions, numbers, Descriptor(neighbours)).fallback.mean() < 0.02


def equivalents(rng, points, cell, positions, numbers):
    """The same points of the same crystal, written down in other ways."""
    inverse = np.linalg.inv(cell)
    turn, shift = rotation(rng), rng.normal(size=3) * 10
    order = rng.permutation(len(positions))
    yield "rotation", (points @ turn, cell @ turn, positions @ turn, numbers)
    yield "translation", (points + shift, cell, positions + shift, numbers)
    moved = points + rng.integers(-2, 3, points.shape) @ cell
    yield "lattice translation of the points", (moved, cell, positions, numbers)
    yield "permutation", (points, cell, positions[order], numbers[order])
    yield "other images", (points, cell, positions + rng.integers(-2, 3, positions.shape) @ cell, numbers)
    yield "other lattice vectors", (points, np.array([[1, 0, 0], [1, 1, 0], [-2, 3, 1]]) @ cell, positions, numbers)
    yield "left-handed cell", (points, cell[[1, 0, 2]], positions, numbers)
    double = np.vstack([positions, positions + cell[2]])
    yield "larger cell", (points, np.diag([1, 1, 2]) @ cell, double, np.concatenate([numbers, numbers]))
    wrapped = positions - np.floor(positions @ inverse) @ cell
    yield "all", ((points + shift) @ turn, cell @ turn, ((wrapped + shift) @ turn)[order], numbers[order])


@given(seeds, counts, handedness)
@settings(max_examples=25, deadline=None)
def test_invariance_in_random_cells(seed, neighbours, hands):
    rng = np.random.default_rng(seed)
    cell, positions, numbers = skewed(rng, int(rng.integers(1, 6)))
    # Some points on atoms and halfway between two: the inversion centres of a one-atom cell.
    points = np.vstack([rng.normal(size=(6, 3)) * 9, positions[:1], positions[:1] + 0.5 * cell[1]])
    descriptor = Descriptor(neighbours, distances=True, handedness=hands)
    expected = describe(points, cell, positions, numbers, descriptor)
    for name, other in equivalents(rng, points, cell, positions, numbers):
        found = describe(*other, descriptor)
        np.testing.assert_allclose(found.features, expected.features, rtol=0, atol=1e-4, err_msg=name)
        np.testing.assert_array_equal(found.fallback, expected.fallback, err_msg=name)


def crystal(name):
    cell, fractions, numbers = CRYSTALS[name]
    return cell, fractions @ cell, np.array(numbers)


@pytest.mark.parametrize("neighbours", COUNTS)
@pytest.mark.parametrize("name", CRYSTALS)
def test_invariance_in_perfect_crystals(name, neighbours):
    rng = np.random.default_rng(neighbours)
    cell, positions, numbers = crystal(name)
    points = SITES @ cell
    for hands in ("right", "free"):
        descriptor = Descriptor(neighbours, distances=True, handedness=hands)
        expected = describe(points, cell, positions, numbers, descriptor)
        assert expected.fallback.mean() > 0.5
        for what, other in equivalents(rng, points, cell, positions, numbers):
            found = describe(*other, descriptor)
            np.testing.assert_allclose(found.features, expected.features, rtol=0, atol=1e-4, err_msg=what)
        if hands == "free":
            mirror = rotation(rng, -1)
            found = describe(points @ mirror, cell @ mirror, positions @ mirror, numbers, descriptor)
            np.testing.assert_allclose(found.features, expected.features, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", CRYSTALS)
def test_equivalent_points_of_a_crystal_have_equal_rows(name):
    """The operations of the crystal's point group, found by brute force, map rows onto themselves."""
    cell, positions, numbers = crystal(name)
    signs = [np.diag(s) for s in product((1, -1), repeat=3)]
    operations = [s[list(p)] for s in signs for p in ([0, 1, 2], [1, 2, 0], [2, 0, 1], [1, 0, 2], [0, 2, 1], [2, 1, 0])]
    inverse = np.linalg.inv(cell)
    points = SITES @ cell
    descriptor = Descriptor(13, handedness="free")
    expected = describe(points, cell, positions, numbers, descriptor).features
    found_some = 0
    for operation in operations:
        for centre in positions:
            moved = (positions - positions[0]) @ operation.T + centre
            offsets = (moved[:, None] - positions[None]) @ inverse
            same = (np.abs(offsets - np.round(offsets)) < 1e-9).all(axis=2) & (numbers[:, None] == numbers)
            lattice = (cell @ operation.T) @ inverse
            if not same.any(axis=1).all() or np.abs(lattice - np.round(lattice)).max() > 1e-9:
                continue
            found_some += 1
            image = (points - positions[0]) @ operation.T + centre
            np.testing.assert_allclose(
                describe(image, cell, positions, numbers, descriptor).features, expected, rtol=0, atol=1e-4
            )
    assert found_some > 3


@pytest.mark.parametrize("neighbours", [3, 8, 13])
@pytest.mark.parametrize("name", ["fcc", "hcp", "rocksalt", "zincblende"])
def test_canonical_rows_are_the_nearest_atoms_seen_in_some_frame(name, neighbours):
    """A rotation is searched that puts every vector of the row on an atom of the right kind, each atom used once."""
    cell, positions, numbers = crystal(name)
    points = SITES[::3] @ cell
    described = describe(points, cell, positions, numbers, Descriptor(neighbours))
    shifts = np.array(list(product(range(-3, 4), repeat=3))) @ cell
    everything, species = (shifts[:, None] + positions[None]).reshape(-1, 3), np.tile(numbers, len(shifts))
    for point, row in zip(points, described.features, strict=True):
        seen, kinds = row[: 3 * neighbours].reshape(-1, 3).astype(float), row[3 * neighbours :]
        near = np.linalg.norm(everything - point, axis=1) < np.linalg.norm(seen[-1]) + 1e-3
        vectors, around = everything[near] - point, species[near]
        nearest = np.sort(np.linalg.norm(vectors, axis=1))[:neighbours]
        np.testing.assert_allclose(np.linalg.norm(seen, axis=1), nearest, atol=1e-4)
        # An atom off the origin, and the one farthest from the line through it, fix the rotation.
        first = next(i for i in range(neighbours) if np.linalg.norm(seen[i]) > 1e-3)
        second = int(np.argmax(np.linalg.norm(np.cross(seen, seen[first]), axis=1)))
        frame = basis(seen[first], seen[second])
        fits = False
        for a, b in product(range(len(vectors)), repeat=2):
            if frame is None:
                break
            if a == b or not np.allclose(gram(seen[[first, second]]), gram(vectors[[a, b]]), atol=1e-3):
                continue
            turned = seen @ frame @ basis(vectors[a], vectors[b]).T
            match = (np.linalg.norm(turned[:, None] - vectors[None], axis=2) < 1e-3) & (kinds[:, None] == around)
            fits |= bool(match.any(axis=1).all() and len(set(match.argmax(axis=1))) == neighbours)
        # All on one line: lengths and kinds are all there is.
        assert fits or frame is None


def gram(vectors):
    return vectors @ vectors.T


def basis(a, b):
    """Right-handed orthonormal columns fixed by two vectors; None if they are parallel."""
    if np.linalg.norm(np.cross(a, b)) < 1e-3:
        return None
    x = a / np.linalg.norm(a)
    z = np.cross(a, b) / np.linalg.norm(np.cross(a, b))
    return np.column_stack([x, np.cross(z, x), z])


@given(seeds, counts)
@settings(max_examples=15, deadline=None)
def test_free_handedness_ignores_reflection_and_right_does_not(seed, neighbours):
    rng = np.random.default_rng(seed)
    cell, positions, numbers = skewed(rng, 3)
    points, mirror = rng.normal(size=(5, 3)) * 9, rotation(rng, -1)
    mirrored = points @ mirror, cell @ mirror, positions @ mirror, numbers
    free, right = Descriptor(neighbours, handedness="free"), Descriptor(neighbours)
    expected = describe(points, cell, positions, numbers, free).features
    np.testing.assert_allclose(describe(*mirrored, free).features, expected, rtol=0, atol=1e-4)
    if neighbours >= 8:
        difference = describe(*mirrored, right).features - describe(points, cell, positions, numbers, right).features
        assert np.abs(difference).max() > 1e-2


@pytest.mark.parametrize(("noise", "change"), [(1e-12, 1e-6), (1e-9, 1e-5), (1e-7, 1e-3), (1e-6, 1e-2)])
@pytest.mark.parametrize("name", ["fcc", "bcc primitive", "hcp", "rocksalt"])
def test_rounded_positions_leave_the_rows_of_a_crystal_alone(name, noise, change):
    """The change may exceed the noise by the inverse of the eigenvalue gap, but nothing jumps."""
    rng = np.random.default_rng(3)
    cell, positions, numbers = crystal(name)
    points = SITES @ cell
    for neighbours in COUNTS:
        descriptor = Descriptor(neighbours)
        expected = describe(points, cell, positions, numbers, descriptor).features
        moved = positions + rng.uniform(-1, 1, size=positions.shape) * noise
        found = describe(points, cell, moved, numbers, descriptor).features
        np.testing.assert_allclose(found, expected, rtol=0, atol=change)


@pytest.mark.parametrize("neighbours", [12, 40])
def test_commensurate_grids_of_fcc_need_the_fallback(neighbours):
    cell, positions, numbers = crystal("fcc")
    points = grid_points(cell, (12, 12, 12), np.arange(12**3))
    assert describe(points, cell, positions, numbers, Descriptor(neighbours)).fallback.mean() > 0.5


@given(seeds, counts)
@settings(max_examples=15, deadline=None)
def test_bits_do_not_depend_on_the_other_points(seed, neighbours):
    rng = np.random.default_rng(seed)
    name = rng.choice([*CRYSTALS, "random", "random", "random"])
    cell, positions, numbers = skewed(rng, 4) if name == "random" else crystal(name)
    points = np.vstack([rng.random((400, 3)), SITES]) @ cell
    descriptor = Descriptor(neighbours, distances=True)
    together = describe(points, cell, positions, numbers, descriptor)
    rows = rng.permutation(len(points))
    for part in (rows[:1], rows[1:3], rows[3:50], rows[50:]):
        apart = describe(points[part], cell, positions, numbers, descriptor)
        np.testing.assert_array_equal(apart.features.view(np.uint32), together.features[part].view(np.uint32))
        np.testing.assert_array_equal(apart.fallback, together.fallback[part])


@pytest.mark.parametrize(
    "cell", [np.diag([3.0, 3.1, 40.0]), np.diag([1.5, 20.0, 20.5]), [[3, 0, 0], [2.9, 0.9, 0], [7, 3, 9]]]
)
def test_many_neighbours_in_small_thin_and_flat_cells(cell):
    cell = np.array(cell, dtype=float)
    positions, numbers = np.array([[0.1, 0.2, 0.3]]), np.array([29])
    points = np.random.default_rng(1).random((20, 3)) @ cell
    descriptor = Descriptor(300, distances=True)
    described = describe(points, cell, positions, numbers, descriptor)
    expected, unique = brute_force(points, cell, positions, numbers, descriptor)
    np.testing.assert_allclose(described.features[:, 1200:], expected[:, 1200:], atol=2e-5)
    np.testing.assert_allclose(described.features[unique], expected[unique], rtol=0, atol=2e-5)


def test_a_tied_shell_wider_than_the_candidates_is_completed(monkeypatch):
    """A ring of atoms whose distances climb by half the tolerance each: one tied shell far wider than the tolerance."""
    rounds, once = [], descriptors._describe
    monkeypatch.setattr(descriptors, "_describe", lambda *arguments: (rounds.append(1), once(*arguments))[1])
    angles = np.arange(40) * 2.4
    lengths = 3.0 + 0.0005 * np.arange(40)
    positions = np.column_stack([lengths * np.cos(angles), lengths * np.sin(angles), np.zeros(40)])
    cell, numbers = np.eye(3) * 60.0, np.full(40, 6)
    descriptor = Descriptor(2, tie_tolerance=1e-3)
    point = np.zeros((1, 3))
    described = describe(point, cell, positions, numbers, descriptor)
    order = np.random.default_rng(0).permutation(40)
    turn = rotation(np.random.default_rng(1))
    again = describe(point, cell @ turn, positions[order] @ turn, numbers, descriptor)
    assert described.fallback.all() and len(rounds) > 2
    np.testing.assert_allclose(again.features, described.features, rtol=0, atol=1e-4)


def test_a_tolerance_that_ties_all_atoms_to_each_other_is_refused():
    """A crystal whose lengths are given in the wrong unit, so that no two shells are a tolerance apart."""
    rng = np.random.default_rng(0)
    cell = np.eye(3) * 1e-2
    with pytest.raises(RequestError, match=r"tie_tolerance.*in Bohr"):
        describe(np.zeros((1, 3)), cell, rng.random((20, 3)) @ cell, np.full(20, 6), Descriptor(8, tie_tolerance=1e-3))


@pytest.mark.parametrize("together", [2, 3, 5])
@pytest.mark.parametrize("neighbours", COUNTS)
def test_atoms_on_one_spot_are_neighbours_like_any_others(neighbours, together):
    """Tied wherever they are looked at from: ordered by kind, and none is lost or moved."""
    rng = np.random.default_rng(together)
    cell, positions, _ = skewed(rng, 5)
    positions[:together] = positions[0]
    numbers = np.array([8, 1, 8, 13, 1])
    points = np.vstack([positions[:1], rng.normal(size=(6, 3)) * 9])
    descriptor = Descriptor(neighbours, distances=True)
    described = describe(points, cell, positions, numbers, descriptor)
    assert np.isfinite(described.features).all()
    with np.errstate(invalid="ignore"):  # the skew of atoms that are all on one spot
        expected, _ = brute_force(points, cell, positions, numbers, descriptor)
    np.testing.assert_allclose(described.features[:, 4 * neighbours :], expected[:, 4 * neighbours :], atol=2e-5)
    order, turn = rng.permutation(5), rotation(rng)
    again = describe(points @ turn, cell @ turn, positions[order] @ turn, numbers[order], descriptor)
    np.testing.assert_allclose(again.features, described.features, rtol=0, atol=1e-4)
    # At the spot itself the nearest are those that lie on it, the lightest first.
    on_it = sorted(numbers[:together])[:neighbours]
    np.testing.assert_array_equal(described.features[0, 3 * neighbours : 3 * neighbours + len(on_it)], on_it)
    assert described.fallback[0]


@pytest.mark.parametrize("neighbours", [1, 40, 118])
def test_every_element_at_once(neighbours):
    rng = np.random.default_rng(0)
    cell, numbers = np.diag([22.0, 23.0, 24.0]), rng.permutation(np.arange(1, 119))
    positions, points = rng.random((118, 3)) @ cell, rng.random((5, 3)) @ cell
    descriptor = Descriptor(neighbours, distances=True)
    described = describe(points, cell, positions, numbers, descriptor)
    expected, unique = brute_force(points, cell, positions, numbers, descriptor)
    assert unique.all() or neighbours == 1
    np.testing.assert_array_equal(
        described.features[:, 3 * neighbours : 4 * neighbours], expected[:, 3 * neighbours : 4 * neighbours]
    )
    np.testing.assert_allclose(described.features[unique], expected[unique], rtol=0, atol=2e-5)


def test_two_atoms_by_hand():
    cell, positions = np.eye(3) * 30, np.array([[1.0, 0, 0], [0, 0, 2.0]])
    row = describe(np.zeros((1, 3)), cell, positions, np.array([8, 1]), Descriptor(2, distances=True)).features[0]
    # e₁ along the line between the atoms, e₂ towards it from the point; the larger row has the first atom at x > 0.
    foot = 2 / np.sqrt(5)
    expected = [1 / np.sqrt(5), foot, 0, -4 / np.sqrt(5), foot, 0, 8, 1, 1, 2]
    np.testing.assert_allclose(row, expected, atol=1e-6)


def test_tied_neighbours_are_ordered_by_atomic_number():
    cell, positions = np.eye(3) * 30, np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    for neighbours in (1, 2, 3):
        row = describe(np.zeros((1, 3)), cell, positions, np.array([8, 26, 1]), Descriptor(neighbours)).features[0]
        np.testing.assert_array_equal(row[3 * neighbours :], [1, 8, 26][:neighbours])


def test_no_points_have_no_features():
    described = describe(np.empty((0, 3)), CUBE, np.zeros((1, 3)), np.array([1]), Descriptor(4))
    assert described.features.shape == (0, 16) and described.fallback.shape == (0,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"neighbours": 0}, "neighbours"),
        ({"neighbours": 2.5}, "neighbours"),
        ({"neighbours": True}, "neighbours"),
        ({"handedness": "left"}, "handedness"),
        ({"tie_tolerance": 0.0}, "tie_tolerance"),
        ({"tie_tolerance": float("nan")}, "tie_tolerance"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(RequestError, match=message):
        Descriptor(**settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": np.zeros((3, 3))}, "cell"),
        ({"cell": np.array([[1.0, 0, 0], [0, 1, 0], [1, 1, 0]])}, "cell"),
        ({"positions": np.empty((0, 3)), "numbers": np.empty(0, dtype=int)}, "one atom or more"),
        ({"positions": np.array([[0.0, 0, np.nan]])}, "finite.*atom 0"),
        ({"positions": np.zeros((1, 2))}, "positions"),
        ({"numbers": np.array([1, 2])}, "numbers"),
        ({"numbers": np.array([0])}, "numbers"),
        ({"numbers": np.array([1.0])}, "numbers"),
        ({"points": np.array([[0.0, 0, 0], [0, np.inf, 0]])}, "finite.*row 1"),
        ({"points": np.zeros(3)}, "points"),
    ],
)
def test_wrong_arguments_are_refused(change, message):
    good = {"points": np.zeros((2, 3)), "cell": CUBE, "positions": np.zeros((1, 3)), "numbers": np.array([13])}
    with pytest.raises(RequestError, match=message):
        describe(**(good | change), descriptor=Descriptor(4))
