"""Exact ranks over the rationals of networks with small integer weights: no cut-off enters."""

from collections.abc import Sequence

import torch
from flint import fmpz_mat
from torch import Tensor

from numerics.networks import DeepLinear

LARGEST = 2.0**50


def integer_network(widths: Sequence[int], ranks: Sequence[int], generator: torch.Generator) -> DeepLinear:
    """Return layers w_i = u_i v_i with integer entries; layer i has at most the rank ranks[i-1].

    Raises ValueError for a rank below 0 or above min(n_i, n_{i-1}).
    """
    shapes = list(zip(widths[1:], widths, strict=False))
    if len(ranks) != len(shapes) or any(not 0 <= r <= min(shape) for r, shape in zip(ranks, shapes, strict=True)):
        allowed = [min(shape) for shape in shapes]
        raise ValueError(f"ranks: {tuple(ranks)} given, allowed: one for each layer, from 0 to {allowed}")

    def draw(rows: int, columns: int) -> Tensor:
        return torch.randint(-3, 4, (rows, columns), generator=generator).to(torch.float64)

    return DeepLinear(
        tuple(
            draw(m, n) if r == min(m, n) else draw(m, r) @ draw(r, n) for (m, n), r in zip(shapes, ranks, strict=True)
        )
    )


def rank(matrix: Tensor) -> int:
    """Return the exact rank of a matrix of integers (float64, below 2^50); ValueError for other entries."""
    if matrix.numel() == 0:
        return 0
    if not bool((matrix == matrix.round()).all()) or not float(matrix.abs().max()) < LARGEST:
        raise ValueError("matrix: entries that are no exact integers given, allowed: integers below 2^50")
    return int(fmpz_mat([[int(entry) for entry in row] for row in matrix.tolist()]).rank())


def rank_table(net: DeepLinear) -> tuple[tuple[int, ...], ...]:
    """Return r with r[a][b] = rank(w_b ... w_{a+1}) for a <= b, and the widths on the diagonal."""
    table = [[0] * (net.depth + 1) for _ in net.widths]
    for a, n in enumerate(net.widths):
        part = torch.eye(n, dtype=torch.float64)
        table[a][a] = n
        for b in range(a + 1, net.depth + 1):
            part = net.weights[b - 1] @ part
            table[a][b] = rank(part)
    return tuple(tuple(row) for row in table)
