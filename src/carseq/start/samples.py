"""What can be known to be wrong with one sample before a run: its reads, or its BAM, matrices and receptors."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from carseq.construct import Construct
from carseq.construct.homology import Locus
from carseq.errors import CarseqError
from carseq.io.barcodes import (
    APART,
    FEWEST,
    bare_barcode,
    check_belonging,
    check_cells,
    check_receptors_of,
    libraries_of,
    of_two_libraries,
    same_library,
)
from carseq.io.remote import is_url
from carseq.library.detect import detect_chemistry, first_barcodes, strand_reads
from carseq.library.fastq import WHOLE_BYTES, check_counts, check_pair, first_reads
from carseq.library.geometry import preset_of
from carseq.library.presets import OBSERVED
from carseq.library.strand import MIN_STRAND_READS
from carseq.reference.star import LONGEST_READ
from carseq.reuse import earlier_contig
from carseq.schema.percent import plain_percent
from carseq.schema.results import FILES
from carseq.schema.thresholds import FEWEST_UNLIKE, MOST_UNLIKE
from carseq.sequence.kmers import KmerSet
from carseq.start.note import Note
from carseq.start.tables import missing_markers
from carseq.study.model import Study
from carseq.study.texts import names_of

if TYPE_CHECKING:
    from anndata import AnnData

#: Reads of FASTQ pairs up to this size are counted here; those of larger ones in the workflow's first step.
COUNTED_BYTES = 1_000_000_000
#: Reads by which two FASTQ files are known to be copies.
COMPARED = 100
#: A matrix of fewer genes is a toy or a panel: that it lacks the markers is a note, not a fault.
TOY_GENES = 100
#: Share of the reads of a gene expression library that are of genes which are in most cells, at least: ribosomal and
#: mitochondrial genes alone have a fifth.
FEWEST_OF_GENES = 0.02
#: Barcodes of a sample, the largest, that are compared with another's, and the share of them that is no chance: of
#: two libraries, 0.001 to 0.04 are common.
MOST_CELLS_COMPARED, MOST_IN_COMMON = 1000, 0.5


#: Reads of a sample by whose barcodes it is told whether another one is of the same cells; the share of them in the
#: largest cells of a matrix, from which they are its own (by chance 0.001); and the shortest barcode that tells.
READS_COMPARED, OF_CELLS, SHORTEST_BARCODE = 10_000, 0.05, 12

#: Molecules of a droplet, at least, to be compared with that of another raw matrix; droplets compared, the first by
#: barcode; and the share of common ones with the very same number, which is no chance.
FEWEST_IN_DROPLET, MOST_DROPLETS, SAME_DROPLETS = 5, 20_000, 0.9
#: Droplets of a pair that are compared before all are.
FIRST_DROPLETS = 200


#: Instrument, run and flow cell in a read's name, before its lane, tile and place (Illumina); carseq's simulator has
#: none.
_ILLUMINA = re.compile(r"(?!CARSEQ:)([^:\s]+:\d+:[A-Za-z0-9-]{5,}):\d+:\d+:\d+:\d+")


def check_reads(study: Study, name: str, panel: Sequence[str], *, told: bool) -> str:
    """Check the FASTQ files of a sample; return its chemistry in words.

    Parameters
    ----------
    study, name
        The study and the sample.
    panel
        Transcripts that tell the strand.
    told
        Whether genome and annotation are here, so that the chemistry can be found.

    Raises
    ------
    CarseqError
        For the first fault found.
    """
    pairs = [p for p in study.pairs(name) if not any(map(is_url, p))]
    for r1, r2 in pairs:
        check_pair(r1, r2)
        size = sum(Path(f).stat().st_size for f in (r1, r2))
        # Smaller ones are compared whole there.
        if WHOLE_BYTES < size <= COUNTED_BYTES:
            check_counts([(r1, r2)])
    given = study.config.reference
    fetched = map(is_url, (study.whitelist(name), given.fasta, given.gtf))
    if any(fetched) or len(pairs) < len(study.pairs(name)):
        return "its chemistry is found in the run, from what is fetched"
    if not told:
        return Note("its chemistry is looked at once genome and annotation are as they should be")
    found = detect_chemistry(
        study.pairs(name),
        panel,
        sample=name,
        chemistry=study.samples[name].chemistry,
        whitelist=OBSERVED if study.observes(name) else study.whitelist(name),
    )
    words = f"{found.name}, {plain_percent(found.valid_barcodes)} of reads with a valid barcode"
    if study.observes(name):
        words += ", barcodes learnt from the reads"
    if found.read_length > LONGEST_READ and not study.kallisto:
        raise CarseqError(
            f"the reads of {name} are too long for STAR",
            f"R2 has {found.read_length:,} bases; STAR takes up to {LONGEST_READ}",
            f"cut them (`cutadapt -l {LONGEST_READ}`), or give the reads of the sequencer, if these were joined",
        )
    notes = []
    told_by = found.reads_sense + found.reads_antisense
    looked_at = strand_reads(len(pairs)) * len(pairs)
    if told_by < max(MIN_STRAND_READS, FEWEST_OF_GENES * min(looked_at, found.n_reads)):
        unsure = f", so that their strand ({found.strand}) could not be checked"
        notes.append(
            f"only {told_by:,} of the reads looked at are of transcripts that are in most cells"
            f"{unsure if told_by < MIN_STRAND_READS else ''}: if this is a library of hashtags, antibodies, receptors "
            "or guides, or of another species, give the gene expression library"
        )
    if others := found.other_libraries:
        lanes = f"{', '.join(others[:4])} and {Path(study.pairs(name)[0][0]).name}"
        notes.append(f"{of_two_libraries(lanes)}; {APART}")
    preset = preset_of(study.samples[name].chemistry)
    if preset and preset.note:
        notes.append(preset.note)
    return Note("; ".join([words, *notes])) if notes else words


def check_made(
    study: Study,
    name: str,
    contigs: Collection[str],
    symbols: Callable[[], Mapping[str, str]],
    totals: dict[str, pd.Series],
    car: Construct | None = None,
) -> Iterator[str | CarseqError]:
    """Yield what was found, noted or is wrong in a sample that comes without reads.

    Parameters
    ----------
    study, name
        The study and the sample.
    contigs
        Names of the genome's contigs, if it is here.
    symbols
        Gives the gene symbols of the annotation by id.
    totals
        Filled with the molecules by barcode of each matrix that could be read, by its column.
    car
        The CAR, if its file could be read: its contig may have another name in a BAM.
    """
    from carseq.cells.barcodes import check_raw, most_are_empty
    from carseq.io.bam import molecule_tags
    from carseq.molecules import doubts_of_bam

    sample = study.samples[name]
    words: list[str] = []
    listed: list[str] | None = None
    for key in ("matrix", "raw_matrix"):
        path = getattr(sample, key)
        if not path:
            continue
        try:
            counts = _read_matrix(study, name, key, symbols, listed)
            totals[key] = _totals(counts)
            if key == "matrix":
                listed = list(counts.obs_names)
                if most_are_empty(totals[key].to_numpy()):
                    yield Note(
                        f"most barcodes of the matrix of {name} have less than a tenth of a cell's molecules, as the "
                        "empty droplets of a raw one, and all barcodes of `matrix` are taken for cells: give it in "
                        "`raw_matrix`, or the filtered one"
                    )
            else:
                check_raw(counts, path)
            words.append(f"{key} of {counts.n_obs:,} barcodes and {counts.n_vars:,} genes")
            if "protein" in counts.obsm:
                words[-1] += f", {counts.obsm['protein'].shape[1]} antibodies"
            if not sample.bam and len(held := libraries_of(counts.obs_names)) > 1:
                yield Note(
                    f"the {key} of {name} has barcodes of {len(held)} libraries ({', '.join(held[:4])}): if they are "
                    "of several samples (`cellranger aggr`), they are taken for one; give each sample its own matrix"
                )
            if key == "raw_matrix" or not sample.raw_matrix:
                yield from _check_genes(counts, f"the {key} of {name}")
                yield from _check_markers(study, counts, f"the {key} of {name}")
                if sample.kind == "matrix":
                    yield from _check_target(study, counts, f"the {key} of {name}")
        except CarseqError as error:
            yield error
    if len(totals) == 2:
        try:
            check_cells(totals["matrix"].index, totals["raw_matrix"], name)
        except CarseqError as error:
            yield error
    if sample.bam:
        try:
            told, *notes = _check_bam(study, name, contigs, car)
        except CarseqError as error:
            yield error
        else:
            words.insert(0, told)
            yield from notes
            yield from _check_bam_matrix(study, name, totals)
            tags = study.config.molecules.barcode_tag, study.config.molecules.umi_tag
            n_molecules = max(
                (int(of_barcodes.sum()) for of_barcodes in totals.values()), default=0
            )
            tag = molecule_tags(sample.bam, tags)[0]
            for doubt, remedy in doubts_of_bam(sample.bam, n_molecules, tag):
                yield Note(f"{doubt}; {remedy}")
    if words:
        yield "; ".join(words)


def _read_matrix(
    study: Study,
    name: str,
    key: str,
    symbols: Callable[[], Mapping[str, str]],
    listed: list[str] | None,
) -> AnnData:
    from carseq.io.matrix import read_counts

    sample = study.samples[name]
    # A matrix beside the raw one only says which barcodes are cells.
    first = "raw_matrix" if sample.raw_matrix else "matrix"
    return read_counts(
        getattr(sample, key),
        car=study.config.construct.name,
        needs_car=not sample.bam and key == first,
        symbols=symbols,
        cells=listed,
    )


def _totals(counts: AnnData) -> pd.Series:
    return pd.Series(np.asarray(counts.X.sum(axis=1)).ravel(), index=counts.obs_names.astype(str))


def _check_genes(counts: AnnData, what: str) -> Iterator[Note]:
    """Yield what is unusual about the genes; raise if no cell type could be recognized by them."""
    from carseq.io.genes import check_genes

    try:
        yield from map(Note, check_genes(counts.var_names, what))
    except CarseqError as error:
        are_ids = counts.var_names.str.match(r"^ENS[A-Z]*G\d+").mean() > 0.5
        if counts.n_vars >= TOY_GENES or are_ids or not error.message.startswith("none of"):
            raise
        yield Note(f"{error.message}: every cell will be `unknown`")


def _check_markers(study: Study, counts: AnnData, what: str) -> Iterator[Note]:
    """Yield that most markers of a table of the user's own are not in a matrix; raise if none is."""
    from carseq.cells import read_markers

    path = study.config.cells.markers
    if path is None:
        return
    try:
        named = list(dict.fromkeys(read_markers(path)["gene"]))
    except CarseqError:
        # Reported with the tables.
        return
    yield from missing_markers(path, named, set(counts.var_names), what)


