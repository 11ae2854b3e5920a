"""LaTeX as a line of text for the terminal: Greek letters, fractions and powers, nothing clever."""

from __future__ import annotations

import re

_NAMES = {
    **dict(zip(
        ("alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau phi chi psi omega"
         " Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega").split(),
        "αβγδεζηθικλμνξπρστφχψωΓΔΘΛΞΠΣΦΨΩ", strict=True)),
    "cdot": "·", "times": "×", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ne": "≠", "neq": "≠", "infty": "∞",
    "sum": "Σ", "prod": "Π", "to": "→", "in": "∈", "pm": "±", "sim": "~", "approx": "≈", "ldots": "…", "dots": "…",
    "Vert": "‖", "lVert": "‖", "rVert": "‖", "vert": "|", "lvert": "|", "rvert": "|", "otimes": "⊗", "partial": "∂",
    "nabla": "∇", "mathsf{T}": "ᵀ", "dagger": "†", "ell": "ℓ", "circ": "∘", "odot": "⊙", "varepsilon": "ε", "quad": " ",
    "perp": "⊥", "subseteq": "⊆", "forall": "∀", "propto": "∝", "star": "*", "ast": "*",
}  # fmt: skip
_ACCENTS = {"dot": "\u0307", "hat": "\u0302", "bar": "\u0304", "tilde": "\u0303", "ddot": "\u0308"}
_BRACED = r"\{([^{}]*)\}"


def readable(latex: str) -> str:
    """A formula as text.

    >>> readable(r"-\\eta \\left\\lVert j\\right\\rVert^{-2/q} j_{i} \\frac{\\sigma_{\\Delta}}{2}")
    '-η ‖j‖^(-2/q) j_i σ_Δ/2'
    """
    line = latex.replace(r"\\", "; ").replace(r"\|", r"\Vert ")
    line = re.sub(r"\\(left|right|bigl?|bigr|Bigl?|Bigr|displaystyle|limits)\b\.?", "", line)
    line = re.sub(r"\\begin\{\w+\}|\\end\{\w+\}|&|\\[,;!: ]", " ", line)
    line = re.sub(r"\\(l?[Vv]ert)\s+", r"\\\1{}", line)
    line = re.sub(r"\^\{\\mathsf\{T\}\}", "ᵀ", line)
    line = re.sub(r"\\(?:mathrm|mathsf|text|mathbb|mathcal|mathbf|operatorname)\s*" + _BRACED, r"\1", line)
    accents = "|".join(_ACCENTS)
    line = re.sub(rf"\\({accents})\s*(?:\{{\s*(\\?\w+)\s*\}}|(\\?[A-Za-z]+))", _accented, line)
    line = re.sub(r"\\([A-Za-z]+)", lambda name: _NAMES.get(name[1], name[0]), line)
    before = ""
    while before != line:
        before = line
        line = re.sub(r"\\[dt]?frac\s*" + _BRACED + r"\s*" + _BRACED, _fraction, line)
        line = re.sub(r"\\sqrt\s*" + _BRACED, r"√(\1)", line)
        line = re.sub(r"([\^_])" + _BRACED, lambda m: m[1] + _grouped(m[2]), line)
    line = line.replace("{", "").replace("}", "").replace("\\", "")
    return re.sub(r"\s+(?=;)", "", " ".join(line.split()))


def prose(text: str) -> str:
    """Prose with inline maths as text for the terminal."""
    return re.sub(r"\$`(.+?)`\$|\$([^$]+)\$", lambda span: readable(span[1] or span[2]), text)


def _accented(found: re.Match[str]) -> str:
    letter = found[2] or found[3]
    return _NAMES.get(letter.lstrip("\\"), letter) + _ACCENTS[found[1]]


def _grouped(inner: str) -> str:
    return inner if re.fullmatch(r"-?\w+|.", inner.strip()) else f"({inner})"


def _fraction(found: re.Match[str]) -> str:
    upper, lower = (part.strip() for part in found.groups())
    return f"{_operand(upper)}/{_operand(lower)}"


def _operand(part: str) -> str:
    return part if re.fullmatch(r"[\w.^̇⃗]+", part) else f"({part})"
