"""Every fault of a study that can be found before it runs, reported in one pass."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from carseq.construct import Construct, load_construct
from carseq.construct.genes import human_parts, is_annotated
from carseq.errors import CarseqError
from carseq.io.genes import MIN_IDS, check_genes, is_mitochondrial, marker_genes
from carseq.io.genes import gene_symbols as symbols_of
from carseq.io.remote import ask, check_address, is_url
from carseq.kallisto import find_programs
from carseq.library.geometry import preset_of
from carseq.library.presets import OBSERVED, Preset
from carseq.library.strand import strand_panel
from carseq.library.whitelist import read_parts, read_whitelist
from carseq.machine import disk_megabytes, machine_megabytes
from carseq.reference.genome import (
    check_reference,
    doubts_of,
    gene_symbols,
    read_annotation,
    read_transcripts,
    tally_bases,
)
from carseq.reference.index import check_index
from carseq.reference.star import star_version
from carseq.reference.transgene import raise_if_car, small_contigs
from carseq.start.note import Note
from carseq.start.samples import (
    TOY_GENES,
    check_cells_twice,
    check_copies,
    check_made,
    check_named_files,
    check_one_library,
    check_pools,
    check_reads,
    check_receptors,
    check_runs,
    check_twins,
    compared_droplets,
)
from carseq.start.tables import check_tables
from carseq.study.config import read_config
from carseq.study.construct_file import vector_name
from carseq.study.load import read_study
from carseq.study.memory import (
    Choice,
    choice_of,
    disk_needed,
    settle,
    too_little,
    transcripts_megabytes,
)
from carseq.study.model import Study
from carseq.study.texts import results_fault, some_names

if TYPE_CHECKING:
    import pandas as pd

Found = tuple[str, str | CarseqError]


@dataclass
class _Genome:
    """What of genome and annotation the checks of samples need."""

    #: Whether both are here and sound.
    sound: bool = False
    panel: list[str] = field(default_factory=list)
    genes: Collection[str] = ()
    contigs: dict[str, int] = field(default_factory=dict)
    symbols: Callable[[], Mapping[str, str]] = dict


#: Antigens that people name otherwise than by the gene's symbol, and the gene (the aliases of HGNC).
ANTIGENS = {
    "BCMA": "TNFRSF17", "CD269": "TNFRSF17", "TACI": "TNFRSF13B", "BAFFR": "TNFRSF13C", "CD20": "MS4A1",
    "CD30": "TNFRSF8", "CD123": "IL3RA", "CD135": "FLT3", "CD138": "SDC1", "CS1": "SLAMF7", "CD319": "SLAMF7",
    "CD171": "L1CAM", "CLL1": "CLEC12A", "HER2": "ERBB2", "EGFRVIII": "EGFR", "MESOTHELIN": "MSLN", "PSMA": "FOLH1",
    "CEA": "CEACAM5", "B7H3": "CD276", "CLDN182": "CLDN18", "IL13RALPHA2": "IL13RA2", "TROP2": "TACSTD2",
    "FRALPHA": "FOLR1",
}  # fmt: skip


def check_study(path: Path) -> Iterator[Found]:
    """Yield (what was checked, what was found or what is wrong) for all that can be known before a run.

    A fault of one input hides none of another. Inputs given by an address are asked for, not fetched: what is in them
    is checked by the first jobs of the run.
    """
    told: set[str] = set()
    unread: set[str] = set()
    for what, found in _all_found(path):
        if isinstance(found, CarseqError):
            # A file that is not there, or not the file, is told where it is named; who would read it says no more.
            if str(found) in told or unread & _paths(found.message):
                continue
            told.add(str(found))
            if re.search(r"cannot (be )?read", found.message):
                unread |= _paths(str(found))
        yield what, found


def _paths(text: str) -> set[str]:
    """Return the paths from the root in a text."""
    return {word.strip(";,:") for word in text.split() if re.match(r"/\w", word)}


def _all_found(path: Path) -> Iterator[Found]:
    config, faults = read_config(path)
    yield from (("configuration", fault) for fault in faults)
    if config is None:
        return
    where = _results_folder(Path(path), config.results)
    if fault := results_fault(where):
        if not faults:
            told = f"the folder of results {fault}"
            yield "configuration", CarseqError(told, where, "name another folder in `results`")
    else:
        config.results = where
    study, sheet_faults, notes = read_study(config)
    yield from (("configuration and sheets", fault) for fault in sheet_faults)
    if not faults and not sheet_faults:
        yield "configuration and sheets", _words(study)
    yield from (("samples sheet", Note(note)) for note in notes)
    yield from (("samples sheet", note) for note in _named_sorts(study))
    if (limit := config.cells.max_pct_mito) < 1:
        told = f"`cells.max_pct_mito` is in per cent: {limit:g} % of the UMIs, and half of it for most cells"
        yield "configuration", Note(f"{told}; if a fraction is meant, write {100 * limit:g}")
    choice = choice_of(study)
    study = settle(study, choice)
    yield from _guarded("results", lambda: _check_results(study))
    if config.reuse:
        yield "reuse", f"alignments and cells are those of {config.reuse}"
    elif any(sample.kind == "fastq" for sample in study.samples.values()):
        if study.kallisto:
            yield from _guarded("kallisto", lambda: _check_kallisto(study))
        else:
            yield from _guarded("STAR", lambda: iter([("STAR", star_version())]))
        yield from _guarded("memory and disk", lambda: _check_machine(study, choice))
    constructs: list[Construct] = []
    yield from _guarded("construct", lambda: _check_constructs(study, constructs))
    yield from _check_addresses(study)
    genome = _Genome()
    yield from _guarded("reference", lambda: _check_genome(study, constructs, genome))
    yield from _guarded("whitelist", lambda: _check_whitelists(study))
    yield from _guarded("tables", lambda: check_tables(study, genome.genes))
    matrices: dict[str, pd.Series] = {}
    droplets: dict[str, pd.Series] = {}
    # Reading and decompressing leave Python free: samples are checked in parallel and reported in order.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        jobs = [
            pool.submit(
                lambda n: list(
                    _check_whole_sample(study, n, genome, constructs, matrices, droplets)
                ),
                name,
            )
            for name in study.samples
        ]
        for job in jobs:
            yield from job.result()
    yield from (("samples", fault) for fault in check_twins(matrices))
    yield from (("samples", note) for note in check_cells_twice(matrices))
    yield from (("samples", note) for note in check_pools(study, droplets))
    yield from (("samples", note) for note in check_named_files(study))
    if not config.reuse:
        yield from (("reads", note) for note in check_copies(study))
        yield from (("reads", note) for note in check_one_library(study, matrices))
        yield from (("reads", note) for note in check_runs(study))


def _results_folder(config: Path, results: str) -> str:
    """Return where a run's results go: beside the configuration, as `carseq run` has it.

    Snakemake without ``--directory`` has them in the working directory; where they are there alone, those are meant.
    """
    beside = config.parent / results
    return results if Path(results).exists() and not beside.exists() else str(beside)


def _guarded(what: str, check: Callable[[], Iterator[Found]]) -> Iterator[Found]:
    """Yield what a check yields; what it raises is a fault too, whatever the bytes it read made of it."""
    try:
        yield from check()
    except CarseqError as error:
        yield what, error
    # A check must come to its end, whatever a file holds: the next one may find more.
    except Exception as error:
        yield (
            what,
            CarseqError(
                f"{what} could not be read",
                f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
                "one of its files is probably damaged or of another kind than carseq expects: look at it, transfer it "
                "again; if it is sound, report this as a fault of carseq",
            ),
        )


def _words(study: Study) -> str:
    pairs = sum(map(len, study.units.values()))
    kinds = [sample.kind for sample in study.samples.values()]
    given = [
        f"{kinds.count(kind)} as {words}"
        for kind, words in (("bam", "BAM and matrix"), ("matrix", "matrices alone"))
        if kind in kinds
    ]
    samples = "1 sample" if len(kinds) == 1 else f"{len(kinds)} samples"
    return ", ".join([samples, f"{pairs} FASTQ pair{'s' if pairs != 1 else ''}", *given])


def _named_sorts(study: Study) -> Iterator[Note]:
    """Yield which samples are named after a sort by the CAR while their ``gating`` is empty."""
    from carseq.calling.gates import gate_in_name

    named: dict[str, list[str]] = {}
    for name, sample in study.samples.items():
        code = "" if sample.gating or sample.role != "case" else gate_in_name(name)
        if code:
            named.setdefault(code, []).append(name)
    for code, names in named.items():
        shown = some_names(names)
        one = f"sample {shown} has no `gating`, and its name says that it was"
        several = (
            f"{len(names)} samples ({shown}) have no `gating`, and their names say that they were"
        )
        yield Note(
            f"{one if len(names) == 1 else several} sorted by the CAR: if so, write {code} into `gating`, or the "
            "purity of the sort is taken for the share of CAR T cells that the patient has"
        )


def _check_results(study: Study) -> Iterator[Found]:
    """Yield whether results can be written, and whether those that are there were made with another configuration."""
    from carseq.study.record import changed_since

    place = Path(study.config.results).absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK):
        yield (
            "results",
            Note(
                f"a run could not write its results: you may not write to {place}, or its disk is read-only; name "
                "another folder in `results`, or ask the folder's owner"
            ),
        )
    folder = Path(study.config.results) / "samples"
    held = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    if left := [name for name in held if name not in study.samples]:
        told = (
            f"{folder} holds {some_names(left)} of an earlier sheet: the report leaves out what the sheet does not "
            "name; delete their folders there, and their files in report/reads, if nobody needs them"
        )
        yield "results", Note(told)
    if changed := changed_since(study, Path(study.config.results)):
        yield (
            "results",
            Note(
                f"{study.config.results} was made with another configuration ({', '.join(changed[:6])}): what "
                "depends on it is made again"
            ),
        )


def _check_kallisto(study: Study) -> Iterator[Found]:
    """Yield which kallisto and bustools are there, and what a run with them does not give."""
    found = find_programs(study.config.solo.kallisto).versions()
    yield "kallisto", ", ".join(f"{name} {version}" for name, version in found.items())
    lost = ["no BAM of all reads", "no introns", "no alignment of other genes' reads"]
    if study.config.solo.keep_bam == "all":
        lost[0] += " (slice.bam alone, in spite of `solo.keep_bam: all`)"
    yield (
        "kallisto",
        Note(
            f"reads are matched with transcripts, not aligned: {', '.join(lost)}; another construct searches the FASTQ "
            "files again, and `reuse` cannot build on this study"
        ),
    )
    if study.config.reference.star_index:
        yield (
            "kallisto",
            Note("`reference.star_index` is not used: kallisto has an index of its own"),
        )


def _check_machine(study: Study, choice: Choice) -> Iterator[Found]:
    """Yield how and why the CAR is added to the reference, and whether this machine has the memory and disk for it."""
    how = {
        "saved": "the CAR is inserted into the index, which is saved",
        "each_run": "the CAR is inserted in each alignment",
        "none": "reads are aligned without the CAR, its molecules come from unmapped reads and from those at places of "
        "the genome that resemble it",
    }[choice.insertion]
    if study.kallisto:
        needed = transcripts_megabytes(choice.genome) / 1000
        yield (
            "memory",
            f"kallisto takes some {needed:,.2g} GB; the CAR's molecules come from a search of all reads",
        )
    elif study.searched:
        yield (
            "evidence",
            "STAR counts and writes no BAM; all reads are searched for the CAR's (`solo.evidence: fastq`)",
        )
        if study.config.solo.keep_bam == "all":
            yield (
                "evidence",
                Note(
                    "no BAM of all reads is kept (slice.bam alone, in spite of `solo.keep_bam: all`): another "
                    "construct searches the FASTQ files again, and `reuse` cannot build on this study"
                ),
            )
    else:
        yield (
            "insertion",
            f"{how} (`{choice.insertion}`, sa_sparse {choice.sa_sparse}): {choice.why}",
        )
    if told := too_little(study, choice, machine_megabytes()):
        yield "memory", Note(told)
    needed, left = disk_needed(study, choice), disk_megabytes(study.config.results)
    if needed > left:
        yield (
            "disk",
            Note(
                f"the run may take {needed / 1e3:,.3g} GB on the disk of {study.config.results}, which has "
                f"{left / 1e3:,.3g} GB left: free some, or name `results` on another disk"
            ),
        )


def _check_constructs(study: Study, read: list[Construct]) -> Iterator[Found]:
    """Yield what the construct and its alternatives are, and keep the first."""
    given = study.config.construct
    if given.file:
        car = load_construct(given.file, name=given.name, form=given.form)
        read.append(car)
        yield "construct", f"{car.name}, read as {car.form}, transcript of {len(car.sequence)} nt"
    elif all(sample.kind == "matrix" for sample in study.samples.values()):
        yield "construct", f"none given: the CAR is the feature {given.name} of the matrices"
    for file in given.alternatives:

        def other(file: str = file) -> Iterator[Found]:
            found = load_construct(file, name=vector_name(file))
            yield f"alternative {Path(file).name}", f"transcript of {len(found.sequence)} nt"

        yield from _guarded(f"alternative {Path(file).name}", other)


def _check_addresses(study: Study) -> Iterator[Found]:
    """Yield which inputs given by an address cannot be had, and the size of the others."""
    sizes = []
    for key, _, path in study.files():
        if not is_url(path):
            continue
        try:
            check_address(key, path)
        except CarseqError:
            # Reported with the configuration.
            continue
        try:
            sizes.append(ask(key, path))
        except CarseqError as error:
            yield key, error
    if sizes:
        # A server may give no length.
        size = f" of {sum(sizes) / 1e9:,.3g} GB" if all(sizes) else ", some of unknown size,"
        yield (
            "addresses",
            f"{len(sizes)} files{size} are there; what is in them is checked in the run",
        )


def _check_genome(study: Study, constructs: list[Construct], genome: _Genome) -> Iterator[Found]:
    """Check genome, annotation and index, and that they do not hold the CAR already; keep what samples need."""
    given = study.config.reference
    import pandas as pd

    fasta, gtf = given.fasta, given.gtf
    if not fasta or not gtf or any(map(is_url, (fasta, gtf))):
        if gtf and not is_url(gtf):
            known = gene_symbols(gtf)
            genome.symbols = lambda: known
            genome.genes = set(known.values())
            yield "annotation", f"symbols of {len(known):,} genes"
        if not (gtf and is_url(gtf)):
            yield from _check_target(study.config.construct.target, genome.genes)
        return
    genome.contigs = check_reference(fasta, gtf, study.config.construct.name)
    genome.symbols = cache(lambda: gene_symbols(gtf))
    if given.star_index and not study.kallisto:
        plain = given.insertion == "none"
        check_index(given.star_index, fasta, gtf, plain=plain)
    introns: Counter[bool] = Counter()
    bases: Counter[bool] = Counter()
    annotation = read_annotation(gtf)
    transcripts = list(tally_bases(read_transcripts(fasta, annotation, introns=introns), bases))
    named = sorted({t.gene for t in transcripts})
    # Behind a genome's prefix (GRCh38_CD19), or by their ids, genes are the same as in the matrix of a run.
    genome.genes = {*named, *symbols_of(pd.Index(named)).names}
    genome.panel = strand_panel((t.gene, t.sequence) for t in transcripts)
    genome.sound = True
    doubts = doubts_of(annotation, genome.contigs, introns, bases)
    yield from (("reference", Note(doubt)) for doubt in doubts)
    if not doubts:
        yield "reference", "genome and annotation go together"
    if (
        len(genome.genes) >= TOY_GENES
        and not is_mitochondrial(pd.Index(sorted(genome.genes))).any()
    ):
        yield (
            "reference",
            Note(
                "no mitochondrial gene of the annotation lies on a contig of the genome: pct_mito will be missing, and "
                "the filter by it does nothing"
            ),
        )
    yield from _check_species(genome.genes, gtf)
    yield from _check_target(study.config.construct.target, genome.genes)
    yield from _check_parts(genome.genes, constructs)
    transcripts += small_contigs(fasta, genome.contigs)
    for car in constructs:
        raise_if_car(car, transcripts)


def _check_target(target: str | None, genes: Collection[str]) -> Iterator[Found]:
    """Yield a note of an antigen that is no gene: of a protein's name too where no annotation says which genes are."""
    if not target or target in genes:
        return
    meant = ANTIGENS.get(re.sub(r"[\W_]", "", target).upper(), target)
    near = [gene for gene in genes if gene.lower() == meant.lower()]
    if not genes and meant == target:
        return
    where = "of the annotation, so" if genes else "but a protein, so"
    told = f"{target} is not a gene {where} that cells which express it cannot be counted"
    if near:
        told += f"; did you mean {near[0]}?"
    elif meant != target:
        told += f"; its gene is {meant}"
    yield "construct.target", Note(told)


