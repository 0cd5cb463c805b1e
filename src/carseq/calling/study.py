"""A whole study, called: one function for the workflow, the command line and the benchmarks, with the same inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from carseq.calling.cohort import call_cells
from carseq.calling.counts import ambient_car, cell_losses, drop_swapped, unseen_share
from carseq.calling.robustness import downsampling, thresholds
from carseq.calling.rules import rules
from carseq.cells.annotation import is_single_t
from carseq.cells.sexes import of_two_sexes
from carseq.errors import CarseqError
from carseq.io.barcodes import FEWEST, Belonging, bare_barcode, match_barcodes
from carseq.log import get_logger
from carseq.schema.tables import RULES
from carseq.schema.thresholds import FDR

if TYPE_CHECKING:
    from anndata import AnnData


log = get_logger("calling")

#: Cells with the CAR in the matrix from which on the molecules of a sample must lie in some cell.
FEW_CELLS = 3


@dataclass(frozen=True)
class StudyCalls:
    """What the calling room makes of a study, besides the columns of ``obs``.

    Attributes
    ----------
    detection, thresholds, downsampling, rules
        Schemas ``DETECTION``, ``THRESHOLDS``, ``DOWNSAMPLING``, ``RULES``.
    losses
        By sample with read accounting: schema ``LOSSES``, carried on to the calls.
    """

    detection: pd.DataFrame
    thresholds: pd.DataFrame
    downsampling: pd.DataFrame
    rules: pd.DataFrame
    losses: dict[str, pd.DataFrame]


def _check_common(
    sample: str, molecules: pd.DataFrame, barcodes: pd.Index, cells: AnnData, car: str
) -> None:
    """Raise if a sample's molecules are of other cells; of few CAR T cells, none may have been kept."""
    given = molecules["barcode"].astype(str).unique()
    if not len(given) or not len(barcodes) or pd.Index(given).isin(barcodes).any():
        return
    lengths = [{len(bare_barcode(str(b))) for b in some[:200]} for some in (given, barcodes)]
    counted = 0
    if car in cells.var_names:
        matrix = cells.layers.get("counts", cells.X)[:, cells.var_names.get_loc(car)]
        counted = int((np.asarray(matrix.sum(axis=1)).ravel() > 0).sum())
    told = f"the molecules have {given[0]}, the cells {barcodes[0]}"
    if not lengths[0] & lengths[1] or (len(given) >= FEWEST and counted >= FEW_CELLS):
        raise CarseqError(
            f"the molecules and the cells of sample {sample} share no barcode",
            told + (f"; the matrix counts the CAR in {counted} cells" if counted else ""),
            "give the molecules of this sample's own BAM",
        )
    log.warning(
        "sample %s: none of the %d barcodes with a CAR molecule is a cell (%s): if these are of another sample, give "
        "its own",
        sample,
        len(given),
        told,
    )


