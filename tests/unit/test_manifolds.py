"""Steps on manifolds against surfaces known by their constraint, and against two libraries for manifolds."""

import numpy as np
import pytest
import torch

from numerics import constraints, manifolds
from numerics.device import generator
from numerics.frames import normal

SHAPES = [(5, 3), (4, 4), (3, 1)]
TINY = 1e-12
ZERO, ONE = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)


def _stiefel(n, p, seed=0, size=0.6):
    draw = generator(seed)
    w = torch.linalg.qr(normal((n, p), draw)).Q
    xi, zeta = (manifolds.stiefel_tangent(w, normal((n, p), draw)) for _ in range(2))
    return w, size * xi / torch.linalg.matrix_norm(xi, 2), zeta


def _oblique(n, p, seed=0):
    draw = generator(seed)
    w = normal((n, p), draw)
    w = w / w.norm(dim=0)
    return w, *(manifolds.oblique_tangent(w, normal((n, p), draw)) for _ in range(2))


@pytest.mark.parametrize("shape", SHAPES)
def test_tangents_are_nearest_tangent_vectors(shape):
    z = normal(shape, generator(9))
    for surface, make, project in (
        (constraints.orthonormal_columns(), _stiefel, manifolds.stiefel_tangent),
        (constraints.unit_columns(), _oblique, manifolds.oblique_tangent),
    ):
        w = make(*shape)[0]
        assert torch.allclose(project(w, z), constraints.tangent(surface, w, z), rtol=0, atol=TINY)


@pytest.mark.parametrize("surface", [constraints.orthonormal_columns(), constraints.unit_columns()])
def test_differences_of_the_constraint_are_its_derivatives(surface):
    w, v = (normal((4, 3), generator(k)) for k in range(2))

    def along(at):
        return torch.func.jvp(surface.constraint, (at,), (v,))[1]

    normals, bend = (torch.func.jacrev(f)(w).reshape(-1, w.numel()) for f in (surface.constraint, along))
    assert torch.allclose(constraints.jacobian(surface, w), normals, rtol=0, atol=TINY)
    assert torch.allclose(constraints.bend(surface, v), bend, rtol=0, atol=TINY)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("metric", ["euclidean", "canonical"])
def test_exponentials_of_orthonormal_columns_solve_the_geodesic_equation(shape, metric):
    w, xi, _ = _stiefel(*shape)
    surface = constraints.orthonormal_columns(metric == "canonical")
    end = constraints.geodesic(surface, w, xi, [0.0, 1.0]).points[-1]
    assert torch.allclose(manifolds.stiefel_exponential(w, xi, metric), end, rtol=0, atol=1e-11)


@pytest.mark.parametrize("shape", [(5, 3), (2, 4), (3, 1)])
def test_great_circles_and_their_parallel_transport(shape):
    w, zeta, xi = _oblique(*shape)
    curve = constraints.geodesic(constraints.unit_columns(), w, zeta, [0.0, 1.0], [xi])
    assert torch.allclose(manifolds.oblique_exponential(w, zeta), curve.points[-1], rtol=0, atol=1e-11)
    assert torch.allclose(manifolds.oblique_transport(w, zeta, xi), curve.carried[-1, 0], rtol=0, atol=1e-11)


def test_transport_is_the_limit_of_many_projections():
    w, zeta, xi = _oblique(4, 2)
    errors = []
    for count in (200, 400):
        at, move, vector = w, zeta / count, xi
        for _ in range(count):
            following = manifolds.oblique_exponential(at, move)
            move, vector = (manifolds.oblique_tangent(following, one) for one in (move, vector))
            move = move * (zeta.norm(dim=0) / count / move.norm(dim=0))
            at = following
        errors.append(float((vector - manifolds.oblique_transport(w, zeta, xi)).abs().max()))
    assert errors[1] == pytest.approx(errors[0] / 2, rel=0.05)


def test_columns_at_rest_stay():
    w, zeta, xi = _oblique(4, 2)
    zeta[:, 0] = 0
    assert torch.equal(manifolds.oblique_exponential(w, zeta)[:, 0], w[:, 0])
    assert torch.equal(manifolds.oblique_transport(w, zeta, xi)[:, 0], xi[:, 0])


@pytest.mark.parametrize("shape", SHAPES)
def test_retractions_start_with_the_point_and_its_velocity(shape):
    w, xi, _ = _stiefel(*shape)
    surface = constraints.orthonormal_columns()
    for retract in (
        manifolds.qr_retraction,
        manifolds.newton_qr_retraction,
        manifolds.polar_retraction,
        manifolds.cayley_retraction,
        manifolds.stiefel_exponential,
    ):
        start, velocity = torch.func.jvp(lambda h, step=retract: step(w, h * xi), (ZERO,), (ONE,))
        assert torch.allclose(start, w, rtol=0, atol=TINY)
        assert torch.allclose(velocity, xi, rtol=0, atol=TINY)
        assert constraints.defect(surface, retract(w, xi)) < TINY


