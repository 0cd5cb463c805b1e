"""Odds ratios that depth does not move: their estimate, interval, p value, and several patients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from carseq.calling.cells import Cells
from carseq.calling.draws import Draws
from carseq.localize.odds import (
    PSI,
    Arm,
    DepthClasses,
    Pair,
    Profile,
    compare,
    over_patients,
)


def arm(n_car: int, n: int) -> Arm:
    """Return T cells whose CAR counts leave no doubt: 60 molecules expected in a CAR T cell, none in others."""
    k = np.repeat([60.0, 0.0], [n_car, n - n_car])
    ones = np.ones(n)
    cells = Cells(k, 6000 * ones, 1e-9 * ones, ones, np.zeros((n, 5)), 0 * ones, ones)
    return Arm(cells, Draws(np.array([0.01]), np.array([20.0]), np.zeros((1, 6)), np.ones(1)))


def pair(*counts: tuple[int, int]) -> Pair:
    """Return two groups without doubt."""
    return Pair(arm(*counts[0]), arm(*counts[1]), np.zeros(1))


@pytest.mark.parametrize("counts", [((8, 40), (2, 40)), ((30, 60), (20, 80)), ((1, 5), (3, 9))])
def test_without_doubt_the_odds_ratio_is_that_of_the_counts(
    counts: tuple[tuple[int, int], tuple[int, int]],
) -> None:
    """Estimate within 1 % of the sample odds ratio, W within 0.02 of the binomial's, without the bootstrap."""
    result = compare(pair(*counts), n_boot=0)
    (a, n), (b, m) = counts
    assert result.estimate == pytest.approx(a * (m - b) / ((n - a) * b), rel=0.01)
    assert result.fraction == pytest.approx(a / n, abs=0.002)
    total = (a + b) / (n + m)
    statistic = 2 * sum(
        stats.binom.logpmf(x, of, x / of) - stats.binom.logpmf(x, of, total) for x, of in counts
    )
    assert stats.chi2.isf(result.p, 1) == pytest.approx(statistic, abs=0.02)
    assert result.low < result.estimate < result.high
    # An interval excludes 1 just where p is below 0.05.
    assert (result.low > 1 or result.high < 1) == (result.p < 0.05)


def test_tiny_tables_are_tested_as_exactly_as_the_binomial_allows() -> None:
    """Over all outcomes of 6 and 6 cells at a fraction of 0.3, p < 0.05 has a probability of at most 6 %."""
    error = 0.0
    for a in range(7):
        for b in range(7):
            p = compare(pair((a, 6), (b, 6)), seed=1).p
            chance = stats.binom.pmf(a, 6, 0.3) * stats.binom.pmf(b, 6, 0.3)
            error += chance * (np.isfinite(p) and p < 0.05)
    assert error <= 0.06


def test_no_car_t_cell_on_one_side_gives_an_open_interval() -> None:
    """Infinite and zero odds ratios keep one finite end, and mirror each other."""
    up, down = compare(pair((10, 40), (0, 40))), compare(pair((0, 40), (10, 40)))
    assert (up.estimate, up.high) == (np.inf, np.inf)
    assert (down.estimate, down.low) == (0.0, 0.0)
    assert up.low > 1
    assert down.high == pytest.approx(1 / up.low, rel=0.2)
    assert compare(pair((0, 40), (0, 40))).note == "no CAR molecule in a T cell of either"
    assert compare(None).note == "no T cells in one of the two"


def test_the_bootstrap_draws_what_the_model_says() -> None:
    """Mean counts of 4,000 replicates are those of the mixture to 5 %."""
    one = arm(10, 40)
    one = replace(one, points=replace(one.points, mu=np.array([1e-3]), shape=np.array([1.5])))
    classes = DepthClasses.of(one)
    counts = classes.draw(np.zeros(4000, dtype=np.intp), 0.25, np.random.default_rng(1))
    assert counts.sum(axis=1) == pytest.approx(40)
    by_bin = counts.reshape(4000, -1, classes.null.shape[2]).sum(axis=1).mean(axis=0)
    silent = 40 * (0.75 + 0.25 * stats.nbinom.pmf(0, 1.5, 1.5 / (1.5 + 6)))
    assert by_bin[0] == pytest.approx(silent, rel=0.05)


def test_a_group_that_holds_more_deep_cells_by_chance_is_no_different() -> None:
    """Deep cells are CAR T cells: 30 of 100 against 21 of 100 is not told more surely than by the counts (was 0.01)."""

    def group(deep: int, car_deep: int, shallow: int, car_shallow: int) -> Arm:
        k = np.repeat(
            [60.0, 0, 60, 0], [car_deep, deep - car_deep, car_shallow, shallow - car_shallow]
        )
        ones = np.ones(len(k))
        x = np.zeros((len(k), 5))
        x[:, 0] = np.repeat([1.0, -1.0], [deep, shallow])
        cells = Cells(k, 6000 * ones, 1e-9 * ones, ones, x, 0 * ones, ones)
        theta = np.zeros((1, 6))
        theta[0, 1] = 1.9
        return Arm(cells, Draws(np.array([0.01]), np.array([20.0]), theta, np.ones(1)))

    both = Pair(group(40, 27, 60, 3), group(25, 17, 75, 4), np.zeros(1))
    by_counts = stats.chi2_contingency(
        [[30, 70], [21, 79]], correction=False, lambda_="log-likelihood"
    ).pvalue
    assert compare(both, n_boot=0).p == pytest.approx(by_counts, abs=0.03)


