"""A results folder, read into tables: whatever is there, in the declared schemas."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from carseq.cells.filters import HIT
from carseq.errors import CarseqError
from carseq.io.barcodes import APART, of_two_libraries
from carseq.io.checksums import check_whole
from carseq.io.files import read_json, read_table
from carseq.io.h5ad import read_cells, read_doubts, read_parts
from carseq.io.matrix import rows_beside_car
from carseq.io.results import check_made_by, of_run, read_record, study_name, way_in
from carseq.log import get_logger
from carseq.schema.obs import OBS, conform_obs
from carseq.schema.results import BENCHMARKS, FILES
from carseq.schema.tables import FILTERS, LOSSES, MOLECULES, SUPPORT

if TYPE_CHECKING:
    from anndata import AnnData

log = get_logger(__name__)

#: Columns of :attr:`Study.beside_car`.
BESIDE_CAR = ["sample", "gene", "molecules"]
#: Columns of :attr:`Study.lineages_hit`.
LINEAGES_HIT = ["sample", "step", "lineage", "n", "n_removed", "others"]
#: Tables of the whole study by the attribute that holds them, where it is not the file's name.
_TABLES = {
    "expected": "coverage",
    "blood": "blood_in_urine",
    "mixing": "integration",
    "protein": "protein_agreement",
}
_STUDY_TABLES = (
    "domains", "expected", "homology", "detection", "localization", "contrasts", "blood", "annotation", "mixing",
    "protein", "receptors", "thresholds", "downsampling", "rules", "target", "clinic", "agreement", "clonotypes",
)  # fmt: skip


@dataclass(frozen=True)
class Study:
    """Everything a results folder says, as tables.

    Attributes
    ----------
    results
        The folder.
    name
        Name of the study: the folder's own, or its parent's where it is just called ``results``.
    config, versions
        ``run_config.yaml`` and ``versions.json``.
    construct
        Name of the CAR.
    tx_length
        Length of the CAR transcript (bases; 0 if unknown).
    expected
        By base of the transcript: how many of 100 molecules should have a read over it (3', 5').
    domains, homology, lint
        The construct's annotation, its homology with the genome and the findings about it.
    samples
        Sample names, in the order of the detection table.
    solo, knees
        By sample: ``summary.json`` and the knee table.
    filters, molecules, losses
        Tables of all samples.
    cells
        ``obs`` of the cohort (schema ``OBS``), indexed by ``sample:barcode``.
    umap
        Coordinates of ``cells``, shape ``(n_cells, 2)``, or None.
    detection, localization, contrasts, thresholds, downsampling, rules, target, clinic, agreement, clonotypes
        The cohort's tables.
    blood
        How many of the urine's T cells blood could have brought (schema ``BLOOD_IN_URINE``).
    annotation, mixing
        What other methods call the cells (schema ``ANNOTATION``); how well samples mix (``INTEGRATION``).
    protein, receptors
        The annotation compared with surface proteins and T-cell receptors, where there are any.
    benchmarks
        Time and memory of the jobs: ``rule``, ``sample`` (empty: of the cohort), ``seconds``,
        ``cpu_seconds``, ``memory_mb``.
    doubts
        By sample: what makes its reads or its BAM doubtful, and what to do about it.
    missing
        Files that are not there, relative to ``results``.
    beside_car
        Rows of the matrices that may be other parts of the CAR's vector: ``sample``, ``gene`` and ``molecules``.
    lineages_hit
        Lineages that lost far more cells to a filter than the others of their sample: ``sample``, ``step``,
        ``lineage``, ``n`` and ``n_removed`` cells, and ``others``, the share that these lost.
    doubts_of_reference
        What makes genome and annotation doubtful, and what to do about it.
    """

    results: Path
    name: str
    config: dict[str, Any]
    versions: dict[str, str]
    construct: str
    tx_length: int
    expected: pd.DataFrame
    domains: pd.DataFrame
    homology: pd.DataFrame
    lint: list[dict[str, str]]
    samples: list[str]
    solo: dict[str, dict[str, Any]]
    knees: dict[str, pd.DataFrame]
    filters: pd.DataFrame
    molecules: pd.DataFrame
    losses: pd.DataFrame
    support: pd.DataFrame
    cells: pd.DataFrame
    integration: str
    umap: np.ndarray | None
    detection: pd.DataFrame
    localization: pd.DataFrame
    contrasts: pd.DataFrame
    blood: pd.DataFrame
    annotation: pd.DataFrame
    mixing: pd.DataFrame
    protein: pd.DataFrame
    receptors: pd.DataFrame
    thresholds: pd.DataFrame
    downsampling: pd.DataFrame
    rules: pd.DataFrame
    benchmarks: pd.DataFrame
    target: pd.DataFrame
    clinic: pd.DataFrame
    agreement: pd.DataFrame
    clonotypes: pd.DataFrame
    doubts: dict[str, list[tuple[str, str]]]
    missing: list[str]
    beside_car: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=BESIDE_CAR))
    lineages_hit: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=LINEAGES_HIT))
    doubts_of_reference: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_surrogate(self) -> bool:
        """Whether carseq's surrogate stood in for the true sequence of the CAR."""
        return any(finding.get("code") == "surrogate" for finding in self.lint)

    def cells_on_map(self) -> AnnData:
        """Return the cells without their counts, as :func:`carseq.figures.umap` takes them.

        Returns
        -------
        AnnData
            ``obs`` as in ``cells``; ``obsm["X_umap"]``, where there is a map.
        """
        from anndata import AnnData

        return AnnData(obs=self.cells, obsm={} if self.umap is None else {"X_umap": self.umap})


