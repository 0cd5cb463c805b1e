"""What the reads of a library are compared with: the CAR, its homologs, and which strand the reads have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from carseq.construct import Construct
from carseq.construct.homology import EndogenousTranscript, Locus
from carseq.log import get_logger
from carseq.molecules.score import Scorer
from carseq.reference.genome import is_window, read_loci, read_transcript_fasta
from carseq.reference.transgene import same_as_car
from carseq.schema.results import FILES

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
    loci
        Exons of the homologs, where reads of shared stretches may have been aligned.
    strand
        Of R2: ``Forward`` if sense (3' libraries), ``Reverse`` if antisense (5').
    homology
        Table of :func:`carseq.construct.homology`, if bases that it calls shared are to be compared too. The length
        of the reads need not be known: what they share with a homolog is seen in each read.
    """

    construct: Construct
    homologs: Sequence[EndogenousTranscript]
    loci: Sequence[Locus] = ()
    strand: str = "Forward"
    homology: pd.DataFrame | None = None

    @classmethod
    def read(cls, construct: Construct, folder: str | Path, strand: str) -> Target:
        """Read what the workflow found of a construct in the genome.

        Parameters
        ----------
        construct
            The CAR.
        folder
            ``results/construct``: ``rivals.fa`` and ``loci.tsv``.
        strand
            Of the library's R2.
        """
        folder = Path(folder)
        return cls(
            construct,
            read_transcript_fasta(folder / FILES["rivals"].file),
            read_loci(folder / FILES["loci"].file),
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
        transcripts = [h for h in self.homologs if not is_window(h.transcript)]
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
        homology = self.homology
        if homology is not None:
            homology = homology[homology["gene"] != gene]
        rest = replace(
            self,
            homologs=[h for h in self.homologs if h.gene != gene],
            loci=[x for x in self.loci if x.gene != gene],
            homology=homology,
        )
        return rest.without_the_car()
