"""Changes of hidden bases and exact ranks."""

import pytest
import torch

from numerics import exact, gauge
from numerics.device import generator
from numerics.frames import normal
from numerics.initialisations import gaussian
from numerics.networks import norm


def _network():
    draw = generator(3)
    net = gaussian((3, 4, 2, 3), draw)
    return net, tuple(normal((n, n), draw) for n in net.widths[1:-1])


def test_changes_keep_the_map():
    net, generators = _network()
    changes = [torch.eye(len(m), dtype=m.dtype) + m / 8 for m in generators]
    assert torch.allclose(gauge.transformed(net, changes).product(), net.product(), rtol=0, atol=1e-13)


def test_move_is_the_limit_of_small_changes():
    net, generators = _network()
    errors = []
    for size in (1e-3, 1e-4):
        changes = [torch.eye(len(m), dtype=m.dtype) + size * m for m in generators]
        new = gauge.transformed(net, changes)
        difference = tuple((b - a) / size for a, b in zip(net.weights, new.weights, strict=True))
        errors.append(float(norm(tuple(x - y for x, y in zip(difference, gauge.move(net, generators), strict=True)))))
    assert errors[1] == pytest.approx(errors[0] / 10, rel=0.05)


def test_wrong_sizes_are_refused():
    net, generators = _network()
    with pytest.raises(ValueError, match="changes: shapes"):
        gauge.transformed(net, generators[::-1])


def test_ranks_are_exact_and_refuse_fractions():
    tiny = torch.tensor([[1.0, 2.0**40], [2.0**40, 2.0**80 / 2.0**40 + 1.0]], dtype=torch.float64)
    assert exact.rank(tiny) == 2
    assert exact.rank(torch.ones((3, 5), dtype=torch.float64)) == 1
    with pytest.raises(ValueError, match="matrix: entries"):
        exact.rank(torch.tensor([[0.5]], dtype=torch.float64))


def test_integer_networks_have_at_most_the_given_ranks():
    net = exact.integer_network((4, 5, 3), (2, 3), generator(0))
    table = exact.rank_table(net)
    assert (table[0][1], table[1][2], table[0][0], table[0][2]) == (2, 3, 4, 2)
    with pytest.raises(ValueError, match="ranks"):
        exact.integer_network((2, 2), (3,), generator(0))
