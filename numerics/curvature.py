"""Structured curvature of deep linear networks: no P x P object is formed.

With R = S^(1/2) and M = (R kron 1) J the Hessian+ is M^T M, the gradient is M^T vec(E R), and
f(M^T M) M^T = M^T f(M M^T): everything happens in the dual kernel M M^T, n_d n_0 square.
`root` is R (None for whitened inputs). Moore-Penrose convention: 0^negative := 0.

Cut-offs are relative, 1e-13 by default and at most 1e-10: to the largest eigenvalue for the methods that
form a square matrix ("eigh", "naive"), to the largest singular value for those that decompose a factor
("svd", "kronecker", "balanced"). `eigenbasis` shows the rank they lead to.

"auto" takes "kronecker" for d <= 2 and whitened inputs, "svd" up to n_d n_0 = 64; above that "balanced" where
the measured imbalance is negligible, else "cholesky" for power -1 when well conditioned, else "eigh".
"""

from typing import Literal

import torch
from torch import Tensor

from numerics import autograd, spectral
from numerics.networks import DeepLinear, Direction, matching, unvec, vec
from numerics.problems import Problem

Method = Literal["auto", "eigh", "svd", "cholesky", "kronecker", "balanced", "naive"]
METHODS = ("auto", "eigh", "svd", "cholesky", "kronecker", "balanced", "naive")


def gradient(net: DeepLinear, problem: Problem) -> Direction:
    """Return g_i = A_i^T E S B_i^T, the derivative of the loss, with 3 (d - 1) products."""
    return back(net, problem.weighted(problem.error(net)))


def back(net: DeepLinear, matrix: Tensor) -> Direction:
    """Return the direction A_i^T X B_i^T = J^T vec X of a matrix X (*S, n_d, n_0)."""
    inputs = net.rights()
    found: list[Tensor] = []
    for i in range(net.depth, 0, -1):
        found.append(matrix @ inputs[i - 1].mT if i > 1 else matrix)
        if i > 1:
            matrix = net.weights[i - 1].mT @ matrix
    return tuple(reversed(found))


def forward(net: DeepLinear, direction: Direction) -> Tensor:
    """Return the derivative of W along a direction, sum A_i v_i B_i, (*S, n_d, n_0)."""
    matching(net, direction)
    value, change = net.weights[0], direction[0]
    for w, v in zip(net.weights[1:], direction[1:], strict=True):
        value, change = w @ value, w @ change + v @ value
    return change


def apply_hessian_plus(net: DeepLinear, problem: Problem, direction: Direction) -> Direction:
    """Return H+ v = J^T (S kron 1) J v."""
    return back(net, problem.weighted(forward(net, direction)))


def kernel(net: DeepLinear, root: Tensor | None = None) -> Tensor:
    """Return M M^T = sum_i (R B_i^T B_i R) kron (A_i A_i^T), (*S, n_d n_0, n_d n_0)."""
    rows, columns = net.widths[-1], net.widths[0]
    inputs = [b if root is None else b @ root for b in net.rights()]
    upper = torch.stack([(a @ a.mT).flatten(-2) for a in net.lefts()], dim=-2)
    lower = torch.stack([(b.mT @ b).flatten(-2) for b in inputs], dim=-2)
    found = (lower.mT @ upper).unflatten(-1, (rows, rows)).unflatten(-3, (columns, columns))
    return found.transpose(-3, -2).reshape(*net.batch, rows * columns, rows * columns)


def factor(net: DeepLinear, root: Tensor | None = None) -> Tensor:
    """Return M = (R kron 1) J, (*S, n_d n_0, P), columns in the order of flatten."""
    blocks = []
    for a, b in zip(net.lefts(), net.rights(), strict=True):
        right = (b if root is None else b @ root).mT
        outer = right[..., :, None, :, None] * a[..., None, :, None, :]
        blocks.append(outer.flatten(-4, -3).flatten(-2))
    return torch.cat(blocks, dim=-1)


def eigenbasis(
    net: DeepLinear, root: Tensor | None = None, *, method: Method = "auto", cutoff: float | None = None
) -> spectral.Eigenbasis:
    """Return eigenvalues and eigenvectors of M M^T; `spectral.rank` of it is the rank in use.

    "kronecker" (d <= 2) and "balanced" need whitened inputs and two SVDs of single layers; "balanced" refuses
    a network whose measured imbalance exceeds 1e-10. "svd" keeps small eigenvalues to full relative accuracy.
    """
    cut = spectral.checked(cutoff)
    if method == "auto":
        method = _choice(net, root)
    if method in ("kronecker", "balanced"):
        _factorised(net, root, method)
        shape = (net.widths[-1], net.widths[0])
        return spectral.kronecker(net.weights[-1], net.weights[0], net.depth, shape, cut)
    if method == "svd":
        return spectral.from_factor(factor(net, root), cut)
    if method == "eigh":
        return spectral.dense(kernel(net, root), cut)
    raise ValueError(f"method: {method!r} given, allowed: 'auto', 'eigh', 'svd', 'kronecker', 'balanced'")


