"""exports: a study's results for other tools, and the record of where they come from.

Takes the cohort or a results folder. Makes a 10x-style matrix with the CAR, MultiQC custom content, and an RO-Crate
manifest of inputs, outputs, versions, command and checksums.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import mimetypes
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from carseq.errors import CarseqError
from carseq.figures.phrases import today
from carseq.io.checksums import root_of
from carseq.io.files import atomic, read_json, write_text
from carseq.io.results import of_run, read_record, study_name
from carseq.log import get_logger
from carseq.schema.results import FILES

if TYPE_CHECKING:
    from anndata import AnnData

    from carseq.report.study import Study

log = get_logger(__name__)

#: Of gzip: a matrix takes a quarter of the time that it takes at 6, and 3 % more room.
_LEVEL = 4


@contextmanager
def _gzip(path: Path) -> Iterator[gzip.GzipFile]:
    """Write a gzip file without name and time in its header: the same bytes for the same data."""
    with (
        atomic(path) as temporary,
        open(temporary, "wb") as opened,
        gzip.GzipFile("", "wb", _LEVEL, fileobj=opened, mtime=0) as out,
    ):
        yield out


def write_matrix(adata: AnnData, folder: str | Path) -> list[Path]:
    """Write the cohort's counts, the CAR among its genes, as Cell Ranger (version 3 or later) writes a matrix.

    Parameters
    ----------
    adata
        Cells x genes; raw counts in ``layers["counts"]``, Ensembl names in ``var["gene_id"]`` where there are some.
    folder
        Gains ``matrix.mtx.gz`` (genes x cells), ``features.tsv.gz`` and ``barcodes.tsv.gz``.

    Returns
    -------
    list of pathlib.Path
        The three files. Barcodes are ``sample:barcode``, as the rows of ``cells.h5ad`` are named.

    Raises
    ------
    CarseqError
        If the counts are not whole numbers.
    """
    import pandas as pd
    from scipy import io, sparse

    folder = Path(folder)
    counts = sparse.csc_matrix(adata.layers["counts"]).T.tocoo()
    whole = np.rint(counts.data)
    if not np.array_equal(whole, counts.data):
        raise CarseqError(
            "the counts are not whole numbers",
            "`layers['counts']` holds fractions",
            "a 10x matrix holds raw counts: give a cohort with those",
        )
    counts = sparse.coo_matrix((whole.astype(np.int64), counts.coords), shape=counts.shape)
    names = adata.var_names.astype(str)
    ids = adata.var["gene_id"].astype(str) if "gene_id" in adata.var else pd.Series(names)
    ids = ids.where(ids.ne("") & ids.ne("nan"), names)
    features = [f"{i}\t{name}\tGene Expression\n" for i, name in zip(ids, names, strict=True)]
    paths = [folder / name for name in ("matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz")]
    for path in paths:
        with _gzip(path) as out:
            if path.name.startswith("matrix"):
                io.mmwrite(out, counts, field="integer", symmetry="general")
            elif path.name.startswith("features"):
                out.write("".join(features).encode())
            else:
                out.write("".join(f"{name}\n" for name in adata.obs_names).encode())
    return paths


def multiqc(study: Study) -> dict[str, dict[str, Any]]:
    """Return MultiQC custom content (docs.seqera.io/multiqc/custom_content): file name -> its JSON.

    A table of verdicts, columns for the table of general statistics, and the classes of evidence as bars.
    """
    from carseq.figures import summaries

    shared = {"parent_id": "carseq", "parent_name": "carseq"}
    shared["parent_description"] = "CAR T cells in single-cell RNA-seq."
    table, general = {}, {}
    for row in study.detection.itertuples():
        table[row.sample] = _finite(
            {
                "verdict": row.verdict,
                "n_cells": row.n_cells,
                "n_t_cells": row.n_t_cells,
                "n_car_positive": row.n_car_positive,
                "prevalence": 100 * row.prevalence,
                "prevalence_low": 100 * row.prevalence_low,
                "prevalence_high": 100 * row.prevalence_high,
                "detection_limit": 100 * row.detection_limit,
            }
        )
        general[row.sample] = _finite(
            {
                "n_cells": row.n_cells,
                "n_t_cells": row.n_t_cells,
                "n_car_positive": row.n_car_positive,
            }
        )
    counted = {"format": "{:,.0f}", "min": 0}
    share = {"suffix": " %", "min": 0, "max": 100, "format": "{:,.1f}"}
    headers = {
        "verdict": {"title": "Verdict"},
        "n_cells": {"title": "Cells", "description": "Cells kept", **counted},
        "n_t_cells": {"title": "T cells", "description": "T cells kept, no doublets", **counted},
        "n_car_positive": {"title": "CAR T", "description": "T cells called positive", **counted},
        "prevalence": {"title": "CAR T share", "description": "Of T cells, corrected for dropout", **share},
        "prevalence_low": {"title": "from", "description": "Lower end of its 95 % interval", **share},
        "prevalence_high": {"title": "to", "description": "Upper end of its 95 % interval", **share},
        "detection_limit": {"title": "Limit", "description": "Detection limit", **share},
    }  # fmt: skip
    classes = summaries.evidence_classes(study.molecules, study.samples).set_index("sample")
    return {
        "carseq_detection_mqc.json": {
            "id": "carseq_detection",
            **shared,
            "section_name": "CAR T cells",
            "description": "The verdict of each sample; report.html has the evidence.",
            "plot_type": "table",
            "pconfig": {"id": "carseq_detection_table", "title": "carseq: CAR T cells"},
            "headers": headers,
            "data": table,
        },
        "carseq_general_mqc.json": {
            "id": "carseq_general",
            "plot_type": "generalstats",
            "headers": [{key: headers[key]} for key in ("n_cells", "n_t_cells", "n_car_positive")],
            "data": general,
        },
        "carseq_evidence_mqc.json": {
            "id": "carseq_evidence",
            **shared,
            "section_name": "CAR molecules",
            "description": "Candidate molecules by class of evidence; rejected ones fit another gene better.",
            "plot_type": "bargraph",
            "pconfig": {
                "id": "carseq_evidence_plot",
                "title": "carseq: CAR molecules",
                "ylab": "Molecules",
            },
            "data": {s: {k: int(v) for k, v in row.items()} for s, row in classes.iterrows()},
        },
    }


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without what is not known."""
    known = {}
    for key, value in row.items():
        if isinstance(value, float) and not math.isfinite(value):
            continue
        known[key] = value.item() if isinstance(value, np.generic) else value
    return known


