"""Counts: from the molecules of each sample to CAR molecules of cells and of empty droplets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from carseq.cells.annotation import T_LINEAGE
from carseq.io.barcodes import bare_barcode
from carseq.schema.tables import LOSSES
from carseq.schema.thresholds import MIN_P_CAR
from carseq.study.texts import is_missing, names_of

#: Share of the reads of all copies of a molecule that its own library must hold (Griffiths et al. 2018).
MIN_SWAP_SHARE = 0.8
#: Classes of molecules that are told apart from endogenous ones.
TOLD_APART = ("unique", "junction")


def count_car(molecules: pd.DataFrame, barcodes: pd.Index) -> pd.DataFrame:
    """Count the CAR molecules of the barcodes of one sample.

    A shared molecule enters the evidence with its probability, and only beside one that is told apart: alone it may
    as well be the endogenous gene's.

    Parameters
    ----------
    molecules
        Schema ``MOLECULES``: ``barcode``, ``evidence``, ``p_car`` (0-1).
    barcodes
        The cells.

    Returns
    -------
    pandas.DataFrame
        By barcode: ``car_umis`` (told-apart ones, and shared ones with p_car >= 0.5), ``car_umis_unique`` (told-apart
        ones) and ``car_evidence`` (what the model counts: told-apart ones and, where there is one, the expected
        number of CAR molecules among the shared ones, to the nearest whole number).
    """
    told = molecules["evidence"].isin(TOLD_APART)
    own = molecules["p_car"] >= MIN_P_CAR

    def per_cell(chosen: pd.Series) -> pd.Series:
        return molecules.loc[chosen, "barcode"].value_counts().reindex(barcodes, fill_value=0)

    unique = per_cell(told & own).astype(int)
    shared = molecules[~told].groupby("barcode")["p_car"].sum().reindex(barcodes, fill_value=0.0)
    more = np.floor(shared.to_numpy(float) + 0.5).astype(int)
    return pd.DataFrame(
        {
            "car_umis": per_cell(own).astype(int),
            "car_umis_unique": unique,
            "car_evidence": unique + np.where(unique > 0, more, 0),
        },
        index=barcodes,
    )


def drop_swapped(
    molecules: Mapping[str, pd.DataFrame],
    runs: Mapping[str, str],
    libraries: Mapping[str, str] | None = None,
) -> tuple[dict[str, pd.DataFrame], dict[str, int]]:
    """Drop molecules that came over from another library of the same sequencing run.

    Two libraries share a barcode and a UMI by chance hardly ever; reads with a swapped sample index share both. A
    molecule stays in the sample that has at least ``MIN_SWAP_SHARE`` of the reads of all its copies; where no sample
    has, it is dropped everywhere (Griffiths et al. 2018, doi:10.1038/s41467-018-05083-x; swappedDrops of DropletUtils).

    Parameters
    ----------
    molecules
        Schema ``MOLECULES``, by sample; barcodes are compared by their bases, however the samples write them.
    runs
        Sequencing run by sample, or several between commas or semicolons; samples without one (or with an empty one)
        are left as they are.
    libraries
        Library by sample, where several samples are of one. Their molecules have one sample index, so that what they
        share was not swapped; a sample without one is a library of its own.

    Returns
    -------
    kept : dict of pandas.DataFrame
        The tables without swapped molecules.
    dropped : dict of int
        Molecules dropped, by sample.
    """
    kept = dict(molecules)
    dropped = dict.fromkeys(molecules, 0)
    for of_library in sharing_a_run(molecules, runs, libraries):
        copies = pd.concat(
            [molecules[s][["barcode", "umi", "n_reads"]].assign(owner=s) for s in of_library]
        )
        copies["barcode"] = copies["barcode"].astype(str).map(bare_barcode)
        copies["library"] = copies["owner"].map(of_library)
        # Samples of one library may all hold all of its molecules: these are one copy.
        key = ["barcode", "umi"]
        own_reads = copies.groupby([*key, "owner"], as_index=False)["n_reads"].sum()
        own_reads["library"] = own_reads["owner"].map(of_library)
        reads = own_reads.groupby([*key, "library"], as_index=False)["n_reads"].max()
        reads["of_all"] = reads.groupby(key)["n_reads"].transform("sum")
        both = copies[[*key, "library"]].merge(reads, on=[*key, "library"], how="left")
        here, of_all = both["n_reads"].to_numpy(float), both["of_all"].to_numpy(float)
        stays = here >= MIN_SWAP_SHARE * of_all
        owner = copies["owner"].to_numpy(str)
        for sample in of_library:
            own = stays[owner == sample]
            kept[sample] = molecules[sample][own]
            dropped[sample] = int((~own).sum())
    return kept, dropped


def sharing_a_run(
    samples: Iterable[str], runs: Mapping[str, Any], libraries: Mapping[str, Any] | None = None
) -> list[dict[str, tuple[str, str]]]:
    """Return the groups of samples, of two libraries or more, whose libraries share sequencing runs.

    Parameters
    ----------
    samples
        Their names.
    runs, libraries
        As for :func:`drop_swapped`.

    Returns
    -------
    list of dict
        What the library of each sample of a group is known by (:func:`library_of`).
    """
    groups: list[tuple[set[str], list[str]]] = []
    for sample in samples:
        if not (own := names_of(runs.get(sample))):
            continue
        joined = [group for group in groups if group[0] & own]
        groups = [group for group in groups if not group[0] & own]
        held = own.union(*(run for run, _ in joined))
        groups.append((held, [*(s for _, names in joined for s in names), sample]))
    named = libraries or {}
    found = [{s: library_of(s, named.get(s)) for s in names} for _, names in groups]
    return [group for group in found if len(set(group.values())) > 1]


def library_of(sample: str, named: object) -> tuple[str, str]:
    """Return what the library of a sample is known by: its name, or the sample's own, if it is alone in one."""
    return ("sample", sample) if is_missing(named) else ("library", str(named))


