"""solo: reads of a sample to a sorted BAM and count matrices, with STARsolo."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from carseq.errors import CarseqError
from carseq.io.atomic import link_to
from carseq.io.fasta import is_gzipped
from carseq.io.files import write_text
from carseq.io.h5ad import write_h5ad
from carseq.library.geometry import Chemistry
from carseq.library.whitelist import is_bare, listed_barcode, read_parts
from carseq.log import get_logger
from carseq.reference.index import check_genes, index_parameters, insertion_options
from carseq.reference.star import run_star, scratch_folder

if TYPE_CHECKING:
    from anndata import AnnData


log = get_logger(__name__)

#: STARsolo options that follow Cell Ranger 4+ (STARsolo manual, "Matching CellRanger 4.x and 5.x").
CELL_RANGER_OPTIONS: dict[str, object] = {
    "clipAdapterType": "CellRanger4",
    "outFilterScoreMin": 30,
    "soloCBmatchWLtype": "1MM_multi_Nbase_pseudocounts",
    "soloUMIfiltering": "MultiGeneUMI_CR",
    "soloUMIdedup": "1MM_CR",
}

#: Seeds of a window that STAR stitches, in place of 50: its author's advice where mapping is slow (STAR issues 1414 and
#: 1488). Reads of low complexity have more, and the time grows exponentially with them: a few reads in a hundred took a
#: third of it. Of the demo's UMIs 0.02 % become others (benchmarks/RESULTS.md, Speed: where the time goes).
SEEDS_PER_WINDOW = 15


#: Lists the files whose decompression failed, in the folder where STAR runs.
UNREAD = "unread.txt"


def __getattr__(name: str) -> Any:
    # Had its home here in version 0.1. Only now, since it takes pandas, without which an alignment begins sooner.
    if name == "read_counts":
        from carseq.io.matrix import read_counts

        return read_counts
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _import_readers() -> None:
    """Import what reads and writes a matrix: a second or two, which pass while STAR runs."""
    import anndata  # noqa: F401
    import pysam  # noqa: F401
    import scipy.io  # noqa: F401

    from carseq.io import matrix  # noqa: F401


def align(
    pairs: Sequence[tuple[str | Path, str | Path]],
    chemistry: Chemistry,
    index: str | Path,
    out: str | Path,
    *,
    car: str | None,
    insert: tuple[str | Path, str | Path] | None = None,
    feature: str = "Gene",
    bam: bool = True,
    threads: int = 1,
    memory_mb: int = 4000,
) -> None:
    """Align the reads of a sample and count them.

    Parameters
    ----------
    pairs
        (R1, R2) of every unit, gzipped or plain.
    chemistry
        As detected.
    index
        STAR index with the CAR inserted; without it if ``insert`` is given or ``car`` is None.
    out
        Folder for ``raw.h5ad``, ``summary.json``, ``Log.final.out``, and with ``bam`` ``aligned.bam`` and its index.
        Without a ``car`` the matrix is ``plain.h5ad``: its row is written later, from molecules.
    car
        Gene id of the CAR, which must be among the matrix's genes. None: the reads are aligned without it.
    insert
        The CAR's FASTA and the full annotation with the CAR, inserted in this run.
    feature
        Gene or GeneFull.
    bam
        Whether the alignments are written. Without them STAR takes a quarter less time.
    threads
        Threads of STAR.
    memory_mb
        Memory for sorting the BAM, MB.

    Raises
    ------
    CarseqError
        If STAR fails or the matrix lacks the CAR.
    """
    out = Path(out)
    zipped = {is_gzipped(path) for pair in pairs for path in pair}
    # STAR neither ends nor fails on an index that is cut off.
    index_parameters(index)
    with scratch_folder(out, ".star.") as scratch:
        options: dict[str, object] = {
            "genomeDir": index,
            "readFilesIn": linked_reads(pairs, scratch),
            "soloBarcodeReadLength": 0,
            "soloStrand": chemistry.strand,
            "soloFeatures": feature,
            "soloCellFilter": "None",
            **(_bam_options(memory_mb) if bam else {"outSAMtype": "None"}),
            "seedPerWindowNmax": SEEDS_PER_WINDOW,
            **CELL_RANGER_OPTIONS,
            **_barcode_options(chemistry, scratch),
        }
        if insert is not None:
            options.update(insertion_options(index, *insert))
        if True in zipped:
            # In a script of its own, so that the BAM's header does not name this machine's Python.
            script = scratch / "decompress.sh"
            script.write_text(decompression_script())
            options["readFilesCommand"] = ["sh", script.name]
        with ThreadPoolExecutor(1) as beside:
            imported = beside.submit(_import_readers)
            run_star(options, threads=threads, folder=scratch)
            imported.result()
            check_read_whole(scratch)
        from carseq.io.bam import index_bam
        from carseq.io.matrix import read_star_matrix

        written = scratch / "Aligned.sortedByCoord.out.bam"
        with ThreadPoolExecutor(1) as beside:
            indexed = beside.submit(index_bam, written, threads=threads) if bam else None
            raw = read_star_matrix(scratch / "Solo.out" / feature / "raw")
            if insert is not None and car is not None:
                check_genes(set(raw.var["gene_id"]), index, insert[1], car)
            if car is not None and car not in set(raw.var["gene_id"]):
                raise CarseqError(
                    f"the count matrix lacks the CAR {car}",
                    f"it has {raw.n_vars} genes",
                    "remove the reference/ folder of the results and run again",
                )
            write_h5ad(raw, out / ("plain.h5ad" if car is None else "raw.h5ad"))
            summary = summarise(scratch, feature, chemistry, raw, car)
            if indexed:
                indexed.result()
        if bam:
            (scratch / f"{written.name}.bai").replace(out / "aligned.bam.bai")
            written.replace(out / "aligned.bam")
        shutil.copy(scratch / "Log.final.out", out / "Log.final.out")
        # The summary is written last: if it is there, the sample is complete.
        write_text(json.dumps(summary, indent=1) + "\n", out / "summary.json")


def _bam_options(memory_mb: int) -> dict[str, object]:
    """Return STAR's options of the BAM, with this memory for sorting it, MB."""
    return {
        "outSAMtype": ["BAM", "SortedByCoordinate"],
        "outSAMattributes": ["NH", "HI", "AS", "nM", "CR", "UR", "CB", "UB", "GX", "GN"],
        "outSAMunmapped": "Within",
        "limitBAMsortRAM": memory_mb * 1_000_000,
    }