def write_multiqc(study: Study, folder: str | Path) -> None:
    """Write :func:`multiqc` into a folder, which MultiQC finds by itself."""
    for name, content in multiqc(study).items():
        write_text(json.dumps(content, indent=1) + "\n", Path(folder) / name)


# --- RO-Crate -------------------------------------------------------------------------------------------

#: What is among the results, but no result: indexes (made anew from genome and construct), logs, times of jobs, which
#: differ from run to run, the crate itself.
_LEFT_OUT = (
    "reference/", "logs/", "benchmarks/", ".snakemake/", FILES["run_times"].path, FILES["ro_crate"].path,
)  # fmt: skip
#: A file of one sample.
_OF_SAMPLE = re.compile(r"(?:samples/([^/]+)/|report/reads/(.+)\.bam(?:\.bai)?$)")
_WORKFLOW_RUN = "https://w3id.org/ro/terms/workflow-run#"


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _known(path: Path) -> str | None:
    """Return the SHA-256 of an alignment that was taken over, from the manifest of the study that made it.

    None where that one has none of this size, or the file changed since: the file itself then tells.
    """
    made = path.resolve()
    root = root_of(made) if path.is_symlink() else None
    if root is None or not (manifest := FILES["ro_crate"].under(root)).is_file():
        return None
    state, written = made.stat(), manifest.stat()
    if max(state.st_mtime, state.st_ctime) > written.st_mtime:
        return None
    told = _told(manifest, written.st_mtime_ns)
    return told.get((made.relative_to(root).as_posix(), str(state.st_size)))


@lru_cache(maxsize=8)
def _told(manifest: Path, written: int) -> dict[tuple[str, str], str]:
    """Return the checksums that a manifest tells, by name and size; ``written`` is its time, by which it is kept."""
    try:
        entities = read_json(manifest)["@graph"]
    except (CarseqError, KeyError):
        return {}
    return {
        (e["@id"], e["contentSize"]): e["sha256"]
        for e in entities
        if "sha256" in e and "contentSize" in e
    }


