"""Calls: which T cells are positive, and why each cell got its call."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from carseq.calling.draws import CellTerms
from carseq.calling.negbin import Floats, upper_tail
from carseq.cells.annotation import T_LINEAGE

#: An ambient explanation must be this improbable for a positive call, whatever the prior says. (At 0.05, 20 simulated
#: studies gave 1.3 % false calls and 86 % of an oracle's; at 0.15, 2.8 % and 92 %.)
MAX_AMBIENT_P = 0.15
#: Log odds below which the other cells of its clone are evidence against a cell: dozens without a CAR molecule. (At
#: -1, clones of eight cells of which four are CAR T cells lost 12 of 422 true calls.)
AGAINST = -3.0
#: CAR molecules of cells that are no T cells are unexplained if false molecules show that many with less than this
#: probability. A sample has thousands of such cells: it is also the share of the unexplained ones that false molecules
#: may explain after all (false discovery rate).
MAX_STRANGE_P = 0.05

#: What may explain the CAR in cells of lineages that engulf no T cells. NK and B cells in the bag are transduced too:
#: Liu 2020 (doi:10.1056/NEJMoa1910607), Ruella 2018 (doi:10.1038/s41591-018-0201-9).
_CARRIERS = {
    "NK": "unseen doublet, a T cell taken for an NK cell, or an NK cell that holds the vector",
    "B": "unseen doublet, or a B cell that holds the vector",
    "plasma": "unseen doublet, or a plasma cell that holds the vector",
}


def choose(
    posterior: Floats, p_ambient: Floats, fdr: float, support: Floats | None = None
) -> tuple[npt.NDArray[np.intp], float]:
    """Choose the cells of one sample to call positive.

    The largest set whose expected share of false calls is within ``fdr``, of cells that are more likely CAR T cells
    than not and that ambient RNA explains with a probability of ``MAX_AMBIENT_P`` at most. A cell of a clone that
    speaks against it is one of them only if it is firm alone (``fdr`` at most): firm calls of other clones do not
    excuse a doubtful one in a clone of by-standers.

    Parameters
    ----------
    posterior, p_ambient
        Of the sample's T cells with a CAR molecule: the probability of a CAR T cell, and that of so many molecules
        from false ones alone.
    fdr
        Expected share of false calls.
    support
        Log odds that the other cells of its clone add; NaN without a receptor, None where no cell has one.

    Returns
    -------
    chosen : numpy.ndarray
        Positions of the positive cells.
    cutoff : float
        The largest probability of not being a CAR T cell at which a cell is still called.
    """
    able = p_ambient <= MAX_AMBIENT_P
    if support is not None:
        able &= (1 - posterior <= fdr) | ~(support < AGAINST)
    eligible = np.flatnonzero(able)
    eligible = eligible[np.argsort(-posterior[eligible], kind="stable")]
    risk = np.cumsum(1 - posterior[eligible]) / np.arange(1, len(eligible) + 1)
    positive = eligible[: int((risk <= fdr).sum())]
    positive = positive[posterior[positive] > 0.5]
    return positive, max(fdr, float((1 - posterior[positive]).max(initial=0.0)))


def write_calls(
    obs: pd.DataFrame,
    is_t: npt.NDArray[np.bool_],
    terms: CellTerms,
    positive: npt.NDArray[np.bool_],
) -> None:
    """Write posterior, its terms, call and reason of every cell into ``obs``.

    Parameters
    ----------
    obs
        All cells, with their counts and expectations.
    is_t
        Which of them are T cells and no doublets.
    terms, positive
        Of the T cells.
    """
    n = len(obs)
    for name, values in (
        ("car_prior", terms.prior),
        ("car_log_own", terms.log_car),
        ("car_log_ambient", terms.log_null),
        ("car_posterior", terms.posterior()),
    ):
        # The model evaluates single T cells alone. For a doublet, which may hide a CAR T cell, 0 would be a claim.
        column = np.full(n, np.nan)
        column[is_t] = values
        obs[name] = column
    k, told_apart = obs["car_umis"].to_numpy(int), obs["car_umis_unique"].to_numpy(int)
    expected = obs["car_expected_ambient"].to_numpy(float)
    swapped = obs["car_expected_background"].to_numpy(float)
    doublet = obs["is_doublet"].to_numpy(bool)
    lineage = obs["lineage"].astype(str).to_numpy()
    called = np.zeros(n, dtype=bool)
    called[is_t] = positive
    some = k > 0
    unknown = ~doublet & (lineage == "unknown")
    by_ambient = upper_tail(told_apart.astype(float), expected, 1.0) > MAX_STRANGE_P
    reason = np.full(n, "not_t_cell", dtype=object)
    reason[is_t & ~some] = "no_molecule"
    reason[is_t & some] = "few_molecules"
    reason[is_t & some & (told_apart == 0)] = "shared_only"
    reason[called] = "positive"
    reason[doublet & some] = "doublet"
    partner = _t_cell_partner(obs)
    reason[(partner != "") & some] = "t_cell_doublet"
    reason[unknown & some] = "unknown_type"
    other = ~is_t & ~doublet & ~unknown
    strange = np.zeros(n, dtype=bool)
    p_false = upper_tail(told_apart.astype(float), expected + swapped, 1.0)
    for own in obs.groupby("sample", observed=True).indices.values():
        rows = own[other[own]]
        if rows.size:
            strange[rows] = _strange(p_false[rows])
    reason[other & some] = "explained_by_ambient"
    reason[other & some & strange] = "unexplained"
    hidden = doublet & some & np.isin(lineage, (T_LINEAGE, "unknown"))
    call = np.full(n, "negative", dtype=object)
    call[(is_t & some) | (unknown & some) | hidden] = "uncertain"
    call[called] = "positive"
    obs["car_call"] = call.astype(str)
    obs["car_reason"] = reason.astype(str)
    obs["car_reason_text"] = [
        _sentence(*row)
        for row in zip(
            reason, k, told_apart, expected, lineage, is_t, partner, by_ambient, strict=True
        )
    ]


def _strange(p: Floats) -> npt.NDArray[np.bool_]:
    """Return which of a sample's cells show more molecules than false ones explain, by the probability of as many.

    The largest set of which false molecules are expected to show ``MAX_STRANGE_P`` at most (Benjamini and Hochberg
    1995, doi:10.1111/j.2517-6161.1995.tb02031.x).
    """
    ordered = np.sort(p)
    able = np.flatnonzero(ordered * len(p) <= MAX_STRANGE_P * np.arange(1, len(p) + 1))
    return p <= ordered[able[-1]] if able.size else np.zeros(len(p), dtype=bool)


def _t_cell_partner(obs: pd.DataFrame) -> npt.NDArray[np.object_]:
    """Return what shares a droplet with a T cell, shape (n_cells,): its type, "another cell", or "" elsewhere.

    Two transcriptomes name both cells. A lineage conflict in a droplet of lineage T is of a T cell and another,
    unnamed. What scrublet or SOLO marks may be of two T cells, and of two other cells where the lineage is another.
    """
    n = len(obs)
    doublet = obs["is_doublet"].to_numpy(bool)
    of_t = obs["lineage"].astype(str).eq(T_LINEAGE).to_numpy()
    given = {
        name: obs[name].astype(str).to_numpy() if name in obs else np.full(n, "")
        for name in ("cell_type", "doublet_partner", "doublet_reason")
    }
    kind, second = given["cell_type"], given["doublet_partner"]
    second_is_t = np.isin(second, np.unique(kind[of_t & (kind != "")]))
    named = ~np.isin(second, ("", "nan"))
    found = np.full(n, "", dtype=object)
    conflict = doublet & of_t & (given["doublet_reason"] == "lineage conflict")
    found[conflict] = "another cell"
    at = doublet & of_t & named & ~second_is_t
    found[at] = second[at]
    at = doublet & ~of_t & second_is_t
    found[at] = np.where(np.isin(kind[at], ("", "unknown")), "another cell", kind[at])
    return found


def _sentence(
    reason: str,
    k: int,
    told_apart: int,
    expected: float,
    lineage: str,
    is_t: bool,
    partner: str,
    by_ambient: bool,
) -> str:
    """Return the reason in words, with the cell's own numbers."""
    if k == 0:
        return "no CAR molecule seen" + ("; may still be a CAR T cell (dropout)" if is_t else "")
    seen = f"{k} CAR molecule{'s' if k != 1 else ''}"
    if told_apart == k:
        seen += f", {expected:.2g} expected from ambient RNA"
    else:
        seen += f" ({told_apart} told apart from endogenous genes), {expected:.2g} expected from ambient RNA"
    return {
        "positive": f"T cell; {seen}",
        "few_molecules": f"T cell; {seen}: not enough for a call",
        "shared_only": f"T cell; {seen}; none can be told apart from endogenous genes, so it is not called",
        "t_cell_doublet": f"doublet of a T cell and another kind of cell"
        f"{'' if partner == 'another cell' else f' ({partner})'}; {seen}; the T cell may be a CAR T cell",
        "doublet": f"doublet; {seen}",
        "unknown_type": f"cell of unknown type; {seen}",
        "explained_by_ambient": f"not a T cell ({lineage}); {seen}; "
        + (
            "explained by ambient RNA"
            if by_ambient
            else "by chance, false molecules are as many in one among so many cells"
        ),
        "unexplained": f"not a T cell ({lineage}); {seen}; more than ambient RNA explains: "
        f"{_CARRIERS.get(lineage, 'unseen doublet or engulfed T cell')}",
    }[reason]