@pytest.mark.parametrize("shape", SHAPES)
def test_polar_is_the_nearest_point_and_products_find_the_triangular_factor(shape):
    w, xi, _ = _stiefel(*shape, size=0.4)
    u, _, vh = torch.linalg.svd(w + xi, full_matrices=False)
    assert torch.allclose(manifolds.polar_retraction(w, xi), u @ vh, rtol=0, atol=TINY)
    assert torch.allclose(manifolds.newton_qr_retraction(w, xi), manifolds.qr_retraction(w, xi), rtol=0, atol=TINY)


def test_batches_are_stacks_of_single_steps():
    singles = [_stiefel(5, 3, seed) for seed in range(4)]
    w, xi, zeta = (torch.stack(parts) for parts in zip(*singles, strict=True))
    for step in (manifolds.qr_retraction, manifolds.polar_retraction, manifolds.cayley_retraction):
        assert torch.allclose(step(w, xi), torch.stack([step(a, b) for a, b, _ in singles]), rtol=0, atol=TINY)
    whole = manifolds.oblique_transport(w, xi, zeta)
    parts = torch.stack([manifolds.oblique_transport(*one) for one in singles])
    assert torch.allclose(whole, parts, rtol=0, atol=TINY)


def test_unknown_metric_is_refused():
    with pytest.raises(ValueError, match="metric: 'flat' given"):
        manifolds.stiefel_exponential(*_stiefel(3, 2)[:2], "flat")
    w, xi, zeta = _stiefel(3, 2)
    with pytest.raises(ValueError, match="carried"):
        constraints.geodesic(constraints.orthonormal_columns(True), w, xi, [0.0, 1.0], [zeta])


@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_geoopt(shape):
    geoopt = pytest.importorskip("geoopt")
    w, xi, zeta = _stiefel(*shape)
    theirs = geoopt.EuclideanStiefel()
    z = normal(shape, generator(4))
    assert torch.allclose(manifolds.stiefel_tangent(w, z), theirs.proju(w, z), rtol=0, atol=TINY)
    assert torch.allclose(manifolds.qr_retraction(w, xi), theirs.retr(w, xi), rtol=0, atol=TINY)
    end = manifolds.qr_retraction(w, xi)
    assert torch.allclose(manifolds.stiefel_tangent(end, zeta), theirs.transp(w, end, zeta), rtol=0, atol=TINY)
    exact = geoopt.EuclideanStiefelExact()
    assert torch.allclose(manifolds.stiefel_exponential(w, xi), exact.expmap(w, xi), rtol=0, atol=1e-11)
    w, zeta, xi = _oblique(*shape)
    sphere = geoopt.SphereExact()
    assert torch.allclose(manifolds.oblique_exponential(w, zeta), sphere.expmap(w.mT, zeta.mT).mT, rtol=0, atol=TINY)


@pytest.mark.parametrize("shape", [(5, 3), (4, 4)])
def test_agrees_with_pymanopt(shape):
    pymanopt = pytest.importorskip("pymanopt.manifolds")
    w, xi, zeta = _stiefel(*shape)
    a, b, c, z = (one.numpy() for one in (w, xi, zeta, normal(shape, generator(4))))
    theirs = pymanopt.Stiefel(*shape)
    assert np.allclose(manifolds.stiefel_tangent(w, torch.from_numpy(z)), theirs.projection(a, z), rtol=0, atol=TINY)
    assert np.allclose(manifolds.qr_retraction(w, xi), theirs.retraction(a, b), rtol=0, atol=TINY)
    assert np.allclose(manifolds.stiefel_exponential(w, xi), theirs.exp(a, b), rtol=0, atol=1e-11)
    polar = pymanopt.Stiefel(*shape, retraction="polar")
    assert np.allclose(manifolds.polar_retraction(w, xi), polar.retraction(a, b), rtol=0, atol=TINY)
    end = manifolds.qr_retraction(w, xi)
    assert np.allclose(manifolds.stiefel_tangent(end, zeta), theirs.transport(a, end.numpy(), c), rtol=0, atol=TINY)
    w, zeta, xi = _oblique(*shape)
    oblique = pymanopt.Oblique(*shape)
    assert np.allclose(manifolds.oblique_exponential(w, zeta), oblique.exp(w.numpy(), zeta.numpy()), rtol=0, atol=TINY)
