"""Perceptrons, their Jacobians and spectra against automatic differentiation and dense matrices."""

from __future__ import annotations

import pytest
import torch
from torch.func import jacrev

from numerics import jacobians, tangent_kernels
from numerics.device import generator
from numerics.ensembles import gaussian_inputs, perceptron, with_mean_square
from numerics.jacobians import largest_singular_value
from numerics.likelihoods import hessians, log_likelihood, roots
from numerics.perceptrons import (
    ACTIVATIONS,
    Perceptron,
    blocks,
    input_jacobian,
    output_jacobians,
    parameter_jacobian,
)
from numerics.tangent_kernels import fisher_largest, fisher_matrix, fisher_spectrum, tangent_kernel

WIDTHS = (5, 6, 4, 7)


def drawn(activation: str = "tanh", seeds: int | None = None, **how) -> tuple[Perceptron, torch.Tensor]:
    draw = generator(3)
    net = perceptron(WIDTHS, 3, draw, sigma_w=1.3, sigma_b=0.4, activation=activation, seeds=seeds, **how)
    return net, gaussian_inputs(5, 4, 1.0, draw)


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "hard-tanh"])
def test_slopes_are_the_derivatives(activation):
    h = torch.linspace(-3, 3, 40, dtype=torch.float64)
    act, slope = ACTIVATIONS[activation]
    exact = torch.stack([torch.func.grad(act)(one) for one in h])
    assert torch.allclose(slope(h), exact, rtol=1e-13, atol=1e-15)


def test_hard_tanh_has_slope_one_inside_and_zero_outside():
    h = torch.tensor([-1.5, -0.5, 0.5, 1.5], dtype=torch.float64)
    assert ACTIVATIONS["hard-tanh"][1](h).tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("activation", ["tanh", "relu", "erf", "linear"])
def test_jacobians_are_those_of_automatic_differentiation(activation):
    net, x = drawn(activation)
    found, exact = net.forward(x), parameter_jacobian(net, x, "all")
    for layer, back in enumerate(output_jacobians(found), start=1):
        place = blocks(net, "all")
        assert torch.allclose(exact[..., place[f"b{layer}"]], back, atol=1e-14)
        by_columns = (found.x[layer - 1].mT[:, None, :, None] * back[:, :, None, :]).flatten(-2)
        assert torch.allclose(exact[..., place[f"W{layer}"]], by_columns, atol=1e-14)
    one = jacrev(lambda seen: net.forward(seen[:, None]).x[-1][:, 0])
    through = torch.stack([one(column) for column in x.mT])
    assert torch.allclose(input_jacobian(found), through, atol=1e-14)


@pytest.mark.parametrize("ensemble", ["orthogonal", "gaussian"])
def test_a_batch_is_its_networks(ensemble):
    nets, x = drawn(seeds=3, ensemble=ensemble)
    for which in ("hidden", "weights", "all"):
        kernels = tangent_kernel(nets, x, which, "softmax")
        one = tangent_kernel(nets.at(1), x, which, "softmax")
        assert torch.allclose(kernels[1], one, rtol=1e-12, atol=1e-14)
    s = largest_singular_value(nets.forward(x))
    assert s.shape == (3, 4) and torch.allclose(s[2], largest_singular_value(nets.at(2).forward(x)))


@pytest.mark.parametrize("which", ["hidden", "weights", "all"])
@pytest.mark.parametrize("likelihood", ["identity", "softmax"])
def test_small_and_large_matrix_share_their_spectrum(which, likelihood):
    net, x = drawn()
    dense = torch.linalg.eigvalsh(fisher_matrix(net, x, which, likelihood))
    dual = fisher_spectrum(net, x, which, likelihood)
    count = min(len(dense), len(dual))
    assert torch.allclose(dual[-count:], dense[-count:], atol=1e-13 * float(dense[-1]))
    assert float(dense[: len(dense) - count].abs().max()) < 1e-13 * float(dense[-1])


@pytest.mark.parametrize("likelihood", ["identity", "softmax"])
def test_krylov_finds_the_largest_eigenvalue_without_the_kernel(monkeypatch, likelihood):
    draw = generator(4)
    net = perceptron((20, 20, 20), 5, draw, sigma_w=1.1, sigma_b=0.1)
    x = gaussian_inputs(20, 60, 0.5, draw)
    exact = float(fisher_spectrum(net, x, "all", likelihood)[-1])
    monkeypatch.setattr(tangent_kernels, "_DENSE", 0)
    found = float(fisher_largest(net, x, "all", likelihood))
    assert 0 <= exact - found < 1e-9 * exact


