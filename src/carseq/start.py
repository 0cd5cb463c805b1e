"""Starting a study: a configuration from a folder of FASTQs, and a check of all that can be known at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from carseq.chemistry import check_counts, check_pair, detect_chemistry, strand_panel
from carseq.config import load_config
from carseq.config_docs import example_config
from carseq.construct import load_construct
from carseq.errors import CarseqError
from carseq.reference import check_index, check_reference, contigs, read_transcripts
from carseq.remote import ask, is_url
from carseq.sheets import Study, load_study
from carseq.star import star_version
from carseq.tables import write_text

#: Illumina's names: SAMPLE_S1_L001_R1_001.fastq.gz; lane and number may be missing.
_FASTQ = re.compile(
    r"^(?P<sample>.+?)(?:_S\d+)?(?:_(?P<lane>L\d{3}))?_R(?P<read>[12])(?:_(?P<part>\d{3}))?\.f(?:ast)?q(?:\.gz)?$"
)
#: Reads of FASTQ pairs up to this size are counted here; those of larger ones in the workflow's first step.
COUNTED_BYTES = 1_000_000_000


def find_fastqs(folder: Path) -> list[tuple[str, str, Path, Path]]:
    """Return (sample, unit, r1, r2) of the FASTQ pairs below a folder.

    Raises
    ------
    CarseqError
        If there are none, or a file lacks its mate.
    """
    pairs: dict[tuple[str, str], dict[str, Path]] = {}
    for path in sorted(folder.rglob("*")):
        if match := _FASTQ.match(path.name):
            unit = "_".join(filter(None, [match["lane"], match["part"]])) or "1"
            if path.parent != folder:
                unit = f"{path.parent.relative_to(folder).as_posix().replace('/', '_')}_{unit}"
            sample = re.sub(r"[^A-Za-z0-9._-]", "_", match["sample"])
            pairs.setdefault((sample, unit), {})[match["read"]] = path
    if not pairs:
        raise CarseqError(
            f"no FASTQ pairs below {folder}",
            "names like SAMPLE_S1_L001_R1_001.fastq.gz are looked for",
            "check the folder, or write units.tsv by hand",
        )
    for (sample, unit), reads in pairs.items():
        if set(reads) != {"1", "2"}:
            raise CarseqError(
                f"{sample} {unit} lacks R{'2' if '1' in reads else '1'}",
                str(next(iter(reads.values()))),
                "transfer it",
            )
    return [(sample, unit, reads["1"], reads["2"]) for (sample, unit), reads in pairs.items()]


def start_study(
    folder: Path,
    *,
    fastqs: Path | None = None,
    construct: Path | None = None,
    fasta: str | Path | None = None,
    gtf: str | Path | None = None,
    name: str = "CAR",
) -> tuple[list[Path], list[str]]:
    """Write ``config.yaml``, ``samples.tsv`` and ``units.tsv`` into ``folder``.

    Returns
    -------
    written : list of Path
    todo : list of str
        What the user still has to fill in.

    Raises
    ------
    CarseqError
        If a file is there already or no FASTQ pairs are found.
    """
    targets = {n: folder / n for n in ("config.yaml", "samples.tsv", "units.tsv")}
    for path in targets.values():
        if path.exists():
            raise CarseqError(
                f"{path} is there already",
                "nothing was written",
                "move it away or name another folder",
            )
    todo = []
    units = find_fastqs(fastqs) if fastqs else []
    samples = dict.fromkeys(sample for sample, *_ in units) or {"P01_urine_D28": None}
    rows = [f"{s}\tP01\t{_guess(s)}\t\tcase\tauto\n" for s in samples]
    header = "sample\tpatient\tcompartment\ttimepoint\trole\tchemistry\n"
    values = {"construct.name": name}
    given = {"construct.file": construct, "reference.fasta": fasta, "reference.gtf": gtf}
    for key, file in given.items():
        if file:
            # An address, or the name of a construct that comes with carseq, is kept as it is.
            there = not is_url(str(file)) and Path(file).exists()
            values[key] = str(Path(file).absolute()) if there else str(file)
        else:
            todo.append(f"fill `{key}` in {targets['config.yaml']}")
    if not fastqs:
        units = [("P01_urine_D28", "L001", Path("P01_R1.fastq.gz"), Path("P01_R2.fastq.gz"))]
        todo.append(f"name your FASTQ files in {targets['units.tsv']}")
    todo.append(
        f"fill patient, compartment, timepoint and role (case, negative_control, product) in {targets['samples.tsv']}"
    )
    todo.append(
        "optional: add columns to it, such as `tcr` (T-cell receptors: 10x contig annotations or AIRR), `gating` and "
        "`sequencing_run`; config/README.md explains them"
    )
    lines = [f"{s}\t{u}\t{r1.absolute()}\t{r2.absolute()}\n" for s, u, r1, r2 in units]
    write_text(example_config(values), targets["config.yaml"])
    write_text(header + "".join(rows), targets["samples.tsv"])
    write_text("sample\tunit\tr1\tr2\n" + "".join(lines), targets["units.tsv"])
    return list(targets.values()), todo


def _guess(sample: str) -> str:
    """Return the compartment a sample's name speaks of; urine if none."""
    for word, compartment in (
        ("blood", "blood"),
        ("pbmc", "blood"),
        ("product", "product"),
        ("infusion", "product"),
    ):
        if word in sample.lower():
            return compartment
    return "urine"


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
    from carseq.solo import read_counts

    sample = study.samples[name]
    chains = read_contigs(str(sample.tcr))
    matrix = sample.matrix or sample.raw_matrix
    if matrix:
        chains = match_contigs(chains, read_counts(matrix).obs_names, name)
    return f"{len(chains):,} productive chains in {chains['barcode'].nunique():,} barcodes"


def _check_made(study: Study, name: str) -> str:
    """Check the BAM and the matrices of a sample that comes without reads; return them in words."""
    from carseq.molecules import check_bam, open_bam
    from carseq.solo import read_counts

    sample, config = study.samples[name], study.config
    words = []
    if sample.bam:
        with open_bam(sample.bam) as bam:
            fasta = config.reference.fasta
            known = () if is_url(fasta) else contigs(fasta)
            check_bam(bam, known, config.molecules.barcode_tag)
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
