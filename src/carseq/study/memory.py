"""How much memory STAR takes for a genome, what this machine has, and how the CAR is added if the user leaves it open.

The workflow's rules ask for these amounts, ``carseq check`` tells them, and the configuration's ``auto`` follows them.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from carseq.io.files import write_text
from carseq.io.remote import is_url
from carseq.machine import machine_megabytes
from carseq.study.config import ReferenceConfig
from carseq.study.model import Study

#: Mb of GRCh38, which a genome that is given by an address is taken for until it is fetched.
HUMAN = 3100.0
#: A gzipped genome takes 0.28 byte a base.
_GZIPPED = 3.6
#: What a job has beside the genome, MB: sorting of the BAM at least, Python, the other jobs' little needs.
BESIDE = 3000
#: STAR's genomeSAsparseD that are tried in turn for a plain index: 3 is that of 10x's own references.
_SPARSE = (3, 4, 6, 8)
#: Mb from which a plain index is made sparse even if there is memory for a full one.
_LARGE = 1000
#: Where the choice of a study is kept, in its results: another machine goes on with it.
RECORD = ".insertion.json"


def index_megabytes(genome: float, sparse: int, *, plain: bool = False) -> float:
    """Return the memory of building an index of a genome of so many Mb, MB.

    Like the two others, a line through what was measured over growing genomes, a tenth above it
    (benchmarks/RESULTS.md, Human scale). STAR holds the suffix array, of 8.25 bytes a base over ``sparse``, twice while
    it inserts the CAR. Of a plain index the table of prefixes, which stops growing at 1.6 GB, is reckoned apart, and
    the line is 2 % above what was measured.

    Parameters
    ----------
    genome
        Bases, Mb.
    sparse
        STAR's genomeSAsparseD.
    plain
        Whether the index is built for alignment without the CAR: STAR then sorts in more pieces, within this memory.
    """
    if plain:
        return (4.8 + 8.7 / sparse) * genome + _prefix_megabytes(genome)
    return (6 + 8.5 / sparse) * genome + 500


def _prefix_megabytes(genome: float) -> float:
    """Return the size of STAR's table of prefixes of 1 to genomeSAindexNbases (at most 14) bases, 36 bits each, MB."""
    bases = max(4, min(14, int(math.log2(max(genome, 1) * 1e6) / 2 - 1)))
    return 4 ** (bases + 1) / 3 * 4.5 / 1e6


def insertion_megabytes(genome: float, sparse: int) -> float:
    """Return the memory of inserting the CAR into an index, MB."""
    return (8.5 + 11 / sparse) * genome + 500


def alignment_megabytes(genome: float, sparse: int) -> float:
    """Return the memory of aligning to an index, MB, without that of sorting the BAM."""
    return (3 + 8 / sparse) * genome + 500


def transcripts_megabytes(genome: float) -> float:
    """Return the memory of indexing the transcripts of a genome for kallisto, and of counting with the index, MB."""
    return TRANSCRIPTS * genome + 1500


def reading_megabytes(genome: float) -> float:
    """Return the memory of the jobs that read genome and annotation themselves (check_car, strand_panel, homologs), MB.

    They hold one contig, of which 3 bytes a base were in use at most, and the annotation's transcripts. Two contigs of
    250 and 243 Mb, as long as the largest of GRCh38, with 250,000 transcripts of 1.65 million exons, as many as GENCODE
    has, took 1.5 GB (benchmarks/genome_jobs.py). For a human genome it is twice that. A contig is taken for 300 Mb
    at most: of a genome with longer ones, what is asked for its annotation covers them.
    """
    return 1000 + 3 * min(genome, 300) + 0.4 * genome


def genome_megabases(fasta: str | None) -> float:
    """Return the bases of a genome by the size of its file, Mb; those of GRCh38 for an address, 0 for none."""
    if not fasta:
        return 0.0
    if is_url(fasta):
        return HUMAN
    try:
        size = Path(fasta).stat().st_size / 1e6
    except OSError:
        return HUMAN
    return size * (_GZIPPED if fasta.endswith(".gz") else 1)


#: MB that kallisto takes for each Mb of a genome at most. Indexing took 21 MB for each million different k-mers of
#: transcripts (1.8 and 9.3 million: 58 and 214 MB), counting with the index 2; human annotations have some 150 million
#: in 3,100 Mb. So this is an extrapolation, half as much again (docs/engines.md).
TRANSCRIPTS = 1.5


