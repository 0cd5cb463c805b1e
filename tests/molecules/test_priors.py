"""Molecules of shared stretches: how many are the CAR's, learnt from what the sample shows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from shared_stretches import World, judge, misses_all

#: Samples of which the model of old missed the truth, by construct, reads and what makes them hard.
HARD = {
    "CD247 at ten times its level, few CAR T cells": World(
        "axi-cel",
        expression=10,
        car_fraction=0.1,
        car_rate=3,
        elsewhere=0.15,
        cells=400,
        t_cells=0.8,
        second_site=0,
        seed=3,
    ),
    "CD28 inside the peak of 5' reads": World(
        "axi-cel", five_prime=True, expression=10, elsewhere=0.4, cells=500, seed=4
    ),
    "CD8A's leader, which is shorter than a read": World(
        "tisa-cel", five_prime=True, expression=10, elsewhere=0.15, cells=300, seed=5
    ),
    "reads of 55 nt, which lie inside that leader": World(
        "tisa-cel", five_prime=True, elsewhere=0.4, read_length=55, cells=500, seed=6
    ),
    "an annotation that lists a short isoform first": World(
        "axi-cel", expression=10, elsewhere=0.4, short_isoforms=True, cells=600, seed=7
    ),
    "a quarter of the sample's T cells CAR T, 40 % degraded": World(
        "hbi0101_surrogate_native", elsewhere=0.4, expression=0.3, car_fraction=0.25, seed=8
    ),
    "no CAR at all": World(
        "axi-cel", expression=10, elsewhere=0.4, car_fraction=0.0, cells=500, seed=9
    ),
}


@pytest.mark.parametrize("name", HARD)
def test_shared_molecules_sum_to_the_cars(name: str) -> None:
    """Sum of p_car within 20 % or 5 of the truth; nine of ten counted molecules are the CAR's."""
    found = judge(HARD[name])
    assert found["shared"] > 0
    assert not misses_all(found), found
    assert found["precision"] >= 0.9, found
    assert abs(found["sum of p_car"] - found["shared CAR"]) <= max(
        5.0, 0.3 * found["shared CAR"]
    ), found
