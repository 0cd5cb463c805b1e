"""share: what a colleague needs of a finished study, in one file without the machine's paths and, if wished, names."""

from __future__ import annotations

import html
import json
import os
import re
import zipfile
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from carseq.errors import CarseqError
from carseq.io.atomic import atomic
from carseq.io.checksums import check_whole
from carseq.io.files import read_json, read_table, write_table
from carseq.io.results import no_finished_run, of_run, read_record, study_name
from carseq.schema.results import FILES
from carseq.schema.tables import SHARED_NAMES

_OF_CONSTRUCT = ("domains", "homology", "construct_map")
#: What is packed, as patterns below the results folder. Not the samples sheet, which may hold anything, nor reads, nor
#: the construct's sequence.
PACKED = (
    *(FILES[name].path for name in ("report", "methods", *_OF_CONSTRUCT)),
    FILES["notebook"].at(notebook="*"),
    "cohort/*.tsv",
)
LEFT_OUT = (FILES["samples"].path,)
#: Ends of names that say another file than a zip file.
_OTHER_ARCHIVE = re.compile(
    r"(\.tar)?\.(tar|gz|bz2|xz|zst|tgz|tbz2?|txz|7z|rar|html?|pdf)$", re.IGNORECASE
)
#: A zip file's earliest time, in place of the files' own: the same bytes for the same content.
_TIME = (1980, 1, 1, 0, 0, 0)
_README = """Results of carseq: are there CAR T cells in this urine?

report/report.html   open this one; it needs no network
report/methods.md    what was done, as text
notebooks/           the same numbers, step by step
cohort/              tables of verdicts, fractions and contrasts
construct/           the CAR's domains and what it shares with human genes
"""