def _barcode_options(chemistry: Chemistry, scratch: Path) -> dict[str, object]:
    """Return STARsolo's options of barcode and UMI; their lists as STAR wants them lie in ``scratch``."""
    if preset := chemistry.preset:
        lists = []
        words = read_parts(chemistry.whitelist, [length for _, length in preset.parts])
        for number, of_part in enumerate(words, 1):
            write_text("\n".join(of_part) + "\n", scratch / f"whitelist{number}.txt")
            lists.append(str(scratch / f"whitelist{number}.txt"))
        return preset.star_options(lists)
    return {
        "soloType": "CB_UMI_Simple",
        "soloCBwhitelist": plain_whitelist(Path(chemistry.whitelist), scratch / "whitelist.txt"),
        "soloCBstart": chemistry.cb_start,
        "soloCBlen": chemistry.cb_length,
        "soloUMIstart": chemistry.umi_start,
        "soloUMIlen": chemistry.umi_length,
    }


def decompression_command() -> list[str]:
    """Return the command that STAR decompresses reads with: igzip's, which takes a third of gzip's time.

    STAR puts the command into a shell script as it is.
    """
    plain = re.fullmatch(r"[\w./+-]+", sys.executable)
    return [sys.executable, "-m", "isal.igzip", "-dc"] if plain else ["gzip", "-dc"]


def decompression_script() -> str:
    """Return the script that gives STAR reads, gzipped or plain, and notes which could not be decompressed."""
    return f"""for file in "$@"; do
  case $(head -c 2 "$file" | od -An -tx1 | tr -d ' ') in
    1f8b) {" ".join(decompression_command())} "$file" ;;
    *) cat "$file" ;;
  esac || {{ echo "$file" >> {UNREAD}; exit 1; }}
done
"""


def linked_reads(pairs: Sequence[tuple[str | Path, str | Path]], folder: Path) -> list[str]:
    """Link reads to names without a comma, space or quote; return them as STAR's ``readFilesIn`` (R2, then R1).

    STAR separates files by commas and writes their names into a shell script. It runs in the folder, whose own name may
    hold a comma, too.
    """
    lists: tuple[list[str], list[str]] = ([], [])
    for number, (r1, r2) in enumerate(pairs, 1):
        for names, read, path in ((lists[0], "R2", r2), (lists[1], "R1", r1)):
            link = folder / f"{number}_{read}.fastq"
            link_to(Path(path).absolute(), link)
            log.info("%s is %s", link.name, path)
            names.append(link.name)
    return [",".join(names) for names in lists]


