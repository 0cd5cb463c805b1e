"""Numbers in words."""

from __future__ import annotations


def probability(p: float) -> str:
    """Return a probability with four digits, or as a bound."""
    if 0 < p < 1e-4:
        return "< 0.0001"
    if 0.9999 < p <= 1:
        return "> 0.9999"
    return f"{p:.4g}"


def times(log10: float) -> str:
    """Return a likelihood ratio in words: how many times better."""
    return (
        f"{10**log10:,.1f}" if log10 < 1 else f"{10**log10:,.0f}" if log10 < 6 else "over a million"
    )