def _check_target(study: Study, counts: AnnData, what: str) -> Iterator[Note]:
    """Yield that a matrix has no gene of the name of the CAR's target, but one of its letters.

    Genes that no cell expresses are often left out of a matrix: that it lacks the target alone says nothing.
    """
    target = study.config.construct.target
    if not target or target in counts.var_names:
        return
    letters = sorted(target.lower())
    if near := [n for n in counts.var_names if sorted(n.lower()) == letters]:
        yield Note(
            f"{what} has no gene {target} (`construct.target`), so that cells which express it cannot be counted; did "
            f"you mean {near[0]}?"
        )


def _check_bam(
    study: Study, name: str, contigs: Collection[str], car: Construct | None
) -> Iterator[str]:
    """Yield what a sample's BAM is, and what to know of it; raise if it could show no CAR."""
    from carseq.io.bam import OTHER_TAGS, molecule_tags, open_bam
    from carseq.library.reads import check_read_length, read_length_of_bam
    from carseq.molecules import (
        car_contigs,
        check_bam,
        check_shows_car,
        resembles_car,
        share_unlike_car,
    )

    settings = study.config.molecules
    path = str(study.samples[name].bam)
    tags = molecule_tags(path, (settings.barcode_tag, settings.umi_tag))
    with open_bam(path) as bam:
        check_bam(bam, contigs, *tags)
        records = bam.mapped + bam.nocoordinate
        told = f"BAM of {records:,} records"
        if tags in OTHER_TAGS and tags != (settings.barcode_tag, settings.umi_tag):
            told += f" with the tags of {OTHER_TAGS[tags]} ({tags[0]}, {tags[1]})"
        if not records:
            raise CarseqError(f"the BAM {path} holds no read", "", "give the whole BAM")
        yield told
        check_read_length(read_length_of_bam(path), f"the reads of the BAM {path}")
        car_name = study.config.construct.name
        kmers = None if car is None else KmerSet([t.sequence for t in car.transcripts])
        mapped = {s.contig: s.mapped for s in bam.get_index_statistics()}
        n = mapped.get(car_name, 0)
        if kmers is not None and n >= FEWEST_UNLIKE and not resembles_car(bam, car_name, kmers):
            yield Note(
                f"the {n:,} reads on the BAM's contig {car_name} do not resemble the construct: the BAM was aligned to "
                "another CAR, and its CAR T cells would be missed; give what it was aligned to in `construct.file`"
            )
        elif kmers is not None and n >= FEWEST_UNLIKE:
            unlike = share_unlike_car(bam, car_name, kmers)
            if unlike * n >= FEWEST_UNLIKE and unlike > MOST_UNLIKE:
                yield Note(
                    f"{plain_percent(unlike)} of the {n:,} reads on the BAM's contig {car_name} do not resemble the "
                    "construct, and are not counted: the contig holds more (ends, a marker), or another CAR in the "
                    "same vector; give what the BAM was aligned to in `construct.file`"
                )
        if bam.nocoordinate:
            return
        held = {car_name}
        if study.config.reuse:
            earlier = FILES["transcript"].under(study.config.reuse)
            held.update(earlier_contig(earlier, car_name)["contig"])
        if kmers is not None:
            held.update(car_contigs(bam, car_name, kmers, [Locus(c, 0, 0, "") for c in contigs]))
        check_shows_car(bam, car_name, held)
        yield Note(
            "the BAM holds no unmapped reads: if they were left out of it, CAR reads among them are lost"
        )


