"""A small ledger with a claim of every verdict, for the tests of pages, figures and command line."""

from __future__ import annotations

import math
from typing import Any

import pytest

from reports import ledger as store

# fmt: off
# One key a line would make this table three times as long as what it says.


def sample_ledger() -> dict[str, Any]:
    """A fresh ledger; callers may change it."""
    claims = {
        "modes.fractional-rate": _rate(),
        "modes.faster": _refuted(),
        "modes.faster-corrected": _claim(
            "modes", "A eq. 14", ["C1-44"], "proved", says="a mode is faster exactly where $`|j| < 1`$",
            lhs=r"\dot\sigma", relation=">", formula=r"\|j\|^{-2}", generic_in="q", uses=["modes.fractional-rate"],
        ),
        "null-space.orbit": _conditional(),
        "modes.balanced": _claim(
            "modes", "A eq. 16", ["C1-50"], "proved-for-instances", reasons=["d = 2, 3, 4"], instances="d = 2, 3, 4",
            formula=[["first", r"\sigma^{2/d}"], ["second_part", r"\sigma^{1/d}"]], relation="=",
        ),
        "damping.square-root": _claim(
            "damping", "A eq. 18", ["C1-41"], "confirmed", reasons=["8 cases, no closing proof"],
            lhs="v", formula=[["", "a"], ["", r"\frac{b}{1 + |a|}"]], uses=["modes.fractional-rate"],
        ),
        "damping.limit": _claim(
            "damping", "A section 3.1", ["C1-42"], "undecided", reasons=["limit: undecided cases"],
            formula=r"\operatorname{Tr}\left(A\right)",
        ),
        "gradient.words": _claim(
            "gradient", "A eq. 5", ["C1-04"], "defective", reasons=["check limit: rejects no wrong formula"],
            lhs="g_i", formula=r"A_i^{\mathsf{T}} \Delta B_i^{\mathsf{T}}",
        ),
    }
    return {"schema": 1, "claims": claims, "statements": _statements()}


def undrawn_ledger() -> dict[str, Any]:
    """The sample without figures and samples, for tests that build pages and care for no drawing."""
    ledger = sample_ledger()
    for claim in ledger["claims"].values():
        claim["figures"] = []
        for check in claim["checks"].values():
            check["sample"] = {}
    return ledger


def _check(says: str, **changes: Any) -> dict[str, Any]:
    predicted = [0.01 * 1.5**k for k in range(12)]
    observed = [value + (-1) ** k * 2e-15 * (1 + k) for k, value in enumerate(predicted)]
    return {
        "says": says, "network": True, "slow": False, "gpu": False, "skipped": False, "drops": "",
        "cases": 24, "supports": 24, "contradicts": 0, "undecided": 0, "persistent": 0, "outside": 0, "unmet": "",
        "largest_error_over_bound": 0.0312, "largest_error": 2.1e-15, "bound": 6.7e-14,
        "budget": [["rounding", 6.5e-14], ["integration", 2.25e-15]], "sees": 1e-8,
        "grid": {"depth": ["2", "3", "5"], "q": ["1", "1.5", "2", "7"], "widths": ["square", "bottleneck"]},
        "notes": [], "sample": {"observed": observed, "predicted": predicted, "bound": [5e-14] * 12,
                   "error": [2e-15 * (1 + k) for k in range(12)]},
        **changes,
    }


def _claim(
    family: str, source: str, labels: list[str], verdict: str, *, says: str = "what is said of $`\\sigma_i`$",
    **changes: Any,
) -> dict[str, Any]:
    return {
        "source": source, "family": family, "labels": labels, "says": says, "lhs": "", "relation": "=",
        "formula": r"\frac{\sigma}{\sigma_i}", "control_formula": "", "verdict": verdict,
        "reasons": ["generic in q"], "generic_in": "", "instances": "", "given": [], "conditions": [],
        "condition_texts": {}, "uses": [], "corrected_by": [], "remark": "", "proofs": {},
        "checks": {"full_network": _check("Velocities of every mode of a full network")}, "dropped": {},
        "counterexample": None,
        "falsifiers": {"exponent 1/q": ["full_network"], "sign": ["full_network"]}, "near_misses": ["exponent 1/q"],
        "falsifier_formulas": {"exponent 1/q": r"\|j\|^{1/q}", "sign": r"-\frac{\sigma}{\sigma_i}"},
        "mutants": {"tried": 12, "killed": 11, "equivalent": 1, "survivors": [], "pool": 40}, "figures": [],
        "environment": {"python": "3.11.9", "sympy": "1.14.0", "numpy": "2.4.1", "torch": "2.13.0", "device": "cpu"},
        **changes,
    }


