"""The recipes of environments: what they copy is there and is all that a run needs; pins and versions agree."""

from __future__ import annotations

import ast
import json
import re
import runpy
import shlex
import subprocess
import sys
import time
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "envs/Dockerfile").read_text()
APPTAINER = (ROOT / "envs/carseq.def").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def docker_copies() -> set[str]:
    """Return the files and folders of the checkout that the Dockerfile copies."""
    lines = re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.M)
    return {source for line in lines for source in shlex.split(line)[:-1]}


def apptainer_copies() -> set[str]:
    """Return those that the Apptainer definition copies."""
    block = APPTAINER.split("%files\n", 1)[1].split("\n\n", 1)[0]
    return {line.split()[0] for line in block.splitlines()}


def test_images_copy_what_is_there_and_not_left_out():
    """Every path that the recipes copy exists, both copy the same, and the ignore file lets each through."""
    assert docker_copies() == apptainer_copies()
    for path in docker_copies():
        assert (ROOT / path).exists(), path
    let = (ROOT / "envs/Dockerfile.dockerignore").read_text().split()
    assert {line[1:] for line in let if line.startswith("!")} == docker_copies()


def test_images_hold_all_that_the_workflow_reads():
    """Every file that Snakefile and rules name by path lies in something that is copied."""
    named = set()
    for file in (ROOT / "Snakefile", *(ROOT / "workflow/rules").glob("*.smk")):
        for path in re.findall(r'"((?:\.\./|workflow/)[^"{}]+)"', file.read_text()):
            named.add((file.parent / path).resolve().relative_to(ROOT).as_posix())
    assert "envs/tools.yaml" in named
    for path in named:
        assert (ROOT / path).exists(), path
        assert any(path == copied or path.startswith(f"{copied}/") for copied in docker_copies()), (
            path
        )


def test_images_install_what_the_project_declares():
    """Extras, constraints, torch and Python of the images are those of pyproject.toml and constraints.txt."""
    pins = (ROOT / "constraints.txt").read_text().split()
    for text in (DOCKERFILE, APPTAINER):
        (extra,) = re.findall(r'install --no-cache-dir -c constraints\.txt "\.\[(\w+)\]"', text)
        assert extra in PROJECT["optional-dependencies"]
        versions = re.findall(r"(?:FROM|From:) python:(3\.\d+)-", text)
        assert versions
        for version in versions:
            assert Requirement(f"x{PROJECT['requires-python']}").specifier.contains(f"{version}.0")
    assert re.search(r"torch==\S+(?=;)", DOCKERFILE)[0] in pins  # type: ignore[index]


def test_every_requirement_is_pinned():
    """Each direct requirement, of the package and of its extras, has a pin that satisfies it."""
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, version = line.split("==")
            pins[name.lower().replace("_", "-")] = version
    for requirement in map(
        Requirement, chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    ):
        assert requirement.specifier.contains(pins[requirement.name.lower()]), requirement


