"""The rules: what they make is what is declared, and an edit reruns what depends on it and nothing else.

Snakemake's own DAG is asked, in this process, over a study whose files hold nothing: no job is run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from carseq.construct import read_construct
from carseq.construct.reading import read_vector
from carseq.errors import CarseqError
from carseq.schema import results
from carseq.schema.results import FILES, VERSIONS
from carseq.study.config import load_config
from carseq.study.construct_file import find_construct_file
from carseq.study.load import load_study
from carseq.study.model import Study
from carseq.study.record import check_record

ROOT = Path(__file__).parents[2]
SAMPLES = ("A", "B")
NOTEBOOKS = ("01_quality", "02_cells", "03_car_t_cells", "04_localization")
#: Every file that only some configurations make.
OPTIONAL = {
    "support", "cellbender", "slice_bam", "slice_bai", "plain", "observed", "transcripts_index",
}  # fmt: skip
AFTER_CALLING = {
    "localize", "report", "notebook", "export_multiqc", "car_reads", "ro_crate",
}  # fmt: skip
#: What an edit of the sheet or the configuration always costs: the record of the run.
RECORD = {"run_record", "report", "notebook", "export_multiqc", "ro_crate"}
ALIGNMENT = {"star_index", "insert_car", "chemistry", "align"}


def paths(names: set[str], folder: str) -> set[str]:
    """Return the files of the two samples that these names stand for."""
    return {
        FILES[name].at(folder, sample=sample, notebook=notebook)
        for name in names
        for sample in SAMPLES
        for notebook in NOTEBOOKS
    }


def workflow(study: Path, executor: str, config: str = "config.yaml") -> tuple[set[str], set[str]]:
    """Return the rules that Snakemake would run for a study, and all files its jobs make.

    With executor ``touch`` it takes all files for made, and writes down by what. What makes a job run again is what
    the profile says that Snakemake finds beside the Snakefile.
    """
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import (
        ConfigSettings,
        DAGSettings,
        OutputSettings,
        Quietness,
        RerunTrigger,
        ResourceSettings,
    )

    profile = yaml.safe_load((ROOT / "profiles/default/config.yaml").read_text())
    triggers = RerunTrigger.parse_choices_set(profile["rerun-triggers"])
    here = Path.cwd()
    try:
        with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
            made = api.workflow(
                resource_settings=ResourceSettings(cores=2),
                config_settings=ConfigSettings(configfiles=[study / config]),
                snakefile=ROOT / "Snakefile",
                workdir=study,
            )
            made.dag(DAGSettings(rerun_triggers=triggers)).execute_workflow(executor=executor)
            inner = made._workflow
            if executor == "touch":
                for job in inner.dag.jobs:
                    inner.async_run(inner.persistence.finished(job))
            needed = {job.rule.name for job in inner.dag.jobs if inner.dag.needrun(job)}
            files = {str(file) for job in inner.dag.jobs for file in job.output}
    finally:
        os.chdir(here)
    return needed - {"all"}, files


def change(study: Path, *keys: str, to: object) -> None:
    """Set a key of the study's configuration."""
    path = study / "config.yaml"
    config = section = yaml.safe_load(path.read_text())
    for key in keys[:-1]:
        section = section.setdefault(key, {})
    section[keys[-1]] = to
    path.write_text(yaml.safe_dump(config))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that Snakemake takes for finished: markers of its own, and receptors of sample B."""
    study = tmp_path_factory.mktemp("rules") / "study"
    shutil.copytree(ROOT / "tests/data/lint", study)
    (study / "markers.tsv").write_text("cell_type\tgene\n")
    (study / "airr.tsv").write_text("cell_id\n")
    shutil.copy(find_construct_file("hbi0101_surrogate_native.gb", study), study / "car.gb")
    change(study, "cells", "markers", to="markers.tsv")
    change(study, "construct", "file", to="car.gb")
    (study / "samples.tsv").write_text(
        "sample\tpatient\tcompartment\ttimepoint\trole\tproteinuria_g\ttcr\n"
        "A\tP1\turine\tD0\tnegative_control\t1.5\t\n"
        "B\tP1\turine\tD28\tcase\t0.5\tairr.tsv\n"
    )
    for path in paths(set(FILES) - OPTIONAL, str(study / "results")):
        if Path(path).name in {"base", "augmented"}:
            Path(path).mkdir(parents=True)
        else:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text("made")
    # Twice: files must be older than those made from them.
    workflow(study, "touch")
    workflow(study, "touch")
    return study


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Iterator[Path]:
    """The study to edit; its own files are put back, times too."""
    own = [path for path in finished.iterdir() if path.is_file()]
    for path in own:
        shutil.copy2(path, tmp_path)
    yield finished
    for path in own:
        shutil.copy2(tmp_path / path.name, path)


def test_one_record_of_a_file_is_taken(study: Path, tmp_path: Path) -> None:
    """`FILE#name` as construct and as alternative: the rule takes that record, and another name runs it again."""
    maps = tmp_path / "maps.fa"
    other, mine = (
        read_vector(find_construct_file(name, study)).sequence
        for name in ("axi-cel", "hbi0101_surrogate")
    )
    maps.write_text(f">other\n{other}\n>mine\n{mine}\n")
    change(study, "construct", "file", to=f"{maps}#mine")
    change(study, "construct", "alternatives", to=[f"{maps}#other"])
    made = tmp_path / "results"
    change(study, "results", to=str(made))
    target = FILES["construct_json"].at(str(made))
    command = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "1", "--quiet"]
    command += ["--configfile", str(study / "config.yaml"), "--directory", str(study), target]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read_construct(target).sequence in mine
    needed = workflow(study, "dryrun")[0]
    assert "support" in needed
    assert "transcript" not in needed
    change(study, "construct", "file", to=f"{maps}#other")
    assert "transcript" in workflow(study, "dryrun")[0]


def test_every_output_is_declared_and_every_declared_file_is_made(study: Path) -> None:
    """Of seven configurations that differ in what they are given, keep, compare, insert, learn and count with."""
    made = workflow(study, "dryrun")[1]
    change(study, "solo", "keep_bam", to="slice")
    change(study, "cells", "cellbender", to=10)
    change(study, "construct", "alternatives", to=["car.gb"])
    made |= workflow(study, "dryrun")[1]
    change(study, "chemistry", "whitelist", to="observed")
    for insertion in ("each_run", "none"):
        change(study, "reference", "insertion", to=insertion)
        made |= workflow(study, "dryrun")[1]
    change(study, "solo", "aligner", to="kallisto")
    made |= workflow(study, "dryrun")[1]
    for name in ("A.bam", "A.bam.bai", "A.h5", "B.bam", "B.bam.bai", "B.h5"):
        (study / name).touch()
    (study / "samples.tsv").write_text(
        "sample\tpatient\tcompartment\tbam\traw_matrix\n"
        "A\tP1\turine\tA.bam\tA.h5\nB\tP1\turine\tB.bam\tB.h5\n"
    )
    change(study, "units", to=None)
    made |= workflow(study, "dryrun")[1]
    assert made == paths(set(FILES), "results")


def test_a_finished_study_has_nothing_to_do(study: Path) -> None:
    assert workflow(study, "dryrun")[0] == set()


def sheet(old: str, new: str) -> Callable[[Path], None]:
    def edit(study: Path) -> None:
        path = study / "samples.tsv"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return edit


def reverse(study: Path) -> None:
    head, *rows = (study / "samples.tsv").read_text().splitlines(keepends=True)
    (study / "samples.tsv").write_text(head + "".join(reversed(rows)))


def key(*keys: str, to: object) -> Callable[[Path], None]:
    return lambda study: change(study, *keys, to=to)


def append(name: str, text: str) -> Callable[[Path], None]:
    def edit(study: Path) -> None:
        path = study / name
        path.write_text(path.read_text() + text)

    return edit


def older(name: str) -> Callable[[Path], None]:
    """Put another file in the place of one, with an old time, as unpacking or a backup does."""

    def edit(study: Path) -> None:
        path = study / name
        path.write_text(path.read_text() + "another\n")
        os.utime(path, (1e9, 1e9))

    return edit


LABELS = {"samples", "calling"} | AFTER_CALLING | RECORD
CELLS = {"cohort", "export_matrix", "calling"} | AFTER_CALLING
#: Genes that share sequence with the CAR are not evidence for the type of a cell: the cohort follows the construct.
CONSTRUCT = {"construct", "homologs", "homology", "molecules"} | CELLS
ALIGNED_AGAIN = {
    "check_car",
    "transcript",
    "augmented_gtf",
    "insert_car",
    "align",
    "sample_cells",
    "cohort",
}
EVERYTHING = (
    {"check_reference", "check_car", "strand_panel", "star_index", "chemistry", "augmented_gtf", "insert_car", "align"}
    | {"library", "construct", "homologs", "homology", "molecules", "sample_cells"}
    | CELLS
)  # fmt: skip
READS = {
    "chemistry",
    "align",
    "library",
    "construct",
    "homology",
    "molecules",
    "sample_cells",
} | CELLS
EDITS = {
    "a time point": (sheet("D28", "D29"), LABELS),
    "a role": (sheet("case", "negative_control"), LABELS),
    "a clinical number": (sheet("0.5", "0.7"), LABELS),
    "the gating": (sheet("proteinuria_g", "gating"), LABELS),
    "a patient without receptors": (sheet("A\tP1", "A\tP2"), LABELS),
    # Neither cells nor clusters: tables alone have the sheet's order.
    "the sheet's order": (reverse, LABELS),
    "a patient with receptors": (sheet("B\tP1", "B\tP2"), LABELS | CELLS),
    "the threshold": (key("calling", "fdr", to=0.1), {"calling"} | AFTER_CALLING | RECORD),
    "the target": (
        key("construct", "target", to="CD19"),
        {"localize"} | RECORD,
    ),
    "the markers": (append("markers.tsv", "T\tCD3E\n"), CELLS),
    "the checksums": (key("report", "checksums", to="results"), RECORD),
    "the genome": (append("genome.fa", "A\n"), EVERYTHING),
    "the annotation": (append("genes.gtf", "\n"), EVERYTHING),
    "an older genome": (older("genome.fa"), EVERYTHING),
    "older markers": (older("markers.tsv"), CELLS),
    "older receptors": (older("airr.tsv"), CELLS),
    "older reads": (older("A_R1.fastq"), READS),
    "an older construct": (older("car.gb"), CONSTRUCT | ALIGNED_AGAIN),
    "the construct's name": (
        key("construct", "name", to="OTHER"),
        CONSTRUCT | RECORD | ALIGNED_AGAIN ,
    ),
    "the construct's file": (
        append("car.gb", "\n"),
CONSTRUCT | ALIGNED_AGAIN,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", EDITS)
def test_an_edit_reruns_what_depends_on_it_and_nothing_else(study: Path, what: str) -> None:
    edit, rules = EDITS[what]
    edit(study)
    assert workflow(study, "dryrun")[0] == rules


ROOMS = {
    "construct": CONSTRUCT,
    "molecules": {"molecules", "calling"} | AFTER_CALLING,
    "cells": {"sample_cells"} | CELLS,
    "calling": {"samples", "calling"} | AFTER_CALLING,
    "localize": {"localize", "report", "notebook", "ro_crate"},
    "report": RECORD | {"export_matrix", "export_multiqc", "car_reads"},
}


@pytest.fixture
def raised(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda room: monkeypatch.setattr(results, "VERSIONS", {**VERSIONS, room: "99.0.0"})


@pytest.mark.parametrize("room", ROOMS)
def test_a_rooms_new_version_reruns_it_and_what_follows_never_the_alignment(
    study: Path, raised: Callable[[str], None], room: str
) -> None:
    raised(room)
    needed = workflow(study, "dryrun")[0]
    assert needed == ROOMS[room]
    assert not needed & ALIGNMENT


def test_an_installation_of_today_reruns_nothing_of_yesterday(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pip install` and `git clone` give scripts the time of day: a study that an older copy made stays as it is."""
    monkeypatch.setattr("snakemake.jobs.get_script_mtime", lambda path: time.time() + 3600)
    assert workflow(study, "dryrun")[0] == set()