def _rate() -> dict[str, Any]:
    proof = {
        "says": "The pseudo-inverse acts on one mode.", "outcome": "proved", "generic_in": "d, q, widths",
        "instances": "", "how": "rational function in independent atoms", "witness": None,
        "steps": [
            {"text": "The gradient of one mode is $`j_i \\sigma_\\Delta`$", "latex": r"g_i = j_i\,\sigma_\Delta"},
            {"text": "so the rate follows", "latex": r"\dot\sigma_i = -\eta \|j\|^{-2/q} j_i \sigma_\Delta"},
        ],
    }
    return _claim(
        "modes", "A eq. 14", ["C1-34"], "proved",
        says="under fractional natural gradient every aligned, active mode obeys a rate law of exponent $`2/q`$",
        lhs=r"\dot\sigma_i", formula=r"-\eta \left\|j\right\|^{-2/q} j_i \sigma_\Delta", generic_in="d, q, widths",
        reasons=["generic in d, q, widths"],
        given=[{"name": "aligned", "says": "all layers share singular vectors"},
               {"name": "active", "says": "at most one $`\\sigma_i`$ is zero"}],
        proofs={"pseudo_inverse_on_one_mode": proof},
        checks={"full_network": _check("Velocities of every mode of a full network"),
                "one_mode": _check("The mode equation alone", network=False, sees=1e-12)},
        falsifiers={"exponent 1/q instead of 2/q": ["full_network", "one_mode"],
                    "damping dropped": ["one_mode", "pseudo_inverse_on_one_mode"]},
        near_misses=["exponent 1/q instead of 2/q"],
        falsifier_formulas={"exponent 1/q instead of 2/q": r"-\eta \left\|j\right\|^{-1/q} j_i \sigma_\Delta",
                            "damping dropped": r"\begin{pmatrix} a \\ b \end{pmatrix}"},
        remark="The rate was measured on the full network, *not* on the mode equation.",
        figures=[curves(), field()],
    )


def _refuted() -> dict[str, Any]:
    return _claim(
        "modes", "A section 5", ["C1-44"], "refuted", says="curvature correction only accelerates learning",
        lhs=r"t_{\mathrm{NGD}}", relation="<=", formula=r"t_{\mathrm{SGD}}",
        control_formula=r"t_{\mathrm{SGD}}\left|j\right|^{2}", uses=["modes.fractional-rate"],
        reasons=["half_time: contradiction persists with every error source tightened 100 times"],
        corrected_by=["modes.faster-corrected"],
        checks={"half_time": _check(
            "Time to half of the target", supports=3, contradicts=21, persistent=21, largest_error_over_bound=4.5e9,
            notes=["half-time 0.68 against 0.23"])},
        falsifiers={"always slower": ["half_time"], "equal": ["half_time"]}, near_misses=["equal"],
        falsifier_formulas={"always slower": "2 t", "equal": "t"},
        counterexample={
            "check": "half_time", "says": "Time to half of the target", "case": {"depth": "2", "teacher": "10"},
            "detail": "", "observed": [0.6831], "predicted": [0.2298], "error": 0.453, "bound": 1e-10,
            "witness": {"sigma": "1/2"},
        },
    )


def _conditional() -> dict[str, Any]:
    return _claim(
        "null-space", "A section 2", ["C1-12"], "conditional", says="the symmetries span the null space",
        relation="=", lhs=r"\dim\ker H_+", formula="n_1^2", reasons=["needs full rank"], conditions=["full rank"],
        condition_texts={"full rank": "both factors have full rank"},
        dropped={"rank_deficient": _check("Rank-deficient nets", drops="full rank", cases=2, supports=0,
                                          contradicts=2, persistent=2, largest_error_over_bound="inf")},
        counterexample={"check": "rank_deficient", "says": "", "case": {"widths": "3-3-3"}, "detail": "gap 2",
                        "observed": [10], "predicted": [8], "error": 2.0, "bound": 0.0, "witness": None},
    )


