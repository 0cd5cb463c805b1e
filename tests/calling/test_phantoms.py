"""calling: barcodes of another library's cells that swapped over are told, and barcodes met by chance are not."""

from __future__ import annotations

import numpy as np
import pandas as pd

from carseq.calling.phantoms import swapped_from, what_was_swapped

SAMPLES = pd.DataFrame({"library": ["", ""]}, index=["urine", "product"])


def cells(sample, barcodes, total):
    return pd.DataFrame({"sample": sample, "barcode": barcodes, "total_umis": total})


def barcodes(rng, n):
    return ["".join(row) + "-1" for row in rng.choice(list("ACGT"), (n, 16))]


def test_cells_of_a_deep_product_that_swapped_into_urine_are_told():
    """40 barcodes of product cells with 2 % of their molecules were T cells of urine, which was said to be detected."""
    rng = np.random.default_rng(1)
    own, deep = barcodes(rng, 60), barcodes(rng, 500)
    product = cells("product", deep, rng.integers(10_000, 30_000, 500))
    swapped = cells("urine", deep[:40], (product["total_umis"][:40] * 0.02).astype(int))
    obs = pd.concat([cells("urine", own, 1500), swapped, product], ignore_index=True)
    source = swapped_from(obs, SAMPLES)
    assert (source[60:100] == "product").all()
    assert (source.drop(range(60, 100)) == "").all()
    said = what_was_swapped(source, pd.Series(np.arange(600) < 70, index=obs.index))
    assert said.startswith(
        "40 of the T cells (10 of them called positive) have the barcode of a cell of product"
    )
    # Within a library nothing swaps; of one sample sequenced twice no cell holds few of the other's molecules.
    assert (swapped_from(obs, SAMPLES.assign(library="pool")) == "").all()
    again = pd.concat([product, product.assign(sample="urine")], ignore_index=True)
    assert (swapped_from(again, SAMPLES) == "").all()


def test_barcodes_met_by_chance_and_names_of_cells_are_not_swapped():
    rng = np.random.default_rng(2)
    # Two libraries of a short list: 8 % of the barcodes are met by chance.
    listed = np.array(barcodes(rng, 100_000))
    urine, product = (rng.choice(listed, n, replace=False) for n in (1000, 8000))
    depths = rng.lognormal(7.0, 0.8, 1000), rng.lognormal(9.5, 0.8, 8000)
    obs = pd.concat(
        [cells("urine", urine, depths[0]), cells("product", product, depths[1])], ignore_index=True
    )
    assert (swapped_from(obs, SAMPLES) == "").all()
    named = obs.assign(barcode=[f"b{i % 1000}" for i in range(len(obs))])
    assert (swapped_from(named, SAMPLES) == "").all()
    assert not what_was_swapped(swapped_from(named, SAMPLES), obs["total_umis"] > 0)
    assert swapped_from(obs.iloc[:0], SAMPLES).empty