def test_a_study_that_was_moved_stays_as_it_is(study: Path, tmp_path: Path) -> None:
    """Put on another disk, with Snakemake's notes: its files are known as they are seen from its folder."""
    moved = shutil.copytree(study, tmp_path / "elsewhere" / "study")
    assert workflow(moved, "dryrun")[0] == set()


def test_notes_that_name_files_from_the_root_are_taken_over(study: Path, tmp_path: Path) -> None:
    """So earlier runs wrote them: a finished study is not aligned anew for it."""
    old = shutil.copytree(study, tmp_path / "study")
    changed = 0
    for path in (old / ".snakemake" / "metadata").rglob("*"):
        notes = json.loads(path.read_text()) if path.is_file() else {}
        own = {f for f in notes.get("input", []) if "/" not in f and (old / f).is_file()}
        named = [str(old / f) if f in own else f for f in notes.get("input", [])]
        if notes and named != notes["input"]:
            changed += 1
            path.write_text(json.dumps({**notes, "input": sorted(named)}))
    assert changed > 5
    assert workflow(old, "dryrun")[0] == set()


@pytest.mark.parametrize("insertion", ["saved", "none"])
def test_an_older_index_in_the_place_of_ones_own_is_noticed(
    study: Path, tmp_path: Path, insertion: str
) -> None:
    """The folder of `reference.star_index` was exchanged by `mv` for an index that was built earlier."""
    copy = shutil.copytree(study, tmp_path / "study")
    change(copy, "reference", "star_index", to="index")
    change(copy, "reference", "insertion", to=insertion)
    (copy / "index").mkdir()
    for file in ("Genome", "SA"):
        (copy / "index" / file).write_text("one")
    workflow(copy, "touch")
    workflow(copy, "touch")
    assert workflow(copy, "dryrun")[0] == set()
    (copy / "index" / "SA").write_text("two")
    for path in (copy / "index" / "SA", copy / "index"):
        os.utime(path, (1e9, 1e9))
    changed = {"check_reference", "align", "insert_car"} - (
        {"insert_car"} if insertion == "none" else set()
    )
    assert workflow(copy, "dryrun")[0] >= changed


