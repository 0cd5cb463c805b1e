"""What the reads of a library are compared with: the CAR, its homologs, and which strand the reads have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from carseq.construct import Construct
from carseq.construct.homology import EndogenousTranscript, Locus
from carseq.io.files import read_table
from carseq.log import get_logger
from carseq.molecules.score import Scorer
from carseq.reference.genome import read_loci, read_transcript_fasta
from carseq.reference.transgene import same_as_car

log = get_logger(__name__)


@dataclass(frozen=True)
class Target:
    """A construct and its homologs, for the reads of one library.

    Attributes
    ----------
    construct
        The CAR; its name is the contig's.
    homologs
        Endogenous transcripts that share sequence with it, and genomic windows around their exons.
    homology
        Table of :func:`carseq.construct.homology`.
    loci
        Exons of the homologs, where reads of shared stretches may have been aligned.
    strand
        Of R2: ``Forward`` if sense (3' libraries), ``Reverse`` if antisense (5').
    """

    construct: Construct
    homologs: Sequence[EndogenousTranscript]
    homology: pd.DataFrame
    loci: Sequence[Locus] = ()
    strand: str = "Forward"

    @classmethod
    def read(cls, construct: Construct, folder: str | Path, strand: str) -> Target:
        """Read what the workflow found of a construct in the genome.

        Parameters
        ----------
        construct
            The CAR.
        folder
            ``results/construct``: ``homology.tsv``, ``rivals.fa``, ``loci.tsv``.
        strand
            Of the library's R2.
        """
        folder = Path(folder)
        return cls(
            construct,
            read_transcript_fasta(folder / "rivals.fa"),
            read_table(folder / "homology.tsv"),
            read_loci(folder / "loci.tsv"),
            strand,
        )

    @property
    def prefer_3p(self) -> bool:
        """Whether reads come from the 3' end of the mRNA."""
        return self.strand != "Reverse"

    @cached_property
    def scorer(self) -> Scorer:
        """The one scorer of this library's reads."""
        return Scorer(self.construct, self.homologs, self.homology, prefer_3p=self.prefer_3p)

    def without_the_car(self) -> Target:
        """Return the target without a gene that is the CAR itself, under another name.

        A custom genome may hold the transgene already. Taken for a homolog, it would make every CAR molecule a
        shared one. Left out, its contig is taken for the CAR's.
        """
        # Windows around exons repeat what the transcripts say.
        transcripts = [h for h in self.homologs if ":" not in h.transcript]
        if not (found := same_as_car(self.construct, transcripts)):
            return self
        gene, bases = found
        log.warning(
            "%s of the annotation holds %d bases of %s as no human gene does: it is taken for the CAR under another "
            "name, not for a homolog",
            gene,
            bases,
            self.construct.name,
        )
        homology = self.homology.copy()
        homology.loc[homology["gene"] == gene, ["class", "gene"]] = "car_only", ""
        rest = Target(
            self.construct,
            [h for h in self.homologs if h.gene != gene],
            homology,
            [x for x in self.loci if x.gene != gene],
            self.strand,
        )
        return rest.without_the_car()
