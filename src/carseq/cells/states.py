"""States of T cells by signatures, and the phase of the cell cycle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from carseq.cells.counts import (
    DENSE_ROWS,
    column_sums,
    counts_of,
    log_normalised,
    row_blocks,
    row_sums,
)
from carseq.cells.markers import T_LINEAGE, car_genes, informative_genes, read_signatures
from carseq.cells.subtypes import OF_SIDE, t_allowed, t_probabilities
from carseq.data import path as data_path
from carseq.log import get_logger

if TYPE_CHECKING:
    from anndata import AnnData


log = get_logger("cells.states")

#: Genes of each phase of the cell cycle that the annotation must hold.
MIN_CYCLE_GENES = 5
#: Cells whose cycle is scored together: scanpy copies their expression several times.
MAX_CELLS_SCORED = 200_000
#: z score above which a T cell is given a state.
STATE_LIMIT = 1.5
#: Different genes of a signature that a cell must show to be given that state: one molecule of one gene, which in a
#: shallow cell is a large z score, is not a programme.
MIN_STATE_GENES = {
    "proliferating": 2,
    "exhausted": 2,
    "tissue-resident": 2,
    "interferon-responsive": 3,
}
#: States that follow from a T cell's type: the types that mean them.
STATE_TYPES = {
    "naive": ("naive CD4 T cell", "naive CD8 T cell"),
    "memory": (
        "memory CD4 T cell",
        "memory CD8 T cell",
        "follicular helper T cell",
        "MAIT cell",
        "double-negative T cell",
    ),
    "effector": ("cytotoxic CD4 T cell", "cytotoxic CD8 T cell"),
    "regulatory": ("regulatory T cell",),
}
#: Probability that these types must reach together.
MIN_STATE = 0.7


def _against_control(x: Any, genes: np.ndarray, sets: Any) -> np.ndarray:
    """Return z values of the mean of ``genes`` against those of the sets, shape (n_cells,)."""
    control = np.asarray((x @ sets).todense()) / genes.size
    own = row_sums(x[:, genes]) / genes.size
    return np.asarray((own - control.mean(axis=1)) / (control.std(axis=1) + 0.02))


def t_states(
    adata: AnnData,
    signatures: pd.DataFrame | None = None,
    *,
    car: str | None = None,
    limit: float = STATE_LIMIT,
    seed: int = 0,
) -> AnnData:
    """Give T cells a state, and score the signatures of all states.

    Naive, memory, effector and regulatory follow from the probabilities of the T-cell types
    (:func:`carseq.cells.subtypes.t_probabilities`): they rest on the absence of genes too. Proliferating, exhausted,
    tissue-resident and interferon-responsive are programmes beside the type: the signature's z score must reach
    ``limit``, and the cell must show several of its genes; they go before the others.

    Each score is a z value a cell: the mean log expression of the signature against that of 100
    random gene sets matched in mean expression among the T cells (the control idea of Tirosh 2016,
    doi:10.1126/science.aad0501), so that it means the same in a sample of one T cell.

    Parameters
    ----------
    adata
        Counts in `layers["counts"]` (or X), `obs["lineage"]`.
    signatures
        From :func:`read_signatures`; None: those that come with carseq.
    car
        Name of the CAR gene; it takes no part.
    limit
        z score that a programme must reach. A cell of no programme and no clear type is "other".
    seed
        Seed of the random gene sets.

    Returns
    -------
    AnnData
        The same object, with `obs["t_state"]` ("" for cells other than T) and `obs["score_STATE"]`
        (NaN for cells other than T).
    """
    signatures = read_signatures() if signatures is None else signatures
    is_t = (adata.obs["lineage"].astype(str) == T_LINEAGE).to_numpy()
    states = list(dict.fromkeys(signatures["state"]))
    z = np.full((adata.n_obs, len(states)), np.nan)
    rng = np.random.default_rng(seed)
    if is_t.any():
        x = log_normalised(counts_of(adata)[is_t], in_place=True)
        mean = column_sums(x) / x.shape[0]
        pool = np.flatnonzero(informative_genes(adata, car) & (mean > 0))
        order = pool[np.argsort(mean[pool], kind="stable")]
        place = np.searchsorted(mean[order], mean)
        for i, state in enumerate(states):
            names = signatures.loc[signatures["state"] == state, "gene"]
            genes = np.flatnonzero(adata.var_names.isin(names) & (mean > 0))
            if genes.size < 2 or order.size < 50:
                z[is_t, i] = 0.0
                continue
            half = min(50, order.size // 4)
            middle = np.clip(place[genes], half, order.size - half - 1)
            drawn = order[middle + rng.integers(-half, half + 1, (100, genes.size))]
            sets = sparse.csr_matrix(
                (np.ones(drawn.size), (drawn.ravel(), np.repeat(np.arange(100), genes.size))),
                shape=(adata.n_vars, 100),
            )
            parts = [_against_control(block, genes, sets) for _, block in row_blocks(x, DENSE_ROWS)]
            z[is_t, i] = np.concatenate(parts)
        # Of a million cells some gigabytes, before more are taken below.
        del x
    for i, state in enumerate(states):
        adata.obs[f"score_{state}"] = z[:, i]
    adata.obs["t_state"] = _choose(adata, signatures, states, z, is_t, limit, car).astype(str)
    return adata


def _choose(
    adata: AnnData,
    signatures: pd.DataFrame,
    states: list[str],
    z: np.ndarray,
    is_t: np.ndarray,
    limit: float,
    car: str | None,
) -> np.ndarray:
    """Return the state of each cell, shape (n_cells,): a programme that it shows, else what its type means."""
    found = np.where(is_t, "other", "").astype(object)
    rows = np.flatnonzero(is_t)
    if not rows.size:
        return found
    of_signatures = np.flatnonzero(adata.var_names.isin(signatures["gene"]))
    seen, those = counts_of(adata)[:, of_signatures][rows], adata.var_names[of_signatures]
    # States that the types do not mean: the strongest signature of which the cell shows enough genes.
    best = np.where(np.isnan(z[rows]), -np.inf, z[rows])
    for i, state in enumerate(states):
        if state in STATE_TYPES:
            best[:, i] = -np.inf
            continue
        names = signatures.loc[signatures["state"] == state, "gene"]
        shown = np.asarray(seen[:, np.flatnonzero(those.isin(names))].getnnz(axis=1))
        best[shown < MIN_STATE_GENES.get(state, 2), i] = -np.inf
    table = adata.obsm.get("t_type_probability")
    if table is None:
        of_t, allowed = t_probabilities(adata, is_t, car_genes(adata, car))
    else:
        of_t = table.iloc[rows]
        allowed = t_allowed(adata, is_t, car_genes(adata, car))
    own = found[rows]
    types = list(of_t)
    allowed = allowed | np.isin(types, OF_SIDE)
    for state, members in STATE_TYPES.items():
        at = [types.index(name) for name in members if name in types]
        if state in states and at:
            possible = (of_t.to_numpy()[:, at] * allowed[:, at]).sum(axis=1)
            own[possible >= MIN_STATE] = state
    programme = best.max(axis=1, initial=-np.inf) > limit
    own[programme] = np.array(states, dtype=object)[best.argmax(axis=1)[programme]]
    found[rows] = own
    return found


def cell_cycle(adata: AnnData) -> AnnData:
    """Score the phases of the cell cycle, by scanpy with the genes of Tirosh 2016 (doi:10.1126/science.aad0501).

    Above :data:`MAX_CELLS_SCORED` cells in parts of every second, every third, ... cell, so that all parts hold cells
    of all samples and their control genes are as good as the same.

    Parameters
    ----------
    adata
        Cells with log expression in X, or without X: then that of their counts, a part at a time, so that X of a
        million cells can be made later.

    Returns
    -------
    AnnData
        The same object, with `obs`: `S_score`, `G2M_score` and `phase` (G1, S or G2M); NaN and "" where too few of
        the genes are annotated.
    """
    import anndata as ad
    import scanpy as sc

    table = pd.read_csv(data_path("markers/cell_cycle.tsv"), sep="\t")
    genes = {
        phase: [gene for gene in own["gene"] if gene in adata.var_names]
        for phase, own in table.groupby("phase")
    }
    adata.obs["S_score"], adata.obs["G2M_score"], adata.obs["phase"] = np.nan, np.nan, ""
    if not adata.n_obs or min(map(len, genes.values())) < MIN_CYCLE_GENES:
        return adata
    n_parts = -(-adata.n_obs // MAX_CELLS_SCORED)
    given = counts_of(adata) if adata.X is None else adata.X
    scored = []
    for i in range(n_parts):
        x = given if n_parts == 1 else given[i::n_parts]
        if adata.X is None:
            x = log_normalised(x, in_place=n_parts > 1)
        part = ad.AnnData(x, pd.DataFrame(index=adata.obs_names[i::n_parts]), adata.var[[]])
        try:
            sc.tl.score_genes_cell_cycle(part, s_genes=genes["S"], g2m_genes=genes["G2M"])
        except ValueError as error:
            # Too few genes to choose controls from.
            log.warning("no scores of the cell cycle: %s", error)
            return adata
        scored.append(part.obs)
        # Before the next part is taken.
        del part, x
    table = pd.concat(scored).loc[adata.obs_names]
    for name in ("S_score", "G2M_score", "phase"):
        adata.obs[name] = table[name].to_numpy()
    return adata
