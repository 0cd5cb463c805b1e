"""Everything that can be known to be wrong with a study before it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from carseq.construct import load_construct
from carseq.errors import CarseqError
from carseq.io.fasta import contigs
from carseq.io.remote import ask, is_url
from carseq.library.detect import detect_chemistry
from carseq.library.fastq import check_counts, check_pair
from carseq.library.strand import strand_panel
from carseq.reference.genome import check_reference, read_transcripts
from carseq.reference.index import check_index
from carseq.reference.star import star_version
from carseq.study.config import load_config
from carseq.study.load import load_study
from carseq.study.model import Study

#: Reads of FASTQ pairs up to this size are counted here; those of larger ones in the workflow's first step.
COUNTED_BYTES = 1_000_000_000


def check_study(path: Path) -> Iterator[tuple[str, str | CarseqError]]:
    """Yield (what was checked, what was found or what is wrong) for all that can be known before a run.

    Inputs given by an address are asked for, not fetched: what is in them is checked by the first jobs of the run.
    """
    try:
        study = load_study(load_config(path))
    except CarseqError as error:
        yield "configuration and sheets", error
        return
    config = study.config
    yield (
        "configuration and sheets",
        f"{len(study.samples)} samples, {sum(map(len, study.units.values()))} FASTQ pairs",
    )
    if config.reuse:
        yield "reuse", f"alignments and cells are those of {config.reuse}"
    elif any(sample.kind == "fastq" for sample in study.samples.values()):
        try:
            yield "STAR", star_version()
        except CarseqError as error:
            yield "STAR", error
    try:
        car = load_construct(
            config.construct.file, name=config.construct.name, form=config.construct.form
        )
        yield "construct", f"{car.name}, read as {car.form}, transcript of {len(car.sequence)} nt"
    except CarseqError as error:
        yield "construct", error
    yield from _check_addresses(study)
    panel: list[str] = []
    genome_is_here = not any(map(is_url, (config.reference.fasta, config.reference.gtf)))
    try:
        if genome_is_here:
            panel = _check_genome(study)
            yield "reference", "genome and annotation go together"
    except CarseqError as error:
        yield "reference", error
    for name, sample in study.samples.items():
        if sample.tcr:
            try:
                yield f"receptors of {name}", _check_receptors(study, name)
            except CarseqError as error:
                yield f"receptors of {name}", error
        try:
            if sample.kind != "fastq":
                yield f"sample {name}", _check_made(study, name)
                continue
            if config.reuse:
                continue
            pairs = [p for p in study.pairs(name) if not any(map(is_url, p))]
            for r1, r2 in pairs:
                check_pair(r1, r2)
            small = [p for p in pairs if sum(Path(f).stat().st_size for f in p) <= COUNTED_BYTES]
            check_counts(small)
            lists = is_url(study.whitelist(name))
            if not genome_is_here or lists or len(pairs) < len(study.pairs(name)):
                yield f"sample {name}", "its chemistry is found in the run, from what is fetched"
                continue
            found = detect_chemistry(
                study.pairs(name),
                panel,
                sample=name,
                chemistry=sample.chemistry,
                whitelist=study.whitelist(name),
            )
            yield (
                f"sample {name}",
                f"{found.name}, {found.valid_barcodes:.1%} of reads with a valid barcode",
            )
        except CarseqError as error:
            yield f"sample {name}", error


def _check_addresses(study: Study) -> Iterator[tuple[str, str | CarseqError]]:
    """Yield which inputs given by an address cannot be had, and the size of the others."""
    sizes = []
    for key, _, path in study.files():
        if is_url(path):
            try:
                sizes.append(ask(key, path))
            except CarseqError as error:
                yield key, error
    if sizes:
        yield (
            "addresses",
            f"{len(sizes)} files of {sum(sizes) / 1e9:,.3g} GB are there; what is in them is checked in the run",
        )


def _check_genome(study: Study) -> list[str]:
    """Check genome, annotation and index; return the transcripts that tell the strand of reads."""
    reference = study.config.reference
    check_reference(reference.fasta, reference.gtf, study.config.construct.name)
    if reference.star_index:
        check_index(reference.star_index, reference.fasta)
    return strand_panel(
        (t.gene, t.sequence) for t in read_transcripts(reference.fasta, reference.gtf)
    )


def _check_receptors(study: Study, name: str) -> str:
    """Check the receptors of a sample, against the barcodes of its matrix where it has one; return them in words."""
    from carseq.cells.receptor import match_contigs, read_contigs
    from carseq.io.matrix import read_counts

    sample = study.samples[name]
    chains = read_contigs(str(sample.tcr))
    matrix = sample.matrix or sample.raw_matrix
    if matrix:
        chains = match_contigs(chains, read_counts(matrix).obs_names, name)
    return f"{len(chains):,} productive chains in {chains['barcode'].nunique():,} barcodes"


def _check_made(study: Study, name: str) -> str:
    """Check the BAM and the matrices of a sample that comes without reads; return them in words."""
    from carseq.io.bam import open_bam
    from carseq.io.matrix import read_counts
    from carseq.molecules import check_bam

    sample, config = study.samples[name], study.config
    words = []
    if sample.bam:
        with open_bam(sample.bam) as bam:
            fasta = config.reference.fasta
            known = () if is_url(fasta) else contigs(fasta)
            check_bam(bam, known, config.molecules.barcode_tag, config.molecules.umi_tag)
            words.append(f"BAM of {bam.mapped + bam.nocoordinate:,} records")
            if not bam.nocoordinate:
                words[-1] += ", without unmapped reads: CAR reads among them are lost"
    car = config.construct.name
    given = [path for path in (sample.raw_matrix, sample.matrix) if path]
    for path in given:
        # A matrix beside the raw one only says which barcodes are cells.
        needs_car = not sample.bam and path == given[0]
        counts = read_counts(path, car=car, needs_car=needs_car)
        words.append(f"matrix of {counts.n_obs:,} barcodes and {counts.n_vars:,} features")
        if "protein" in counts.obsm:
            words[-1] += f", {counts.obsm['protein'].shape[1]} antibodies"
    return "; ".join(words)
