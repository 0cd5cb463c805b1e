"""What a T cell must show before it is given a type."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from carseq.cells.subtypes import activated, read_t_types, resolve, t_allowed, t_probabilities

GENES = [
    *read_t_types()["gene"],
    "MKI67",
    "TOP2A",
    "CDK1",
    "TNFRSF9",
    "LAG3",
    "MIR155HG",
    "TYROBP",
    "FCER1G",
    "REST",
]


def cells_with(*shown: dict[str, int]) -> ad.AnnData:
    """Return cells of 3,000 UMIs that show so many of some genes, the rest in a gene of no meaning."""
    table = pd.DataFrame(0, range(len(shown)), list(dict.fromkeys(GENES)))
    for i, own in enumerate(shown):
        table.loc[i, list(own)] = list(own.values())
    table["REST"] = 3000 - table.sum(axis=1)
    return ad.AnnData(
        sparse.csr_matrix(table.to_numpy(np.float32)), var=pd.DataFrame(index=table.columns)
    )


def may_be(cell_type: str, *shown: dict[str, int]) -> list[bool]:
    """Return which of the cells may be of the type."""
    cells = cells_with(*shown)
    types = [name for name in read_t_types() if name.endswith("cell")]
    allowed = t_allowed(cells, np.ones(cells.n_obs, dtype=bool), frozenset())
    return list(allowed[:, types.index(cell_type)])


@pytest.mark.parametrize(
    ("shown", "possible"),
    [
        ({"FOXP3": 1}, True),
        ({"IKZF2": 1, "IL2RA": 2}, True),
        # Activated T cells show these, and a molecule of FOXP3.
        ({"IL2RA": 3, "CTLA4": 3}, False),
        ({"FOXP3": 1, "TNFRSF9": 1, "LAG3": 1}, False),
        ({"FOXP3": 1, "MKI67": 1, "TOP2A": 1}, False),
        ({"FOXP3": 1, "IKZF2": 1, "TNFRSF9": 1, "LAG3": 1}, True),
        ({"FOXP3": 2, "MKI67": 1, "TOP2A": 1}, True),
        ({"FOXP3": 1, "GNLY": 3}, False),
        ({"FOXP3": 3, "IKZF2": 1, "CCL5": 3}, True),
    ],
)
def test_a_regulatory_cell_shows_more_than_activation(
    shown: dict[str, int], possible: bool
) -> None:
    """FOXP3 or a programme of its own; of an activated cell two genes or molecules that activation does not give."""
    resting = [{"TCF7": 2}] * 5
    assert may_be("regulatory T cell", shown, *resting)[0] is np.bool_(possible)


def test_an_activated_cell_is_not_naive() -> None:
    """Activated cells with CCR7 and SELL were naive at 0.94; a resting one among them, as of blood, may be."""
    naive = {"CCR7": 2, "SELL": 2, "LEF1": 1}
    active = [naive | {"TNFRSF9": 1, "LAG3": 1, "IL2RA": 2}] * 5
    for kind in ("naive CD4 T cell", "naive CD8 T cell"):
        assert may_be(kind, naive | {"TNFRSF9": 1}, *active) == [True] + [False] * 5
        assert may_be(kind, naive | {"CTLA4": 1, "IL2RA": 1, "TNFRSF4": 1}, naive) == [False, True]


def test_activation_makes_no_cd4_t_cell_of_a_cd8_t_cell() -> None:
    """CTLA4, IL2RA, TNFRSF18 and TNFRSF4 were a regulatory cell's, so that activated CD8 T cells were CD4 at 0.99."""
    active = {"CTLA4": 9, "IL2RA": 5, "TNFRSF18": 9, "TNFRSF4": 4, "CCL5": 3}
    cells = cells_with(active | {"CD8A": 2, "CD8B": 1}, active | {"CD4": 2}, active | {"FOXP3": 4})
    likely, _ = t_probabilities(cells, np.ones(3, dtype=bool))
    eight = likely.filter(like="CD8").sum(axis=1).to_numpy()
    assert eight[0] > 0.9
    assert eight[1] < 0.1
    assert likely["regulatory T cell"].iloc[2] > 0.9


def test_no_molecule_of_cd4_makes_no_double_negative_cell() -> None:
    """A CD4 T cell of 3,000 UMIs shows none in four cases of five; of 60,000 it would show some."""
    shallow, deep = cells_with({"NKG7": 2}), cells_with({"NKG7": 2})
    deep.X = deep.X * 20
    found = [t_allowed(a, np.ones(1, dtype=bool), frozenset())[0] for a in (shallow, deep)]
    at = [name for name in read_t_types() if name.endswith("cell")].index("double-negative T cell")
    assert [row[at] for row in found] == [False, True]


def test_in_an_infusion_product_foxp3_alone_says_little() -> None:
    """Where most cells are activated, one molecule of FOXP3 makes none regulatory; two genes of its own do."""
    product = [{"TNFRSF9": 1, "LAG3": 1}] * 5
    found = may_be("regulatory T cell", {"FOXP3": 1}, {"FOXP3": 1, "RTKN2": 1}, *product)
    assert found[:2] == [False, True]
    cells = cells_with(*product, {"IL2RA": 1, "CTLA4": 1, "TNFRSF4": 1})
    strictly, broadly = activated(cells.X, cells.var_names)
    assert list(strictly) == [True] * 5 + [False]
    assert broadly.all()


def test_a_follicular_cell_shows_more_than_exhaustion() -> None:
    """PDCD1, TOX2 and CD200 without CXCR5 or CXCL13 are those of an exhausted or activated cell."""
    found = may_be(
        "follicular helper T cell",
        {"PDCD1": 2, "TOX2": 1, "CD200": 1},
        {"PDCD1": 2, "CXCR5": 1},
    )
    assert found == [False, True]


def test_an_nk_cell_with_trdc_is_no_gamma_delta_cell() -> None:
    """Adaptive NK cells show TRDC and CD3E: a third of the gamma-delta T cells were NK cells by surface protein."""
    nk = {"TRDC": 2, "TYROBP": 1, "FCER1G": 1}
    found = may_be(
        "gamma-delta T cell", nk, {"TRDC": 2}, nk | {"TRDV2": 1}, {"TRDC": 1, "TRGV9": 1}
    )
    assert found == [False, True, True, True]


def test_labels_that_are_less_often_right_are_less_sure() -> None:
    """Memory CD8 T cells were right in 71 % at 0.90, since CD8 cells regain CD45RA; memory CD4 ones were all right."""
    types = ["memory CD4 T cell", "naive CD4 T cell", "naive CD8 T cell", "memory CD8 T cell"]
    label, sure = resolve(np.eye(4), types, np.ones((4, 4), dtype=bool))
    assert list(label) == types
    assert sure == pytest.approx([1.0, 0.94, 0.97, 0.87])