def _check_species(genes: Collection[str], gtf: str) -> Iterator[Found]:
    """Yield that no cell can be typed by an annotation's genes, and refuse one of mouse: a run would tell at its end.

    Raises
    ------
    CarseqError
        If the genes are those of mouse.
    """
    import pandas as pd

    if len(genes) < TOY_GENES:
        return
    try:
        check_genes(pd.Index(sorted(genes)), f"the annotation {gtf}")
    except CarseqError as error:
        if not error.message.startswith("none of"):
            raise CarseqError(
                error.message,
                error.cause,
                "carseq types human cells: give the human genome and its annotation",
            ) from None
        yield "reference", Note(f"{error.message}: every cell will be `unknown`")


def _check_parts(genes: Collection[str], constructs: Sequence[Construct]) -> Iterator[Found]:
    """Yield which human genes of the construct's parts are not in the annotation, where it has symbols at all."""
    if len(marker_genes().intersection(genes)) < MIN_IDS:
        return
    for car in constructs:
        lacking = [p for p in human_parts(car) if not is_annotated(p.gene, genes)]
        if lacking:
            named = ", ".join(dict.fromkeys(f"{part.gene} ({part.name})" for part in lacking))
            yield (
                "reference",
                Note(
                    f"the annotation lacks genes of which the construct has parts: {named}; where the vector codes "
                    "them as the gene does, reads of the gene may be taken for the CAR's: give an annotation with them"
                ),
            )


