"""Reads put together to molecules, and what the reads of a molecule say together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
from Bio.Seq import reverse_complement

from carseq.construct.domains import domains_at
from carseq.log import get_logger
from carseq.molecules.accounting import account
from carseq.molecules.candidates import Read
from carseq.molecules.priors import car_probabilities
from carseq.molecules.score import ReadScore, Scorer
from carseq.schema.tables import MOLECULES
from carseq.sequence.alignment import DECISIVE

log = get_logger(__name__)


@dataclass
class Molecule:
    """What the reads of one molecule say together."""

    reads: int = 0
    car: float = 0.0
    homologs: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    start: int = 1 << 30
    end: int = 0
    edits: int = 1 << 30
    outside: bool = False
    sources: Counter[str] = field(default_factory=Counter)

    def add(self, score: ReadScore, source: str) -> None:
        """Add a read."""
        self.reads += 1
        self.car += score.car
        if score.gene:
            self.homologs[score.gene] += score.homolog
        self.start = min(self.start, score.start)
        self.end = max(self.end, score.end)
        self.edits = min(self.edits, score.edits)
        self.outside |= not score.homologous
        self.sources[source] += 1

    def homolog(self) -> tuple[str, float]:
        """Return the best homolog and its log-odds: one gene must explain every read of the molecule."""
        return max(self.homologs.items(), key=lambda item: item[1], default=("", 0.0))

    def odds(self) -> float:
        """Return the log-odds (nats) of the CAR against its best homolog."""
        return self.car - self.homolog()[1]

    def kind(self) -> str:
        """Return the class of evidence: unique, junction, shared or endogenous."""
        if self.outside:
            return "unique"
        if self.odds() >= DECISIVE:
            return "junction"
        return "shared" if self.odds() > -DECISIVE else "endogenous"

    def row(self, sample: str, barcode: str, umi: str, domains: pd.DataFrame) -> dict[str, object]:
        """Return the molecule as a row of ``MOLECULES``, but for ``p_car``."""
        return {
            "sample": sample,
            "barcode": barcode,
            "umi": umi,
            "n_reads": self.reads,
            "evidence": self.kind(),
            "tx_start": self.start,
            "tx_end": self.end,
            "domains": domains_at(domains, self.start, self.end),
            "edits": self.edits,
            "endogenous_gene": self.homolog()[0],
            "source": self.sources.most_common(1)[0][0],
        }


def collapse_umis(counts: Counter[str]) -> dict[str, str]:
    """Map each UMI of a cell to the one it is counted as: one substitution from a UMI with more reads.

    As STARsolo's 1MM_CR: a UMI is corrected to the one with the most reads at Hamming distance 1 (ties: the
    alphabetically last), once, without chains.
    """
    if len(counts) == 1:
        return {umi: umi for umi in counts}
    target = {}
    for umi, n in counts.items():
        best = (n, umi)
        for i in range(len(umi)):
            for base in "ACGT":
                if base != umi[i]:
                    other = umi[:i] + base + umi[i + 1 :]
                    if (counts.get(other, 0), other) > best:
                        best = (counts[other], other)
        target[umi] = best[1]
    return target


def assemble(
    candidates: Sequence[Read],
    scorer: Scorer,
    sample: str,
    *,
    counts: Counter[str],
    homolog_molecules: Mapping[str, set[tuple[str, str]]],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score candidate reads and group them to molecules.

    Parameters
    ----------
    candidates
        On the mRNA's strand, each once.
    scorer
        Of the construct and its homologs.
    sample
        Name of the sample, for the tables.
    counts
        Where candidates came from, as the rows of ``losses`` name it; what became of them is added.
    homolog_molecules
        By gene: its molecules ((barcode, UMI)) with a read that does not resemble the CAR.

    Returns
    -------
    molecules, losses : pandas.DataFrame
        As :func:`carseq.molecules.find_molecules` returns them.
    """
    cells: dict[str, list[tuple[str, ReadScore, str]]] = defaultdict(list)
    scorer.score_all(read.sequence for read in candidates)
    for read in candidates:
        score = scorer.score(read.sequence)
        counts["multi_mapped"] += score is not None and read.multi
        if score is None:
            wrong = scorer.score(reverse_complement(read.sequence)) is not None
            counts["wrong_strand" if wrong else "unlike"] += 1
        elif read.barcode is None:
            counts["no_barcode"] += 1
        else:
            cells[read.barcode].append((read.umi, score, read.source))
    molecules: dict[tuple[str, str], Molecule] = defaultdict(Molecule)
    for barcode, reads in cells.items():
        target = collapse_umis(Counter(umi for umi, *_ in reads))
        for umi, score, source in reads:
            molecules[barcode, target[umi]].add(score, source)
    table = _classify(molecules, sample, scorer, homolog_molecules)
    endogenous = table["evidence"] == "endogenous"
    losses = account(sample, counts, table)
    result = MOLECULES.conform(
        table[~endogenous].sort_values(["barcode", "umi"], ignore_index=True)
    )
    log.info(
        "%s: %d CAR molecules (%s); %d candidates were endogenous",
        sample,
        len(result),
        ", ".join(f"{n} {kind}" for kind, n in result["evidence"].value_counts().items()),
        int(endogenous.sum()),
    )
    return result, losses


def _classify(
    molecules: Mapping[tuple[str, str], Molecule],
    sample: str,
    scorer: Scorer,
    homolog_molecules: Mapping[str, set[tuple[str, str]]],
) -> pd.DataFrame:
    """Return one row a candidate molecule, with its class and p_car."""
    domains = scorer.construct.domains
    rows = []
    for (barcode, umi), molecule in molecules.items():
        row = {**molecule.row(sample, barcode, umi, domains), "odds": molecule.odds()}
        # Another read of this UMI is the gene's own, so this one is too.
        of_gene = (barcode, umi) in homolog_molecules.get(str(row["endogenous_gene"]), ())
        if row["evidence"] == "shared" and of_gene:
            row["evidence"] = "endogenous"
        rows.append(row)
    columns = [*rows[0]] if rows else [c for c in MOLECULES.columns if c != "p_car"] + ["odds"]
    table = pd.DataFrame(rows, columns=columns)
    table["p_car"] = car_probabilities(table, scorer, homolog_molecules)
    return table.drop(columns="odds")
