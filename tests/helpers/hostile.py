"""Hostile text in every place of a finished study: what a sheet, a plasmid map or a marker table may hold."""

from __future__ import annotations

import json
from pathlib import Path

import anndata
import pandas as pd
import yaml

from study import Sample, write_study

#: Columns whose values are carseq's own words or numbers, by which it decides.
_OWN = {
    "compartment", "role", "level", "verdict", "method", "prevalence_is", "gating", "class", "kind", "step", "unit",
    "car_call", "car_reason", "lineage", "lineage_2", "barcode", "leiden", "sample", "evidence", "source", "contrast",
    "fit", "umi",
}  # fmt: skip


def payload(place: str) -> str:
    """Return text that runs, breaks out, is a formula, reads backwards, or is too long, wherever it is let."""
    return (
        "=HYPERLINK(\"http://x.org\")|'/C calc'!A0</script></textarea></title>-->"
        f"<script>window.hacked='{place}'</script><img src=x onerror=\"window.hacked='{place}'\">"
        "<svg onload=window.hacked=1>{{7*7}}${7*7}{%x%}`'\\u0022javascript:window.hacked=1 ../../etc/passwd "
        "\u202egnp.exe\u2066 " + "A" * 300
    )


def _hostile_frame(table: pd.DataFrame, seen: set[str]) -> pd.DataFrame:
    """Return a table whose free texts are followed by hostile ones."""
    table = table.copy()
    for name in table.columns:
        text = isinstance(table[name].dtype, pd.CategoricalDtype) or table[name].dtype == object
        if not text or name in _OWN:
            continue
        values = table[name].astype(str)
        number = pd.to_numeric(values, errors="coerce").notna()
        made = values.where(values.eq("") | values.eq("nan") | number, payload(name) + values)
        if (made != values).any():
            seen.add(name)
        table[name] = made.where(values.ne("nan"), "")
    return table


def write_hostile(results: Path) -> set[str]:
    """Write a results folder with hostile text in all columns of free text; return where it stands."""
    short = payload("sample").replace("/", "|")[:150]
    samples = [
        Sample(f"{i}{short}", payload("patient"), timepoint=payload("timepoint"), n_cells=50)
        for i in (1, 2)
    ]
    write_study(results, samples)
    seen = {"sample", "patient", "timepoint"}
    for path in sorted(
        [
            *results.glob("cohort/*.tsv"),
            *results.glob("construct/*.tsv"),
            *results.glob("samples/*/*/*.tsv"),
        ]
    ):
        table = pd.read_csv(path, sep="\t", keep_default_na=False, dtype=str)
        _hostile_frame(table, seen).to_csv(path, sep="\t", index=False)
    for path in results.glob("samples/*/*/*.parquet"):
        _hostile_frame(pd.read_parquet(path), seen).to_parquet(path, index=False)
    cells = anndata.read_h5ad(results / "cohort/cells.h5ad")
    cells.obs = _hostile_frame(cells.obs, seen)
    cells.obs["age_of_the_patient"] = payload("further column")
    cells.var_names = [cells.var_names[0], *(payload(f"gene {n}") for n in cells.var_names[1:])]
    cells.write_h5ad(results / "cohort/cells.h5ad")
    construct = json.loads((results / "construct/construct.json").read_text())
    for note in construct["notes"]:
        note["text"] = payload("note")
    for row in construct["domains"]:
        row["name"] += payload("feature")
        row["source"] = payload("source of a feature")
    (results / "construct/construct.json").write_text(json.dumps(construct))
    lint = json.loads((results / "construct/lint.json").read_text())
    for finding in lint:
        finding["message"] += payload("finding")
        finding["remedy"] += payload("remedy")
    (results / "construct/lint.json").write_text(json.dumps(lint))
    config = yaml.safe_load((results / "run_config.yaml").read_text())
    config["construct"]["file"] = config["reference"]["fasta"] = payload("path")
    config["sheet"] = {s.name: {"note": payload("note of a sample")} for s in samples}
    (results / "run_config.yaml").write_text(yaml.safe_dump(config))
    versions = json.loads((results / "versions.json").read_text())
    versions[payload("package")] = payload("version")
    (results / "versions.json").write_text(json.dumps(versions))
    return seen | {"feature", "note", "finding", "gene", "path", "version"}