def dual(
    net: DeepLinear,
    error: Tensor,
    power: float,
    *,
    method: Method = "auto",
    cutoff: float | None = None,
    root: Tensor | None = None,
) -> Tensor:
    """Return X with J^T vec X = (H+)^power g, where g is the gradient at the error E; X is (*S, n_d, n_0).

    For whitened inputs vec X = K^power vec E with K = J J^T. method "cholesky" is for power -1 of a kernel of
    full rank; "naive" goes through the P x P matrix. Raises ValueError where a method does not apply.
    """
    if method not in METHODS:
        raise ValueError(f"method: {method!r} given, allowed: {', '.join(METHODS)}")
    whitened = error if root is None else error @ root
    found: Tensor | None
    if power == 0:
        found = whitened
    elif method == "naive":
        found = _naive(net, whitened, power, spectral.checked(cutoff), root)
    elif method == "cholesky":
        found = _cholesky(net, whitened, power, root)
        if found is None:
            raise ValueError("method: 'cholesky' given, but the kernel is nearly singular; use 'svd'")
    else:
        found = _fast(net, whitened, root) if method == "auto" and power == -1 else None
        if found is None:
            basis = eigenbasis(net, root, method=method, cutoff=cutoff)
            found = basis.apply(spectral.power(power), whitened)
    return found if root is None else found @ root


def preconditioned(
    net: DeepLinear, problem: Problem, power: float, *, method: Method = "auto", cutoff: float | None = None
) -> Direction:
    """Return (H+)^power g with the Moore-Penrose convention."""
    if method == "naive":
        return autograd.power(net, problem, power, cutoff=spectral.checked(cutoff))
    error = problem.error(net)
    return back(net, dual(net, error, power, method=method, cutoff=cutoff, root=problem.root))


def damped(net: DeepLinear, problem: Problem, epsilon: float) -> Direction:
    """Return (epsilon + H+)^{-1} g for epsilon > 0."""
    if not epsilon > 0:
        raise ValueError(f"epsilon: {epsilon} given, allowed: epsilon > 0")
    error = problem.error(net)
    whitened = error if problem.root is None else error @ problem.root
    gram = kernel(net, problem.root)
    gram.diagonal(dim1=-2, dim2=-1).add_(epsilon)
    solved = torch.cholesky_solve(vec(whitened)[..., None], torch.linalg.cholesky(gram))[..., 0]
    found = unvec(solved, *error.shape[-2:])
    return back(net, found if problem.root is None else found @ problem.root)


def _choice(net: DeepLinear, root: Tensor | None) -> Method:
    if net.depth <= 2 and root is None:
        return "kronecker"
    size = net.widths[-1] * net.widths[0]
    if size > 100 and root is None and _precisely_balanced(net):
        return "balanced"
    return "svd" if size <= 64 else "eigh"


def _precisely_balanced(net: DeepLinear) -> bool:
    # the imbalance must be negligible beside the smallest eigenvalue that the shortcut would invert
    smallest = torch.linalg.svdvals(net.weights[0])[..., -1].square()
    wide = min(net.widths) >= max(net.widths[0], net.widths[-1])
    return wide and bool((net.imbalance() <= 1e-13 * smallest).all())


def _factorised(net: DeepLinear, root: Tensor | None, method: str) -> None:
    if root is not None:
        raise ValueError(f"method: {method!r} given, but the inputs are not whitened; use 'eigh' or 'svd'")
    if method == "kronecker" and net.depth > 2:
        raise ValueError(f"method: 'kronecker' given for depth {net.depth}, allowed: depth 1 or 2")
    if method == "balanced":
        scale = torch.linalg.matrix_norm(net.weights[0], 2).square()
        worst = float((net.imbalance() / scale).max())
        if not worst <= 1e-10:
            raise ValueError(f"method: 'balanced' given at relative imbalance {worst:.1e}, allowed: <= 1e-10")


def _fast(net: DeepLinear, whitened: Tensor, root: Tensor | None) -> Tensor | None:
    size = whitened.shape[-1] * whitened.shape[-2]
    return _cholesky(net, whitened, -1, root) if size > 64 and _choice(net, root) == "eigh" else None


def _cholesky(net: DeepLinear, whitened: Tensor, power: float, root: Tensor | None) -> Tensor | None:
    if power != -1:
        raise ValueError(f"method: 'cholesky' given for power {power}, allowed: power -1")
    lower, info = torch.linalg.cholesky_ex(kernel(net, root))
    pivots = lower.diagonal(dim1=-2, dim2=-1)
    if bool((info != 0).any()) or not bool((pivots.amin(-1) > 1e-4 * pivots.amax(-1)).all()):
        return None
    return unvec(torch.cholesky_solve(vec(whitened)[..., None], lower)[..., 0], *whitened.shape[-2:])


def _naive(net: DeepLinear, whitened: Tensor, power: float, cutoff: float, root: Tensor | None) -> Tensor:
    m = autograd.jacobian(net)
    if root is not None:
        m = torch.kron(root, torch.eye(net.widths[-1], dtype=root.dtype, device=root.device)) @ m
    basis = spectral.dense(m.mT @ m, cutoff)
    inner = torch.where(basis.kept, torch.where(basis.kept, basis.values, 1.0) ** (power - 1), 0.0)
    coefficients = basis.vectors.mT @ (m.mT @ vec(whitened)[..., None])
    return unvec((m @ (basis.vectors @ (inner[..., None] * coefficients)))[..., 0], *whitened.shape[-2:])
