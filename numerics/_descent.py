"""The right-hand side of gradient descent on the CPU, fused: numpy products on transposed weights.

torch spends five times the arithmetic of a small product on its own overhead; the flows of many claims are
nothing but such products. Tested against `rules.GradientDescent`.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from numerics.problems import Problem


def fused_descent(widths: Sequence[int], problem: Problem, eta: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Return (t, y) -> -eta g for flat weights y (*S, P), |S| <= 1, in the order of `flatten`."""
    shapes = list(zip(widths, widths[1:], strict=False))
    ends = [0, *accumulate(a * b for a, b in shapes)]
    teacher = problem.teacher.mT.numpy()
    covariance = None if problem.covariance is None else problem.covariance.numpy()

    def rhs(_: Tensor, y: Tensor) -> Tensor:
        state = y.numpy()
        found = np.empty_like(state)
        batch = state.shape[:-1]
        # column-major layers are the transposes v_i = w_i^T, so W^T = v_1 ... v_d
        layers = [state[..., ends[i] : ends[i + 1]].reshape(*batch, *s) for i, s in enumerate(shapes)]
        below = list(accumulate(layers, np.matmul))
        carried = -eta * (below[-1] - teacher)
        if covariance is not None:
            carried = covariance @ carried
        for i in range(len(layers) - 1, -1, -1):
            part = below[i - 1].swapaxes(-1, -2) @ carried if i else carried
            found[..., ends[i] : ends[i + 1]] = part.reshape(*batch, -1)
            carried = carried @ layers[i].swapaxes(-1, -2) if i else carried
        return torch.from_numpy(found)

    return rhs
