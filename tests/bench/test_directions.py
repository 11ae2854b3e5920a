"""Cost of one update direction and of one flow, against the gradient, the naive matrix and scipy."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from numerics import autograd, curvature, device, flows, initialisations, layerwise, problems, rules
from numerics.initialisations import normal

KINDS = {
    "two layers": (16, 16, 16),
    "balanced": (16, 16, 16, 16),
    "near orthogonal": (16, 16, 16, 16),
    "small": (4, 4, 4, 4),
}


def case(kind, seeds=8):
    g, widths = device.generator(0), KINDS[kind]
    if kind == "balanced":
        net = initialisations.balanced(widths, g, singular_values=torch.linspace(0.7, 1.4, 16), seeds=seeds)
    else:
        net = initialisations.orthogonal(widths, g, seeds=seeds)
        net = net.add(initialisations.gaussian(widths, g, seeds=seeds).weights, 0.1)
    return net, problems.Problem(normal((widths[-1], widths[0]), g, seeds))


@pytest.mark.parametrize("kind", KINDS)
def test_gradient(benchmark, kind):
    benchmark.group = kind
    assert benchmark(curvature.gradient, *case(kind))[0].isfinite().all()


@pytest.mark.parametrize("q", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_structured_direction(benchmark, kind, q):
    benchmark.group = kind
    found = benchmark(curvature.preconditioned, *case(kind), -1 / q)
    assert found[0].isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_layerwise_direction(benchmark, kind):
    benchmark.group = kind
    assert benchmark(layerwise.layer_power, *case(kind), -1)[0].isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_naive_direction(benchmark, kind):
    benchmark.group = kind
    net, problem = case(kind, seeds=1)
    found = benchmark.pedantic(autograd.power, (net, problem, -0.5), rounds=2)
    expected = curvature.preconditioned(net, problem, -0.5)
    assert float((found[0] - expected[0]).abs().max()) < 1e-9


def flow_case(size, seeds):
    g = device.generator(0)
    net = initialisations.gaussian((size,) * 4, g, seeds=seeds)
    basis = initialisations.haar(size, g, seeds)
    return net, problems.Problem(basis * torch.linspace(0.3, 2, size, dtype=torch.float64) @ basis.mT)


@pytest.mark.parametrize("size, seeds", [(3, 3), (8, 8), (32, 16)])
def test_flow(benchmark, size, seeds):
    """One run at 1e-12 and one at the floor, so that the error is measured."""
    benchmark.group = f"flow {size} x {seeds}"
    net, problem = flow_case(size, seeds)
    path = benchmark.pedantic(flows.flow, (net, problem, rules.GradientDescent(), [0.0, 10.0]), rounds=3)
    assert path.error < 1e-9


@pytest.mark.parametrize("size, seeds", [(3, 3), (8, 8), (32, 16)])
def test_scipy_on_stacked_seeds(benchmark, size, seeds):
    """The same two runs by scipy's DOP853 with one step size for all seeds and a bare right-hand side."""
    benchmark.group = f"flow {size} x {seeds}"
    net, problem = flow_case(size, seeds)
    start, teacher = torch.stack(net.weights).numpy(), problem.teacher.numpy()

    def rhs(_, y):
        first, second, third = y.reshape(start.shape)
        middle = second @ first
        error = third @ middle - teacher
        back = third.swapaxes(-1, -2) @ error
        upper, lower = error @ middle.swapaxes(-1, -2), second.swapaxes(-1, -2) @ back
        return -np.stack([lower, back @ first.swapaxes(-1, -2), upper]).ravel()

    def both():
        runs = [solve_ivp(rhs, (0, 10), start.ravel(), method="DOP853", rtol=r, atol=r) for r in (1e-12, 3e-14)]
        return np.abs(runs[0].y[:, -1] - runs[1].y[:, -1]).max()

    assert benchmark.pedantic(both, rounds=3) < 1e-9