def check_read_whole(folder: Path) -> None:
    """Check that all reads could be decompressed: STAR takes what it gets, be it nothing, for all there is.

    Parameters
    ----------
    folder
        Where STAR ran.

    Raises
    ------
    CarseqError
        If not.
    """
    if (folder / UNREAD).exists():
        links = (folder / UNREAD).read_text().split()
        paths = [str(os.path.realpath(folder / link)) for link in links]
        raise CarseqError(
            f"{', '.join(paths[:4])} could not be read to the end",
            "its decompression ended early: the file is damaged or cut off, its disk did not answer, or it was killed",
            "look whether it can be read (`gzip -t`), transfer it again if not; then run again",
        )


def plain_whitelist(path: Path, target: Path) -> Path:
    """Return the whitelist as STAR wants it: plain text, one bare barcode a line."""
    from isal import igzip

    zipped = is_gzipped(path)
    with igzip.open(path, "rb") if zipped else path.open("rb") as source:
        text = source.read()
    # A line that Windows has ended is no bare barcode.
    if is_bare(text) and not zipped:
        return path
    if not is_bare(text):
        words = map(listed_barcode, text.splitlines())
        text = b"".join(word + b"\n" for word in words if word)
    target.write_bytes(text)
    return target


_LOG_NUMBERS = {
    "Number of input reads": "n_reads",
    "Uniquely mapped reads number": "n_unique",
    "Number of reads mapped to multiple loci": "n_multi",
    "Number of reads mapped to too many loci": "n_too_many_loci",
    "Average mapped length": "mapped_length",
}


def summarise(
    star: Path, feature: str, chemistry: Chemistry, raw: AnnData, car: str | None
) -> dict[str, Any]:
    """Return the mapping summary of a STARsolo run, as written to ``summary.json``.

    Returns
    -------
    dict
        ``chemistry``, ``whitelist``, ``strand``; ``n_reads``; fractions ``valid_barcodes``, ``mapped_genome``,
        ``mapped_gene_unique``, ``saturation``; ``n_barcodes``, ``n_umis`` of the raw matrix, and ``car_umis_aligned``
        of one with the CAR.
    """
    logged: dict[str, float] = {}
    for line in (star / "Log.final.out").read_text().splitlines():
        name, _, value = line.partition("|")
        if name.strip() in _LOG_NUMBERS:
            logged[_LOG_NUMBERS[name.strip()]] = float(value.strip().rstrip("%"))
    solo: dict[str, str] = {}
    for line in (star / "Solo.out" / feature / "Summary.csv").read_text().splitlines():
        name, _, value = line.rpartition(",")
        solo[name] = value
    barcode_stats = (star / "Solo.out" / "Barcodes.stats").read_text()
    exact = re.search(r"yesWLmatchExact\s+(\d+)", barcode_stats)
    n_reads = int(logged["n_reads"])

    def fraction(key: str) -> float:
        found = [v for k, v in solo.items() if k.startswith(key)]
        try:
            value = float(found[0])
        except (IndexError, ValueError):
            return float("nan")
        return round(value, 4) if np.isfinite(value) else float("nan")

    summary: dict[str, Any] = {
        "chemistry": chemistry.name,
        "whitelist": Path(chemistry.whitelist).name,
        "strand": chemistry.strand,
        "read_length": chemistry.read_length,
        "n_reads": n_reads,
        "valid_barcodes": fraction("Reads With Valid Barcodes"),
        "exact_barcodes": round(int(exact.group(1)) / n_reads, 4) if exact and n_reads else None,
        "mapped_genome": round((logged["n_unique"] + logged["n_multi"]) / n_reads, 4)
        if n_reads
        else None,
        "mapped_genome_unique": round(logged["n_unique"] / n_reads, 4) if n_reads else None,
        "mapped_gene_unique": fraction(f"Reads Mapped to {feature}: Unique {feature}"),
        "saturation": fraction("Sequencing Saturation"),
        "reads_sense": chemistry.reads_sense,
        "reads_antisense": chemistry.reads_antisense,
        "n_barcodes": int(raw.n_obs),
        "n_umis": int(raw.X.sum()),
    }
    if car is not None:
        is_car = (raw.var["gene_id"] == car).to_numpy()
        summary["car_umis_aligned"] = int(raw.X[:, is_car].sum())
    return {
        k: (None if isinstance(v, float) and not np.isfinite(v) else v) for k, v in summary.items()
    }