@dataclass(frozen=True)
class Choice:
    """How the CAR is added to the reference.

    Attributes
    ----------
    insertion
        ``saved``, ``each_run`` or ``none``.
    sa_sparse
        STAR's genomeSAsparseD of an index that is built.
    genome
        Bases of the genome that it was chosen for, Mb.
    why
        In words.
    """

    insertion: str
    sa_sparse: int
    genome: float
    why: str


def choose(reference: ReferenceConfig, machine: float, genome: float) -> Choice:
    """Return how the CAR is added to the reference on a machine: as the configuration says, else as the memory allows.

    Parameters
    ----------
    reference
        The configuration's section.
    machine
        Memory, MB.
    genome
        Bases of the genome, Mb.

    Returns
    -------
    Choice
        ``auto``: the CAR is inserted where the machine can do it; else the index stays plain, and its suffix array is
        made as sparse as building it needs.

    Examples
    --------
    >>> auto = ReferenceConfig(fasta="GRCh38.fa")
    >>> [(c.insertion, c.sa_sparse) for c in (choose(auto, gb * 1000, 3100) for gb in (128, 32, 24))]
    [('saved', 1), ('none', 3), ('none', 4)]
    """
    given = reference.sa_sparse
    if reference.star_index:
        given = _sparse_of(reference.star_index) or given
    why = "as the configuration says"
    if reference.insertion not in ("auto", "none"):
        return Choice(reference.insertion, given or 1, genome, why)
    if reference.insertion == "auto":
        needed = insertion_megabytes(genome, given or 1) + BESIDE
        why = (
            f"inserting the CAR into an index of {genome:,.0f} Mb takes {needed / 1000:,.3g} GB; "
            f"{'this machine has' if math.isfinite(machine) else 'the cluster is taken to have them'}"
            + (f" {machine / 1000:,.3g} GB" if math.isfinite(machine) else "")
        )
        if needed <= machine:
            return Choice("saved", given or 1, genome, why)
    if not given:
        # A small genome needs no sparse index; of a large one 10x's own is taken, unless it is too much to build.
        tried = _SPARSE if genome > _LARGE else (1, *_SPARSE)
        fits = (s for s in tried if index_megabytes(genome, s, plain=True) <= machine)
        given = next(fits, _SPARSE[-1])
    return Choice("none", given, genome, why)


def _sparse_of(index: str) -> int | None:
    """Return the genomeSAsparseD of an index, None if it cannot be read."""
    try:
        lines = (Path(index) / "genomeParameters.txt").read_text(errors="replace").splitlines()
    except OSError:
        return None
    words = [line.split("\t") for line in lines]
    found = next((w[1] for w in words if len(w) == 2 and w[0] == "genomeSAsparseD"), "")
    return int(found) if found.strip().isdigit() else None


