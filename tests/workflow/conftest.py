"""The demo study and a smaller one, each run once for all who take it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from carseq.simulate import Protocol, demo_samples, simulate_study
from once import once
from runs import Finished, run


def make_demo(folder: Path) -> None:
    """Simulate and run the demo."""
    simulate_study(folder, construct="hbi0101_surrogate_native.gb")
    run(folder)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The demo study, simulated and run."""
    return Finished(once(tmp_path_factory, "demo", make_demo))


def make_five_prime(folder: Path) -> None:
    """Simulate a 5' study with a product, of fewer genes and cells than the demo, and run it to its verdicts."""
    # Of the product one verdict is asked for.
    samples = [
        replace(sample, cells=45) if sample.role == "product" else sample
        for sample in demo_samples(cells=120, with_product=True)
    ]
    simulate_study(
        folder,
        construct="hbi0101_surrogate_native.gb",
        chemistry="10x_5p_v2",
        samples=samples,
        # No claim here rests on molecules read twice: what costs time is the reads.
        protocol=Protocol(reads_per_molecule=1.05),
        lanes=1,
        n_genes=420,
        seed=7,
    )
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["cells"] = {"integration": "none"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    # Pages of studies with a product are made in tests/report. The configuration is what another study reuses it by.
    run(folder, "results/cohort/detection.tsv", "results/run_config.yaml")


@pytest.fixture(scope="session")
def five_prime(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The 5' study, simulated and run: not integrated, without page and notebooks."""
    return Finished(once(tmp_path_factory, "five_prime", make_five_prime))
