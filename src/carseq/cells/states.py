"""States of T cells by signatures, and the phase of the cell cycle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse, special

from carseq.cells.counts import (
    DENSE_ROWS,
    column_sums,
    counts_of,
    log_normalised,
    row_blocks,
    row_sums,
    sample_numbers,
)
from carseq.cells.markers import T_LINEAGE, car_genes, informative_genes, read_signatures
from carseq.cells.subtypes import (
    AMBIENT,
    OF_SIDE,
    activated_in_samples,
    panel_scale,
    t_allowed,
    t_probabilities,
)
from carseq.data import path as data_path
from carseq.log import get_logger

if TYPE_CHECKING:
    from anndata import AnnData


log = get_logger("cells.states")

#: Genes of each phase of the cell cycle that the annotation must hold.
MIN_CYCLE_GENES = 5
#: Cells whose cycle is scored together: scanpy copies their expression several times.
MAX_CELLS_SCORED = 200_000
#: z score above which a T cell is given a state by a signature whose levels in resting T cells are not known.
STATE_LIMIT = 1.5
#: Probability with which a resting T cell of blood, as deep and in the sample's ambient RNA, may show as many genes of
#: a programme (or, of three and more, as many molecules, two of each at most) as a cell that is given it. The z score
#: says how a cell stands out of its own sample's genes: of a product of which every T cell divided 7 in 100 were
#: proliferating, and of healthy blood's T cells at full depth (6,500 UMIs) 7 in 100 tissue-resident and 4 exhausted, at
#: 1,000 UMIs fewer than one.
MOST_RESTING = 0.005
#: Column of the signatures with UMIs of a gene per 10,000 in resting T cells.
AT_REST = "resting_per_10k"
#: Different genes of a signature that a cell must show to be given that state: one molecule of one gene, which in a
#: shallow cell is a large z score, is not a programme.
MIN_STATE_GENES = {
    "proliferating": 2,
    "exhausted": 2,
    "tissue-resident": 2,
    "interferon-responsive": 3,
}
#: Genes of a signature by which no cell is given the state: T cells of blood show CD69 and RGS1 once they are handled
#: (van den Brink 2017, doi:10.1038/nmeth.4437), XCL1 and CRTAM once they are activated, wherever they are.
OF_STRESS = {"tissue-resident": ("CD69", "RGS1", "CRTAM", "XCL1")}
#: The same in activated cells, and in a sample of which most are: activation alone brings the receptors that exhausted
#: cells keep (Wherry 2015, doi:10.1038/nri3862). In others they count beside another gene.
OF_ACTIVATION = {"exhausted": ("PDCD1", "LAG3", "HAVCR2", "TIGIT")}
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
    tissue-resident and interferon-responsive are programmes beside the type, and go before the others: the cell must
    show more of the signature, by several genes, than a resting T cell of blood would, as deep and in as much ambient
    RNA. Genes that handling raises (CD69, RGS1) do not count, and in activated cells receptors that activation raises
    do not make exhaustion.

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
        z score that a programme must reach whose levels in resting cells (`resting_per_10k`) ``signatures`` do not
        give. A cell of no programme and no clear type is "other".
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
    strength = _programme_strength(
        adata, signatures, states, z[rows], rows, limit, car_genes(adata, car)
    )
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
    programme = strength.max(axis=1, initial=-np.inf) > -np.inf
    own[programme] = np.array(states, dtype=object)[strength.argmax(axis=1)[programme]]
    found[rows] = own
    return found


def _programme_strength(
    adata: AnnData,
    signatures: pd.DataFrame,
    states: list[str],
    z: np.ndarray,
    rows: np.ndarray,
    limit: float,
    excluded: frozenset[str],
) -> np.ndarray:
    """Return how clearly T cells show the programmes beside their type, n_t_cells × n_states: -inf where they do not.

    As standard deviations: of the probability that a resting T cell of blood shows as many molecules
    (:data:`MOST_RESTING`) where the signature says how many molecules of each such a cell holds, else the score.

    Parameters
    ----------
    adata
        Counts of all cells.
    signatures, states
        Genes of the states, and their order.
    z
        Scores of the T cells, n_t_cells × n_states.
    rows
        Which cells are T cells, shape (n_t_cells,).
    limit
        Least score.
    excluded
        Genes that may not serve to tell how many UMIs a whole transcriptome would hold.
    """
    counts = counts_of(adata)
    is_t = np.isin(np.arange(adata.n_obs), rows)
    totals = row_sums(counts) * panel_scale(adata, is_t, excluded)
    sample = sample_numbers(adata)
    ambient = np.full(adata.n_obs, AMBIENT)
    if "contamination" in adata.obs:
        ambient = np.fmax(ambient, adata.obs["contamination"].to_numpy(float))
    strength = np.full((rows.size, len(states)), -np.inf)
    is_active = None
    for i, state in enumerate(states):
        if state in STATE_TYPES:
            continue
        own = signatures[signatures["state"] == state].drop_duplicates("gene")
        own = own[own["gene"].isin(adata.var_names) & ~own["gene"].isin(OF_STRESS.get(state, ()))]
        genes = adata.var_names.get_indexer(own["gene"])
        at_rest = np.full(genes.size, np.nan)
        if AT_REST in own:
            at_rest = pd.to_numeric(own[AT_REST], errors="coerce").to_numpy(float) / 1e4
        follows = own["gene"].isin(OF_ACTIVATION.get(state, ())).to_numpy()
        counted = np.ones((rows.size, genes.size), dtype=bool)
        if follows.any():
            if is_active is None:
                is_active = activated_in_samples(counts[rows], adata.var_names, sample[rows])
            counted[np.ix_(is_active, follows)] = False
        enough = MIN_STATE_GENES.get(state, 2)
        if np.isnan(at_rest).any() or not genes.size:
            shown = (counts[:, genes][rows] > 0).multiply(counted).sum(axis=1)
            passes = (np.asarray(shown).ravel() >= enough) & (z[:, i] > limit)
            strength[passes, i] = z[passes, i]
            continue
        of_state = counts[:, genes]
        share = np.stack(
            [
                column_sums(of_state[sample == one]) / max(totals[sample == one].sum(), 1.0)
                for one in range(int(sample.max()) + 1)
            ]
        )
        for start in range(0, rows.size, DENSE_ROWS):
            part = slice(start, start + DENSE_ROWS)
            at = rows[part]
            mean = totals[at, None] * (at_rest + ambient[at, None] * share[sample[at]])
            k = np.minimum(of_state[at].toarray(), 2).astype(np.int64) * counted[part]
            shown = (k > 0).sum(axis=1)
            mean *= counted[part]
            p = _chance_of_as_many(shown, mean, most=1)
            # One gene alone may be high in a cell, and another there by chance.
            many = shown > 2
            p[many] = np.minimum(p, _chance_of_as_many(k.sum(axis=1), mean, most=2))[many]
            passes = (shown >= enough) & (p <= MOST_RESTING)
            passes &= (k[:, ~follows] > 0).any(axis=1)
            strength[start + np.flatnonzero(passes), i] = -special.ndtri(
                np.maximum(p[passes], 1e-300)
            )
    return strength


def _chance_of_as_many(n: np.ndarray, mean: np.ndarray, *, most: int) -> np.ndarray:
    """Return the probability of ``n`` or more molecules, of each gene ``most`` at most, shape (n_cells,).

    Parameters
    ----------
    n
        Number of molecules, of each gene ``most`` at most, shape (n_cells,).
    mean
        Expected molecules of each gene, n_cells × n_genes.
    most
        One or two: with one, genes are counted rather than molecules.
    """
    none, one = np.exp(-mean), mean * np.exp(-mean)
    if most == 1:
        one = 1 - none
    number = np.zeros((len(mean), 2 * mean.shape[1] + 1))
    number[:, 0] = 1.0
    for j in range(mean.shape[1]):
        before = number.copy()
        number *= none[:, [j]]
        number[:, 1:] += before[:, :-1] * one[:, [j]]
        number[:, 2:] += before[:, :-2] * np.maximum(1 - none - one, 0.0)[:, [j]]
    as_many = np.cumsum(number[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(np.clip(as_many[np.arange(len(mean)), n], 0.0, 1.0))


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