def _check_bam_matrix(
    study: Study, name: str, totals: Mapping[str, pd.Series]
) -> Iterator[str | CarseqError]:
    """Yield how the barcodes of a BAM's reads fit the matrices given beside it."""
    from carseq.io.bam import barcodes_of_bam

    try:
        reads = barcodes_of_bam(str(study.samples[name].bam), study.config.molecules.barcode_tag)
    except CarseqError as error:
        yield error
        return
    for key in ("raw_matrix", "matrix"):
        if key not in totals:
            continue
        try:
            found = check_belonging(reads, totals[key], name)
            yield Note(found.words()) if found.cells_only else found.words()
        except CarseqError as error:
            yield error
        return


def check_receptors(study: Study, name: str, totals: pd.Series | None) -> str:
    """Check the receptors of a sample, against its matrix where it has one; return them in words.

    Raises
    ------
    CarseqError
        If the table cannot be used, or belongs to other cells.
    """
    from carseq.cells.receptor import read_contigs

    chains = read_contigs(str(study.samples[name].tcr))
    barcodes = pd.Index(chains["barcode"].drop_duplicates())
    told = f"{len(chains):,} productive chains in {len(barcodes):,} barcodes"
    if totals is not None:
        match = check_receptors_of(barcodes, totals, name)
        told += f", {plain_percent(match.share)} of them in the matrix"
        if how := match.words():
            told += f" ({how})"
    return told


