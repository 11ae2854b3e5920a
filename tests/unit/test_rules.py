"""Update rules and their discrete steps."""

from math import inf

import pytest
import torch

from numerics import autograd, curvature, device, initialisations, problems, rules, steps
from numerics.initialisations import normal
from numerics.networks import flatten

RULES = [
    rules.GradientDescent(),
    rules.NaturalGradient(),
    rules.Fractional(2),
    rules.Damped(0.3),
    rules.BlockNatural(),
    rules.BlockFractional(2),
]


@pytest.fixture
def net():
    return initialisations.gaussian((3, 4, 3, 2), device.generator(0), seeds=2)


@pytest.fixture
def problem(net):
    return problems.Problem(net.product() + 0.3 * normal((2, 3), device.generator(1), 2))


def flat(rule, net, problem):
    return flatten(rule.velocity(net, problem))


def near(a, b, bound=1e-12):
    return float((a - b).norm() / b.norm()) < bound


@pytest.mark.parametrize("rule", RULES, ids=lambda r: type(r).__name__)
def test_every_rule_descends_and_scales_with_eta(rule, net, problem):
    velocity = flat(rule, net, problem)
    assert bool(((velocity * flatten(autograd.gradient(net, problem))).sum(-1) < 0).all())
    faster = type(rule)(**{f: getattr(rule, f) for f in rule.__dataclass_fields__} | {"eta": 3.0})
    assert near(flat(faster, net, problem), 3 * velocity)


def test_limits_of_the_families(net, problem):
    gradient, natural = -flatten(autograd.gradient(net, problem)), flat(rules.NaturalGradient(), net, problem)
    assert near(flat(rules.Fractional(inf), net, problem), gradient, 1e-14)
    assert near(flat(rules.Fractional(1), net, problem), natural, 1e-14)
    assert near(flat(rules.Damped(1e9), net, problem), gradient, 1e-7)
    assert near(flat(rules.Damped(1e-9), net, problem), natural, 1e-6)
    assert near(flat(rules.BlockFractional(1), net, problem), flat(rules.BlockNatural(), net, problem))
    assert near(flat(rules.BlockFractional(inf), net, problem), gradient)
    plain = flat(rules.Damped(0.3, usual=True), net, problem)
    assert near(flat(rules.Damped(0.3), net, problem), 1.3 * plain)


def test_naive_method_is_the_reference(net, problem):
    for q in (1, 2, 3.5):
        reference = flat(rules.Fractional(q, method="naive"), net, problem)
        assert near(flat(rules.Fractional(q), net, problem), reference, 1e-10)


def test_natural_gradient_moves_the_map_straight_to_the_teacher(net, problem):
    velocity = rules.NaturalGradient().velocity(net, problem)
    assert near(curvature.forward(net, velocity), -problem.error(net))


def test_block_rates_weigh_the_layers(net, problem):
    equal = rules.BlockNatural().velocity(net, problem)
    single = rules.BlockNatural(rates=(0.0, 1.0, 0.0)).velocity(net, problem)
    assert float(single[0].abs().max()) == 0 and near(single[1], 3 * equal[1])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: rules.Fractional(0.5), "q: 0.5 given, allowed: q >= 1"),
        (lambda: rules.BlockFractional(float("nan")), "q: nan given, allowed: q >= 1"),
        (lambda: rules.Damped(0.0), "epsilon: 0.0 given"),
        (lambda: rules.by_name("newton"), "name: 'newton' given, allowed: gradient, natural"),
    ],
)
def test_bad_parameters_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_number_of_rates_must_be_the_depth(net, problem):
    with pytest.raises(ValueError, match="rates: 2 given, allowed: 3"):
        rules.BlockNatural(rates=(1.0, 1.0)).velocity(net, problem)


def test_by_name_gives_the_rules():
    assert rules.by_name("fractional", q=2) == rules.Fractional(2)
    assert isinstance(rules.by_name("gradient"), rules.GradientDescent)
    assert rules.by_name("natural", eta=2.0) == rules.NaturalGradient(eta=2.0)


@pytest.mark.parametrize("step, order", [(steps.euler, 2), (steps.heun, 3), (steps.implicit_midpoint, 3)])
def test_local_order_of_the_steps(step, order, net, problem):
    """The distance to two half steps falls with the power order of the step."""

    rule = rules.GradientDescent()

    def distance(h):
        once = step(net, problem, rule, h)
        twice = step(step(net, problem, rule, h / 2), problem, rule, h / 2)
        return float((flatten(once.weights) - flatten(twice.weights)).norm())

    slope = torch.log2(torch.tensor(distance(2e-3) / distance(1e-3)))
    assert abs(float(slope) - order) < 0.05


def test_midpoint_keeps_quadratic_invariants_and_euler_does_not(net, problem):
    kept = steps.implicit_midpoint(net, problem, rules.NaturalGradient(), 0.05)
    lost = steps.euler(net, problem, rules.NaturalGradient(), 0.05)
    assert float((kept.balance(1) - net.balance(1)).abs().max()) < 1e-13
    assert float((lost.balance(1) - net.balance(1)).abs().max()) > 1e-6


def test_midpoint_refuses_steps_that_do_not_contract(net, problem):
    with pytest.raises(ValueError, match="step: 50.0 given"):
        steps.implicit_midpoint(net, problem, rules.GradientDescent(), 50.0)