@pytest.mark.parametrize(
    ("name", "rule"),
    [("aligned_bam", "reuse_reads"), ("summary", "reuse_reads"), ("ambient", "reuse_cells")],
)
def test_a_reused_study_that_was_restored_is_noticed(
    study: Path, tmp_path: Path, name: str, rule: str
) -> None:
    """The study in `reuse` was restored from a backup of another state, whose files are older than the second's."""
    copy = shutil.copytree(study, tmp_path / "study")
    results = copy / "results"
    record = load_study(load_config(copy / "config.yaml")).record()
    shutil.copytree(results, copy / "second")
    (results / "run_config.yaml").write_text(yaml.safe_dump(record))
    change(copy, "reuse", to="results")
    change(copy, "results", to="second")
    workflow(copy, "touch")
    workflow(copy, "touch")
    assert workflow(copy, "dryrun")[0] == set()
    other = Path(FILES[name].at(str(results), sample="A"))
    other.write_text("of another state")
    os.utime(other, (1e9, 1e9))
    assert rule in workflow(copy, "dryrun")[0]


@pytest.mark.parametrize("changed", ["reads", "patient", "construct", "nothing"])
def test_results_that_were_copied_into_another_study_are_refused(
    study: Path, tmp_path: Path, changed: str
) -> None:
    """`cp -r study1/* study2/` leaves Snakemake's notes behind; with study2's reads, study1's verdicts stood there."""
    copy = shutil.copytree(study, tmp_path / "study")
    made = load_study(load_config(copy / "config.yaml"))
    (copy / "results/run_config.yaml").write_text(yaml.safe_dump(made.record()))
    write_crate_of(made, copy / "results/ro-crate-metadata.json")
    shutil.rmtree(copy / ".snakemake")
    if changed == "reads":
        unit = next(iter(made.units.values()))[0]
        Path(unit.r1).write_text("reads of another patient")
    elif changed == "patient":
        text = (copy / "samples.tsv").read_text()
        (copy / "samples.tsv").write_text(text.replace("\tP1\t", "\tP2\t"))
    elif changed == "construct":
        text = (copy / "car.gb").read_text()
        (copy / "car.gb").write_text(text.replace("DEFINITION", "DEFINITION  another one,"))
    metadata = copy / ".snakemake/metadata"
    now = load_study(load_config(copy / "config.yaml"))
    now.config.results = str(copy / "results")
    if changed == "nothing":
        check_record(now, metadata)
        return
    for other in (False, True):
        if other:
            # Notes of other results in this folder say nothing of these.
            metadata.mkdir(parents=True)
            (metadata / urlsafe_b64encode(b"second/versions.json").decode()).write_text("{}")
        with pytest.raises(CarseqError, match=r"nothing says which.*\n.*" + changed):
            check_record(now, metadata)


def write_crate_of(study: Study, path: Path) -> None:
    """Write of a manifest the inputs alone."""
    given = [
        {
            "@id": f"#input/{i}",
            "description": role,
            "name": Path(file).name,
            "contentSize": str(Path(file).stat().st_size),
        }
        for i, (role, file) in enumerate(study.inputs())
    ]
    path.write_text(json.dumps({"@graph": given}))


def test_no_input_is_ancient() -> None:
    """Snakemake does not look whether a job has changed otherwise if an ancient input of it is made anew."""
    for file in (ROOT / "workflow/rules").glob("*.smk"):
        assert "ancient(" not in file.read_text(), file


def test_versions_are_of_every_room_that_makes_a_file() -> None:
    assert set(VERSIONS) == {file.room for file in FILES.values()} | {"transcript", "library"}
    assert json.dumps(dict(VERSIONS))
