"""Which of several constructs the reads of a sample support: product A or product B?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from carseq.construct.vector import Construct
from carseq.errors import CarseqError
from carseq.io.bam import molecule_tags, open_bam
from carseq.log import get_logger
from carseq.molecules.candidates import CandidateReads, car_contigs
from carseq.molecules.score import Scorer
from carseq.sequence.alignment import DECISIVE
from carseq.sequence.kmers import KmerSet

log = get_logger(__name__)

COLUMNS = ["sample", "construct", "n_molecules", "n_best", "log_odds", "supported"]
#: Molecules that must fit one construct better than every other before it is called the supported one.
MIN_BEST = 3


def compare_constructs(
    bam: str | Path,
    constructs: Sequence[Construct],
    *,
    sample: str,
    strand: str = "Forward",
    barcode_tag: str = "CB",
    umi_tag: str = "UB",
) -> pd.DataFrame:
    """Score the CAR reads of a sample against several constructs.

    Reads on the contig of any of the constructs (by name, else short ones whose reads resemble it), and unmapped
    reads that resemble one of them, are scored against the transcripts of each (log-odds against random bases,
    summed over the reads of a molecule). What the constructs share is evidence for none of them.

    Parameters
    ----------
    bam
        Sorted, indexed BAM with barcode and UMI tags.
    constructs
        The constructs; names must differ.
    sample
        Name of the sample.
    strand
        Forward (3') or Reverse (5').
    barcode_tag, umi_tag
        BAM tags.

    Returns
    -------
    pandas.DataFrame
        By construct: ``n_molecules`` it explains, ``n_best`` that it explains better than every other (1 in
        100 or less likely under each), ``log_odds`` (nats, summed over all molecules), ``supported``: whether
        more molecules are best explained by it than by all others together, and at least three.

    Raises
    ------
    CarseqError
        If the BAM cannot be read or two constructs share a name.
    """
    names = [c.name for c in constructs]
    if len(set(names)) < len(names):
        raise CarseqError(
            "two of the constructs to compare share a name",
            ", ".join(names),
            "rename `construct.name` or the files of `construct.alternatives`",
        )
    tags = molecule_tags(bam, (barcode_tag, umi_tag))
    prefer_3p = strand != "Reverse"
    scorers = {c.name: Scorer(c, [], prefer_3p=prefer_3p) for c in constructs}
    odds: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: dict.fromkeys(scorers, 0.0))
    with open_bam(bam) as alignments:
        found = (
            contig
            for name, scorer in scorers.items()
            for contig in car_contigs(alignments, name, scorer.kmers, [])
        )
        contigs = list(dict.fromkeys(found))
    kmers = KmerSet([t.sequence for c in constructs for t in c.transcripts])
    # Use a separate file handle: reading the first records moved pysam's file position.
    with open_bam(bam) as alignments:
        walk = CandidateReads(alignments, kmers, contigs, strand=strand, tags=tags)
        reads = [candidate.read for candidate in walk if candidate.read is not None]
    for name, scorer in scorers.items():
        scorer.score_all(read.sequence for read in reads)
        for read in reads:
            if read.barcode is not None and (score := scorer.score(read.sequence)):
                odds[read.barcode, read.umi][name] += score.car
    table = pd.DataFrame(list(odds.values()), columns=list(scorers), dtype=float)
    rows = []
    for name in scorers:
        others = table.drop(columns=name)
        second = others.max(axis=1) if len(others.columns) else pd.Series(0.0, index=table.index)
        rows.append(
            {
                "sample": sample,
                "construct": name,
                "n_molecules": int((table[name] > 0).sum()),
                "n_best": int((table[name] - second >= DECISIVE).sum()),
                "log_odds": float(table[name].sum()),
            }
        )
    result = pd.DataFrame(rows, columns=COLUMNS[:-1])
    rest = result["n_best"].sum() - result["n_best"]
    result["supported"] = (result["n_best"] >= MIN_BEST) & (result["n_best"] > rest)
    log.info("%s: %s", sample, result.set_index("construct")["n_best"].to_dict())
    return result