def share(results: str | Path, out: str | Path, *, rename: bool = False) -> dict[str, str]:
    """Pack report, notebooks and tables of a finished study into a zip file.

    Folders of the machine are taken out. Reads, matrices, the samples sheet and the construct's sequence stay here.

    Parameters
    ----------
    results
        The folder the workflow wrote.
    out
        The zip file to write.
    rename
        Whether samples, patients and the files that they were given as get other names (``S1``, ``patient1``,
        ``file1.h5``), and the page, which is called after the study's folder, none; further columns of the samples
        sheet are left out of the page's configuration. Pictures in notebooks, which may show names, are then left
        out. Who is who is written beside the zip file, to be kept.

    Returns
    -------
    dict
        Old name -> new name; empty without ``rename``.

    Raises
    ------
    CarseqError
        If there is no finished run, ``out`` has the name of another kind of file, or a name cannot be replaced with
        certainty.
    """
    results, out = Path(results), Path(out)
    if (kind := _OTHER_ARCHIVE.search(out.name)) is not None:
        zipped = out.with_name(f"{out.name.removesuffix(kind[0])}.zip")
        raise CarseqError(
            f"{out} is not written: its name says {kind[0]}",
            "share writes a zip file, which programs would not open under this name",
            f"name it {zipped}",
        )
    found = sorted(p for pattern in PACKED for p in results.glob(pattern))
    left_out = {*LEFT_OUT, *_of_another_run(results)}
    found = [p for p in found if p.relative_to(results).as_posix() not in left_out]
    page = FILES["report"].under(results)
    if page not in found:
        raise no_finished_run(results, page)
    names = _new_names(results) if rename else {}
    places = _places(results)
    titles = _titles(study_name(results)) if rename else {}
    given = _file_names(results, _vocabulary()) if rename else {}
    packed = {"README.txt": _README}
    for path in found:
        check_whole(path)
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb" and rename:
            text = _without_pictures(text)
        text = _replaced(text, places)
        for title, other in titles.items() if path == page else ():
            text = text.replace(title, other)
        if path == page and rename:
            text = _without_further_columns(text)
        packed[path.relative_to(results).as_posix()] = _replaced(_replaced(text, given), names)
    _check_clean(packed, [*places, *given, *names])
    with atomic(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as target:
        for name, text in packed.items():
            target.writestr(zipfile.ZipInfo(name, _TIME), text, zipfile.ZIP_DEFLATED)
    if names:
        key = pd.DataFrame({"name": list(names), "shared_as": list(names.values())})
        write_table(key, out.with_suffix(".names.tsv"), SHARED_NAMES)
    return names


def _of_another_run(results: Path) -> set[str]:
    """Return which files that are packed an earlier configuration left, as those of a construct named no more."""
    path = FILES["run_config"].under(results)
    record = read_record(path) if path.exists() else {}
    return {FILES[name].path for name in _OF_CONSTRUCT if not of_run(record, name)}


def numbers_of_sheet(results: Path) -> list[str]:
    """Return which columns of the samples sheet are in the tables that are packed, as they are named there."""
    path = FILES["clinic"].under(results)
    return list(dict.fromkeys(read_table(path)["measure"].astype(str))) if path.exists() else []


def _new_names(results: Path) -> dict[str, str]:
    """Return new names of samples and patients, in the order of the verdicts' table."""
    table = read_table(FILES["detection"].at(results)).astype({"sample": str, "patient": str})
    samples, patients = table["sample"], table["patient"]
    made = {name: f"S{i}" for i, name in enumerate(dict.fromkeys(samples), 1)}
    for i, name in enumerate(dict.fromkeys(p for p in patients if p not in {"", "nan"}), 1):
        made.setdefault(name, f"patient{i}")
    vocabulary = _vocabulary()
    unsafe = [name for name in made if len(name) < 2 or _pattern([name]).search(vocabulary)]
    if unsafe:
        raise CarseqError(
            f"the name {unsafe[0]} cannot be replaced",
            "it is also a word of the report, which would be changed with it",
            "give the sample or patient a name of its own in samples.tsv and run again, or share without --rename",
        )
    return made


def _titles(study: str) -> dict[str, str]:
    """Return where the page says what the study's folder is called, which may be a patient's name, and what else."""
    shown = html.escape(study)
    titles = {f"<title>{shown} ": "<title>Study ", f"<h1>{shown}</h1>": "<h1>Study</h1>"}
    return titles | {f'"study":"{form}"': '"study":"Study"' for form in _forms(study)}


#: What the page's configuration keeps of the samples sheet where names are replaced.
_KEPT = (
    "sample",
    "patient",
    "compartment",
    "timepoint",
    "role",
    "chemistry",
    "gating",
    "sequencing_run",
)
#: Where the study lies, in the page's configuration: a folder may be called after a patient.
_STUDY = re.compile(r'(?<=<pre tabindex="0">)samples: .*\n(?:(?:units|results|reuse): .*\n)*')
#: The samples sheet in the page's configuration.
_SHEET = re.compile(r"(?<=[\n>])sheet:\n(?:[ -].*\n?|\n)*")


def _without_further_columns(page: str) -> str:
    """Return the page without what the samples sheet holds of files, pools and in columns of the user's own."""

    def kept(found: re.Match[str]) -> str:
        try:
            rows = yaml.safe_load(html.unescape(found[0]))["sheet"]
        except yaml.YAMLError:
            rows = {}
        own = {
            name: {key: row[key] for key in _KEPT if row.get(key) is not None}
            for name, row in rows.items()
            if isinstance(row, dict)
        }
        text = yaml.safe_dump({"sheet": own}, sort_keys=False, allow_unicode=True)
        return html.escape(text, quote=False)

    return _SHEET.sub(kept, _STUDY.sub("", page))


def _file_names(results: Path, vocabulary: str) -> dict[str, str]:
    """Return new names of the files that samples were given as, which may name patients; not of those of every run.

    Parameters
    ----------
    results
        The results folder.
    vocabulary
        Words that say nothing of a patient.
    """
    record, manifest = FILES["run_config"].under(results), FILES["ro_crate"].under(results)
    rows = (read_record(record) if record.exists() else {}).get("sheet") or {}
    given = [row.get(key) for row in rows.values() if isinstance(row, dict) for key in _FILES]
    if manifest.exists():
        given += [
            entry.get("name")
            for entry in read_json(manifest).get("@graph", ())
            if any(str(entry.get("description", "")).endswith(f" of {name}") for name in rows)
        ]
    # A folder may be called as its sample, or as a time point, which are told by their own names.
    told = {str(row.get(key)) for row in rows.values() if isinstance(row, dict) for key in _KEPT}
    names: dict[str, str] = {}
    for i, path in enumerate(dict.fromkeys(str(g) for g in given if g), 1):
        kind = _ENDING.search(path)
        for name in (path, Path(path).name):
            says_nothing = len(name) < _SHOWN or name in told or _EVERY_RUN.fullmatch(name)
            if not says_nothing and not _pattern([name]).search(vocabulary):
                names.setdefault(name, f"file{i}{kind[0] if kind else ''}")
    return names


#: Endings of files; what else stands behind a point is a part of the name.
_ENDING = re.compile(r"\.(h5|h5ad|bam|(mtx|f(ast)?q|csv|tsv|txt)(\.gz)?)$")
#: Columns of the samples sheet that name files.
_FILES = ("bam", "matrix", "raw_matrix", "tcr", "whitelist")
#: Names that programs give the files of each run.
_EVERY_RUN = re.compile(
    r"(sample_)?(raw|filtered)_(feature|gene)_bc_matri\w*(\.h5)?|(possorted_genome|gex_possorted)_bam\.bam|sample_alignments\.bam"
    r"|\w*contig_annotations\.csv|R?[12]\.f(ast)?q(\.gz)?|(matrix|quants_mat|cells_x_genes)\.mtx(\.gz)?|(raw|filtered)|counts_(un)?filtered"
)


def _vocabulary() -> str:
    """Return the words that carseq itself writes."""
    from carseq.schema.obs import OBS
    from carseq.schema.tables import BY_NAME

    here = Path(str(files("carseq.report")))
    texts = [p.read_text() for p in sorted(here.rglob("*")) if p.suffix in (".html", ".js", ".css")]
    for schema in (*BY_NAME.values(), OBS):
        for key, column in schema.columns.items():
            texts.append(f"{key} {column.meaning} {column.heading(key)}")
    # Names of cell types, lineages and verdicts, which are in every table.
    texts.append(
        "T B NK CD4 CD8 plasma myeloid kidney urogenital urine blood product other case control positive"
    )
    return "\n".join(texts)


def _forms(name: str) -> list[str]:
    """Return how a name is written in text, HTML, JSON, JSON inside of HTML, and TSV."""
    quoted = json.dumps(name)[1:-1]
    written = [
        name,
        quoted,
        html.escape(name),
        html.escape(quoted),
        json.dumps(name, ensure_ascii=False)[1:-1],
    ]
    safe = quoted.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return list(dict.fromkeys([*written, safe, name.replace(chr(34), chr(34) * 2)]))


#: A name begins where no letter or digit precedes it. The n of a line's end as JSON writes it is not a letter.
_BEGINS = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))"


