"""What was done in a study, by its record: the way each sample came in, and the steps that were run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from carseq.calling.counts import sharing_a_run
from carseq.io.results import searched, way_in
from carseq.report.study import Study
from carseq.schema.results import FILES

_CITATIONS = {
    "STAR": ("Dobin et al. 2013, STAR", "10.1093/bioinformatics/bts635"),
    "STARsolo": ("Kaminow et al. 2021, STARsolo", "10.1101/2021.05.05.442755"),
    "kallisto": ("Bray et al. 2016, kallisto", "10.1038/nbt.3519"),
    "bustools": ("Melsted et al. 2021, kallisto and bustools", "10.1038/s41587-021-00870-2"),
    "EmptyDrops": ("Lun et al. 2019, EmptyDrops", "10.1186/s13059-019-1662-y"),
    "Scrublet": ("Wolock et al. 2019, Scrublet", "10.1016/j.cels.2018.11.005"),
    "SOLO": ("Bernstein et al. 2020, SOLO", "10.1016/j.cels.2020.05.010"),
    "CellBender": ("Fleming et al. 2023, CellBender", "10.1038/s41592-023-01943-7"),
    "scanpy": ("Wolf et al. 2018, scanpy", "10.1186/s13059-017-1382-0"),
    "scVI": ("Lopez et al. 2018, scVI", "10.1038/s41592-018-0229-2"),
    "Harmony": ("Korsunsky et al. 2019, Harmony", "10.1038/s41592-019-0619-0"),
    "Leiden": ("Traag et al. 2019, Leiden", "10.1038/s41598-019-41695-z"),
}


@dataclass(frozen=True)
class Done:
    """What was done.

    Attributes
    ----------
    fastq, bam, matrix : list of str
        Samples that came as reads, as a BAM, and as a matrix alone.
    as_given : list of str
        Of those with a matrix, the ones that came with a matrix of called cells alone.
    own_cells : list of str
        Of those with a raw matrix, the ones whose cells are those of a matrix given beside it.
    tested : list of str
        Samples whose droplets were tested.
    reused : bool
        Whether alignments, cells and types were taken from a finished study.
    sequencing_runs : bool
        Whether molecules swapped between libraries of a run were looked for.
    scrublet, solo : list of str
        Samples in which Scrublet and SOLO looked for doublets: they take a hundred cells and more.
    cellbender : bool
        Whether CellBender ran.
    assumed : list of str
        Samples whose ambient RNA was assumed.
    plain : bool
        Whether reads were aligned without the CAR.
    kallisto : bool
        Whether kallisto and bustools counted the reads.
    searched : bool
        Whether the CAR's reads were searched for among all reads.
    own_markers : bool
        Whether the study gave a table of markers.
    """

    fastq: list[str]
    bam: list[str]
    matrix: list[str]
    as_given: list[str]
    own_cells: list[str]
    tested: list[str]
    reused: bool
    sequencing_runs: bool
    scrublet: list[str]
    solo: list[str]
    cellbender: bool
    assumed: list[str]
    plain: bool
    kallisto: bool
    searched: bool
    own_markers: bool

    @property
    def with_reads(self) -> bool:
        """Whether any sample came with reads, so that molecules were scored."""
        return bool(self.fastq or self.bam)


def done(study: Study) -> Done:
    """Return what was done in a study."""
    sheet: dict[str, dict[str, Any]] = study.config.get("sheet") or {}
    cells = study.config.get("cells") or {}
    ways: dict[str, list[str]] = {"fastq": [], "bam": [], "matrix": []}
    as_given: list[str] = []
    own_cells: list[str] = []
    for name in study.samples:
        given = sheet.get(name) or {}
        without = FILES["molecules"].at(sample=name) in study.missing
        way = way_in(given)
        if without and way == "fastq":
            way = "matrix"
        ways[way].append(name)
        if way != "fastq" and given.get("matrix"):
            (own_cells if given.get("raw_matrix") else as_given).append(name)
    assumed = study.detection["ambient_assumed"].astype(bool)
    reference = study.config.get("reference") or {}
    setting = searched(study.config)
    runs, libraries = (
        {name: (given or {}).get(key) for name, given in sheet.items()}
        for key in ("sequencing_run", "library")
    )
    return Done(
        **ways,
        as_given=as_given,
        own_cells=own_cells,
        tested=[name for name in study.samples if name not in as_given + own_cells],
        reused=bool(study.config.get("reuse")),
        sequencing_runs=bool(sharing_a_run(ways["fastq"] + ways["bam"], runs, libraries)),
        scrublet=_scored(study, "doublet_score"),
        solo=_scored(study, "solo_score"),
        cellbender=bool(cells.get("cellbender")),
        assumed=list(study.detection["sample"][assumed]),
        plain=reference.get("insertion") == "none",
        kallisto=setting == "solo.aligner: kallisto",
        searched=bool(setting),
        own_markers=bool(cells.get("markers")),
    )


def _scored(study: Study, score: str) -> list[str]:
    """Return the samples whose cells have a score; small samples have none."""
    if score not in study.cells:
        return []
    found = set(study.cells.loc[study.cells[score].notna(), "sample"].astype(str))
    return [name for name in study.samples if name in found]


def citations(study: Study, steps: Done) -> list[tuple[str, str]]:
    """Return what is to be cited for the steps that were run: words and DOI."""
    used = {"scanpy", "Leiden"}
    used |= {"Scrublet"} if steps.scrublet else set()
    used |= {"SOLO"} if steps.solo else set()
    used |= {"CellBender"} if steps.cellbender else set()
    aligner = {"kallisto", "bustools"} if steps.kallisto else {"STAR", "STARsolo"}
    used |= aligner if steps.fastq else set()
    used |= {"EmptyDrops"} if steps.tested else set()
    used |= {"scvi": {"scVI"}, "harmony": {"Harmony"}}.get(study.integration, set())
    return [entry for key, entry in _CITATIONS.items() if key in used]


def listed(names: list[str], everyone: int, *, first: bool = False) -> str:
    """Return names for a sentence: ``all samples`` if these are all of them, else the names, at most six.

    At the ``first`` place of a sentence words begin with a capital; a sample's name stays as it is.
    """
    if len(names) == everyone:
        words = "all samples" if everyone > 1 else "the sample"
        return words.capitalize() if first else words
    shown = names[:6]
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return f"{', '.join(shown)}{more}"


def looked(program: str, names: list[str], everyone: int) -> str:
    """Return what is said of a program that looked for doublets, up to the next one; nothing if it looked at no sample.

    >>> looked("Scrublet", ["blood"], 2)
    'Scrublet (in blood alone, the others are too small for it), by '
    """
    if not names:
        return ""
    alone = f" (in {listed(names, everyone)} alone, the others are too small for it)"
    return f"{program}{alone if len(names) < everyone else ''}, by "