def test_several_patients_agree_with_a_pooled_normal_and_one_is_no_population() -> None:
    """Equal patients: the mean is theirs; the interval is wider than the common one; one patient is refused."""
    psi = np.linspace(-10, 10, 401)
    own = Profile(psi, -0.5 * ((psi - 1) / 0.4) ** 2)
    summary = over_patients([own] * 5)
    assert summary.estimate == pytest.approx(np.e, rel=0.02)
    half = np.log(summary.high) - 1
    # A little wider than Student's interval: how patients scatter is not known.
    assert 1 <= half / (stats.t.ppf(0.975, 4) * 0.4 / np.sqrt(5)) <= 1.1
    assert summary.tau == 0
    apart = over_patients([Profile(psi, -0.5 * ((psi - at) / 0.4) ** 2) for at in (-1, 0, 1, 2, 3)])
    assert apart.tau == pytest.approx(np.sqrt(2 - 0.16), abs=0.2)
    assert apart.high > summary.high
    with pytest.raises(ValueError, match="two patients"):
        over_patients([own])


def test_a_patient_of_many_cells_does_not_speak_for_all() -> None:
    """One patient known well and seven who are not: how patients scatter is not known, and p was 0.002."""
    at = np.array([0.5, 1.5, -0.9, 2.2, 0.1, -0.4, 2.4, 0.8])
    se = np.append(0.1, np.full(7, 1.2))
    profiles = [Profile(PSI, -0.5 * ((PSI - a) / s) ** 2) for a, s in zip(at, se, strict=True)]
    summary = over_patients(profiles)
    assert summary.tau == 0
    assert summary.p > 0.05
    assert summary.low < 1
    mirrored = over_patients([Profile(PSI, own.log_likelihood[::-1]) for own in profiles])
    assert mirrored.p == pytest.approx(summary.p, rel=1e-6)
    assert mirrored.low == pytest.approx(1 / summary.high, rel=1e-6)
    # Patients who are known equally well and agree: Student's t of their mean.
    alike = over_patients([Profile(PSI, -0.5 * ((PSI - 1) / 0.4) ** 2)] * 8)
    assert alike.p == pytest.approx(2 * stats.t.sf(1 / (0.4 / np.sqrt(8)), 7), rel=1e-6)


def test_three_patients_can_show_a_difference_and_seldom_do_where_there_is_none() -> None:
    """Odds ratios of 1 and 5, scattering by 0.4: none of three patients ever had p < 0.05, and intervals held all."""
    rng = np.random.default_rng(77)
    below = {1: 0, 5: 0}
    for _ in range(60):
        for ratio in below:
            variance = np.exp(rng.uniform(np.log(0.08), np.log(0.8), 3))
            at = np.log(ratio) + np.sqrt(variance + 0.4**2) * rng.normal(size=3)
            profiles = [
                Profile(PSI, -0.5 * (PSI - a) ** 2 / v) for a, v in zip(at, variance, strict=True)
            ]
            below[ratio] += over_patients(profiles).p < 0.05
    assert below[1] <= 6
    assert below[5] >= 20


def test_patients_without_a_car_t_cell_on_one_side_agree() -> None:
    """Each alone says no more than "more than so much"; several say it of the mean, and none of its size."""
    flat = -3 * np.log1p(np.exp(-1.5 * (PSI - 1)))
    two, three, five = (over_patients([Profile(PSI, flat - flat.max())] * n) for n in (2, 3, 5))
    assert two.estimate == three.estimate == five.high == np.inf
    assert two.low < 1 < three.low < five.low
    assert two.p > 0.05 > three.p > five.p


def test_a_comparison_is_the_same_from_either_side() -> None:
    """Each of two types was compared with "the rest" by draws of its own: 0.19-11 and 0.07-7.8 stood there."""
    for counts in (((3, 16), (9, 44)), ((1, 6), (4, 30))):
        one, other = compare(pair(*counts), seed=3), compare(pair(*counts[::-1]), seed=3)
        assert one.p == pytest.approx(other.p, rel=1e-6)
        assert one.low == pytest.approx(1 / other.high, rel=1e-6)
        assert one.high == pytest.approx(1 / other.low, rel=1e-6)
        assert one.estimate == pytest.approx(1 / other.estimate, rel=1e-6)
