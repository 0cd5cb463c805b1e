"""Which cells there are and what they express: independent of the annotation's marker table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from carseq.data import path as data_path
from carseq.errors import CarseqError
from carseq.io.files import read_table

Floats = NDArray[np.float64]

#: Shares of a cell's nuclear background (what markers leave over): ribosomal, housekeeping, rest.
_BACKGROUND = {"ribosomal": 0.30, "housekeeping": 0.32, "filler": 0.38}
#: A marker's level (UMIs per 10,000) in cells that do not express it.
_LEAK = 0.03
#: Genes silent outside the cells that list them: a CAR's homologs and its target.
_SILENT = ("CD247", "CD28", "TNFRSF9", "CD8A", "TNFRSF17")


@cache
def table(name: str) -> pd.DataFrame:
    """Return one of the profile tables in ``data/simulate``."""
    return read_table(data_path("simulate") / f"{name}.tsv")


def gene_symbols() -> list[str]:
    """Return every gene that the profiles name."""
    columns = [table("background"), table("markers"), table("t_states")]
    return sorted(set(pd.concat([part["gene"] for part in columns])))


def cell_types() -> pd.DataFrame:
    """Return the cell types, indexed by name: lineage, pct_mito, depth, release.

    ``depth`` is relative to the sample's median; ``release`` is how much more than a T cell the
    type leaks into the ambient RNA.
    """
    return table("cell_types").set_index("cell_type")


def composition(compartment: str, n_cells: int) -> dict[str, int]:
    """Return cells by type for a compartment, adding up to ``n_cells``.

    Parameters
    ----------
    compartment
        urine, blood or product.
    n_cells
        Cells in all.

    Raises
    ------
    CarseqError
        If no composition of that compartment is known.
    """
    shares = table("compositions")
    known = list(dict.fromkeys(shares["compartment"]))
    if compartment not in known:
        raise CarseqError(
            f"no cell composition is known for the compartment `{compartment}`",
            f"known are {', '.join(known)}",
            "give `cells` as a mapping of cell type to number",
        )
    shares = shares[shares["compartment"] == compartment].set_index("cell_type")["share"]
    exact = shares * n_cells
    counts = np.floor(exact).astype(int)
    missing = n_cells - int(counts.sum())
    # Largest remainders first, so that the sum is right.
    counts[(exact - counts).sort_values(ascending=False, kind="stable").index[:missing]] += 1
    return {str(name): int(n) for name, n in counts.items()}


def t_state_shares(compartment: str, *, car: bool) -> dict[str, float]:
    """Return the shares of T-cell states in a compartment (blood's where it is not known)."""
    shares = table("t_state_shares")
    if compartment not in set(shares["compartment"]):
        compartment = "blood"
    shares = shares[shares["compartment"] == compartment]
    return dict(zip(shares["t_state"], shares["car_t_share" if car else "share"], strict=True))


@dataclass(frozen=True)
class Profiles:
    """Expression of each type and T state.

    Parameters
    ----------
    genes
        Symbols, in the genome's order.
    by_type
        Expected share of a cell's UMIs by gene, mitochondrial genes left out; rows add up to 1.
    by_state
        What a T state adds (or, if negative, lacks), as a share of the cell's UMIs.
    mito
        Expected distribution of mitochondrial UMIs over genes.
    """

    genes: list[str]
    by_type: dict[str, Floats]
    by_state: dict[str, Floats]
    mito: Floats


def make_profiles(genes: list[str], *, seed: int = 1) -> Profiles:
    """Make the profiles over a genome's genes; ``seed`` sets the fillers' levels."""
    rng = np.random.default_rng([seed, 2])
    index = {gene: i for i, gene in enumerate(genes)}
    background = table("background")
    named = set(gene_symbols()) | set(_SILENT)
    levels: dict[str, Floats] = {}
    for group in _BACKGROUND:
        level = np.zeros(len(genes))
        if group == "filler":
            fillers = [i for i, gene in enumerate(genes) if gene.startswith("FILLER")]
            level[fillers] = rng.lognormal(0, 1.1, len(fillers))
        else:
            rows = background[background["set"] == group]
            level[[index[gene] for gene in rows["gene"]]] = rows["level"]
        levels[group] = level / max(level.sum(), 1e-12)
    rows = background[background["set"] == "mitochondrial"]
    mito = np.zeros(len(genes))
    mito[[index[gene] for gene in rows["gene"]]] = rows["level"]

    markers = table("markers")
    leak = np.zeros(len(genes))
    leak[[index[g] for g in named if g in index and g not in _SILENT]] = _LEAK / 1e4
    leak[mito > 0] = 0
    by_type: dict[str, Floats] = {}
    for cell_type in cell_types().index:
        rows = markers[markers["cell_type"] == cell_type]
        own = leak.copy()
        own[[index[gene] for gene in rows["gene"]]] += rows["level"].to_numpy() / 1e4
        rest = np.zeros(len(genes))
        for group, share in _BACKGROUND.items():
            spread = rng.lognormal(0, 0.6 if group == "filler" else 0.25, len(genes))
            part = levels[group] * spread
            rest += share * part / max(part.sum(), 1e-12)
        total = own + rest / rest.sum() * (1 - own.sum())
        by_type[str(cell_type)] = total
    by_state: dict[str, Floats] = {}
    for state, rows in table("t_states").groupby("t_state"):
        extra = np.zeros(len(genes))
        extra[[index[gene] for gene in rows["gene"]]] = rows["level"].to_numpy() / 1e4
        by_state[str(state)] = extra
    return Profiles(list(genes), by_type, by_state, mito / mito.sum())


@dataclass(frozen=True)
class Cells:
    """The cells of a sample before they enter droplets.

    ``expected`` is cells × (genes + 1) expected UMIs, the last column being the CAR's.
    """

    cell_type: NDArray[np.str_]
    t_state: NDArray[np.str_]
    is_car_t: NDArray[np.bool_]
    expected: Floats
    release: Floats


def make_cells(
    counts: Mapping[str, int],
    profiles: Profiles,
    rng: np.random.Generator,
    *,
    compartment: str,
    car_fraction: float,
    car_expression: float,
    median_depth: float,
    depth_sigma: float,
    t_states: Mapping[str, float] | None = None,
    car_dispersion: float = 1.2,
) -> Cells:
    """Draw cells: their type, state, depth, and expected UMIs by gene.

    Parameters
    ----------
    counts
        Cells by type.
    profiles
        Expression of types and states.
    rng
        Source of randomness.
    compartment
        Gives the shares of T states where ``t_states`` is None.
    car_fraction
        CAR T cells among T cells, rounded to a whole number of cells.
    car_expression
        Expected CAR share of a CAR T cell's UMIs; gamma-distributed between cells with shape
        ``car_dispersion``.
    median_depth, depth_sigma
        UMIs of a cell: median, and standard deviation of the logarithm.
    t_states
        Shares of T states of all T cells.
    """
    types = cell_types()
    cell_type = np.repeat(list(counts), list(counts.values())).astype(object)
    n, n_genes = len(cell_type), len(profiles.genes)
    lineage = types["lineage"].reindex(cell_type).to_numpy() if n else np.empty(0, dtype=object)
    is_t = lineage == "T"
    is_car_t = np.zeros(n, dtype=bool)
    t_index = np.flatnonzero(is_t)
    # Regulatory T cells are a by-product of the product: CAR T cells are CD4 or CD8 first.
    weight = np.where(cell_type[t_index] == "Treg", 0.25, 1.0)
    n_car = round(car_fraction * len(t_index))
    if n_car:
        chosen = rng.choice(t_index, n_car, replace=False, p=weight / weight.sum())
        is_car_t[chosen] = True

    t_state = np.full(n, "", dtype=object)
    for car in (False, True):
        shares = dict(t_states) if t_states else t_state_shares(compartment, car=car)
        p = np.array(list(shares.values()), dtype=float)
        group = np.flatnonzero(is_t & (is_car_t == car))
        t_state[group] = rng.choice(list(shares), len(group), p=p / p.sum())

    depth = median_depth * rng.lognormal(0, depth_sigma, n)
    depth *= types["depth"].reindex(cell_type).to_numpy() if n else 1.0
    # A state of high turnover has more RNA.
    depth[t_state == "proliferating"] *= 1.6
    expected = np.zeros((n, n_genes + 1))
    nuclear = expected[:, :n_genes]
    for name in counts:
        nuclear[cell_type == name] = profiles.by_type[name]
    for state, extra in profiles.by_state.items():
        own = t_state == state
        # A negative level: what the state lacks of its type's genes (a naive T cell has no CCL5).
        nuclear[own] = np.maximum(nuclear[own] + extra, np.minimum(nuclear[own], _LEAK / 1e4))
    # Between cells of a type a gene's level varies with a CV of about one half.
    nuclear *= rng.gamma(4.0, 0.25, nuclear.shape)
    nuclear /= np.maximum(nuclear.sum(axis=1, keepdims=True), 1e-12)
    mito = types["pct_mito"].reindex(cell_type).to_numpy(dtype=float) / 100 if n else np.empty(0)
    mito = np.minimum(mito * rng.lognormal(0, 0.3, n), 0.6)
    nuclear *= (1 - mito)[:, None]
    nuclear += mito[:, None] * profiles.mito
    car_share = np.zeros(n)
    share = rng.gamma(car_dispersion, car_expression / car_dispersion, n_car)
    car_share[is_car_t] = np.minimum(share, 0.5)
    nuclear *= (1 - car_share)[:, None]
    expected[:, n_genes] = car_share
    expected *= depth[:, None]
    return Cells(
        cell_type.astype(str),
        t_state.astype(str),
        is_car_t,
        expected,
        types["release"].reindex(cell_type).to_numpy(dtype=float) if n else np.empty(0),
    )
