"""Integration of the flows: closed forms, scipy, invariants and blow-up."""

from math import exp

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from numerics import _dop853, curvature, device, flows, initialisations, problems, rules
from numerics._descent import fused_descent
from numerics.initialisations import normal
from numerics.networks import DeepLinear, flatten, unflatten

TIMES = [0.0, 0.5, 1.0, 2.0]


@pytest.fixture
def net():
    return initialisations.gaussian((3, 4, 3, 2), device.generator(0), seeds=3)


@pytest.fixture
def problem(net):
    return problems.Problem(net.product() + 0.3 * normal((2, 3), device.generator(1), 3))


def test_single_layer_follows_the_matrix_exponential():
    g = device.generator(2)
    net, covariance = initialisations.gaussian((4, 3), g, seeds=2), problems.covariance(4, g)
    problem = problems.Problem(normal((3, 4), g, 2), covariance)
    path = flows.flow(net, problem, rules.GradientDescent(), TIMES)
    for k, t in enumerate(TIMES):
        expected = problem.teacher + problem.error(net) @ torch.linalg.matrix_exp(-t * covariance)
        assert float((path.products()[k] - expected).abs().max()) <= path.error + 1e-15
    assert path.error < 1e-11


def test_natural_gradient_shrinks_the_error_exponentially(net, problem):
    path = flows.flow(net, problem, rules.NaturalGradient(), TIMES)
    for t, now in zip(TIMES, path, strict=True):
        assert float((problem.error(now) - exp(-t) * problem.error(net)).abs().max()) < 1e-12


@pytest.mark.parametrize("rule", [rules.GradientDescent(), rules.Fractional(2), rules.BlockFractional(2)])
def test_agreement_with_scipy_within_the_reported_error(rule, net, problem):
    path = flows.flow(net, problem, rule, TIMES)
    one, its = net.at(1), problem.at(1)

    def rhs(_, y):
        return flatten(rule.velocity(DeepLinear(unflatten(torch.from_numpy(y), one.widths)), its)).numpy()

    start = flatten(one.weights).numpy()
    peer = solve_ivp(rhs, (0, 2), start, method="DOP853", rtol=1e-13, atol=1e-14, t_eval=TIMES)
    found = flatten(path.weights)[:, 1].numpy().T
    assert np.abs(found - peer.y).max() <= path.error + 1e-13
    assert path.error < 1e-9


def test_reported_error_covers_the_true_error_at_loose_tolerances(net, problem):
    exact = flows.flow(net, problem, rules.GradientDescent(), TIMES)
    for tolerance in (1e-3, 1e-6, 1e-9):
        rough = flows.flow(net, problem, rules.GradientDescent(), TIMES, tolerance=tolerance)
        true = float((flatten(rough.weights) - flatten(exact.weights)).abs().max())
        assert true <= rough.error + exact.error and rough.error < 1e3 * tolerance


@pytest.mark.parametrize("rule", [rules.GradientDescent(), rules.NaturalGradient(), rules.Damped(0.2)])
def test_balance_is_conserved_by_whole_network_rules_and_not_by_blocks(rule, net, problem):
    path = flows.flow(net, problem, rule, [0.0, 1.0]).net(1)
    block = flows.flow(net, problem, rules.BlockFractional(2), [0.0, 1.0]).net(1)
    for i in (1, 2):
        assert float((path.balance(i) - net.balance(i)).abs().max()) < 5e-14
    assert float((block.balance(1) - net.balance(1)).abs().max()) > 1e-3


def test_seeds_are_independent(net, problem):
    together = flows.flow(net, problem, rules.GradientDescent(), TIMES)
    alone = flows.flow(net.at(2), problem.at(2), rules.GradientDescent(), TIMES)
    assert float((flatten(together.weights)[:, 2] - flatten(alone.weights)).abs().max()) < 1e-13
    assert alone.net(0).batch == () and together.products().shape == (4, 3, 2, 3)
    assert len(together) == 4


def test_flows_start_anywhere_and_pass_every_time(net, problem):
    direct = flows.flow(net, problem, rules.GradientDescent(), [3.0, 5.0])
    dense = flows.flow(net, problem, rules.GradientDescent(), torch.linspace(3, 5, 41).double())
    assert float((flatten(direct.net(1).weights) - flatten(dense.net(40).weights)).abs().max()) < 1e-13
    single = flows.flow(net, problem, rules.GradientDescent(), [1.0])
    assert torch.equal(flatten(single.net(0).weights), flatten(net.weights))


def test_blow_up_is_reported_with_its_time():
    one = torch.ones((1, 1, 1), dtype=torch.float64)
    teacher = torch.tensor([2.0, -1.0]).double().reshape(2, 1, 1)
    net = DeepLinear((one.expand(2, 1, 1), one.expand(2, 1, 1)))
    with pytest.raises(flows.Diverged, match="system 1 cannot pass t = 0.693147181") as caught:
        flows.flow(net, problems.Problem(teacher), rules.NaturalGradient(), [0.0, 3.0])
    assert abs(caught.value.time - 0.6931471805599453) < 1e-9


def test_generic_integration_of_any_tensor():
    start = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    values, error = flows.integrate(lambda t, y: y @ turn, start, [0.0, 1.0, 10.0])
    assert float((values[2] - start @ torch.linalg.matrix_exp(10 * turn)).abs().max()) <= error
    assert values.shape == (3, 2, 2) and error < 1e-11