def locked(name: str) -> dict[str, str]:
    """Return the versions of a lock file by package."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "envs" / name).read_text(), re.M))


def test_the_lock_is_that_of_the_pins_and_has_hashes():
    """envs/requirements.lock holds every pin of constraints.txt, each with a hash (`make lock` renews it).

    What torch brings for graphics cards beside them is not in an environment without one.
    """
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.lower().replace("_", "-").split("==") for line in lines if "==" in line)
    lock = locked("requirements.lock")
    cards = {name for name in lock if name.startswith(("nvidia-", "cuda-", "triton"))}
    assert {name: lock[name] for name in lock.keys() - cards} == pins
    entries = re.split(
        r"^(?=[a-z0-9-]+==)", (ROOT / "envs/requirements.lock").read_text(), flags=re.M
    )
    assert all("--hash=sha256:" in entry for entry in entries[1:])


def test_the_lowest_versions_are_those_declared():
    """envs/lowest.txt holds each requirement of the package at the lowest version that is declared."""
    lowest = locked("lowest.txt")
    for text in PROJECT["dependencies"]:
        wanted = Requirement(text)
        version = lowest[wanted.name.lower()]
        assert wanted.specifier.contains(version), wanted
        for bound in wanted.specifier:
            if bound.operator == ">=":
                # 1.11 may be had as 1.11.2 only.
                assert f"{version}.".startswith(f"{bound.version}."), (wanted, version)


#: Requirements that no file of the package imports by name, and what they are for.
NOT_IMPORTED = {
    "igraph": "scanpy's leiden clusters with it",
    "ipykernel": "an analyst runs the notebooks in its kernel",
    "ngs-tools": "imported by its name ngs_tools",
    "pyarrow": "pandas reads and writes Parquet with it",
    "pynndescent": "umap imports it, and scanpy's scrublet looks for neighbours with it; 0.7.0 broke that",
    "scikit-image": "scanpy's scrublet asks it for the threshold",
    "snakemake": "runs the workflow",
}


def test_requirements_are_what_is_imported():
    """Every package that src/carseq imports is declared, and every one declared is imported or has its reason."""
    from importlib.metadata import packages_distributions

    homes = {
        module: {name.lower().replace("_", "-") for name in names}
        for module, names in packages_distributions().items()
    }
    imported: set[str] = set()
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    imported -= {*sys.stdlib_module_names, "carseq"}
    optional = {
        Requirement(text).name.lower()
        for extra in ("cellbender", "celltypist")
        for text in PROJECT["optional-dependencies"][extra]
    }
    declared = {Requirement(text).name.lower() for text in PROJECT["dependencies"]}
    for module in sorted(imported):
        assert homes.get(module, {module}) & (declared | optional), f"{module} is not declared"
    used = {name for module in imported for name in homes.get(module, set())}
    assert declared - used - set(NOT_IMPORTED) == set()


def test_conda_environments_name_one_star():
    """STAR has the same exact version in both conda files and in the installer."""
    versions = set(re.findall(r"^version=(\S+)", (ROOT / "envs/install-star.sh").read_text(), re.M))
    for name in ("carseq.yaml", "tools.yaml"):
        wanted = yaml.safe_load((ROOT / "envs" / name).read_text())["dependencies"]
        versions |= {str(w).split("=")[1] for w in wanted if str(w).startswith("star=")}
    assert len(versions) == 1


#: Packages that conda calls otherwise than PyPI.
CONDA_NAMES = {
    "edlib": "python-edlib",
    "igraph": "python-igraph",
    "isal": "python-isal",
    "matplotlib": "matplotlib-base",
    "parasail": "parasail-python",
    "snakemake": "snakemake-minimal",
    "torch": "pytorch",
}


def test_the_conda_recipe_is_one_and_asks_for_what_the_project_asks_for():
    """rattler-build reads and renders it; version, Python, requirements and STAR are those of the project."""
    rattler_build = pytest.importorskip("rattler_build")
    recipe = rattler_build.Stage0Recipe.from_file(ROOT / "envs/conda/recipe.yaml")
    (rendered,) = recipe.render()
    made = rendered.recipe.to_dict()
    init = (ROOT / "src/carseq/__init__.py").read_text()
    assert f'__version__ = "{made["package"]["version"]}"' in init
    given = yaml.safe_load((ROOT / "envs/conda/recipe.yaml").read_text())["requirements"]["run"]
    asked = dict(line.split(" ", 1) for line in given)
    assert asked.pop("python").replace("${{ python_min }}", "3.11") == PROJECT["requires-python"]
    (star,) = re.findall(r"^version=(\S+)", (ROOT / "envs/install-star.sh").read_text(), re.M)
    assert asked.pop("star") == f"=={star}"
    wanted = map(Requirement, PROJECT["dependencies"])
    assert {name: {*bounds.split(",")} for name, bounds in asked.items()} == {
        CONDA_NAMES.get(w.name, w.name): {*str(w.specifier).split(",")} for w in wanted
    }


def test_the_dockerfile_is_clean():
    """hadolint finds nothing in it."""
    hadolint = Path(sys.executable).parent / "hadolint"
    if not hadolint.exists():
        pytest.skip("hadolint is not installed (make setup brings it)")
    done = subprocess.run(
        [hadolint, "--no-color", ROOT / "envs/Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_package_imports_quickly():
    """`import carseq` takes at most 0.3 s of processor time: each job of a cluster does it."""
    code = "import time; t = time.process_time(); import carseq; print(time.process_time() - t)"
    took = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(took) <= 0.3


def test_the_graph_of_a_large_study_is_built_quickly(tmp_path):
    """Snakemake plans a study of 16 samples of 4 units each within 10 s of processor time, its own start included."""
    source = ROOT / "tests/data/lint"
    for name in ("genome.fa", "genes.gtf"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    units = ["sample\tunit\tr1\tr2"]
    for sample in range(16):
        for unit in range(4):
            pair = [f"{sample}_{unit}_R{read}.fastq" for read in (1, 2)]
            for path in pair:
                (tmp_path / path).write_text("@r\nA\n+\nF\n")
            units.append(f"S{sample}\tL{unit}\t" + "\t".join(pair))
    samples = [f"S{i}\tP{i // 2}\turine\tD{i % 2}\t10x_3p_v3" for i in range(16)]
    head = "sample\tpatient\tcompartment\ttimepoint\tchemistry"
    (tmp_path / "samples.tsv").write_text("\n".join([head, *samples, ""]))
    (tmp_path / "units.tsv").write_text("\n".join([*units, ""]))
    (tmp_path / "config.yaml").write_text(
        "units: units.tsv\nconstruct: {file: hbi0101_surrogate.gb, name: HBI0101}\n"
        "reference: {fasta: genome.fa, gtf: genes.gtf}\n"
    )
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(tmp_path),
        "--configfile", str(tmp_path / "config.yaml"), "--cores", "8", "--dry-run", "--quiet", "rules",
    ]  # fmt: skip
    before = time.perf_counter(), _children()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took, used = time.perf_counter() - before[0], _children() - before[1]
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(r"^align +16$", done.stdout + done.stderr, re.M)
    # A busy machine may take longer by the clock; the work is the same.
    assert used <= 10, f"{used:.1f} s of processor time, {took:.1f} s by the clock"


def _children() -> float:
    """Return the processor seconds of finished child processes."""
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class TestInstall:
    """envs/install.py: uv is given what pip is set to, and pip does it where uv cannot."""

    @pytest.fixture
    def install(self):
        return runpy.run_path(str(ROOT / "envs/install.py"))

    def test_uv_is_given_what_pip_is_set_to(self, install):
        listed = (
            ":env:.find-links='/wheels /more'\n"
            "global.cert='/ca.crt'\nglobal.find-links='/old'\nglobal.extra-index-url='file:///a file:///b'\n"
            "global.index-url='https://old/simple'\ninstall.index-url='https://new/simple'\n"
            "download.index-url='https://else/simple'\n"
        )
        command, environment = install["uv_command"](install["settings"](listed))
        text = " ".join(command)
        assert "--find-links /wheels --find-links /more" in text
        assert "--default-index https://new/simple --index file:///a --index file:///b" in text
        assert "/old" not in text
        assert "else" not in text
        assert environment == {"SSL_CERT_FILE": "/ca.crt"}

    @pytest.mark.parametrize("name", ["proxy", "client-cert", "only-binary"])
    def test_what_uv_is_not_given_leaves_it_to_pip(self, install, name):
        assert install["uv_command"]({name: "x"}) is None

    @pytest.mark.parametrize("failing", ["config", "install --quiet uv", "uv pip", ""])
    def test_pip_does_it_where_uv_cannot(self, install, monkeypatch, failing):
        ran = []

        def run(command, **_):
            text = " ".join(command)
            ran.append(text)
            failed = bool(failing) and failing in text
            return subprocess.CompletedProcess(command, int(failed), "", "")

        monkeypatch.setattr(subprocess, "run", run)
        assert install["main"]() == 0
        assert ("-m pip" in ran[-1]) == bool(failing)
        assert ran[-1].endswith("-c constraints.txt -e .[dev]") == bool(failing)


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ({"vulns": []}, 0, "2 packages audited, 0 known holes"),
        ({"vulns": [{"id": "PYSEC-1", "fix_versions": ["9"]}]}, 1, "b 2: PYSEC-1, mended in 9"),
        ({"skip_reason": "not found on PyPI"}, 2, "NOT AUDITED"),
        (None, 2, "NOT AUDITED"),
    ],
)
def test_the_audit_tells_holes_from_what_nobody_could_be_asked(
    tmp_path, monkeypatch, capsys, answer, code, words
):
    """pip-audit ends with 0 where a mirror knows no holes of any package."""
    program = tmp_path / "pip-audit"
    known = {"dependencies": [{"name": "a", "version": "1", "vulns": []}]}
    if answer is not None:
        known["dependencies"].append({"name": "b", "version": "2", **answer})
    said = f"print({json.dumps(known)!r})" if answer is not None else "sys.exit('no such host')"
    program.write_text(f"#!{sys.executable}\nimport sys\n{said}\n")
    program.chmod(0o755)
    audit = runpy.run_path(str(ROOT / "envs/audit.py"))
    monkeypatch.setattr(sys, "argv", ["audit.py", str(program)])
    assert audit["main"]() == code
    told = capsys.readouterr()
    assert words in told.out + told.err