#: A construct is not taken to show less of the CAR than this share of its molecules: then nothing would be known.
LEAST_SHOWN = 0.01


def shown_share(row: pd.Series) -> float:
    """Return the share (0-1] of CAR molecules that a sample's construct shows, from its row of the samples table."""
    unseen = float(row.get("car_unseen", 0.0))
    return float(np.clip(1 - unseen, LEAST_SHOWN, 1.0)) if np.isfinite(unseen) else 1.0


def unseen_share(findings: list[dict[str, object]], strand: str | None) -> float:
    """Return the share (0-1) of CAR molecules a construct cannot show, by the costs of its lint.

    Parameters
    ----------
    findings
        Content of ``lint.json``.
    strand
        ``Forward`` (3'), ``Reverse`` (5'), or None where it is not known: then the worse of both.
    """
    keys = {"Forward": ["umis_lost_3p"], "Reverse": ["umis_lost_5p"]}.get(
        strand or "", ["umis_lost_3p", "umis_lost_5p"]
    )
    lost = [float(str(f[k])) for f in findings for k in keys if f.get(k) is not None]
    return max(lost, default=0.0) / 100


def ambient_car(
    barcodes: pd.DataFrame, ambient: pd.DataFrame, molecules: pd.DataFrame | None, car: str
) -> dict[str, float]:
    """Count molecules and CAR molecules in the empty droplets of a sample.

    Parameters
    ----------
    barcodes
        Of :func:`carseq.cells.call_barcodes`: index barcode, ``total_umis``, ``is_cell``.
    ambient
        Of :func:`carseq.cells.ambient_profile`: ``gene``, ``umis``.
    molecules
        CAR molecules of the sample; None takes the matrix's counts of the CAR.
    car
        Name of the CAR.

    Returns
    -------
    dict
        ``ambient_umis`` and ``ambient_car``.
    """
    if molecules is None:
        in_empty = ambient.loc[ambient["gene"].astype(str) == car, "umis"].sum()
        return {"ambient_umis": float(ambient["umis"].sum()), "ambient_car": float(in_empty)}
    # Droplets just above the ambient range may be shallow cells; they are not counted either way.
    largest = int(ambient["largest"].iloc[0]) if len(ambient) else 0
    empty = barcodes[~barcodes["is_cell"].astype(bool) & (barcodes["total_umis"] <= largest)]
    counts = count_car(molecules, empty.index)
    return {
        "ambient_umis": float(empty["total_umis"].sum()),
        "ambient_car": float(counts["car_umis_unique"].sum()),
    }


def cell_losses(
    losses: pd.DataFrame,
    molecules: pd.DataFrame,
    calls: pd.DataFrame,
    obs: pd.DataFrame,
    *,
    swapped: int = 0,
) -> pd.DataFrame:
    """Carry the read accounting of one sample on to the calls.

    Parameters
    ----------
    losses
        Schema ``LOSSES``, as made with the molecules.
    molecules
        CAR molecules of the sample, without swapped ones.
    calls
        Barcode calls of the sample: index barcode, ``is_cell``.
    obs
        ``obs`` of the cells kept of the sample.
    swapped
        Molecules that :func:`drop_swapped` dropped.

    Returns
    -------
    pandas.DataFrame
        Schema ``LOSSES`` with the molecules' ways: swapped from another library, uncertain origin,
        droplet not called, filtered cell, doublet, other lineage, T cell; and among T cells by call.
    """
    kept = obs.set_index("barcode")
    own = molecules[molecules["p_car"] >= MIN_P_CAR]
    called = own["barcode"].isin(calls.index[calls["is_cell"].astype(bool)])
    in_kept = own["barcode"].isin(kept.index)
    lineage = own["barcode"].map(kept["lineage"].astype(str))
    doublet = own["barcode"].map(kept["is_doublet"]).eq(True)
    call = own["barcode"].map(kept["car_call"].astype(str))
    of_t = lineage.eq(T_LINEAGE)
    t_cell = in_kept & ~doublet & of_t
    rows = [
        ("swapped_from_another_library", swapped, "molecules also seen in another library of the run"),
        ("more_likely_endogenous", len(molecules) - len(own), "shared molecules more likely endogenous than CAR"),
        ("droplet_not_called", int((~called).sum()), "molecules in droplets without a called cell"),
        ("filtered_cell", int((called & ~in_kept).sum()), "molecules in cells that a quality filter removed"),
        ("doublet", int((in_kept & doublet).sum()), "molecules in doublets"),
        ("other_lineage", int((in_kept & ~doublet & ~of_t).sum()), "molecules in cells that are not T cells"),
        ("t_cell_uncertain", int((t_cell & call.ne("positive")).sum()), "molecules in T cells not called positive"),
        ("t_cell_positive", int((t_cell & call.eq("positive")).sum()), "molecules in T cells called positive"),
    ]  # fmt: skip
    more = pd.DataFrame(rows, columns=["step", "n", "meaning"])
    more["unit"] = "molecules"
    more["sample"] = losses["sample"].iloc[0]
    return LOSSES.conform(pd.concat([losses, more], ignore_index=True))
