"""Every file under ``results/``, declared once: its path, schema, room and meaning.

Rules take a path by :meth:`Result.at`; the report, ``reuse``, ``explain``, the exports and the page of output files
read this table. A file that a rule makes and that is not declared here, or the reverse, fails a test.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from carseq.schema import tables
from carseq.schema.column import Schema

#: The version of carseq in which the results of a room last changed; between two versions count on (0.2.0.1). It is a
#: parameter of the room's rules: raising it makes Snakemake run the room again, and what follows from it, in every
#: study. Editing code without raising it reruns nothing. ``transcript`` stands for the part of ``construct`` on which
#: alignments depend (``construct.fa`` and ``construct.gtf``), so that better lint or another map costs no alignment;
#: ``library`` for the part of ``molecules`` on which the cohort depends (the measured length of reads).
VERSIONS: Mapping[str, str] = MappingProxyType(
    {
        "construct": "0.2.0.10",
        "transcript": "0.2.0.1",
        "reference": "0.2.0",
        "solo": "0.2.0.1",
        "library": "0.2.0",
        "molecules": "0.2.0.4",
        "cells": "0.2.0.19",
        "calling": "0.2.0.16",
        "localize": "0.2.0.11",
        "report": "0.2.0.10",
    }
)

#: The oldest version of carseq whose results folders this one reads. Raise it with a column that readers need.
READS_SINCE = "0.2.0"


@dataclass(frozen=True)
class Result:
    """A file (or folder) under ``results/``.

    Attributes
    ----------
    path
        Where it lies under ``results/``; ``{sample}`` and ``{notebook}`` stand for names.
    room
        The room whose rule makes it.
    says
        What it holds.
    schema
        Its columns, if it is a table with a header.
    only
        When it is made, if not in every study.
    reused
        Whether ``reuse`` takes it over from a finished study.
    wanted
        Whether a finished run must have it, beside what it is made from.
    """

    path: str
    room: str
    says: str
    schema: Schema | None = None
    only: str = ""
    reused: bool = False
    wanted: bool = False

    @property
    def file(self) -> str:
        """Its name without folders."""
        return PurePosixPath(self.path).name

    @property
    def by_sample(self) -> bool:
        """Whether each sample has one."""
        return "{sample}" in self.path

    def at(self, results: object = "", **names: str) -> str:
        """Return its path below a results folder.

        Parameters
        ----------
        results
            The results folder; none gives the path relative to it.
        **names
            ``sample`` or ``notebook``. Without them the braces stay, as Snakemake's wildcards.

        Examples
        --------
        >>> FILES["molecules"].at("results", sample="P01_urine")
        'results/samples/P01_urine/molecules/molecules.parquet'
        >>> FILES["detection"].at()
        'cohort/detection.tsv'
        """
        path = self.path
        for key, value in names.items():
            path = path.replace(f"{{{key}}}", str(value))
        return f"{results}/{path}" if str(results) else path

    def under(self, results: str | Path, **names: str) -> Path:
        """Return its path below a results folder, as :meth:`at` does, as a path."""
        return Path(self.at(results, **names))


_READS = "samples given as FASTQ"
_MOLECULES = "samples with reads (FASTQ or BAM)"

#: Every file by name, in the order of the data.
FILES: Mapping[str, Result] = MappingProxyType(
    {
        # construct
        "transcript": Result(
            "construct/construct.fa", "construct", "the CAR's transcript: the contig in the reference"
        ),
        "construct_json": Result(
            "construct/construct.json",
            "construct",
            "the derived construct: transcripts, ends, domains, notes (`carseq.construct.read_construct`)",
        ),
        "construct_gtf": Result("construct/construct.gtf", "construct", "its gene, as one exon"),
        "domains": Result(
            "construct/domains.tsv", "construct", "domains and LTRs on the transcript", tables.DOMAINS
        ),
        "coverage": Result(
            "construct/coverage.tsv", "construct", "where reads are expected on it", tables.COVERAGE
        ),
        "lint": Result(
            "construct/lint.json",
            "construct",
            "faults of the construct and how many of 100 UMIs each costs",
        ),
        "construct_map": Result("construct/construct.svg", "construct", "the map"),
        "homology": Result(
            "construct/homology.tsv", "construct", "which bases the genome shares", tables.HOMOLOGY
        ),
        "homology_bed": Result(
            "construct/homology.bed", "construct", "the same for a genome browser"
        ),
        "rivals": Result(
            "construct/rivals.fa", "construct", "transcripts of genes that share sequence with the CAR"
        ),
        "loci": Result(
            "construct/loci.tsv", "construct", "where those genes lie on the genome", tables.LOCI
        ),
        # reference
        "checked": Result(
            "reference/checked.json", "reference", "genome and annotation that were checked"
        ),
        "car_checked": Result(
            "reference/car_checked.json", "reference", "the CAR, which the genome does not hold already"
        ),
        "strand_panel": Result(
            "reference/strand_panel.fa",
            "reference",
            "transcripts by which the strand of reads is found",
            reused=True,
        ),
        "base_index": Result(
            "reference/base",
            "reference",
            "STAR index of the genome, shared by every construct",
            only="without `reference.star_index`",
        ),
        "transcripts_index": Result(
            "reference/transcripts",
            "reference",
            "kallisto's index of the genome's transcripts, shared by every construct",
            only="`solo.aligner: kallisto`",
        ),
        "augmented_gtf": Result(
            "reference/augmented.gtf",
            "reference",
            "the annotation with the CAR's gene",
            only="`reference.insertion: saved` or `each_run`",
        ),
        "augmented_index": Result(
            "reference/augmented",
            "reference",
            "STAR index with the CAR inserted",
            only="`reference.insertion: saved`",
        ),
        # solo
        "chemistry": Result(
            "samples/{sample}/solo/chemistry.json",
            "solo",
            "chemistry, whitelist and strand, as found in the reads",
            only=_READS,
            reused=True,
        ),
        "observed": Result(
            "samples/{sample}/solo/observed_barcodes.txt.gz",
            "solo",
            "barcodes learnt from the reads, where no list is given or known",
            only="`whitelist: observed`, and kits whose list may not be shipped",
        ),
        "aligned_bam": Result(
            "samples/{sample}/solo/aligned.bam",
            "solo",
            "alignments with CB and UB tags",
            only=_READS,
            reused=True,
        ),
        "aligned_bai": Result(
            "samples/{sample}/solo/aligned.bam.bai", "solo", "its index", only=_READS, reused=True
        ),
        "slice_bam": Result(
            "samples/{sample}/solo/slice.bam",
            "solo",
            "the part of it that carseq reads, if `solo.keep_bam` keeps no more; all there is where no BAM is made",
            only="`solo.keep_bam: slice` or `none`, `solo.evidence: fastq`, and `solo.aligner: kallisto`",
        ),
        "slice_bai": Result(
            "samples/{sample}/solo/slice.bam.bai",
            "solo",
            "its index",
            only="`solo.keep_bam: slice` or `none`, `solo.evidence: fastq`, and `solo.aligner: kallisto`",
        ),
        "plain": Result(
            "samples/{sample}/solo/plain.h5ad",
            "solo",
            "counts of all barcodes before the CAR's row is written from its molecules",
            only="`reference.insertion: none`, `solo.evidence: fastq`, and `solo.aligner: kallisto`",
        ),
        "raw": Result(
            "samples/{sample}/solo/raw.h5ad",
            "solo",
            "counts of all barcodes, the CAR a gene of them",
            only=_READS,
        ),
        "summary": Result(
            "samples/{sample}/solo/summary.json",
            "solo",
            "reads, mapping and barcodes in numbers",
            only=_READS,
            reused=True,
        ),
        # molecules
        "library": Result(
            "samples/{sample}/molecules/library.json",
            "molecules",
            "strand and length of the sample's reads, measured once",
            only=_MOLECULES,
        ),
        "belonging": Result(
            "samples/{sample}/molecules/belonging.json",
            "molecules",
            "how the barcodes of the BAM that was given fit the matrix given with it",
            only="samples given as BAM and matrix",
        ),
        "molecules": Result(
            "samples/{sample}/molecules/molecules.parquet",
            "molecules",
            "one row a CAR molecule",
            tables.MOLECULES,
            only=_MOLECULES,
        ),
        "molecule_losses": Result(
            "samples/{sample}/molecules/losses.tsv",
            "molecules",
            "where the CAR's reads went, up to the molecules",
            tables.LOSSES,
            only=_MOLECULES,
        ),
        "support": Result(
            "samples/{sample}/molecules/support.tsv",
            "molecules",
            "which of several constructs the reads support",
            tables.SUPPORT,
            only="`construct.alternatives`",
        ),
        # cells
        "sample_cells": Result(
            "samples/{sample}/cells/cells.h5ad", "cells", "the sample's cells, raw counts"
        ),
        "barcodes": Result(
            "samples/{sample}/cells/barcodes.tsv.gz",
            "cells",
            "every barcode: cell or not, and why",
            tables.BARCODES,
            reused=True,
        ),
        "ambient": Result(
            "samples/{sample}/cells/ambient.tsv",
            "cells",
            "the ambient RNA, from the empty droplets",
            tables.AMBIENT,
            reused=True,
        ),
        "knee": Result(
            "samples/{sample}/cells/knee.tsv",
            "cells",
            "points of the rank curve",
            tables.KNEE,
            reused=True,
        ),
        "filters": Result(
            "samples/{sample}/cells/filters.tsv",
            "cells",
            "what the quality filters removed, and whether it held the CAR",
            tables.FILTERS,
            reused=True,
        ),
        "cellbender": Result(
            "samples/{sample}/cells/cellbender.h5ad",
            "cells",
            "counts without ambient RNA, by CellBender",
            only="`cells.cellbender`",
        ),
        "annotated": Result(
            "cohort/annotated.h5ad",
            "cells",
            "every cell kept, with clusters, types and states, before the calls",
            reused=True,
        ),
        "annotation": Result(
            "cohort/annotation.tsv",
            "cells",
            "how well the methods of annotation agree",
            tables.ANNOTATION,
            reused=True,
        ),
        "integration": Result(
            "cohort/integration.tsv",
            "cells",
            "how well samples are mixed and types kept apart",
            tables.INTEGRATION,
            reused=True,
        ),
        "protein_agreement": Result(
            "cohort/protein_agreement.tsv",
            "cells",
            "surface proteins against the annotation, if given",
            tables.PROTEIN_AGREEMENT,
            reused=True,
        ),
        "receptors": Result(
            "cohort/receptors.tsv",
            "cells",
            "T-cell receptors against the annotation, if given",
            tables.RECEPTORS,
            reused=True,
        ),
        # calling
        "samples": Result(
            "cohort/samples.tsv",
            "calling",
            "the samples' metadata, from the samples sheet",
            tables.METADATA,
        ),
        "cells": Result(
            "cohort/cells.h5ad",
            "calling",
            "every cell kept, with the calls and the samples' metadata: the file for an analysis of your own",
            wanted=True,
        ),
        "detection": Result(
            "cohort/detection.tsv",
            "calling",
            "the verdict of each sample",
            tables.DETECTION,
            wanted=True,
        ),
        "thresholds": Result(
            "cohort/thresholds.tsv",
            "calling",
            "how the calls change with the threshold",
            tables.THRESHOLDS,
            wanted=True,
        ),
        "downsampling": Result(
            "cohort/downsampling.tsv",
            "calling",
            "how the verdicts change with fewer reads",
            tables.DOWNSAMPLING,
            wanted=True,
        ),
        "rules": Result(
            "cohort/rules.tsv",
            "calling",
            "what the field's own rules would call, beside carseq's calls",
            tables.RULES,
            wanted=True,
        ),
        "calls": Result(
            "samples/{sample}/calling/calls.tsv",
            "calling",
            "the calls of the sample's cells",
            tables.CALLS,
        ),
        "losses": Result(
            "samples/{sample}/calling/losses.tsv",
            "calling",
            "where the CAR's reads went, up to the calls",
            tables.LOSSES,
            only=_MOLECULES,
        ),
        # localize
        "localization": Result(
            "cohort/localization.tsv",
            "localize",
            "CAR T cells by sample, lineage, type and state",
            tables.LOCALIZATION,
            wanted=True,
        ),
        "contrasts": Result(
            "cohort/contrasts.tsv", "localize", "samples compared", tables.CONTRASTS, wanted=True
        ),
        "blood_in_urine": Result(
            "cohort/blood_in_urine.tsv",
            "localize",
            "how much of the urine's T cells may be blood",
            tables.BLOOD_IN_URINE,
            wanted=True,
        ),
        "target": Result(
            "cohort/target.tsv",
            "localize",
            "cells that express the CAR's target",
            tables.TARGET,
            wanted=True,
        ),
        "clinic": Result(
            "cohort/clinic.tsv",
            "localize",
            "clinical numbers beside the CAR T fraction",
            tables.CLINIC,
            wanted=True,
        ),
        "agreement": Result(
            "cohort/agreement.tsv",
            "localize",
            "CAR T fractions against flow cytometry or vector copies",
            tables.AGREEMENT,
        ),
        "clonotypes": Result(
            "cohort/clonotypes.tsv",
            "localize",
            "clonotypes that compartments share",
            tables.CLONOTYPES,
        ),
        # report
        "run_config": Result(
            "run_config.yaml",
            "report",
            "the configuration with every default, and the sheets",
            wanted=True,
        ),
        "versions": Result(
            "versions.json", "report", "versions of carseq and its tools", wanted=True
        ),
        "report": Result("report/report.html", "report", "the report", wanted=True),
        "methods": Result("report/methods.md", "report", "the methods as text", wanted=True),
        "run_times": Result(
            "report/run_times.tsv", "report", "time and memory of the jobs, by rule", tables.RUN_TIMES
        ),
        "notebook": Result(
            "notebooks/{notebook}.ipynb", "report", "notebooks, run on the results", wanted=True
        ),
        "matrix": Result(
            "cohort/matrix/matrix.mtx.gz", "report", "the cohort as a 10x matrix", wanted=True
        ),
        "matrix_features": Result("cohort/matrix/features.tsv.gz", "report", "its genes"),
        "matrix_barcodes": Result("cohort/matrix/barcodes.tsv.gz", "report", "its cells"),
        "car_reads": Result(
            "report/reads/{sample}.bam",
            "report",
            "the reads of the CAR-bearing cells",
            only=_MOLECULES,
            wanted=True,
        ),
        "car_reads_bai": Result(
            "report/reads/{sample}.bam.bai", "report", "its index", only=_MOLECULES
        ),
        "multiqc_detection": Result(
            "report/multiqc/carseq_detection_mqc.json",
            "report",
            "verdicts, for MultiQC",
            wanted=True,
        ),
        "multiqc_general": Result(
            "report/multiqc/carseq_general_mqc.json", "report", "general statistics, for MultiQC"
        ),
        "multiqc_evidence": Result(
            "report/multiqc/carseq_evidence_mqc.json", "report", "classes of evidence, for MultiQC"
        ),
        "ro_crate": Result(
            "ro-crate-metadata.json",
            "report",
            "the manifest: inputs, outputs, versions, command and checksums",
            wanted=True,
        ),
    }
)  # fmt: skip

#: Beside them: what each job says, and what it took.
LOGS, BENCHMARKS = "logs", "benchmarks"


def reused(room: str) -> list[str]:
    """Return the names of a room's files that ``reuse`` takes over from a finished study.

    Examples
    --------
    >>> reused("reference")
    ['strand_panel']
    """
    return [name for name, result in FILES.items() if result.reused and result.room == room]


def each(name: str, samples: Iterable[str], results: object = "") -> list[str]:
    """Return the path of a file of each of these samples.

    Examples
    --------
    >>> each("knee", ["A", "B"])
    ['samples/A/cells/knee.tsv', 'samples/B/cells/knee.tsv']
    """
    return [FILES[name].at(results, sample=sample) for sample in samples]