def in_order(frame: pd.DataFrame, samples: list[str]) -> pd.DataFrame:
    """Sort rows by sample, in the study's order."""
    place = {sample: i for i, sample in enumerate(samples)}
    return frame.sort_values("sample", key=lambda names: names.map(place), kind="stable")


#: Studies that were read already, by their folder.
_ahead: dict[Path, Study] = {}


def read_ahead(results: str | Path) -> None:
    """Read a results folder before processes divide: :func:`read_study` gives each of them what they then share.

    Not for a folder that changes while this process lives.
    """
    _ahead[Path(results).resolve()] = read_study(results)


def read_study(results: str | Path) -> Study:
    """Read a results folder; files that are not there become empty tables.

    Parameters
    ----------
    results
        The folder the workflow writes (``results:`` in the configuration).

    Raises
    ------
    CarseqError
        If the folder holds neither a cohort nor any sample, was made by a version of carseq that is too old, or a
        file in it cannot be read.
    """
    given = Path(results)
    results = given
    if (known := _ahead.get(results.resolve())) is not None:
        return replace(known, results=results)
    if not (results / "cohort").is_dir() and not (results / "samples").is_dir():
        # The study's folder in place of its results.
        inside = given / "results"
        raise CarseqError(
            f"{results} is not a results folder of carseq",
            "it has neither `cohort/` nor `samples/`",
            f"did you mean {inside}?"
            if (inside / "cohort").is_dir()
            else "give the folder named by `results:` in the configuration, after a run",
        )
    check_made_by(results)
    return _Reader(results).study()


