"""Structured curvature against automatic differentiation."""

import pytest
import torch

from numerics import autograd, curvature, device, initialisations, layerwise, networks, problems, spectral
from numerics.initialisations import normal
from numerics.networks import flatten, norm

WIDTHS = [(3, 2), (3, 4, 2), (4, 2, 4), (3, 4, 3, 2), (3, 3, 3, 3), (4, 3, 2, 5), (3, 4, 3, 3, 4)]
WHOLE = [w for w in WIDTHS if len(w) > 2]


def case(widths, seeds=None, whitened=True, seed=0):
    g = device.generator(seed)
    net = initialisations.gaussian(widths, g, seeds=seeds)
    covariance = None if whitened else problems.covariance(widths[0], g)
    return net, problems.Problem(normal((widths[-1], widths[0]), g, seeds), covariance)


def gap(found, expected):
    """Return the largest distance of two directions over seeds, relative to the second."""
    difference = norm(tuple(a - b for a, b in zip(found, expected, strict=True)))
    return float((difference / norm(expected)).max())


def agree(found, expected, condition=1.0):
    scale = float(expected.abs().max())
    return float((found - expected).abs().max()) <= 1e-14 * max(1.0, scale) * condition


def condition(net, problem):
    basis = curvature.eigenbasis(net, problem.root, method="eigh")
    least = torch.where(basis.kept, basis.values, torch.inf).amin(-1)
    return float((basis.values[..., -1] / least).max())


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("seeds", [None, 3])
@pytest.mark.parametrize("whitened", [True, False])
def test_products_equal_derivatives(widths, seeds, whitened):
    net, problem = case(widths, seeds, whitened)
    direction = initialisations.gaussian(widths, device.generator(7), seeds=seeds).weights
    hessian_plus = autograd.gauss_newton(net, problem)
    m = curvature.factor(net, problem.root)
    vector = flatten(direction)[..., None]
    assert gap(curvature.gradient(net, problem), autograd.gradient(net, problem)) < 1e-14
    assert agree(m.mT @ m, hessian_plus)
    assert agree(m @ m.mT, curvature.kernel(net, problem.root))
    applied = curvature.apply_hessian_plus(net, problem, direction)
    assert agree(flatten(applied), (hessian_plus @ vector)[..., 0], 10)
    change = networks.vec(curvature.forward(net, direction))
    assert agree(change, (autograd.jacobian(net) @ vector)[..., 0], 10)
    products = autograd.hessian_vector(net, problem, direction)
    assert agree(flatten(products), (autograd.hessian(net, problem) @ vector)[..., 0], 10)


def test_batched_references_equal_a_loop_over_seeds():
    net, problem = case((3, 4, 2), 3, False)
    for k in range(3):
        one, its = net.at(k), problem.at(k)
        assert agree(autograd.hessian(net, problem)[k], autograd.hessian(one, its))
        assert agree(autograd.jacobian(net)[k], autograd.jacobian(one))


def test_wrong_kernel_order_is_noticed():
    net, problem = case((3, 3, 3))
    j = autograd.jacobian(net)
    a, b = net.left(1), net.right(2)
    eye = torch.eye(3).double()
    swapped = torch.kron(a @ a.mT, eye) + torch.kron(eye, b.mT @ b)
    assert agree(curvature.kernel(net), j @ j.mT) and not agree(swapped, j @ j.mT, 1e10)
    error = problem.error(net)
    wrong = curvature.back(net, curvature.dual(net, error.mT, -0.5).mT)
    assert gap(wrong, autograd.power(net, problem, -0.5)) > 0.01


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("whitened", [True, False])
@pytest.mark.parametrize("power", [-1, -0.5, -1 / 7, 0, 0.5])
def test_every_method_gives_the_power_of_the_naive_matrix(widths, whitened, power):
    net, problem = case(widths, 2, whitened)
    expected = autograd.power(net, problem, power)
    error, bound = problem.error(net), 1e-14 * condition(net, problem)
    methods = ["auto", "eigh", "svd", "naive"] + (["kronecker"] if whitened and len(widths) < 4 else [])
    for method in methods:
        dual = curvature.dual(net, error, power, method=method, root=problem.root)
        assert gap(curvature.back(net, dual), expected) < bound, method