def test_krylov_that_does_not_converge_says_so(monkeypatch):
    net, x = drawn()
    grams, backs = tangent_kernels._layers(net.forward(x), "hidden", "identity")
    with pytest.raises(ValueError, match=r"^tolerance: residual .* after 1 steps"):
        tangent_kernels._krylov(grams, backs, 1e-20, steps=1)


@pytest.mark.parametrize("sigma_w", [1.0, 1.6])
@pytest.mark.parametrize("krylov", [torch.float64, torch.float32])
def test_largest_singular_value_without_the_jacobian(monkeypatch, sigma_w, krylov):
    draw = generator(5)
    net = perceptron((30, 24, 24, 24, 40), 2, draw, sigma_w=sigma_w, sigma_b=0.1)
    found = net.forward(gaussian_inputs(30, 6, 0.5, draw))
    exact = torch.linalg.svdvals(input_jacobian(found))[:, 0]
    monkeypatch.setattr(jacobians, "_NARROW", 0)
    assert torch.allclose(largest_singular_value(found, krylov=krylov), exact, rtol=1e-9)


def test_too_few_steps_are_an_error(monkeypatch):
    net, x = drawn()
    monkeypatch.setattr(jacobians, "_NARROW", 0)
    with pytest.raises(ValueError, match=r"^steps: 1 given, residual"):
        largest_singular_value(net.forward(x), steps=1)


def test_roots_are_exact_and_survive_saturation():
    draw = generator(6)
    outputs = torch.randn((10, 60), generator=draw, dtype=torch.float64) * torch.logspace(-3, 3, 60).double()
    root = roots("softmax", outputs)
    assert root.shape == (60, 10, 9) and bool(root.isfinite().all())
    assert torch.allclose(root @ root.mT, hessians("softmax", outputs), atol=1e-15)


@pytest.mark.parametrize("kind", ["identity", "softmax"])
def test_hessians_are_second_derivatives(kind):
    outputs = torch.randn((4, 3), generator=generator(7), dtype=torch.float64)
    labels = torch.tensor([0, 3, 1]) if kind == "softmax" else torch.ones(4, 3, dtype=torch.float64)
    hessian = torch.func.hessian(lambda h: -log_likelihood(kind, h, labels).sum())(outputs)
    mine = torch.stack([hessian[:, t, :, t] for t in range(3)])
    assert torch.allclose(mine, hessians(kind, outputs), atol=1e-14)


@pytest.mark.parametrize(("n", "m"), [(6, 6), (9, 6), (6, 9)])
def test_entries_of_orthogonal_weights_have_the_variance_of_gaussian_ones(n, m):
    net = perceptron((n, m), 1, generator(8), sigma_w=1.5, seeds=400)
    w = net.weights[0]
    gram = w @ w.mT if m <= n else w.mT @ w
    scale = 1.5**2 * (1 if m <= n else m / n)
    assert torch.allclose(gram, scale * torch.eye(min(m, n), dtype=torch.float64), atol=1e-12)
    assert abs(float(w.square().mean()) * n / 1.5**2 - 1) < 1e-12


def test_inputs_have_the_length_that_was_asked_for():
    x = gaussian_inputs(12, 5, 0.3, generator(9), exact=True)
    assert torch.allclose(x.square().mean(0), torch.full((5,), 0.3, dtype=torch.float64))
    assert torch.allclose(with_mean_square(x, 2.0).square().mean(0), torch.full((5,), 2.0, dtype=torch.float64))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, x: net.forward(x[:4]), r"^x: shape \(4, 4\) given, allowed: \(5, T\)"),
        (lambda net, x: tangent_kernel(net, x, "biases"), r"^which: 'biases' given, allowed: 'hidden'"),
        (lambda net, x: tangent_kernel(net, x, likelihood="probit"), r"^likelihood: 'probit' given, allowed"),
        (lambda net, x: perceptron((5, 0), 2, generator(1)), r"^widths: \(5, 0\) given"),
        (lambda net, x: perceptron((5, 3), 2, generator(1), ensemble="sparse"), r"^ensemble: 'sparse' given"),
        (lambda net, x: perceptron((5, 3), 2, generator(1), activation="sine"), r"^activation: 'sine' given"),
        (lambda net, x: gaussian_inputs(5, 2, -1.0, generator(1)), r"^variance: -1.0 given"),
        (lambda net, x: Perceptron(net.weights, net.biases[:2], net.readout, net.readout_bias), r"^biases: 2 given"),
        (
            lambda net, x: Perceptron(net.weights[::-1], net.biases, net.readout, net.readout_bias),
            r"^(weights|biases): layer",
        ),
    ],
)
def test_bad_input_is_named_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call(*drawn())
    assert "\n" not in str(caught.value)
