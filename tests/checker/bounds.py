"""Error sources that a budget may name. Every tolerance of the suite is made here, none is typed."""

from __future__ import annotations

import math

from tests.checker.evidence import Bound

UNIT = 2.0**-53


def rounding(scale: float, operations: int, condition: float = 1.0) -> Bound:
    """Floating-point rounding: ``operations * 2^-53 * condition * scale`` (Higham's gamma_n to first order).

    ``scale`` is the largest magnitude met on the way, ``operations`` the number of roundings along the longest
    chain, ``condition`` the condition number of what is computed.
    """
    if operations < 1:
        raise ValueError(f"operations: {operations} given, allowed: at least 1")
    if not condition >= 1:
        raise ValueError(f"condition: {condition} given, allowed: at least 1")
    return Bound((("rounding", operations * UNIT * condition * scale),))


def integration(difference: float) -> Bound:
    """Error of an integrated flow, estimated by the integrator against a run at 100 times tighter tolerance."""
    return Bound((("integration", difference),))


def remainder(value: float) -> Bound:
    """A proved bound on the neglected terms of an expansion."""
    return Bound((("remainder", value),))


def sampling(deviation: float, samples: int, false_alarm: float, comparisons: int = 1) -> Bound:
    """Gaussian sampling error of a mean at a declared false-alarm rate, Bonferroni-corrected.

    ``deviation`` is the standard deviation of one sample and ``samples`` their number, fixed before looking.
    """
    from scipy.special import ndtri

    if not 0 < false_alarm < 1:
        raise ValueError(f"false_alarm: {false_alarm} given, allowed: between 0 and 1")
    quantile = -float(ndtri(false_alarm / (2 * comparisons)))
    return Bound(((f"sampling, false alarms {false_alarm:g}", quantile * deviation / math.sqrt(samples)),))


def student(deviation: float, samples: int, false_alarm: float, comparisons: int = 1) -> Bound:
    """Sampling error of a mean of normal numbers whose deviation is estimated from the same few samples.

    As ``sampling``, with Student's quantile; ``deviation`` is the root mean square about the sample mean.
    """
    from scipy.special import stdtrit

    if not 0 < false_alarm < 1:
        raise ValueError(f"false_alarm: {false_alarm} given, allowed: between 0 and 1")
    if samples < 2:
        raise ValueError(f"samples: {samples} given, allowed: at least 2")
    quantile = -float(stdtrit(samples - 1, false_alarm / (2 * comparisons)))
    return Bound(((f"sampling, false alarms {false_alarm:g}", quantile * deviation / math.sqrt(samples - 1)),))