def crate(
    results: str | Path,
    inputs: Sequence[tuple[str, str]],
    *,
    command: str = "",
    checksums: bool = True,
) -> dict[str, Any]:
    """Describe a results folder as an RO-Crate 1.1 (w3id.org/ro/crate/1.1).

    Parameters
    ----------
    results
        The folder; every file in it but indexes and logs is listed with its size and SHA-256.
    inputs
        What the run was made from: (role, path). They lie outside of the crate, so that they are named by their file
        names, never by their folders.
    command
        What was run.
    checksums
        Whether the inputs, reads among them, are hashed too.

    Returns
    -------
    dict
        The content of ``ro-crate-metadata.json``.
    """
    from rocrate.model.contextentity import ContextEntity
    from rocrate.rocrate import ROCrate

    results = Path(results)
    made = ROCrate(version="1.1")
    made.metadata.extra_terms["sha256"] = f"{_WORKFLOW_RUN}sha256"
    made.name = f"carseq: {study_name(results)}"
    made.description = "CAR T cells in single-cell RNA-seq: calls, verdicts, their evidence and where they come from."
    made.license = made.add(
        ContextEntity(
            made,
            "#licence",
            {
                "@type": "CreativeWork",
                "name": "No licence stated",
                "description": "The results may hold data of patients. Ask whoever gave you this folder.",
            },
        )
    )
    versions = json.loads(FILES["versions"].under(results).read_text())
    tools = [
        made.add(
            ContextEntity(
                made,
                f"#software/{name}",
                {"@type": "SoftwareApplication", "name": name, "version": version, "softwareVersion": version},
            )
        )
        for name, version in versions.items()
    ]  # fmt: skip
    given = []
    for number, (role, path) in enumerate(inputs, 1):
        properties: dict[str, Any] = {
            "@type": "CreativeWork",
            "name": Path(path).name,
            "description": role,
        }
        if Path(path).is_file():
            properties["contentSize"] = str(Path(path).stat().st_size)
            if checksums:
                properties["sha256"] = sha256(path)
        given.append(made.add(ContextEntity(made, f"#input/{number}", properties)))
    outputs = [
        made.add_file(
            dest_path=name,
            properties={
                "name": name,
                "contentSize": str((results / name).stat().st_size),
                "encodingFormat": _format(name),
                "sha256": _known(results / name) or sha256(results / name),
            },
        )
        for name in _files(results)
    ]
    done = ContextEntity(
        made,
        "#run",
        {
            "@type": "CreateAction",
            "name": "Run of carseq",
            "description": command,
        },
    )
    made.add(done)
    made.root_dataset["datePublished"] = today().isoformat()
    done["instrument"] = tools
    done["object"] = given
    done["result"] = outputs
    made.root_dataset["mentions"] = done
    return dict(made.metadata.generate())


def _files(results: Path) -> Iterable[str]:
    """Yield the crate's files, relative to the results folder, in order; none that an earlier configuration left."""
    path = FILES["run_config"].under(results)
    record = read_record(path) if path.exists() else {}
    sheet = record.get("sheet")
    earlier = {
        file.at(sample=sample)
        for name, file in FILES.items()
        for sample in (sheet or {} if "{sample}" in file.path else ("",))
        if not of_run(record, name, sample)
    }
    for path in sorted(results.rglob("*")):
        name = path.relative_to(results).as_posix()
        hidden = any(part.startswith(".") for part in path.relative_to(results).parts)
        of_sample = _OF_SAMPLE.match(name)
        if sheet and of_sample and (of_sample[1] or of_sample[2]) not in sheet:
            continue
        if path.is_file() and not hidden and name not in earlier and not name.startswith(_LEFT_OUT):
            yield name


def _format(name: str) -> str:
    known = {
        ".tsv": "text/tab-separated-values",
        ".h5ad": "application/x-hdf5",
        ".parquet": "application/vnd.apache.parquet",
        ".ipynb": "application/x-ipynb+json",
        ".yaml": "application/yaml",
        ".md": "text/markdown",
        ".gz": "application/gzip",
    }
    guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return known.get(Path(name).suffix, guessed)


def write_crate(
    results: str | Path,
    inputs: Sequence[tuple[str, str]],
    out: str | Path,
    *,
    command: str = "",
    checksums: bool = True,
) -> None:
    """Write :func:`crate` as ``out``."""
    made = crate(results, inputs, command=command, checksums=checksums)
    write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", out)
    log.info("%s lists %d entities", out, len(made["@graph"]))