def _pattern(names: Iterable[str]) -> re.Pattern[str]:
    forms = sorted({form for name in names for form in _forms(name)}, key=len, reverse=True)
    # A name ends where a letter or digit does not follow; an underscore may.
    return re.compile(rf"{_BEGINS}(?:{'|'.join(map(re.escape, forms))})(?![A-Za-z0-9])")


#: Numbers of a figure and packed programs, as base64. A name's letters in them are chance; to change them breaks them.
_BASE64 = re.compile(r"([A-Za-z0-9+/]{1000,}={0,2})")


def _replaced(text: str, names: Mapping[str, str]) -> str:
    """Return a text with other names, but for what it holds as base64."""
    if not names:
        return text
    parts = _BASE64.split(text)
    parts[::2] = [_replaced_words(part, names) for part in parts[::2]]
    return "".join(parts)


def _replaced_words(text: str, names: Mapping[str, str]) -> str:
    known = {form: new for name, new in names.items() for form in _forms(name)}
    text = _pattern(names).sub(lambda found: known[found.group()], text)
    begun = {form[:k]: new for form, new in known.items() for k in range(_SHOWN, len(form))}
    return _begun(begun).sub(lambda found: begun[found.group()], text) if begun else text


#: A name cut short by a table's layout is recognized by this many of its letters, followed by dots.
_SHOWN = 4


def _begun(begun: Iterable[str]) -> re.Pattern[str]:
    """Return the pattern of names that a table cut short: pandas shows 46 letters of a long one, and dots."""
    written = "|".join(map(re.escape, sorted(begun, key=len, reverse=True)))
    return re.compile(rf"{_BEGINS}(?:{written})(?=\.\.\.|…|\\u2026|&hellip;)")


def _paths(value: Any) -> Iterable[str]:
    """Yield the absolute paths in a configuration."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from _paths(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _paths(inner)
    elif isinstance(value, str) and os.path.isabs(value) and len(Path(value).parts) > 1:
        yield value


def _places(results: Path) -> dict[str, str]:
    """Return paths of the machine and what is written in their place: their last part."""
    record = FILES["run_config"].under(results)
    given = read_record(record) if record.exists() else {}
    own = [str(Path.home()), str(results.resolve()), str(results.resolve().parent)]
    found = [*_paths(given), *own]
    return {p.rstrip("/"): Path(p).name for p in sorted(set(found), key=len) if len(p) > 4}


def _without_pictures(text: str) -> str:
    """Return a notebook with a line in place of each picture: names are drawn in it."""
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            for kind in [
                k
                for k in data
                if k.startswith("image/") or k in ("application/vnd.plotly.v1+json",)
            ]:
                del data[kind]
                data["text/plain"] = ["(a picture is left out: it may show names)"]
    return json.dumps(notebook, indent=1, ensure_ascii=False)


def _check_clean(packed: Mapping[str, str], secrets: Iterable[str]) -> None:
    """Raise if a secret is left in what is packed."""
    packed = {name: _BASE64.sub(" ", text) for name, text in packed.items()}
    for secret in secrets:
        wanted = _pattern([secret])
        for name, text in packed.items():
            # In whatever it stands, if it is not a word.
            odd = len(secret) > 4 and re.search(r"[\d_/]", secret) is not None
            if wanted.search(text) or wanted.search(name) or (odd and secret in text):
                raise CarseqError(
                    f"{secret} could not be taken out of {name}",
                    "it would be shared",
                    "report this; share the tables without it by hand",
                )