def test_generic_integration_with_time_and_independent_systems():
    rate = torch.tensor([1.0, 30.0], dtype=torch.float64)

    def rhs(t, y):
        return (rate * torch.cos(rate * t))[:, None] * y

    values, error = flows.integrate(rhs, torch.ones((2, 1), dtype=torch.float64), [0.0, 1.0], batch=1)
    assert float((values[1, :, 0] - rate.sin().exp()).abs().max()) <= error
    with pytest.raises(flows.Diverged, match="cannot pass t = 1:"):
        flows.integrate(lambda t, y: y * y, torch.ones(1, dtype=torch.float64), [0.0, 2.0])


def test_heavy_ball_of_one_weight_is_a_damped_oscillator():
    net = DeepLinear((torch.tensor([[2.0]], dtype=torch.float64),))
    problem = problems.Problem(torch.zeros((1, 1), dtype=torch.float64))
    path = flows.heavy_ball(net, problem, 1.2, [0.0, 1.0, 4.0])
    t = torch.tensor([0.0, 1.0, 4.0]).double()
    expected = 2 * torch.exp(-0.6 * t) * (torch.cos(0.8 * t) + 0.75 * torch.sin(0.8 * t))
    assert float((path.products()[:, 0, 0] - expected).abs().max()) <= path.error < 1e-11


@pytest.mark.parametrize("times", [[0.0, 1.0, 1.0], [1.0, 0.0], []])
def test_times_must_increase(times, net, problem):
    with pytest.raises(ValueError, match="times: .* allowed: an increasing sequence"):
        flows.flow(net, problem, rules.GradientDescent(), times)


def test_tolerance_has_a_floor(net, problem):
    with pytest.raises(ValueError, match="tolerance: 1e-16 given"):
        flows.flow(net, problem, rules.GradientDescent(), TIMES, tolerance=1e-16)


def test_weights_returned_satisfy_the_equation(net, problem):
    step = 1e-4
    path = flows.flow(net, problem, rules.GradientDescent(), [0.0, 1.0 - step, 1.0, 1.0 + step])
    difference = (flatten(path.net(3).weights) - flatten(path.net(1).weights)) / (2 * step)
    velocity = -flatten(curvature.gradient(path.net(2), problem))
    assert float((difference - velocity).abs().max()) < 1e-6


@pytest.mark.parametrize("widths", [(3, 2), (3, 4, 2), (3, 4, 3, 2)])
@pytest.mark.parametrize("seeds", [None, 3])
@pytest.mark.parametrize("whitened", [True, False])
def test_fused_descent_is_gradient_descent(widths, seeds, whitened):
    g = device.generator(5)
    net = initialisations.gaussian(widths, g, seeds=seeds)
    covariance = None if whitened else problems.covariance(3, g)
    problem = problems.Problem(normal((2, 3), g, seeds), covariance)
    expected = flatten(rules.GradientDescent(eta=1.5).velocity(net, problem))
    flat = flatten(net.weights)
    found = fused_descent(widths, problem, 1.5)(flat.new_zeros(()), flat)
    assert float((found - expected).abs().max()) < 1e-14 * float(expected.abs().max()) * 10


def test_problems_that_do_not_fit_the_network_are_refused(net):
    with pytest.raises(ValueError, match=r"teacher: shape \(3, 3\) given"):
        flows.flow(net, problems.Problem(torch.eye(3).double()), rules.GradientDescent(), TIMES)
    batched = problems.Problem(torch.zeros((2, 2, 3), dtype=torch.float64))
    with pytest.raises(ValueError, match=r"teacher: batch \(2,\) given"):
        flows.flow(net, batched, rules.GradientDescent(), TIMES)


def test_bookkeeping_in_torch_equals_bookkeeping_in_numpy():
    """Off the CPU the integrator runs in torch: the same code with the other module."""
    start = torch.tensor([[1.0, 0.0], [0.5, 2.0], [1.0, 1.0]], dtype=torch.float64)
    times = torch.tensor([0.0, 0.3, 5.0], dtype=torch.float64)

    def rhs(t, y):
        return torch.stack([y[:, 1], (1 - y[:, 0] ** 2) * y[:, 1] - y[:, 0] + t.cos()], dim=-1)

    tableau = _dop853._tableau(times.new_tensor)
    found = _dop853._solve(torch, rhs, start, times, 1e-10, tableau)
    expected = _dop853.solve(rhs, start, times, 1e-10)
    assert found.steps == expected.steps > 20
    assert float((found.values - expected.values).abs().max()) < 1e-12
    with pytest.raises(flows.Diverged, match="system 1 cannot pass t = 0.5:"):
        _dop853._solve(torch, lambda t, y: y * y, start[:, 1:], times, 1e-8, tableau)


@pytest.mark.parametrize("spacing", [0.05, 0.2, 0.8])
def test_dense_reports_do_not_hide_the_error(spacing):
    times = torch.arange(0, 4, spacing, dtype=torch.float64)
    found, error = flows.integrate(
        lambda t, y: torch.stack([y[1], -9 * y[0]]), torch.tensor([1.0, 0.0], dtype=torch.float64), times, 1e-6
    )
    true = float((found[:, 0] - torch.cos(3 * times)).abs().max())
    assert true <= error <= 1e-5