def check_copies(study: Study) -> Iterator[Note]:
    """Yield notes of FASTQ files that begin with the same reads as another one of the study, as a copy does."""
    seen: dict[int, str] = {}
    for name in study.samples:
        for unit in study.units.get(name, []):
            if is_url(unit.r1) or not Path(unit.r1).is_file():
                continue
            try:
                reads = [sequence for _, sequence in first_reads(unit.r1, COMPARED)]
            except CarseqError:
                # Reported with its sample.
                continue
            # A lane of nothing but N is reported there too.
            if len(set(reads)) < COMPARED / 2:
                continue
            key = hash(tuple(reads))
            if key in seen:
                yield Note(
                    f"{unit.r1} holds the same reads as {seen[key]} (the first {len(reads)} were compared): if it is a "
                    "copy, one sample's molecules are counted twice, or in two samples; name each file once"
                )
            seen.setdefault(key, unit.r1)


def check_runs(study: Study) -> Iterator[Note]:
    """Yield notes of libraries that were sequenced on one flow cell, by their reads' names, and share no run."""
    on: dict[str, dict[str, None]] = {}
    for name, sample in study.samples.items():
        first = [_first_name(unit.r1) for unit in study.units.get(name, [])]
        for read in [*first, _first_name_in_bam(sample.bam)]:
            if found := _ILLUMINA.match(read):
                on.setdefault(found[1], {})[name] = None
    for cell, names in on.items():
        apart: dict[str, None] = {}
        for one, two in combinations(names, 2):
            mine, other = study.samples[one], study.samples[two]
            shared = names_of(mine.sequencing_run) & names_of(other.sequencing_run)
            if not shared and not (mine.library and mine.library == other.library):
                apart |= dict.fromkeys((one, two))
        if apart:
            yield Note(
                f"samples {', '.join(apart)} were sequenced on one flow cell ({cell.split(':')[-1]}, by the names of "
                "their reads) and have no `sequencing_run` in common: molecules that swapped between them (index "
                "hopping) are not looked for; write the flow cell into `sequencing_run` of each"
            )


