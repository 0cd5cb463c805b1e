"""A study's configuration and sheets, written from a folder of reads or matrices, or from Cell Ranger's outs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from carseq.config_docs import example_config, schema_json
from carseq.construct.library import alternatives_of
from carseq.errors import CarseqError
from carseq.io.files import write_text
from carseq.io.remote import is_url
from carseq.start.cellranger import Made, cellranger_samples
from carseq.start.folders import fastq_pairs
from carseq.start.matrices import matrix_samples
from carseq.start.note import Note
from carseq.study.construct_file import split_record, with_record
from carseq.study.texts import some_names
from carseq.study.times import comparable

#: Name of the configuration's JSON schema beside it.
SCHEMA = ".config.schema.json"


def start_study(
    folder: Path,
    *,
    fastqs: Path | None = None,
    cellranger: Sequence[Path] = (),
    matrices: Path | None = None,
    construct: Path | None = None,
    fasta: str | Path | None = None,
    gtf: str | Path | None = None,
    name: str = "CAR",
) -> tuple[list[Path], list[str]]:
    """Write ``config.yaml``, ``samples.tsv`` and, of a study of reads, ``units.tsv`` into ``folder``.

    Parameters
    ----------
    folder
        Where they are written.
    fastqs
        Folder of FASTQ files.
    cellranger
        Folders ``outs`` of Cell Ranger's count, multi or aggr.
    matrices
        Folder of count matrices.
    construct, fasta, gtf, name
        For the configuration.

    Returns
    -------
    written : list of Path
    todo : list of str
        What was left out or put together (:class:`carseq.start.note.Note`), and what the user still has to fill in.

    Raises
    ------
    CarseqError
        If a file is there already, or nothing is found.
    """
    made, told = _made(cellranger, matrices)
    names = ["config.yaml", "samples.tsv", *(["units.tsv"] if fastqs or not made else [])]
    targets = {n: folder / n for n in names}
    for path in targets.values():
        if path.exists():
            raise CarseqError(
                f"{path} is there already",
                "nothing was written",
                "move it away or name another folder",
            )
    pairs = fastq_pairs(fastqs, partial=True) if fastqs else None
    todo: list[str] = [Note(line) for line in [*told, *(pairs.told if pairs else [])]]
    units = pairs.units if pairs else []
    from_reads = dict.fromkeys(sample for sample, *_ in units)
    if both := sorted(set(from_reads) & {m.sample for m in made}):
        raise CarseqError(
            f"sample {both[0]} was found as FASTQ files and as a matrix",
            "",
            "give either its reads or what was made of them",
        )
    with_reads = bool(units) or not made or any("bam" in m.files for m in made)
    # The example's antigen is that of its CAR, not of any other.
    values: dict[str, object] = {"construct.name": name, "construct.target": None}
    given = {"construct.file": construct, "reference.fasta": fasta, "reference.gtf": gtf}
    for key, file in given.items():
        if file:
            # An address, or the name of a construct that comes with carseq, is kept as it is.
            own, record = split_record(file) if key == "construct.file" else (Path(file), None)
            there = not is_url(str(file)) and own.exists()
            values[key] = with_record(own.absolute(), record) if there else str(file)
        elif with_reads:
            todo.append(f"fill `{key}` in {targets['config.yaml']}")
        else:
            values[key] = None
    if construct and not split_record(construct)[0].exists():
        # A record that comes with carseq names those that the reads should be compared with.
        others = alternatives_of(construct)
        if others:
            values["construct.alternatives"] = others
    if "units.tsv" not in targets:
        values["units"] = None
    elif not fastqs:
        units = [("P01_urine_D28", "L001", Path("P01_R1.fastq.gz"), Path("P01_R2.fastq.gz"))]
        from_reads = {"P01_urine_D28": None}
        todo.append(f"name your FASTQ files in {targets['units.tsv']}")
    if made and not with_reads:
        todo.append(f"check that the matrices have the CAR as the gene {name} (`construct.name`)")
    todo.append(
        f"correct patient, compartment, timepoint and role (case, negative_control, product) in "
        f"{targets['samples.tsv']}: the first three were guessed from the samples' names (P01, urine and no time point "
        "if the names say nothing), role is `case` for all but products"
    )
    if sorted_by_car := [s for s in [*from_reads, *(m.sample for m in made)] if _gating(s)]:
        shown = some_names(sorted_by_car)
        todo.append(f"check `gating` of {shown}: their names say that they were sorted by the CAR")
    todo.append(
        f"optional: name the antigen of the CAR in `construct.target` of {targets['config.yaml']} (TNFRSF17 for BCMA)"
    )
    todo.append(
        f"optional: add columns to {targets['samples.tsv']}, such as `tcr` (T-cell receptors: 10x contig annotations "
        "or AIRR), `gating` and `sequencing_run`; the documentation explains them"
    )
    # For editors: the configuration names it in its first line.
    texts = {folder / SCHEMA: schema_json()}
    texts[targets["config.yaml"]] = example_config(values, schema=SCHEMA)
    texts[targets["samples.tsv"]] = _samples_sheet(list(from_reads), made)
    if "units.tsv" in targets:
        lines = [f"{s}\t{u}\t{r1.absolute()}\t{r2.absolute()}\n" for s, u, r1, r2 in units]
        texts[targets["units.tsv"]] = "sample\tunit\tr1\tr2\n" + "".join(lines)
    try:
        for path, text in texts.items():
            write_text(text, path)
    except OSError:
        # Half a study is in the way of the next attempt.
        for path in texts:
            path.unlink(missing_ok=True)
        raise
    return list(targets.values()), todo


def _made(cellranger: Sequence[Path], matrices: Path | None) -> tuple[list[Made], list[str]]:
    """Return the samples of Cell Ranger's runs and of a folder of matrices, and what there is to say about them."""
    made: list[Made] = []
    told: list[str] = []
    for outs in cellranger:
        found, words = cellranger_samples(outs)
        made += found
        told += words
    if matrices:
        found, words = matrix_samples(matrices)
        made += found
        told += words
    names = [m.sample for m in made]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        places = [str(next(iter(m.files.values()))) for m in made if m.sample == twice[0]]
        raise CarseqError(
            f"two samples are called {twice[0]}",
            "; ".join(places[:3]),
            "rename one of the folders, or give them one after the other and join the sheets",
        )
    return made, told