@pytest.mark.parametrize("whitened", [True, False])
def test_cholesky_gives_the_inverse_of_a_kernel_of_full_rank(whitened):
    net, problem = case((3, 5, 4, 3), 3, whitened)
    found = curvature.preconditioned(net, problem, -1, method="cholesky")
    assert gap(found, autograd.power(net, problem, -1)) < 1e-14 * condition(net, problem)


@pytest.mark.parametrize("widths", [(3, 3, 3, 3), (3, 5, 4, 3), (4, 4, 5, 3), (4, 3, 3, 4, 3)])
@pytest.mark.parametrize("power", [-1, -0.5])
def test_balanced_shortcut(widths, power):
    g = device.generator(3)
    net = initialisations.balanced(widths, g, singular_values=torch.tensor([1.5, 1.5, 0.7]), seeds=2)
    problem = problems.Problem(normal((widths[-1], widths[0]), g, 2))
    expected = curvature.preconditioned(net, problem, power, method="svd")
    assert gap(curvature.preconditioned(net, problem, power, method="balanced"), expected) < 2e-13


def test_large_networks_take_the_shortcuts_and_agree():
    g = device.generator(4)
    values = torch.linspace(0.8, 1.2, 11)
    even = initialisations.balanced((11, 11, 11, 11), g, singular_values=values)
    uneven = even.add(initialisations.gaussian(even.widths, g).weights, 0.03)
    problem = problems.Problem(normal((11, 11), g))
    for net, power in [(even, -0.5), (uneven, -0.5), (uneven, -1)]:
        expected = curvature.preconditioned(net, problem, power, method="svd")
        assert gap(curvature.preconditioned(net, problem, power), expected) < 1e-12
    singular = initialisations.bottleneck((11, 6, 11, 11), g)
    expected = curvature.preconditioned(singular, problem, -1, method="svd")
    assert gap(curvature.preconditioned(singular, problem, -1), expected) < 1e-8


def test_rank_of_a_bottleneck_is_reported():
    net = initialisations.bottleneck((6, 3, 6), device.generator(1), seeds=2)
    for method in ("eigh", "svd", "kronecker"):
        assert spectral.rank(curvature.eigenbasis(net, method=method)).tolist() == [27, 27]


def test_small_initialisations_keep_their_small_eigenvalues():
    modes = torch.tensor([[1.0, 0.01]] * 3, dtype=torch.float64)
    net, frame = initialisations.aligned(modes, (2, 2, 2, 2), device.generator(2))
    teacher = initialisations.aligned_teacher(frame, torch.tensor([2.0, 1.0]))
    velocity = curvature.preconditioned(net, problems.Problem(teacher), -1)
    # minimal-norm solution of sum_i (prod others) v_i = error for the small mode, by hand
    expected = (1e-6 - 1.0) * 1e-4 / (3 * 1e-8)
    found = frame.modes(net.replace(velocity))[:, 1]
    fine = float((found / expected - 1).abs().max())
    poor = curvature.preconditioned(net, problems.Problem(teacher), -1, method="eigh")
    rough = float((frame.modes(net.replace(poor))[:, 1] / expected - 1).abs().max())
    assert fine < 1e-11 and rough > 10 * fine