def _first_name(path: str) -> str:
    """Return the name of the first read of a FASTQ file that is here; nothing if it cannot be read."""
    if not is_url(path) and Path(path).is_file():
        with suppress(CarseqError):
            return next((name for name, _ in first_reads(path, 1)), "")
    return ""


def _first_name_in_bam(bam: str | None) -> str:
    from carseq.io.bam import open_bam

    if bam and not is_url(bam):
        with suppress(CarseqError, OSError), open_bam(bam) as file:
            return next((str(read.query_name) for read in file), "")
    return ""


def check_twins(matrices: Mapping[str, pd.Series]) -> Iterator[CarseqError]:
    """Yield samples whose matrices are copies of each other.

    Parameters
    ----------
    matrices
        Molecules by barcode, by sample.
    """
    seen: dict[Any, str] = {}
    for name, totals in matrices.items():
        if len(totals) < 2:
            continue
        key = (len(totals), int(pd.util.hash_pandas_object(totals.sort_index()).sum()))
        if key in seen:
            yield CarseqError(
                f"the matrices of samples {seen[key]} and {name} are the same",
                f"the same {len(totals):,} barcodes with the same numbers of molecules",
                "give each sample its own matrix",
            )
        seen.setdefault(key, name)


def check_cells_twice(matrices: Mapping[str, pd.Series]) -> Iterator[Note]:
    """Yield notes of samples whose cells have the same barcodes, as one library has that was counted twice.

    Parameters
    ----------
    matrices
        Molecules by barcode, by sample.
    """
    cells = {
        name: {bare_barcode(str(b)) for b in totals.nlargest(MOST_CELLS_COMPARED).index}
        for name, totals in matrices.items()
    }
    for (one, own), (two, other) in combinations(cells.items(), 2):
        both = len(own & other)
        if both >= FEWEST and both > MOST_IN_COMMON * min(len(own), len(other)):
            yield Note(
                f"samples {one} and {two} have most of their cells' barcodes in common ({both:,} of the largest "
                f"{min(len(own), len(other)):,}): if they are one library that was counted twice (STARsolo's Gene and "
                "GeneFull, CellBender's matrix beside Cell Ranger's), leave one out"
            )