def kept_choice(results: str | Path) -> Choice | None:
    """Return the choice that was made when a study began, None if there is none."""
    try:
        held = json.loads((Path(results) / RECORD).read_text())
        found = Choice(
            str(held["insertion"]), int(held["sa_sparse"]), float(held["genome"]), str(held["why"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    known = found.insertion in ("saved", "each_run", "none") and 1 <= found.sa_sparse <= 8
    return found if known else None


def keep_choice(choice: Choice, results: str | Path) -> None:
    """Write down a choice, so that a machine with other memory goes on with the same alignment."""
    if kept_choice(results) != choice:
        write_text(json.dumps(asdict(choice), indent=1) + "\n", Path(results) / RECORD)


def choice_of(study: Study, machine: float | None = None, genome: float | None = None) -> Choice:
    """Return how the CAR is added to the reference: as was chosen when the study began, else as :func:`choose` says.

    Parameters
    ----------
    study
        The study; what its configuration names holds against what was chosen before.
    machine
        Memory, MB; None: that of this machine.
    genome
        Bases of the genome, Mb; None: by its file.
    """
    reference = study.config.reference
    aligned = [s for s in study.samples.values() if s.kind == "fastq"]
    if not aligned or study.config.reuse:
        named = "saved" if reference.insertion == "auto" else reference.insertion
        return Choice(named, reference.sa_sparse or 1, 0.0, "no sample is aligned")
    size = genome_megabases(reference.fasta) if genome is None else genome
    if study.kallisto:
        return Choice("none", reference.sa_sparse or 1, size, "kallisto counts without the CAR")
    if study.searched:
        reference = reference.model_copy(update={"insertion": "none"})
    before = kept_choice(study.config.results)
    if before and (is_url(reference.fasta) or math.isclose(size, before.genome, rel_tol=0.01)):
        same = reference.insertion in ("auto", before.insertion)
        if same and reference.sa_sparse in (None, before.sa_sparse) and not reference.star_index:
            return before
        if same and reference.insertion == "auto":
            reference = reference.model_copy(update={"insertion": before.insertion})
    choice = choose(reference, machine_megabytes() if machine is None else machine, size)
    return replace(choice, why="the CAR's reads are searched for") if study.searched else choice


def settle(study: Study, choice: Choice) -> Study:
    """Return a study whose configuration says what was chosen."""
    config = study.config.model_copy(deep=True)
    config.reference.insertion = choice.insertion  # type: ignore[assignment]
    config.reference.sa_sparse = choice.sa_sparse
    return Study(config, study.samples, study.units)


def too_little(study: Study, choice: Choice, machine: float) -> str:
    """Say that a machine has too little memory for what a study needs; empty if it is enough, or not known.

    Parameters
    ----------
    study
        The study.
    choice
        How the CAR is added to the reference.
    machine
        Memory, MB.
    """
    if not choice.genome:
        return ""
    if study.kallisto:
        needed = transcripts_megabytes(choice.genome)
        if needed <= machine:
            return ""
        return (
            f"this machine has {machine / 1000:,.3g} GB of memory; kallisto may take {needed / 1000:,.3g} GB for a "
            f"genome of {choice.genome:,.0f} Mb: run on a larger machine"
        )
    needs = {"aligning to the index": alignment_megabytes(choice.genome, choice.sa_sparse) + BESIDE}
    if not study.config.reference.star_index:
        needs["building the index"] = index_megabytes(
            choice.genome, choice.sa_sparse, plain=choice.insertion == "none"
        )
    if choice.insertion != "none":
        needs["inserting the CAR"] = insertion_megabytes(choice.genome, choice.sa_sparse)
    step = max(needs, key=lambda s: needs[s])
    if needs[step] <= machine:
        return ""
    return (
        f"this machine has {machine / 1000:,.3g} GB of memory; {step} may take {needs[step] / 1000:,.3g} GB for a "
        f"genome of {choice.genome:,.0f} Mb (`reference.insertion: {choice.insertion}`, `sa_sparse: "
        f"{choice.sa_sparse}`): leave both to carseq (`auto`, `null`), give a finished index in "
        f"`reference.star_index`, or run on a larger machine"
    )


#: Bytes on the disk for each base of an index: the genome and STAR's suffix array, of 8.25 bytes over `sa_sparse`; for
#: each byte of a gzipped FASTQ what STAR has in temporary files while it aligns, and its BAM (benchmarks/disk.py).
_INDEX_DISK, _SCRATCH, _BAM = (1.6, 8.25), 4.5, 0.8


def disk_needed(study: Study, choice: Choice) -> float:
    """Return what a study takes on the disk of its results at most, MB, roughly: one sample aligned at a time."""
    indexes = {"saved": 2, "each_run": 1, "none": 1}[choice.insertion]
    indexes -= bool(study.config.reference.star_index)
    fixed, of_array = _INDEX_DISK
    total = indexes * choice.genome * 1e6 * (fixed + of_array / choice.sa_sparse)
    sizes = []
    for name, units in study.units.items():
        paths = [path for unit in units for path in (unit.r1, unit.r2)]
        if study.samples[name].kind == "fastq" and not any(map(is_url, paths)):
            sizes.append(float(sum(os.path.getsize(p) for p in paths if os.path.exists(p))))
    if study.kallisto:
        # Records of 32 bytes, sorted into a second file, of read pairs that take some 40 when gzipped; and the index.
        return (2 * max(sizes, default=0.0) + choice.genome * 1e6) / 1e6
    # Without a BAM there is nothing to sort.
    if sizes and not study.searched:
        total += _SCRATCH * max(sizes) + _BAM * sum(sizes)
    return total / 1e6