def _series(label: str, y: list[float], style: str) -> dict[str, Any]:
    return {"label": label, "x": [0.25 * k for k in range(len(y))], "y": [float(f"{v:.5g}") for v in y], "style": style}


def _panel(**changes: Any) -> dict[str, Any]:
    return {
        "title": "", "x_label": "time $\\eta t$", "y_label": "$\\sigma$", "series": [], "arrows": [], "contours": [],
        "residual": None, "residual_bound": None, "log_x": False, "log_y": False, "equal_axes": False, **changes,
    }


def curves() -> dict[str, Any]:
    """A figure with two theory curves, their simulations, a residual strip and a second, logarithmic panel."""
    series = []
    for q in (1, 2):
        curve = [1 / (1 + math.exp(4 - k / 2 / q)) for k in range(24)]
        series += [_series(f"theory $q={q}$", curve, "theory"), _series(f"network $q={q}$", curve, "simulation")]
    residual = _series("|residual|", [1e-14 * (k % 5) for k in range(24)], "simulation")
    decay = _series("error", [math.exp(-k) for k in range(24)], "theory")
    return {
        "caption": "Mode strength against time for $`q = 1`$ and $q = 2$.",
        "panels": [
            _panel(title="learning curves", series=series, residual=residual, residual_bound=2e-13),
            _panel(title=r"decay $\operatorname{x}$", series=[decay], log_y=True),
        ],
    }


def field() -> dict[str, Any]:
    """A figure with a vector field over contours."""
    grid = [(-1 + 0.25 * i, -1 + 0.25 * j) for i in range(9) for j in range(9)]
    x, y = [p[0] for p in grid], [p[1] for p in grid]
    u, v = [b * (0.5 - a * b) for a, b in grid], [a * (0.5 - a * b) for a, b in grid]
    ring = {"label": "", "x": [math.cos(k / 8) for k in range(51)], "y": [math.sin(k / 8) for k in range(51)]}
    arrows = [{"x": x, "y": y, "u": u, "v": v, "style": style} for style in ("theory", "simulation")]
    return {"caption": "The flow field.", "panels": [
        _panel(x_label="$\\sigma_1$", y_label="$\\sigma_2$", arrows=arrows,
               contours=[{**ring, "style": "reference"}], equal_axes=True)]}


def _statements() -> dict[str, Any]:
    def said(section: str, where: str, says: str, *claims: str, reason: str = "", paper: str = "A") -> dict[str, Any]:
        return {"where": where, "section": section, "paper": paper, "says": says, "claims": list(claims),
                "reason": reason}

    return {
        "C1-04": said("2", "eq. 5", "the gradient is $`g_i`$", "gradient.words"),
        "C1-12": said("2", "section 2", "symmetries form the null space", "null-space.orbit"),
        "C1-34": said("3.1", "eq. 14", "every mode obeys $`\\dot\\sigma_i`$", "modes.fractional-rate"),
        "C1-41": said("3.1", "eq. 18", "damping is a square root", "damping.square-root"),
        "C1-42": said("3.1", "after eq. 18", "and has a limit", "damping.limit"),
        "C1-44": said("5", "conclusion", "only faster", "modes.faster", "modes.faster-corrected"),
        "C1-50": said("3.2", "eq. 16", "balanced nets", "modes.balanced"),
        "C1-98": said("4", "figure 3", "same test loss", reason="a picture without stated parameters"),
        "C1-99": said("S.I.2", "below S.I.11", "not yet looked at"),
        "igoi.abs": said("abstract", "abstract", "near isometry", paper="B"),
    }


LEDGERS = {"sample": sample_ledger()}
if store.PUBLISHED.exists():
    LEDGERS["committed"] = store.load()

every_ledger = pytest.mark.parametrize("ledger", LEDGERS.values(), ids=LEDGERS.keys())