def check_one_library(study: Study, matrices: Mapping[str, pd.Series]) -> Iterator[Note]:
    """Yield notes of samples whose reads are of the same cells, as those of two lanes of one library are.

    Parameters
    ----------
    study
        The study.
    matrices
        Molecules by barcode of samples that are not given as reads, by sample.
    """
    reads: dict[str, list[str]] = {}
    for name, sample in study.samples.items():
        pairs = [
            pair for pair in study.pairs(name) if not is_url(pair[0]) and Path(pair[0]).is_file()
        ]
        # What is wrong with files is reported with their sample.
        with suppress(CarseqError):
            barcodes = first_barcodes(pairs, sample.chemistry, READS_COMPARED) if pairs else []
            if len(barcodes) >= FEWEST and len(barcodes[0]) >= SHORTEST_BARCODE:
                reads[name] = barcodes
    holders: dict[str, list[str]] = {}
    for name, barcodes in reads.items():
        for barcode, n in Counter(barcodes).items():
            if n > 1:
                holders.setdefault(barcode, []).append(name)
    # Most pairs of samples have no cell in common, and need no second look.
    common = Counter(pair for names in holders.values() for pair in combinations(names, 2))
    alike = [
        pair
        for pair, n in common.items()
        if n >= FEWEST and same_library(*(reads[x] for x in pair))
    ]
    for one, two in alike:
        yield Note(
            f"the reads of samples {one} and {two} are of the same cells: if they are lanes or runs of one library, "
            "give them one name in units.tsv, or each is judged by a part of its molecules and both count as samples; "
            "if one is the library of antibodies, hashtags or receptors, leave it out"
        )
    for other, totals in matrices.items():
        cells = {bare_barcode(str(b)) for b in totals.nlargest(MOST_CELLS_COMPARED).index}
        for name, barcodes in reads.items():
            if sum(barcode in cells for barcode in barcodes) > OF_CELLS * len(barcodes):
                yield Note(
                    f"the reads of sample {name} are of the cells of sample {other}, which is given as a matrix: if "
                    "they are of one library, it counts as two samples; leave one out"
                )


def check_named_files(study: Study) -> Iterator[Note]:
    """Yield notes of samples whose files are named after another sample of the sheet, as exchanged ones are."""
    files: dict[str, list[str]] = {}
    for name, sample in study.samples.items():
        given = [sample.bam, sample.raw_matrix, sample.matrix, sample.tcr]
        files[name] = [f for f in (*sum(study.pairs(name), ()), *given) if f and not is_url(f)]
    # What all lie in names none of them.
    try:
        above = os.path.commonpath([Path(f).parent for own in files.values() for f in own])
    except ValueError:
        above = ""
    words = {name: _ILLUMINA_END.sub("", name) for name in files}
    called = {name: _plain_name(word) for name, word in words.items()}
    for name, own in files.items():
        for file in own:
            told = {
                "by its name": _plain_name(_ILLUMINA_END.sub("", file.removeprefix(above))),
                "by what it says itself": "__".join(map(_plain_name, _names_within(file))),
            }
            meant: dict[str, str] = {}
            for how, text in told.items():
                if not _names(text, called[name]):
                    others = [o for o, w in called.items() if len(w) > 2 and _names(text, w)]
                    meant |= {how: max(others, key=len)} if others else {}
            if meant:
                how, other = next(iter(meant.items()))
                yield Note(
                    f"sample {name} is given {file}, which {how} is of sample {other}: if the files of the two were "
                    "exchanged in the sheet, each is judged as the other; else this is of no account"
                )
                break


def _names_within(file: str) -> list[str]:
    """Return the names of samples that a BAM or a matrix holds: Cell Ranger's library, read groups, columns of obs."""
    from carseq.io.bam import open_bam
    from carseq.io.matrix import names_within

    if file.endswith(".bam"):
        with suppress(CarseqError, OSError), open_bam(file) as bam:
            groups = bam.header.to_dict().get("RG", [])
            return list(
                dict.fromkeys(str(g[key]) for g in groups for key in ("SM", "LB") if g.get(key))
            )
    return names_within(file) if file.endswith((".h5", ".h5ad")) else []