def _samples_sheet(from_reads: Sequence[str], made: Sequence[Made]) -> str:
    """Return the text of samples.tsv."""
    columns = [c for c in ("bam", "raw_matrix", "matrix", "tcr") if any(c in m.files for m in made)]
    header = ["sample", "patient", "compartment", "timepoint", "role", "chemistry"]
    rows = {s: [*_guesses(s), "auto"] for s in [*from_reads, *(m.sample for m in made)]}
    files = {
        m.sample: [str(m.files[c].absolute()) if c in m.files else "" for c in columns]
        for m in made
    }
    further = {
        "library": {m.sample: m.library for m in made},
        "gating": {s: _gating(s) for s in rows},
    }
    given = {name: values for name, values in further.items() if any(values.values())}
    for sample, row in rows.items():
        row += files.get(sample, [""] * len(columns))
        row += [values.get(sample, "") for values in given.values()]
    table = [[*header, *columns, *given], *_in_order(list(rows.values()))]
    return "".join("\t".join(row) + "\n" for row in table)


def _guesses(sample: str) -> list[str]:
    """Return sample, patient, compartment, time point and role, as the sample's name has them."""
    compartment = _guess(sample)
    role = "product" if compartment == "product" else "case"
    return [sample, _patient(sample), compartment, _timepoint(sample), role]


def _gating(sample: str) -> str:
    """Return the sort by the CAR that a sample's name tells of; nothing for a product, which is called by its CAR."""
    from carseq.calling.gates import gate_in_name

    return "" if _guess(sample) == "product" else gate_in_name(sample)


def _in_order(rows: list[list[str]]) -> list[list[str]]:
    """Return rows of samples with each patient's time points in order, where all of them are known.

    Names are sorted as words, in which D100 comes before D28.
    """
    of_patient: dict[str, list[list[str]]] = {}
    for row in rows:
        of_patient.setdefault(row[1], []).append(row)
    ordered = []
    for own in of_patient.values():
        times = comparable(row[3] for row in own)
        order = sorted(range(len(own)), key=times.__getitem__) if times else range(len(own))
        ordered += [own[i] for i in order]
    return ordered


#: A patient in a sample's name: `P02` of `P02_urine_D28`, `Pt7`, `PatientA`, `SLE03`, `donor2`.
_PATIENT = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:P|PT|PAT|SUBJ|SUBJECT|DONOR|HD|SLE)[_-]?\d+|PATIENT[_-]?(?:\d+|[A-Z]))(?![A-Za-z0-9])",
    re.IGNORECASE,
)


def _patient(sample: str) -> str:
    """Return the patient that a sample's name contains; P01 if none."""
    found = _PATIENT.search(sample)
    return found.group() if found else "P01"


#: A time point in a sample's name: `D28` of `P02_urine_D28`, `day-3`, `week_4`, `month 6`, `baseline`.
_TIMEPOINT = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:D|W|M|day|week|wk|month|visit)[_ ]?[+-]?\d+|\d+[_ ]?(?:d|w|days?|weeks?|wk|months?)|"
    r"baseline|screening|pre[_-]?infusion)(?![A-Za-z0-9])",
    re.IGNORECASE,
)


def _timepoint(sample: str) -> str:
    """Return the time point that a sample's name contains; nothing if it contains none or several.

    >>> [_timepoint(s) for s in ("P02_urine_D28", "P1-blood-day-3", "urine_week_4", "D1_to_D3", "P01")]
    ['D28', 'day-3', 'week_4', '', '']
    """
    found = _TIMEPOINT.findall(sample)
    return str(found[0]) if len(found) == 1 else ""


#: Words of a sample's name that say its compartment; of several the first kind here counts: bloody urine is urine.
_COMPARTMENTS = (
    ("urine", re.compile(r"urin|(?<![a-z])uri(?![a-z])")),
    ("blood", re.compile(r"blood|pbmc|apheresis|(?<![a-z])(pb|wb)(?![a-z])")),
    # "Pre-infusion" and "D14 post infusion" say when.
    (
        "product",
        re.compile(
            r"product|(?<!pre)(?<!post)(?<!before)(?<!after)(?<!pre[_-])(?<!post[_-])(?<!before[_-])(?<!after[_-])infusion"
        ),
    ),
    (
        "other",
        re.compile(
            r"marrow|biops|kidney|renal|spleen|tumou?r|tonsil|tissue|ascites|lymph_?node|(?<![a-z])(bm|bmmcs?|csf|balf?|ln)(?![a-z])"
        ),
    ),
)


def _guess(sample: str) -> str:
    """Return the compartment that a sample's name contains; urine if none.

    >>> [_guess(s) for s in ("P1_blood", "P1_urine_preinfusion", "P1_infusion_bag", "P1_BM_D28", "P1")]
    ['blood', 'urine', 'product', 'other', 'urine']
    """
    name = sample.lower()
    return next((place for place, words in _COMPARTMENTS if words.search(name)), "urine")
