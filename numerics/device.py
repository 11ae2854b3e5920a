"""Where tensors live, and where random numbers come from."""

import torch


def resolve(device: str | torch.device = "cpu") -> torch.device:
    """Return the torch device of a name: "cpu", "cuda", "cuda:1", ... or "auto" (cuda when present).

    Raises ValueError when cuda is asked for and absent, or the name is unknown.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device: {device!r} given, allowed: 'cpu', 'cuda', 'auto'") from None
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"device: {device!r} given, allowed: 'cpu', 'cuda', 'auto'")
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device: {device!r} given, but none is present; allowed here: 'cpu', 'auto'")
    return found


def generator(seed: int, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a fresh random generator with the given seed on the given device."""
    return torch.Generator(device=resolve(device)).manual_seed(seed)
