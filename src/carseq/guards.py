"""guards: totals that must agree from reads to molecules, cells and tables, checked while a study runs.

A wrong join, a file of another run or an error in carseq changes counts without a sound. These sums hold whatever the
data; where one does not, the run stops and names the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from carseq.cells.markers import is_single_t
from carseq.errors import CarseqError

#: Steps of the read accounting that hold all candidate reads together, and where these went.
_CANDIDATES = ("candidates_on_contig", "candidates_at_homologs", "candidates_unmapped")
_READ_ENDS = ("wrong_strand", "unlike_car", "invalid_barcode", "endogenous", "car_reads")
#: Steps of the account in molecules in which all CAR molecules end; each molecule in one.
_MOLECULE_ENDS = (
    "swapped_from_another_library",
    "more_likely_endogenous",
    "droplet_not_called",
    "filtered_cell",
    "doublet",
    "other_lineage",
    "t_cell_uncertain",
    "t_cell_positive",
)
#: Of these, the steps in cells of the cohort.
_IN_CELLS = ("doublet", "other_lineage", "t_cell_uncertain", "t_cell_positive")
#: How far STAR's count of the CAR and carseq's own may lie apart. STAR leaves out reads that map twice, which carseq
#: weighs, and corrects UMIs over all genes of a cell; in simulated studies of seven chemistries the two differ by 3 %.
#: Half is far beyond that, and what another sample's matrix or BAM shows is further still.
_SHARE = 0.5
_FEW = 20


def _broken(sample: str, what: str, **numbers: float) -> CarseqError:
    named = "; ".join(f"{name.replace('_', ' ')}: {n:,.10g}" for name, n in numbers.items())
    return CarseqError(
        f"{sample}: {what}",
        named,
        f"files of different runs may have met: delete the sample's folder in the results ({sample}), run again; if it "
        "comes back, it is an error of carseq: report it with these numbers",
    )


def _agree(sample: str, what: str, **numbers: float) -> None:
    if len(set(numbers.values())) > 1:
        raise _broken(sample, what, **numbers)


def _steps(account: pd.DataFrame) -> dict[str, int]:
    """Return the numbers of a read accounting by step; each step may occur once."""
    sample = str(account["sample"].iloc[0])
    _agree(
        sample,
        "a step occurs twice in the read accounting",
        rows_of_the_account=len(account),
        steps_of_it=account["step"].nunique(),
    )
    return {str(step): int(n) for step, n in zip(account["step"], account["n"], strict=True)}


def check_reads(losses: pd.DataFrame, molecules: pd.DataFrame) -> None:
    """Check that each candidate read has one end, and that CAR reads make up the molecules.

    Parameters
    ----------
    losses
        Schema ``LOSSES`` of one sample, up to molecules.
    molecules
        Schema ``MOLECULES`` of the sample, as found.

    Raises
    ------
    CarseqError
        If a sum does not hold.
    """
    if losses.empty:
        return
    n, sample = _steps(losses), str(losses["sample"].iloc[0])
    _agree(
        sample,
        "reads were lost between BAM and molecules",
        candidate_reads=sum(n.get(step, 0) for step in _CANDIDATES),
        reads_with_an_end=sum(n.get(step, 0) for step in _READ_ENDS),
    )
    _agree(
        sample,
        "molecules.parquet is not the one that the read accounting was made with",
        CAR_molecules_counted=n.get("car_molecules", 0),
        rows_of_the_table=len(molecules),
    )
    _agree(
        sample,
        "the molecules' reads are not those counted",
        CAR_reads_counted=n.get("car_reads", 0),
        reads_of_the_molecules=int(molecules["n_reads"].sum()),
    )


def check_account(losses: pd.DataFrame) -> None:
    """Check that each CAR molecule of a sample ends in one step of the account up to calls.

    Parameters
    ----------
    losses
        Schema ``LOSSES`` of one sample, carried on to the calls.

    Raises
    ------
    CarseqError
        If molecules are missing or counted twice.
    """
    if losses.empty:
        return
    n = _steps(losses)
    _agree(
        str(losses["sample"].iloc[0]),
        "molecules were lost between BAM and calls",
        CAR_molecules=n.get("car_molecules", 0),
        molecules_with_an_end=sum(n.get(step, 0) for step in _MOLECULE_ENDS),
    )


def check_carried_on(losses: pd.DataFrame, account: pd.DataFrame) -> None:
    """Check that the account up to calls begins with the numbers of that up to molecules.

    Parameters
    ----------
    losses, account
        Schema ``LOSSES`` of one sample, up to molecules and carried on to the calls.

    Raises
    ------
    CarseqError
        If a step has another number.
    """
    if losses.empty:
        return
    after = _steps(account) if len(account) else {}
    for step, n in _steps(losses).items():
        _agree(
            str(losses["sample"].iloc[0]),
            f"the account of molecules and that of calls differ in {step}",
            up_to_molecules=n,
            up_to_calls=after.get(step, -1),
        )


def check_aligned(sample: str, summary: Mapping[str, object], molecules: pd.DataFrame) -> None:
    """Check that STAR's count of the CAR and the molecules found in its BAM agree within what rescoring explains.

    Parameters
    ----------
    sample
        Name of the sample.
    summary
        Its ``summary.json``; one without ``car_umis_aligned`` (an alignment reused for another construct) passes.
    molecules
        Schema ``MOLECULES``.

    Raises
    ------
    CarseqError
        If the matrix has far more CAR molecules than the BAM, or far fewer than those that only the CAR explains.
    """
    counted = summary.get("car_umis_aligned")
    if not isinstance(counted, int):
        return
    surely = int(
        (
            molecules["evidence"].eq("unique")
            & molecules["source"].eq("aligned")
            & molecules["p_car"].ge(0.5)
        ).sum()
    )
    if counted > len(molecules) / _SHARE + _FEW or counted < _SHARE * surely - _FEW:
        raise _broken(
            sample,
            "the matrix and the BAM do not hold the same CAR molecules",
            in_the_matrix=counted,
            in_the_BAM=len(molecules),
            of_them_unique_to_the_CAR_and_aligned_to_it=surely,
        )


def check_cells(
    sample: str, barcodes: pd.DataFrame, filters: pd.DataFrame, obs: pd.DataFrame
) -> None:
    """Check that a sample's cells are the same from the droplets called to the cohort, and their totals too.

    Parameters
    ----------
    sample
        Name of the sample.
    barcodes
        Its barcode calls: index barcode, ``total_umis``, ``is_cell``.
    filters
        Schema ``FILTERS``; what quality filters removed, in order.
    obs
        `obs` of the cohort's cells of this sample.

    Raises
    ------
    CarseqError
        If cells or molecules were lost or won.
    """
    _agree(
        sample,
        "a barcode occurs twice among the droplets",
        droplets=len(barcodes),
        barcodes_of_them=barcodes.index.nunique(),
    )
    _agree(
        sample,
        "a barcode occurs twice among the cells",
        cells_in_the_cohort=len(obs),
        barcodes_of_them=obs["barcode"].astype(str).nunique(),
    )
    called = barcodes.index[barcodes["is_cell"].astype(bool)]
    if len(filters):
        _agree(
            sample,
            "cells were lost between droplets and cohort",
            droplets_called_cells=len(called),
            cells_before_the_first_filter=int(filters["n_before"].iloc[0]),
        )
        _agree(
            sample,
            "cells were lost between the filters and the cohort",
            cells_after_the_last_filter=int(filters["n_after"].iloc[-1]),
            cells_in_the_cohort=len(obs),
        )
    left = filters["n_before"] - filters["n_removed"]
    if (left != filters["n_after"]).any() or (
        filters["n_before"].to_numpy()[1:] != filters["n_after"].to_numpy()[:-1]
    ).any():
        raise _broken(
            sample,
            "cells were lost between two filters",
            cells_before_the_first_filter=int(filters["n_before"].iloc[0]),
            removed_by_all=int(filters["n_removed"].sum()),
            cells_after_the_last_filter=int(filters["n_after"].iloc[-1]),
        )
    known = obs["barcode"].astype(str).isin(called)
    if not known.all():
        raise _broken(
            sample,
            "the cohort holds cells that were not called",
            cells_in_the_cohort=len(obs),
            of_them_called=int(known.sum()),
        )
    own = obs["total_umis"].to_numpy(float)
    droplets = barcodes["total_umis"].reindex(obs["barcode"].astype(str)).to_numpy(float)
    # Cell by cell: two that were exchanged leave the sum as it was. Counts are whole numbers.
    differ = abs(own - droplets) >= 0.5
    if differ.any():
        raise _broken(
            sample,
            "the cells' molecules are not those of their droplets",
            molecules_of_the_cells=int(own.sum()),
            molecules_of_their_droplets=int(droplets.sum()),
            cells_that_differ=int(differ.sum()),
        )


def check_counts(
    sample: str, account: pd.DataFrame, molecules: pd.DataFrame, obs: pd.DataFrame
) -> None:
    """Check that the CAR molecules counted in a sample's cells are those of the account.

    Parameters
    ----------
    sample
        Name of the sample.
    account
        Schema ``LOSSES``, carried on to the calls.
    molecules
        Schema ``MOLECULES``, as found. Those of shared stretches may be counted with their probability, or not.
    obs
        `obs` of the sample's cells, with ``car_umis``.

    Raises
    ------
    CarseqError
        If cells have more than were found in them, or fewer than those that are told apart from every gene.
    """
    n = _steps(account) if len(account) else {}
    inside = sum(n.get(step, 0) for step in _IN_CELLS)
    unsure = n.get("more_likely_endogenous", 0)
    shared = int((molecules["evidence"].eq("shared") & molecules["p_car"].ge(0.5)).sum())
    counted = int(obs["car_umis"].sum())
    if not inside - shared <= counted <= inside + unsure:
        raise _broken(
            sample,
            "the CAR molecules of the cells are not those found",
            in_the_cells=counted,
            found_in_cells=inside,
            shared_with_a_gene_anywhere=shared,
            more_likely_a_gene_s_anywhere=unsure,
        )


def check_own(sample: str, molecules: pd.DataFrame, obs: pd.DataFrame) -> None:
    """Check that no cell holds more CAR molecules than were found with its barcode.

    Parameters
    ----------
    sample
        Name of the sample, aligned here, whose barcodes are written alike in both tables.
    molecules
        Schema ``MOLECULES``, as found.
    obs
        `obs` of the sample's cells, with ``car_umis`` and ``car_umis_unique``.

    Raises
    ------
    CarseqError
        If a cell holds more: it has another's.
    """
    found = molecules["barcode"].astype(str).value_counts()
    there = found.reindex(obs["barcode"].astype(str), fill_value=0).to_numpy()
    counted = obs["car_umis"].to_numpy(int)
    wrong = (counted > there) | (obs["car_umis_unique"].to_numpy(int) > counted)
    if wrong.any():
        raise _broken(
            sample,
            "cells hold CAR molecules of other cells",
            in_these_cells=int(counted[wrong].sum()),
            found_with_their_barcodes=int(there[wrong].sum()),
            cells=int(wrong.sum()),
        )


def check_detection(detection: pd.DataFrame, obs: pd.DataFrame) -> None:
    """Check that the verdicts' table counts the cells of the cohort: each sample's, and so their sum.

    Parameters
    ----------
    detection
        Schema ``DETECTION``.
    obs
        `obs` of the cohort.

    Raises
    ------
    CarseqError
        If a sample's cells or positive calls are others than in the cohort, or cells belong to no sample.
    """
    names = obs["sample"].astype(str)
    positive = obs["car_call"].astype(str).eq("positive")
    is_t = is_single_t(obs)
    sound = is_t & obs["car_umis"].gt(0)
    _agree(
        "the cohort",
        "a cell was called positive that is not a T cell, is a doublet, or holds no CAR molecule",
        positive_cells=int(positive.sum()),
        of_them_T_cells_with_a_CAR_molecule=int((positive & sound).sum()),
    )
    for row in detection.itertuples():
        sample = str(row.sample)
        own = names.eq(sample)
        _agree(
            sample,
            "detection.tsv does not count the cohort's cells",
            cells_in_the_table=int(row.n_cells),
            cells_in_the_cohort=int(own.sum()),
        )
        _agree(
            sample,
            "detection.tsv does not count the cohort's T cells",
            T_cells_in_the_table=int(row.n_t_cells),
            T_cells_in_the_cohort=int((own & is_t).sum()),
        )
        _agree(
            sample,
            "detection.tsv does not count the cohort's positive calls",
            positive_in_the_table=int(row.n_car_positive),
            positive_in_the_cohort=int((own & positive).sum()),
        )
    _agree(
        "the cohort",
        "its cells are not the sum of its samples",
        cells_in_the_cohort=len(obs),
        sum_of_the_samples=int(detection["n_cells"].sum()),
    )


def check_study(
    *,
    losses: Mapping[str, pd.DataFrame],
    accounts: Mapping[str, pd.DataFrame],
    molecules: Mapping[str, pd.DataFrame],
    summaries: Mapping[str, Mapping[str, object]],
    barcodes: Mapping[str, pd.DataFrame],
    filters: Mapping[str, pd.DataFrame],
    detection: pd.DataFrame,
    obs: pd.DataFrame,
) -> None:
    """Check all totals of a study whose cells are called.

    Parameters
    ----------
    losses, accounts, molecules
        By sample with reads: schema ``LOSSES`` up to molecules and up to calls, schema ``MOLECULES`` as found.
    summaries
        By sample that was aligned here: ``summary.json``.
    barcodes, filters
        By sample: barcode calls (index barcode) and schema ``FILTERS``.
    detection
        Schema ``DETECTION``.
    obs
        `obs` of the cohort with its calls.

    Raises
    ------
    CarseqError
        At the first that does not hold, with the numbers.
    """
    by_sample = dict(list(obs.groupby(obs["sample"].astype(str), sort=False)))
    for sample, found in molecules.items():
        own = by_sample.get(sample, obs.iloc[:0])
        check_reads(losses[sample], found)
        check_account(accounts[sample])
        check_carried_on(losses[sample], accounts[sample])
        check_counts(sample, accounts[sample], found, own)
    for sample, summary in summaries.items():
        check_aligned(sample, summary, molecules[sample])
        check_own(sample, molecules[sample], by_sample.get(sample, obs.iloc[:0]))
    for sample, calls in barcodes.items():
        check_cells(sample, calls, filters[sample], by_sample.get(sample, obs.iloc[:0]))
    check_detection(detection, obs)


def check_localization(
    localization: pd.DataFrame, detection: pd.DataFrame, obs: pd.DataFrame
) -> None:
    """Check that where the cells are adds up to how many there are, and the calls in each place to the verdict's.

    Parameters
    ----------
    localization
        Schema ``LOCALIZATION``; its rows of several samples together pass.
    detection
        Schema ``DETECTION``.
    obs
        `obs` of the cohort with its calls.

    Raises
    ------
    CarseqError
        If a sample's lineages, or their positive calls, do not add up.
    """
    of_lineages = localization[localization["level"].astype(str).eq("lineage")]
    cells = ~obs["is_doublet"].astype(bool)
    for row in detection.itertuples():
        sample = str(row.sample)
        own = of_lineages[of_lineages["sample"].astype(str).eq(sample)]
        _agree(
            sample,
            "localization.tsv does not hold each cell once",
            cells_of_all_lineages=int(own["n_cells"].sum()),
            cells_in_the_cohort=int((cells & obs["sample"].astype(str).eq(sample)).sum()),
        )
        _agree(
            sample,
            "localization.tsv does not hold each positive call once",
            positive_in_all_lineages=int(own["n_car_positive"].sum()),
            positive_in_the_verdict=int(row.n_car_positive),
        )