class _Reader:
    """Reads the files of one results folder and remembers which are missing."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.missing: list[str] = []
        self.config = self._config()
        #: Rows of the samples sheet, if the record holds it.
        self.sheet: dict[str, Any] = self.config.get("sheet") or {}
        #: The genes of the cohort, once its cells were read.
        self.var = pd.DataFrame()
        self.lineages_hit = pd.DataFrame(columns=LINEAGES_HIT)

    def of_this_run(self, name: str, sample: str = "") -> bool:
        return of_run(self.config, name, sample)

    def there(self, name: str, **names: str) -> Path | None:
        """Return where a declared file lies, or None and remember that it is missing."""
        file = FILES[name].at(**names)
        path = self.results / file
        if self.of_this_run(name, **names) and path.exists():
            check_whole(path)
            return path
        self.missing.append(file)
        return None

    def table(self, name: str, **names: str) -> pd.DataFrame:
        """Read a declared table; an absent or empty file gives an empty one."""
        schema = FILES[name].schema
        assert schema is not None
        path = self.there(name, **names)
        if path is None or path.stat().st_size == 0:
            return schema.empty()
        try:
            return read_table(path, schema)
        except pd.errors.EmptyDataError:
            return schema.empty()

    def json(self, name: str, default: Any, **names: str) -> Any:
        path = self.there(name, **names)
        if path is None:
            return default
        return read_json(path)

    def _config(self) -> dict[str, Any]:
        path = FILES["run_config"].under(self.results)
        if not path.exists():
            self.missing.append(FILES["run_config"].at())
            return {}
        check_whole(path)
        return read_record(path)

    def cells(self) -> tuple[pd.DataFrame, np.ndarray | None, str]:
        path = self.there("cells")
        if path is None:
            return OBS.empty(), None, "none"
        # The page needs obs and the map, not the matrices.
        parts = read_parts(path, "obs", "var", f"uns/{HIT}", "uns/integration", "obsm/X_umap")
        self.var = parts["var"]
        # What was done, not what was asked: small cohorts fall back.
        hit = parts.get(f"uns/{HIT}") or {}
        self.lineages_hit = pd.DataFrame({name: hit.get(name, ()) for name in LINEAGES_HIT})
        done = str((parts.get("uns/integration") or {}).get("method", "none"))
        umap = parts.get("obsm/X_umap")
        umap = None if umap is None else np.asarray(umap)[:, :2]
        return conform_obs(parts["obs"]), umap, done

    def beside_car(self, car: str) -> pd.DataFrame:
        """Return what the matrices count in rows that may be other parts of the CAR's vector."""
        path = self.results / FILES["cells"].at()
        rows: list[tuple[str, str, int]] = []
        if path.exists():
            ids = self.var.get("gene_id", pd.Series(self.var.index, self.var.index))
            genes = self.var.index[rows_beside_car(self.var.index, ids, car)]
            if len(genes):
                found = read_cells(path, genes=list(genes))
                counts = pd.DataFrame(found.layers["counts"].toarray(), columns=found.var_names)
                sums = counts.groupby(found.obs["sample"].astype(str).to_numpy()).sum()
                rows = [(s, g, int(n)) for s, own in sums.iterrows() for g, n in own.items() if n]
        return pd.DataFrame(rows, columns=BESIDE_CAR)

    def doubts(self, sample: str) -> list[tuple[str, str]]:
        """Return what was noted of a sample's reads, its BAM or its matrix when they were looked at."""
        found: list[tuple[str, str]] = []
        path = self.results / FILES["chemistry"].at(sample=sample)
        here = self.of_this_run("chemistry", sample) and path.exists()
        if here and (others := read_json(path).get("other_libraries")):
            told = of_two_libraries(f"lanes ({', '.join(others[:4])})", "the first one")
            found.append((told, f"{APART[:1].upper()}{APART[1:]}."))
        path = self.results / FILES["belonging"].at(sample=sample)
        if way_in(self.sheet.get(sample) or {"bam": True}) == "bam" and path.exists():
            for told, remedy in read_json(path).get("doubts", []):
                found.append((str(told), f"{remedy[:1].upper()}{remedy[1:]}."))
        if (path := self.results / FILES["sample_cells"].at(sample=sample)).exists():
            found += filter(None, map(_parted, read_doubts(path)))
        return found

    def doubts_of_reference(self) -> list[tuple[str, str]]:
        """Return what was noted of genome and annotation when they were looked at."""
        path = self.results / FILES["car_checked"].at()
        noted = read_json(path).get("doubts", []) if path.exists() else []
        return list(filter(None, map(_parted, noted)))

    def transcript(self) -> tuple[str, int]:
        path = self.there("transcript")
        if path is None:
            return "", 0
        name, length = "", 0
        for line in path.read_text().splitlines():
            if line.startswith(">"):
                name = name or (line[1:].split() or [""])[0]
            else:
                length += len(line.strip())
        return name, length

    def benchmarks(self) -> pd.DataFrame:
        """Read what each job of the workflow took."""
        rows = []
        # Each notebook had a job of its own once: beside the one job of now, these files are an earlier run's.
        together = (self.results / BENCHMARKS / "notebook.tsv").is_file()
        for path in sorted((self.results / BENCHMARKS).glob("**/*.tsv")):
            of_one = path.stem.startswith("notebook_")
            if together and of_one:
                continue
            sample = "" if path.parent.name == BENCHMARKS else path.parent.name
            if sample and self.sheet and sample not in self.sheet:
                continue
            measured = pd.read_csv(path, sep="\t", na_values=["-"])
            if len(measured) and {"s", "max_rss"} <= set(measured.columns):
                last = measured.iloc[-1]
                rule = "notebook" if of_one else path.stem
                measures = last["s"], last.get("cpu_time"), last["max_rss"]
                rows.append((rule, sample, *(float("nan" if x is None else x) for x in measures)))
        columns = ["rule", "sample", "seconds", "cpu_seconds", "memory_mb"]
        return pd.DataFrame(rows, columns=columns)

    def study(self) -> Study:
        from carseq.io.barcodes import match_barcodes

        config = self.config
        contig, tx_length = self.transcript()
        tables = {name: self.table(_TABLES.get(name, name)) for name in _STUDY_TABLES}
        cells, umap, integration = self.cells()
        folder = self.results / "samples"
        found = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
        # The folder of a sample that was taken out of the sheet stays.
        found = [name for name in found if not self.sheet or name in self.sheet]
        samples = list(
            dict.fromkeys([*tables["detection"]["sample"], *cells["sample"].unique(), *found])
        )
        # Some tables are sorted by name; the page shows samples in one order everywhere.
        for name in ("thresholds", "downsampling", "rules"):
            tables[name] = in_order(tables[name], samples).reset_index(drop=True)
        solo, knees, filters, molecules, losses, support = {}, {}, [], [], [], []
        for sample in samples:
            solo[sample] = self.json("summary", {}, sample=sample)
            knees[sample] = self.table("knee", sample=sample)
            filters.append(self.table("filters", sample=sample))
            own = self.table("molecules", sample=sample)
            barcodes = pd.Index(cells.loc[cells["sample"] == sample, "barcode"].astype(str))
            # A BAM writes ACGT-1 where its matrix may write ACGT.
            molecules.append(match_barcodes(own, barcodes, strict=False))
            # The calls carry the account of the molecules on, up to cells.
            called = FILES["losses"].under(self.results, sample=sample).exists()
            losses.append(self.table("losses" if called else "molecule_losses", sample=sample))
            compared = FILES["support"].under(self.results, sample=sample).exists()
            if compared and self.of_this_run("support", sample):
                support.append(self.table("support", sample=sample))
        domains = tables["domains"]
        if not tx_length and len(domains):
            tx_length = int(domains["end"].max())
        car = (config.get("construct") or {}).get("name") or contig or "CAR"
        return Study(
            results=self.results,
            name=study_name(self.results),
            config=config,
            versions={str(k): str(v) for k, v in self.json("versions", {}).items()},
            construct=car,
            tx_length=tx_length,
            lint=self.json("lint", []),
            samples=samples,
            solo=solo,
            knees=knees,
            filters=_stack(filters, FILTERS.empty()),
            molecules=_stack(molecules, MOLECULES.empty()),
            losses=_stack(losses, LOSSES.empty()),
            support=_stack(support, SUPPORT.empty()),
            cells=cells,
            integration=integration,
            umap=umap,
            benchmarks=self.benchmarks(),
            doubts={sample: self.doubts(sample) for sample in samples},
            doubts_of_reference=self.doubts_of_reference(),
            missing=self.missing,
            beside_car=self.beside_car(car),
            lineages_hit=self.lineages_hit,
            **tables,
        )


def _parted(text: str) -> tuple[str, str] | None:
    """Return what was told and, behind the last semicolon, what to do about it; None where nothing is."""
    told, _, remedy = text.rpartition("; ")
    return (told, f"{remedy[:1].upper()}{remedy[1:]}.") if told else None


def _stack(tables: list[pd.DataFrame], empty: pd.DataFrame) -> pd.DataFrame:
    """Concatenate the tables that have rows."""
    tables = [table for table in tables if len(table)]
    return pd.concat(tables, ignore_index=True) if tables else empty
