"""Tangent kernels R^T Theta R of perceptrons and, through them, the spectrum of the Fisher information matrix.

G = (1/T) sum_i J_i^T H_i J_i is P x P and shares its non-zero eigenvalues with (1/T) R^T Theta R, where Theta = J J^T
runs over outputs and data and R R^T = H. Only the small matrix is formed, layer by layer: one forward sweep, one
backward sweep, and products of the two Gram matrices of each layer. Indices are sample-major: (i, k) -> i r + k.
"""

import torch
from torch import Tensor

from numerics.likelihoods import Likelihood, roots
from numerics.perceptrons import Parameters, Pass, Perceptron, backward, parameter_jacobian

_DENSE = 2000
_ROWS = 8


def tangent_kernel(
    net: Perceptron, x: Tensor, which: Parameters = "hidden", likelihood: Likelihood = "identity"
) -> Tensor:
    """Return R^T Theta R, (*S, T r, T r); Theta sums d h^g / d theta over the chosen parameters.

    which: "hidden" (W^l and b^l), "weights" (W^l only), "all" (with W^g and b^g). ValueError otherwise.
    """
    found = net.forward(x)
    left = roots(likelihood, found.outputs)
    shift = 0.0 if _checked(which) == "weights" else 1.0
    kernel = torch.zeros(*net.batch, found.samples, left.shape[-1], found.samples, left.shape[-1], dtype=x.dtype)
    kernel = kernel.to(net.device)
    for layer, back in backward(found, left):
        _add(kernel, gram(found.x[layer - 1]) + shift, back)
    if which == "all":
        _add(kernel, gram(found.x[-1]) + shift, left.mT)
    lower = kernel.flatten(-4, -3).flatten(-2)
    return lower.tril() + lower.tril(-1).mT


def gram(x: Tensor) -> Tensor:
    """Return x^T x over samples, (*S, N, T) -> (*S, T, T)."""
    return x.mT @ x


def fisher_spectrum(
    net: Perceptron, x: Tensor, which: Parameters = "hidden", likelihood: Likelihood = "identity"
) -> Tensor:
    """Return the T r eigenvalues of R^T Theta R / T in ascending order, (*S, T r).

    They are the non-zero eigenvalues of G, padded with zeros when T r exceeds its rank.
    """
    return torch.linalg.eigvalsh(tangent_kernel(net, x, which, likelihood)) / x.shape[-1]


def fisher_largest(
    net: Perceptron,
    x: Tensor,
    which: Parameters = "hidden",
    likelihood: Likelihood = "identity",
    *,
    tolerance: float = 1e-10,
) -> Tensor:
    """Return lambda_max(G), shape S: from all eigenvalues of a small kernel, by block Krylov steps for a large one.

    Raises ValueError when the Krylov residual does not reach the tolerance (relative).
    """
    if x.shape[-1] * net.outputs <= _DENSE or net.batch:
        return fisher_spectrum(net, x, which, likelihood)[..., -1]
    return _krylov(*_layers(net.forward(x), which, likelihood), tolerance) / x.shape[-1]


def fisher_matrix(
    net: Perceptron, x: Tensor, which: Parameters = "hidden", likelihood: Likelihood = "identity"
) -> Tensor:
    """Return the dense G (P, P) of one small network from its Jacobian by automatic differentiation."""
    left = roots(likelihood, net.forward(x).outputs)
    rows = (left.mT @ parameter_jacobian(net, x, _checked(which))).flatten(0, 1)
    return rows.mT @ rows / x.shape[-1]


def _add(kernel: Tensor, inputs: Tensor, back: Tensor) -> None:
    """Add inputs (*S, T, T) times the blocks of back back^T to the lower half of kernel (*S, T, r, T, r)."""
    t, r = back.shape[-3:-1]
    flat = back.flatten(-3, -2)
    step = -(-t // _ROWS) if t * r > 128 else t
    for start in range(0, t, step):
        end = min(start + step, t)
        rows = (flat[..., start * r : end * r, :] @ flat[..., : end * r, :].mT).unflatten(-1, (end, r))
        weights = inputs[..., start:end, None, :end, None]
        kernel[..., start:end, :, :end, :].addcmul_(rows.unflatten(-3, (end - start, r)), weights)


def _layers(found: Pass, which: Parameters, likelihood: Likelihood) -> tuple[list[Tensor], list[Tensor]]:
    """The Gram matrices of inputs (T, T) and the back-propagated roots (T, r, N) of all layers."""
    left, shift = roots(likelihood, found.outputs), 0.0 if _checked(which) == "weights" else 1.0
    grams, backs = [], []
    for layer, back in backward(found, left):
        grams.append(gram(found.x[layer - 1]) + shift)
        backs.append(back)
    if which == "all":
        grams.append(gram(found.x[-1]) + shift)
        backs.append(left.mT.contiguous())
    return grams, backs


def _apply(grams: list[Tensor], backs: list[Tensor], block: Tensor) -> Tensor:
    """The kernel times a block (T, r, c), without the kernel."""
    found = torch.zeros_like(block)
    for inputs, back in zip(grams, backs, strict=True):
        down = torch.einsum("trn,trc->tnc", back, block)
        mixed = (inputs @ down.flatten(1)).unflatten(1, down.shape[1:])
        found += back @ mixed
    return found


def _krylov(grams: list[Tensor], backs: list[Tensor], tolerance: float, steps: int = 40) -> Tensor:
    """The largest eigenvalue by block Krylov with full orthogonalisation, until its residual is small.

    The top eigenvalues form a cluster of as many as there are outputs, close to one common vector per output.
    """
    t, r = backs[0].shape[:2]
    eye = torch.eye(r, dtype=backs[0].dtype, device=backs[0].device)
    basis, image = torch.empty(t * r, 0, dtype=eye.dtype), torch.empty(t * r, 0, dtype=eye.dtype)
    block = eye.repeat(t, 1) / t**0.5
    for _ in range(steps):
        block = block - basis @ (basis.mT @ block)
        block = torch.linalg.qr(block - basis @ (basis.mT @ block)).Q
        basis = torch.cat([basis, block], 1)
        image = torch.cat([image, _apply(grams, backs, block.unflatten(0, (t, r))).flatten(0, 1)], 1)
        values, vectors = torch.linalg.eigh(basis.mT @ image)
        top = values[-1]
        residual = (image @ vectors[:, -1] - top * (basis @ vectors[:, -1])).norm()
        # the Rayleigh quotient errs by the square of the residual over the gap: the residual itself is a safe bound
        if residual <= tolerance**0.5 * top:
            return top
        block = image[:, -r:]
    raise ValueError(
        f"tolerance: residual {float(residual / top):.1e} after {steps} steps, allowed: {tolerance**0.5:.1e}"
    )


def _checked(which: Parameters) -> Parameters:
    if which not in ("hidden", "weights", "all"):
        raise ValueError(f"which: {which!r} given, allowed: 'hidden', 'weights', 'all'")
    return which