def _check_whitelists(study: Study) -> Iterator[Found]:
    """Yield which barcode lists cannot be used."""
    lists: dict[str, Preset | None] = {}
    for name, sample in study.samples.items():
        if path := study.whitelist(name):
            lists[path] = preset_of(sample.chemistry)
    if study.config.chemistry.whitelist not in (None, OBSERVED):
        lists.setdefault(str(study.config.chemistry.whitelist), None)
    for path, preset in sorted(lists.items(), key=lambda item: item[0]):
        if is_url(path):
            continue
        try:
            if preset and len(preset.parts) > 1:
                read_parts(path, [length for _, length in preset.parts])
            else:
                read_whitelist(path)
        except CarseqError as error:
            yield f"whitelist {Path(path).name}", error


def _check_whole_sample(
    study: Study,
    name: str,
    genome: _Genome,
    constructs: Sequence[Construct],
    matrices: dict[str, pd.Series],
    droplets: dict[str, pd.Series],
) -> Iterator[Found]:
    return _guarded(
        f"sample {name}", lambda: _check_sample(study, name, genome, constructs, matrices, droplets)
    )


def _check_sample(
    study: Study,
    name: str,
    genome: _Genome,
    constructs: Sequence[Construct],
    matrices: dict[str, pd.Series],
    droplets: dict[str, pd.Series],
) -> Iterator[Found]:
    """Yield what was found in the inputs of a sample, or is wrong with them."""
    sample = study.samples[name]
    what = f"sample {name}"
    if sample.kind == "fastq":
        # Missing files were reported with the configuration.
        there = all(is_url(f) or os.path.exists(f) for pair in study.pairs(name) for f in pair)
        if not study.config.reuse and name in study.units and there:
            yield what, check_reads(study, name, genome.panel, told=genome.sound)
        totals = None
    else:
        found: dict[str, pd.Series] = {}
        car = next(iter(constructs), None)
        for result in check_made(study, name, genome.contigs, genome.symbols, found, car):
            yield what, result
        totals = found.get("raw_matrix", found.get("matrix"))
        # Samples of one pool share its raw matrix.
        own = found.get("matrix", totals)
        if own is not None:
            matrices[name] = own
        if "raw_matrix" in found:
            droplets[name] = compared_droplets(found["raw_matrix"])
    if sample.tcr:
        yield from _guarded(
            f"receptors of {name}",
            lambda: iter([(f"receptors of {name}", check_receptors(study, name, totals))]),
        )