#: What Illumina's software puts behind a sample's name.
_ILLUMINA_END = re.compile(r"_S\d+(_L\d{3})?_[RI]\d(_\d{3})?(?=\.|$)")


def _plain_name(text: str) -> str:
    return re.sub(r"[\W_]+", "_", text).strip("_").lower()


def _names(path: str, sample: str) -> bool:
    return f"_{sample}_" in f"_{path}_"


def compared_droplets(totals: pd.Series) -> pd.Series:
    """Return the droplets of a raw matrix by which it is told whether another one is of the same library."""
    held = totals[totals >= FEWEST_IN_DROPLET]
    bare = held.set_axis([bare_barcode(str(b)) for b in held.index])
    return bare[~bare.index.duplicated()].sort_index().head(MOST_DROPLETS)


def check_pools(study: Study, droplets: Mapping[str, pd.Series]) -> Iterator[Note]:
    """Yield notes of samples that are of one library by their files, and that the sheet does not call that.

    Parameters
    ----------
    study
        The study.
    droplets
        Of raw matrices (:func:`compared_droplets`), by sample.
    """
    runs = {name: _run_of(sample.matrix) for name, sample in study.samples.items()}
    groups = {name: _groups_of(sample.bam) for name, sample in study.samples.items()}
    pooled: dict[str, dict[str, None]] = {}
    for one, two in combinations(study.samples, 2):
        mine, other = study.samples[one].library, study.samples[two].library
        if mine == other and mine:
            continue
        if runs[one] and runs[one] == runs[two]:
            why = f"both are of one run of `cellranger multi` ({runs[one]})"
        elif groups[one] and groups[one] == groups[two]:
            why = f"their BAMs have the same read groups ({', '.join(sorted(groups[one])[:2])})"
        elif one in droplets and two in droplets and _same_droplets(droplets[one], droplets[two]):
            why = "their raw matrices have the same droplets"
        else:
            continue
        pooled.setdefault(why, {}).update(dict.fromkeys((one, two)))
    for why, names in pooled.items():
        yield Note(
            f"samples {', '.join(names)} are of one library and have no `library` in common: {why}. Each one lies in "
            "the ambient RNA of all; judged apart, a patient without CAR T cells is given those of another: write the "
            "same `library` for all of them"
        )


def _run_of(matrix: str | None) -> str:
    """Return the run of ``cellranger multi`` whose pool a matrix is of; nothing if it is of none."""
    from carseq.start.cellranger import own_droplets

    path = Path(matrix or "")
    for folder in path.parents:
        if folder.name == "per_sample_outs":
            return "" if own_droplets(folder.parent) else str(folder.parent)
    return ""


def _groups_of(bam: str | None) -> frozenset[str]:
    """Return the read groups of a BAM, if they name a library, a flow cell and its lane, as Cell Ranger's do."""
    from carseq.io.bam import open_bam

    if not bam or is_url(bam):
        return frozenset()
    with suppress(CarseqError, OSError), open_bam(bam) as file:
        ids = {str(group.get("ID", "")) for group in file.header.to_dict().get("RG", [])}
        return frozenset(ids if ids and all(i.count(":") >= 4 for i in ids) else ())
    return frozenset()


def _same_droplets(one: pd.Series, two: pd.Series) -> bool:
    # Nearly all pairs are told apart by the first droplets of the shorter list, in a hundredth of the time of all.
    short, long = sorted((one, two), key=len)
    first = short.head(FIRST_DROPLETS)
    at = long.index.get_indexer(first.index)
    there = at >= 0
    same = first.to_numpy()[there] == long.to_numpy()[at[there]]
    if not len(same) or (len(same) >= FIRST_DROPLETS // 10 and same.mean() < SAME_DROPLETS / 2):
        return False
    both = one.index.intersection(two.index)
    return len(both) >= FEWEST and bool((one[both] == two[both]).mean() > SAME_DROPLETS)
