"""Time of spectra of deep perceptrons; run `pytest tests/bench --benchmark-enable -n 0`."""

from __future__ import annotations

import pytest

from numerics.device import generator
from numerics.ensembles import gaussian_inputs, perceptron
from numerics.jacobians import largest_singular_value
from numerics.tangent_kernels import fisher_spectrum, tangent_kernel

SIZES = {"L20 N100": (20, 100, 32), "L50 N200": (50, 200, 64)}


@pytest.fixture(params=list(SIZES))
def sized(request):
    depth, width, samples = SIZES[request.param]
    draw = generator(1)
    net = perceptron((width,) * (depth + 1), 10, draw, sigma_w=1.015, sigma_b=0.002)
    return net, gaussian_inputs(width, samples, 1 / 64, draw)


def test_forward(benchmark, sized):
    net, x = sized
    assert benchmark(net.forward, x).outputs.shape == (10, x.shape[1])


def test_tangent_kernel(benchmark, sized):
    assert benchmark(tangent_kernel, *sized).shape[0] == 10 * sized[1].shape[1]


def test_fisher_spectrum(benchmark, sized):
    assert float(benchmark(fisher_spectrum, *sized, "hidden", "softmax")[-1]) > 0


def test_largest_singular_value(benchmark, sized):
    found = sized[0].forward(sized[1])
    assert float(benchmark(largest_singular_value, found).min()) > 0.9