@pytest.mark.parametrize("whitened", [True, False])
@pytest.mark.parametrize("epsilon", [1e-3, 1.0, 1e6])
def test_damped_inverse(whitened, epsilon):
    net, problem = case((3, 4, 3, 2), 2, whitened)
    hessian_plus = autograd.gauss_newton(net, problem)
    eye = torch.eye(hessian_plus.shape[-1]).double()
    g = flatten(autograd.gradient(net, problem))
    expected = torch.linalg.solve(hessian_plus + epsilon * eye, g[..., None])[..., 0]
    found = flatten(curvature.damped(net, problem, epsilon))
    assert float((found - expected).norm() / expected.norm()) < 1e-11


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("whitened", [True, False])
@pytest.mark.parametrize("power", [-1, -0.5, 0.25])
def test_layer_blocks_are_the_diagonal_blocks_of_the_naive_matrix(widths, whitened, power):
    net, problem = case(widths, None, whitened)
    whole, g = autograd.gauss_newton(net, problem), autograd.gradient(net, problem)
    found, start = layerwise.layer_power(net, problem, power), 0
    for i, block in enumerate(g):
        stop = start + block.numel()
        values, vectors = torch.linalg.eigh(whole[start:stop, start:stop])
        kept = values > 1e-13 * values[-1]
        weights = torch.where(kept, values.clamp_min(1e-300) ** power, 0.0)
        expected = vectors @ (weights * (vectors.mT @ networks.vec(block)))
        bound = 1e-14 * float(values[-1] / values[kept][0])
        assert float((networks.vec(found[i]) - expected).norm() / expected.norm()) < bound
        x = layerwise.layer_dual(net, problem.error(net), power, i + 1, root=problem.root)
        again = net.left(i + 1).mT @ x @ net.right(i + 1).mT
        assert float((again - found[i]).norm() / found[i].norm()) < bound
        start = stop


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"method": "fast"}, "method: 'fast' given"),
        ({"method": "balanced"}, "relative imbalance"),
        ({"method": "kronecker"}, "depth 3, allowed: depth 1 or 2"),
        ({"method": "eigh", "cutoff": 1e-6}, "cutoff: 1e-06 given"),
        ({"method": "cholesky", "power": -0.5}, "power -0.5, allowed: power -1"),
        ({"method": "cholesky"}, "kernel is nearly singular"),
        ({"method": "kronecker", "root": torch.eye(4).double()}, "not whitened"),
    ],
)
def test_methods_refuse_what_they_cannot_do(arguments, message):
    net, problem = case((4, 2, 2, 4))
    arguments = {"power": -1} | arguments
    with pytest.raises(ValueError, match=message) as caught:
        curvature.dual(net, problem.error(net), **arguments)
    assert "\n" not in str(caught.value)


def test_damping_must_be_positive():
    net, problem = case((2, 2))
    with pytest.raises(ValueError, match="epsilon: 0 given, allowed: epsilon > 0"):
        curvature.damped(net, problem, 0)


def test_default_cutoff_keeps_true_eigenvalues():
    """Eigenvalues 1e-12 of the largest belong to the network; a cut-off of 1e-10 already deletes them."""
    modes = torch.tensor([[1.0, 1e-3]] * 3, dtype=torch.float64)
    net, _ = initialisations.aligned(modes, (2, 2, 2, 2), device.generator(2))
    for method in ("eigh", "svd"):
        assert int(spectral.rank(curvature.eigenbasis(net, method=method))) == 4
    assert int(spectral.rank(curvature.eigenbasis(net, method="eigh", cutoff=1e-10))) == 3


@pytest.mark.parametrize("widths", [(5, 2, 4), (4, 3, 2, 4)])
def test_dual_matrix_has_no_component_in_the_null_space(widths):
    net, problem = case(widths, 2)
    error = problem.error(net)
    inverse = torch.linalg.pinv(curvature.kernel(net), rtol=1e-12, hermitian=True)
    expected = (inverse @ networks.vec(error)[..., None])[..., 0]
    for method in ["eigh", "svd", "naive"] + (["kronecker"] if len(widths) == 3 else []):
        found = networks.vec(curvature.dual(net, error, -1, method=method))
        assert float((found - expected).norm() / expected.norm()) < 1e-13 * condition(net, problem), method


def test_rank_deficient_square_layers_lose_exactly_their_null_directions():
    modes = torch.tensor([[1.0, 0.7, 0.0], [0.9, 1.3, 0.0]], dtype=torch.float64)
    net, _ = initialisations.aligned(modes, (3, 3, 3), device.generator(2))
    noisy = [float(torch.linalg.svdvals(w)[-1]) for w in net.weights]
    assert 0 < max(noisy) < 1e-15
    for method in ("eigh", "svd", "kronecker"):
        assert int(spectral.rank(curvature.eigenbasis(net, method=method))) == 8, method