def call_study(
    cohort: AnnData,
    samples: pd.DataFrame,
    molecules: Mapping[str, pd.DataFrame] | None = None,
    *,
    car: str,
    fdr: float = FDR,
    barcodes: Mapping[str, pd.DataFrame] | None = None,
    ambient: Mapping[str, pd.DataFrame] | None = None,
    losses: Mapping[str, pd.DataFrame] | None = None,
    findings: list[dict[str, object]] | None = None,
    strands: Mapping[str, str | None] | None = None,
    belonging: Mapping[str, Belonging] | None = None,
) -> StudyCalls:
    """Call a study: match barcodes, drop swapped molecules, count ambient CAR molecules, call cells, give verdicts.

    Parameters
    ----------
    cohort
        Annotated cells of all samples, as :func:`carseq.calling.call_cells` takes them.
    samples
        One row a sample: ``sample``, and where known ``patient``, ``compartment``, ``timepoint``, ``role``, ``gating``,
        ``sequencing_run``, ``library``, ``ambient_umis``, ``ambient_car``, ``car_unseen``.
    molecules
        Schema ``MOLECULES``, by sample; samples absent from it take the matrix's counts of the CAR.
    car
        Name of the CAR in ``var_names``.
    fdr
        Expected share (0-1, both excluded) of false calls among the positive ones of a sample.
    barcodes, ambient
        By sample, schemas ``BARCODES`` (index barcode) and ``AMBIENT``: the empty droplets are counted from them.
        Without them ``ambient_umis`` and ``ambient_car`` of ``samples`` are taken, or ambient RNA is assumed.
    losses
        By sample, schema ``LOSSES`` as made with the molecules; needs ``barcodes``.
    findings, strands
        Content of ``lint.json``, and each sample's strand: what the construct cannot show. Without them
        ``car_unseen`` of ``samples`` is taken, or 0. Samples without molecules show what was counted: 0.
    belonging
        By sample given as BAM and matrix: how their barcodes fit.

    Raises
    ------
    CarseqError
        As :func:`carseq.calling.call_cells` and :func:`carseq.io.barcodes.match_barcodes`.
    """
    table = samples.assign(sample=samples["sample"].astype(str)).reset_index(drop=True)
    of_sample = cohort.obs["sample"].astype(str)
    matched = {}
    if strangers := sorted(set(map(str, molecules or {})) - set(table["sample"])):
        raise CarseqError(
            f"molecules of sample {strangers[0]} were given, which is not in the samples table",
            f"it has {', '.join(table['sample'][:8])}; without its molecules a sample would be judged by the matrix "
            "alone",
            "name the sample as the sheet does (`carseq molecules --sample NAME`)",
        )
    for sample, found in (molecules or {}).items():
        if barcodes is not None:
            fit = (belonging or {}).get(str(sample))
            matched[str(sample)] = match_barcodes(
                found, barcodes[sample].index, match=fit.match if fit else None
            )
        else:
            own = pd.Index(cohort.obs.loc[of_sample == str(sample), "barcode"].astype(str))
            # Kept cells are few of the barcodes that the molecules lie in.
            matched[str(sample)] = match_barcodes(found, own, strict=False)
            _check_common(
                str(sample), matched[str(sample)], own, cohort[of_sample == str(sample)], car
            )
    runs = {}
    if "sequencing_run" in table:
        runs = dict(
            zip(table["sample"], table["sequencing_run"].fillna("").astype(str), strict=True)
        )
    libraries = {}
    if "library" in table:
        libraries = dict(zip(table["sample"], table["library"].fillna("").astype(str), strict=True))
    matched, swapped = drop_swapped(matched, runs, libraries)
    if findings is not None:
        strand = strands or {}
        table["car_unseen"] = [
            unseen_share(findings, strand.get(s)) if s in matched else 0.0 for s in table["sample"]
        ]
    if barcodes is not None and ambient is not None:
        # A BAM of called cells alone has no molecules of empty droplets: the matrix counts them, or nothing does.
        cells_only = {s for s, fit in (belonging or {}).items() if fit.cells_only}
        uncounted = {s for s in cells_only if car not in set(ambient[s]["gene"].astype(str))}
        counted = pd.DataFrame(
            {"ambient_umis": 0.0, "ambient_car": 0.0}
            if s in uncounted
            else ambient_car(
                barcodes[s], ambient[s], None if s in cells_only else matched.get(s), car
            )
            for s in table["sample"]
        )
        table[["ambient_umis", "ambient_car"]] = counted[["ambient_umis", "ambient_car"]].to_numpy()
    detection = call_cells(cohort, matched, table, car=car, fdr=fdr)
    patients = dict(zip(detection["sample"], detection["patient"], strict=True))
    for patient, own in of_two_sexes(cohort.obs, patients).items():
        log.warning(
            "patient %s: the blood cells of %s are XX by RNA, those of %s XY: samples may have been exchanged",
            patient,
            ", ".join(own["XX"]),
            ", ".join(own["XY"]),
        )
    accounts = {}
    for sample, before in (losses or {}).items():
        if barcodes is not None:
            own_obs = cohort.obs[of_sample == str(sample)]
            accounts[sample] = cell_losses(
                before, matched[sample], barcodes[sample], own_obs, swapped=swapped[sample]
            )
    return StudyCalls(
        detection=detection,
        thresholds=thresholds(cohort),
        downsampling=downsampling(cohort),
        rules=RULES.conform(rules(cohort.obs, is_single_t(cohort.obs).to_numpy())),
        losses=accounts,
    )
