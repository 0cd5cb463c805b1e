"""The workflow end to end: simulated studies against their truth, and real reads."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from itertools import islice
from operator import ne
from pathlib import Path

import anndata
import pandas as pd
import pytest
import yaml

from carseq.construct import Construct
from carseq.io.files import read_table
from carseq.library.whitelist import known_whitelist
from carseq.schema.obs import H5AD, OBS, OBS_MORE, OPTIONAL_OBS
from carseq.schema.tables import (
    BLOOD_IN_URINE,
    CONTRASTS,
    DETECTION,
    LOCALIZATION,
    LOSSES,
    MOLECULES,
    RECEPTORS,
)
from carseq.simulate import simulate_study

ROOT = Path(__file__).parents[2]
CAR = "HBI0101"

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(
        shutil.which("STAR") is None, reason="STAR is not on PATH (make setup installs it)"
    ),
]


def snakemake(
    folder: Path, *words: str, config: str = "config.yaml"
) -> subprocess.CompletedProcess[str]:
    """Run the workflow in ``folder``."""
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder),
        "--configfile", str(folder / config), "--cores", "2", *words,
    ]  # fmt: skip
    hook = str(ROOT / "tests" / "faults" / "hook")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        # What each job was given is kept, so that jobs can be run again under faults.
        "PYTHONPATH": os.pathsep.join(filter(None, [hook, os.environ.get("PYTHONPATH")])),
        "CARSEQ_TEST_JOBS": str(folder / ".jobs"),
    }
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


#: All but notebooks and exports, which the demo and the study of a sample without cells make too.
TO_THE_REPORT = ("results/report/report.html", "results/report/run_times.tsv")


def run(folder: Path, *words: str) -> str:
    done = snakemake(folder, *words)
    assert done.returncode == 0, done.stderr[-6000:]
    return done.stderr


def head_of(source: Path, target: Path, n_reads: int) -> None:
    """Write the first reads of a gzipped FASTQ file."""
    with gzip.open(source, "rt") as reads, gzip.open(target, "wt", compresslevel=1) as out:
        out.writelines(islice(reads, 4 * n_reads))


@dataclass
class Finished:
    """A finished study, its results and its truth."""

    folder: Path

    def __post_init__(self) -> None:
        self.results = self.folder / "results"
        self.cohort = anndata.read_h5ad(self.results / "cohort/cells.h5ad")
        self.detection = read_table(self.results / "cohort/detection.tsv", DETECTION).set_index(
            "sample"
        )
        self.samples = list(self.detection.index)

    def truth(self, sample: str) -> pd.DataFrame:
        table = pd.read_csv(
            self.folder / f"truth/{sample}.droplets.tsv.gz",
            sep="\t",
            index_col="barcode",
            keep_default_na=False,
        )
        return table[table["kind"] != "empty"]

    def cells(self, sample: str) -> pd.DataFrame:
        obs = self.cohort.obs
        return obs[obs["sample"] == sample].set_index("barcode")

    def called_barcodes(self, sample: str) -> set[str]:
        table = read_table(self.results / f"samples/{sample}/cells/barcodes.tsv.gz")
        return set(table.loc[table["is_cell"].astype(bool), "barcode"])

    def car_calls(self) -> tuple[int, int, int, int]:
        """Return positive calls, true ones among them, cells with an own CAR molecule, found ones."""
        n_positive = n_true = n_own = n_found = 0
        for sample in self.samples:
            truth, cells = self.truth(sample), self.cells(sample)
            positive = set(cells.index[cells["car_call"] == "positive"])
            car_t = truth["is_car_t"].astype(str) == "True"
            own = set(truth.index[car_t & (truth["n_car_own"] > 0)])
            n_positive += len(positive)
            n_true += len(positive & set(truth.index[car_t]))
            n_own += len(own)
            n_found += len(own & positive)
        return n_positive, n_true, n_own, n_found


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Finished:
    """The demo study, simulated and run."""
    folder = tmp_path_factory.mktemp("demo")
    simulate_study(folder, construct="hbi0101_surrogate_native.gb")
    run(folder)
    return Finished(folder)


def test_true_cells_are_called(demo):
    for sample in demo.samples:
        truth, called = demo.truth(sample), demo.called_barcodes(sample)
        assert truth.index.isin(called).mean() >= 0.95, sample
        assert len(called - set(truth.index)) <= 0.01 * len(called), sample


def test_car_t_cells_are_found(demo):
    n_positive, n_true, n_own, n_found = demo.car_calls()
    assert n_own >= 40
    assert n_true / n_positive >= 0.9
    assert n_found / n_own >= 0.85


def test_the_negative_control_has_no_positive_call(demo):
    assert demo.detection.loc["P01_urine_D0", "n_car_positive"] == 0
    assert demo.detection.loc["P01_urine_D0", "verdict"] == "not_detected"
    assert demo.detection.loc["P01_urine_D0", "detection_limit"] <= 0.5


def test_verdicts_of_urine_and_blood_are_right(demo):
    for sample in ("P01_urine_D28", "P01_blood_D28"):
        row, truth = demo.detection.loc[sample], demo.truth(sample)
        t_cells = truth[(truth["lineage"] == "T") & (truth["kind"] == "cell")]
        share = (t_cells["is_car_t"].astype(str) == "True").mean()
        assert row["verdict"] == "detected"
        assert row["prevalence_low"] <= share <= row["prevalence_high"]


def test_the_demo_has_no_blood_in_its_urine(demo):
    """No cell of the demo's urine is blood's: the interval ends below 50 %, and blood explains no CAR T cells."""
    table = read_table(demo.results / "cohort/blood_in_urine.tsv", BLOOD_IN_URINE)
    row = table[table["witness"] == "combined"].set_index("sample").loc["P01_urine_D28"]
    assert row["high"] < 0.5
    assert row["p_blood_alone"] < 0.01


def test_lineages_are_right(demo):
    right = n = 0
    for sample in demo.samples:
        both = demo.cells(sample).join(demo.truth(sample), rsuffix="_true", how="inner")
        singlets = both[both["kind"] == "cell"]
        right += (singlets["lineage"].astype(str) == singlets["lineage_true"]).sum()
        n += len(singlets)
    assert right / n >= 0.95


def test_car_molecules_are_recovered(demo):
    for sample in ("P01_urine_D28", "P01_blood_D28"):
        truth = pd.read_csv(demo.folder / f"truth/{sample}.car_molecules.tsv.gz", sep="\t")
        found = read_table(
            demo.results / f"samples/{sample}/molecules/molecules.parquet", MOLECULES
        )
        # A UMI may carry a sequencing error: molecules are matched by barcode and all but one base of the UMI.
        told_apart = found[found["evidence"].isin(["unique", "junction"])]
        assert (
            abs(len(told_apart) - truth["identifiable"].sum()) <= 0.03 * truth["identifiable"].sum()
        )
        umis = found.groupby("barcode")["umi"].agg(list)
        identifiable = truth[truth["identifiable"]]
        same = [
            any(sum(map(ne, umi, other)) <= 1 for other in umis.get(barcode, []))
            for barcode, umi in zip(identifiable["barcode"], identifiable["umi"], strict=True)
        ]
        assert sum(same) >= 0.97 * len(same)


def test_the_car_is_a_gene_with_its_counts(demo):
    assert CAR in demo.cohort.var_names
    counts = demo.cohort[:, CAR].layers["counts"].sum()
    truth = sum(
        demo.truth(s)[["n_car_own", "n_car_partner", "n_car_ambient"]].to_numpy().sum()
        for s in demo.samples
    )
    assert counts >= 0.9 * truth - 10
    assert demo.cohort.obs["car_umis"].sum() > 0


def test_tables_keep_their_columns(demo):
    cohort = demo.results / "cohort"
    for name, schema in (("localization", LOCALIZATION), ("contrasts", CONTRASTS)):
        table = read_table(cohort / f"{name}.tsv", schema)
        assert len(table) > 0
    assert set(OBS.columns) <= set(demo.cohort.obs.columns)
    assert demo.cohort.obs_names[0] == ":".join(
        demo.cohort.obs.iloc[0][["sample", "barcode"]].astype(str)
    )
    assert "proteinuria_g_per_day" in demo.cohort.obs
    sheet = read_table(demo.folder / "samples.tsv").columns
    assert set(demo.cohort.obs) <= {*OBS.columns, *OBS_MORE.columns, *sheet}
    held = {"X"} | {
        f'{slot}["{key}"]'
        for slot in ("layers", "obsm", "obsp", "var", "uns")
        for key in getattr(demo.cohort, slot)
    }
    assert held <= set(H5AD)
    assert {'layers["counts"]', 'layers["corrected"]'} <= held
    for sample in demo.samples:
        losses = read_table(
            demo.results / f"samples/{sample}/calling/losses.tsv", LOSSES
        ).set_index("step")["n"]
        where = ["more_likely_endogenous", "droplet_not_called", "filtered_cell", "doublet", "other_lineage",
                 "t_cell_uncertain", "t_cell_positive"]  # fmt: skip
        assert losses[where].sum() == losses["car_molecules"]
    for name in (
        "run_config.yaml",
        "versions.json",
        "construct/lint.json",
        *(
            f"notebooks/{n}.ipynb"
            for n in ("01_quality", "02_cells", "03_car_t_cells", "04_localization")
        ),
    ):
        assert (demo.results / name).stat().st_size > 0, name


def test_the_report_says_the_verdict(demo):
    page = (demo.results / "report/report.html").read_text()
    assert "CAR T cells detected" in page
    assert "surrogate" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_the_second_run_does_nothing_and_says_so(demo):
    assert "Nothing to be done" in run(demo.folder)


def test_faults_are_survived_and_told(demo, tmp_path):
    """Jobs killed and limited give the same when run again; damaged inputs are told (the whole: `make torture`)."""
    outcomes = tmp_path / "outcomes.json"
    torture = [
        ROOT / "tests/faults/torture.py",
        "--study",
        demo.folder,
        "--short",
        "--json",
        outcomes,
    ]
    done = subprocess.run(
        [sys.executable, *map(str, torture)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    found = json.loads(outcomes.read_text())
    assert len(found) >= 25
    assert sum(o["told"] is True for o in found) >= 20
    assert sum(o["survived"] is True for o in found) >= 7
    assert not any(o["survived"] is False or o["told"] is False for o in found)


def test_the_inserted_index_counts_as_a_rebuilt_one(demo, tmp_path):
    """The CAR inserted on the fly gives the same matrix as a genome built with it."""
    from carseq.library.geometry import Chemistry
    from carseq.reference.index import build_index
    from carseq.solo import align

    genome = (demo.folder / "genome.fa").read_text() + (
        demo.results / "construct/construct.fa"
    ).read_text()
    (tmp_path / "genome.fa").write_text(genome)
    build_index(
        tmp_path / "genome.fa",
        demo.results / "reference/augmented.gtf",
        tmp_path / "index",
        threads=2,
    )
    units = pd.read_csv(demo.folder / "units.tsv", sep="\t").query("sample == 'P01_urine_D28'")
    pairs = [(tmp_path / "R1.fastq.gz", tmp_path / "R2.fastq.gz")]
    for source, target in zip(units.iloc[0][["r1", "r2"]], pairs[0], strict=True):
        head_of(demo.folder / source, target, 150_000)
    chemistry = Chemistry.from_json(
        (demo.results / "samples/P01_urine_D28/solo/chemistry.json").read_text()
    )
    built, saved = tmp_path / "index", demo.results / "reference/augmented"
    inserted = (demo.results / "construct/construct.fa", demo.results / "reference/augmented.gtf")
    align(pairs, chemistry, built, tmp_path / "rebuilt", car=CAR, threads=2)
    align(pairs, chemistry, saved, tmp_path / "saved", car=CAR, threads=2)
    base = demo.results / "reference/base"
    align(pairs, chemistry, base, tmp_path / "each_run", car=CAR, threads=2, insert=inserted)
    rebuilt = anndata.read_h5ad(tmp_path / "rebuilt/raw.h5ad")
    assert rebuilt[:, CAR].X.sum() > 0
    for name in ("saved", "each_run"):
        other = anndata.read_h5ad(tmp_path / name / "raw.h5ad")[:, rebuilt.var_names]
        assert list(rebuilt.obs_names) == list(other.obs_names), name
        assert (rebuilt.X != other.X).nnz == 0, name
    for file in (
        "Genome",
        "SA",
        "geneInfo.tab",
        "chrName.txt",
        "chrStart.txt",
        "chrNameLength.txt",
    ):
        assert (built / file).read_bytes() == (saved / file).read_bytes(), file


@pytest.fixture(scope="session")
def five_prime(tmp_path_factory) -> Finished:
    """A 5' study with a product, smaller than the demo and not integrated."""
    folder = tmp_path_factory.mktemp("five_prime")
    simulate_study(
        folder,
        construct="hbi0101_surrogate_native.gb",
        chemistry="10x_5p_v2",
        cells=120,
        with_product=True,
        seed=7,
    )
    with (folder / "config.yaml").open("a") as config:
        config.write("cells: {integration: none}\n")
    run(folder, *TO_THE_REPORT)
    return Finished(folder)


def test_five_prime_studies_work_too(five_prime):
    summary = json.loads(
        (five_prime.results / "samples/P01_urine_D28/solo/summary.json").read_text()
    )
    assert (summary["chemistry"], summary["strand"]) == ("10x_5p_v2", "Reverse")
    n_positive, n_true, n_own, n_found = five_prime.car_calls()
    assert n_true / n_positive >= 0.9
    # 53 cells, half of them with one or two CAR molecules: five points of chance beside the demo's 0.85.
    assert n_found / n_own >= 0.8
    assert five_prime.detection.loc["P01_urine_D0", "n_car_positive"] == 0
    assert five_prime.detection.loc["P01_product", "verdict"] == "detected"


def test_spliced_leaders_are_counted(five_prime):
    """Reads across the psi splice count for the CAR's gene, since its spliced form is annotated."""
    counts = 0
    truth = 0
    for sample in five_prime.samples:
        raw = anndata.read_h5ad(five_prime.results / f"samples/{sample}/solo/raw.h5ad")
        counts += raw[:, CAR].X.sum()
        molecules = pd.read_csv(
            five_prime.folder / f"truth/{sample}.car_molecules.tsv.gz", sep="\t"
        )
        truth += molecules["identifiable"].astype(bool).sum()
    assert counts >= 0.95 * truth


@pytest.fixture(scope="session")
def real(tmp_path_factory, shared: Path, surrogate: Construct) -> Path:
    """Real 10x reads without a CAR, and the same with CAR reads spiked into 40 of their barcodes."""
    folder = tmp_path_factory.mktemp("real")
    source = shared / "real_chr21"
    stem = "Chromium_3p_GEX_Human_PBMC_chr21_100000_S1_L001_{}_001.fastq.gz"
    r1, r2 = source / stem.format("R1"), source / stem.format("R2")
    rng = random.Random(11)
    barcodes: dict[str, None] = {}
    with gzip.open(r1, "rt") as reads:
        for i, line in enumerate(reads):
            if i % 4 == 1:
                barcodes.setdefault(line[:16])
    with gzip.open(known_whitelist("10x_version3"), "rt") as stream:
        valid = {line.strip() for line in stream}
    barcodes = {barcode: None for barcode in barcodes if barcode in valid}
    chosen = rng.sample(list(barcodes), 40)
    (folder / "spiked.txt").write_text("\n".join(chosen))
    spiked = {name: gzip.decompress(path.read_bytes()) for name, path in (("R1", r1), ("R2", r2))}
    lines: dict[str, list[str]] = {"R1": [], "R2": []}
    for i in range(80):
        barcode, umi = chosen[i % 40], "".join(rng.choices("ACGT", k=12))
        start = len(surrogate.sequence) - max(95, round(rng.gauss(350, 100)))
        read = "".join(
            rng.choice("ACGT") if rng.random() < 0.003 else b
            for b in surrogate.sequence[start : start + 90]
        )
        for key, sequence in (("R1", barcode + umi), ("R2", read)):
            lines[key].append(f"@spike{i}\n{sequence}\n+\n{'F' * len(sequence)}\n")
    for key in ("R1", "R2"):
        (folder / f"spiked_{key}.fastq.gz").write_bytes(
            gzip.compress(spiked[key] + "".join(lines[key]).encode(), 1)
        )
    (folder / "samples.tsv").write_text(
        "sample\tpatient\tcompartment\ttimepoint\trole\n"
        "real\tP1\tblood\tD0\tnegative_control\nspiked\tP1\tblood\tD28\tcase\n"
    )
    (folder / "units.tsv").write_text(
        f"sample\tunit\tr1\tr2\nreal\tL1\t{r1}\t{r2}\nspiked\tL1\tspiked_R1.fastq.gz\tspiked_R2.fastq.gz\n"
    )
    (folder / "config.yaml").write_text(
        "units: units.tsv\n"
        "construct: {file: hbi0101_surrogate_native.gb, name: HBI0101}\n"
        f"reference: {{fasta: {source}/mini.fa, gtf: {source}/mini.gtf}}\n"
    )
    run(folder, *TO_THE_REPORT)
    return folder


def test_real_reads_have_no_car_and_an_honest_verdict(real):
    summary = json.loads((real / "results/samples/real/solo/summary.json").read_text())
    assert summary["chemistry"] == "10x_3p_v3"
    assert 0.93 <= summary["valid_barcodes"] <= 0.96
    assert summary["car_umis_aligned"] == 0
    assert (
        len(read_table(real / "results/samples/real/molecules/molecules.parquet", MOLECULES)) == 0
    )
    row = (
        read_table(real / "results/cohort/detection.tsv", DETECTION).set_index("sample").loc["real"]
    )
    assert row["n_car_positive"] == 0
    assert row["verdict"] in ("undetermined", "not_detected")
    page = (real / "results/report/report.html").read_text()
    headlines = re.findall(
        r"CAR T cells (?:not detected above|detected)|Undetermined", page.split("<script")[0]
    )
    assert "CAR T cells detected" not in headlines
    assert headlines


def test_spiked_car_reads_are_found_in_their_barcodes(real):
    molecules = read_table(real / "results/samples/spiked/molecules/molecules.parquet", MOLECULES)
    chosen = set((real / "spiked.txt").read_text().split())
    assert set(molecules["barcode"]) <= chosen
    assert len(set(molecules["barcode"])) == 40
    assert len(molecules) >= 79
    assert set(molecules["evidence"]) == {"unique"}


class TestBadInput:
    """Faults are told with cause and remedy, and spare the other samples."""

    @pytest.fixture
    def study(self, demo, tmp_path) -> Path:
        for name in ("config.yaml", "samples.tsv", "units.tsv"):
            text = (demo.folder / name).read_text()
            for word in ("genome.fa", "genes.gtf", "construct.gb"):
                text = text.replace(word, str(demo.folder / word))
            (tmp_path / name).write_text(text.replace("fastq/", f"{demo.folder}/fastq/"))
        return tmp_path

    def spoil(self, study: Path, name: str, old: str, new: str) -> None:
        path = study / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    @pytest.mark.parametrize(
        ("name", "old", "new", "words"),
        [
            ("config.yaml", "target:", "tarjet:", "did you mean `target`?"),
            ("samples.tsv", "P01_urine_D0\t", "P01_urine_D28\t", "stands twice"),
            ("units.tsv", "L001_R1_001", "L009_R1_001", "cannot be read"),
            ("config.yaml", "genes.gtf", "genes.gff", "reference.gtf"),
        ],
    )
    def test_before_any_job(self, study, name, old, new, words):
        self.spoil(study, name, old, new)
        done = snakemake(study)
        assert done.returncode != 0
        assert words in done.stderr
        assert "what to do" in done.stderr
        assert "Traceback" not in done.stderr
        assert not (study / "results").exists()

    def test_no_configuration(self, tmp_path):
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "-n"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "carseq init" in done.stdout + done.stderr

    def test_swapped_and_unequal_reads_spare_the_other_samples(self, study):
        units = pd.read_csv(study / "units.tsv", sep="\t")
        swapped, cut = units["sample"] == "P01_urine_D0", units["sample"] == "P01_blood_D28"
        units.loc[swapped, ["r1", "r2"]] = units.loc[swapped, ["r2", "r1"]].to_numpy()
        head_of(Path(units.loc[cut, "r2"].iloc[0]), study / "short.fastq.gz", 100_000)
        units.loc[units.index[cut][0], "r2"] = "short.fastq.gz"
        units.to_csv(study / "units.tsv", sep="\t", index=False)
        done = snakemake(study, "--keep-going", "--until", "chemistry")
        assert done.returncode != 0
        assert "R1 and R2 of P01_urine_D0 are swapped" in done.stderr
        assert "exchange the columns r1 and r2" in done.stderr
        assert "short.fastq.gz hold different numbers of reads" in done.stderr
        folder = study / "results/samples"
        assert (folder / "P01_urine_D28/solo/chemistry.json").exists()
        assert not (folder / "P01_urine_D0/solo/chemistry.json").exists()
        assert not (folder / "P01_blood_D28/solo/chemistry.json").exists()

    def test_check_tells_of_unequal_reads(self, study, demo):
        unit = pd.read_csv(demo.folder / "units.tsv", sep="\t").iloc[0]
        head_of(demo.folder / unit["r2"], study / "short.fastq.gz", 10_000)
        self.spoil(study, "units.tsv", f"{demo.folder}/{unit['r2']}", "short.fastq.gz")
        command = [sys.executable, "-m", "carseq", "check", str(study / "config.yaml")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "hold different numbers of reads" in done.stdout
        assert "✓ sample P01_blood_D28" in done.stdout


def test_a_sample_without_cells_does_not_stop_the_study(demo, tmp_path):
    """One sample of barcodes with a single read each, beside a good one."""
    rng = random.Random(5)
    genome = (
        (demo.folder / "genome.fa").read_text().split(">")[1].split("\n", 1)[1].replace("\n", "")
    )
    with gzip.open(known_whitelist("10x_version3"), "rt") as stream:
        whitelist = [line.strip() for line in islice(stream, 20_000)]
    with (
        gzip.open(tmp_path / "R1.fastq.gz", "wt") as r1,
        gzip.open(tmp_path / "R2.fastq.gz", "wt") as r2,
    ):
        for i in range(2000):
            start = rng.randrange(len(genome) - 90)
            first = whitelist[i * 7] + "".join(rng.choices("ACGT", k=12))
            r1.write(f"@r{i}\n{first}\n+\n{'F' * 28}\n")
            r2.write(f"@r{i}\n{genome[start : start + 90]}\n+\n{'F' * 90}\n")
    (tmp_path / "units.tsv").write_text("sample\tunit\tr1\tr2\nvoid\t1\tR1.fastq.gz\tR2.fastq.gz\n")
    (tmp_path / "samples.tsv").write_text(
        "sample\tpatient\tcompartment\ttimepoint\tchemistry\traw_matrix\n"
        "void\tP1\turine\tD0\t10x_3p_v3\t\n"
        f"good\tP1\turine\tD28\tauto\t{demo.results}/samples/P01_urine_D28/solo/raw.h5ad\n"
    )
    (tmp_path / "config.yaml").write_text(
        "units: units.tsv\n"
        "construct: {file: hbi0101_surrogate_native.gb, name: HBI0101}\n"
        "cells: {integration: none}\nsolo: {keep_bam: none}\n"
        f"reference:\n  fasta: {demo.folder}/genome.fa\n  gtf: {demo.folder}/genes.gtf\n"
        f"  star_index: {demo.results}/reference/base\n"
    )
    run(tmp_path)
    # The same run keeps no alignment, no slice of it and no temporary file.
    assert {p.name for p in (tmp_path / "results/samples/void/solo").iterdir()} == {
        "Log.final.out", "chemistry.json", "raw.h5ad", "summary.json",
    }  # fmt: skip
    assert (tmp_path / "results/report/reads/void.bam").exists()
    detection = read_table(tmp_path / "results/cohort/detection.tsv", DETECTION).set_index("sample")
    assert detection.loc["void", "verdict"] == "undetermined"
    assert detection.loc["void", "n_cells"] == 0
    assert detection.loc["good", "n_cells"] > 200
    assert not (tmp_path / "results/reference/base").exists()


def test_a_bam_with_its_matrix_and_a_matrix_alone_are_enough(demo, tmp_path):
    """From BAM and from matrix the calls are those of the reads; a receptor for each T cell gives each a clonotype."""
    cells = demo.cells("P01_blood_D28")
    t_cells = cells.index[(cells["lineage"] == "T") & ~cells["is_doublet"]]
    pd.DataFrame(
        {
            "cell_id": t_cells,
            "productive": "T",
            "v_call": "TRBV2",
            "j_call": "TRBJ1-1",
            "junction": "TGTGCCAGCTTC",
            "junction_aa": "CASF",
        }
    ).to_csv(tmp_path / "airr.tsv", sep="\t", index=False)
    solo, blood = (demo.results / f"samples/P01_{s}_D28/solo" for s in ("urine", "blood"))
    (tmp_path / "samples.tsv").write_text(
        "sample\tpatient\tcompartment\ttimepoint\tbam\traw_matrix\ttcr\n"
        f"from_bam\tP1\turine\tD28\t{solo}/aligned.bam\t{solo}/raw.h5ad\t\n"
        f"from_matrix\tP1\tblood\tD28\t\t{blood}/raw.h5ad\tairr.tsv\n"
    )
    (tmp_path / "config.yaml").write_text(
        "construct: {file: hbi0101_surrogate_native.gb, name: HBI0101}\n"
        "cells: {integration: none}\n"
        f"reference:\n  fasta: {demo.folder}/genome.fa\n  gtf: {demo.folder}/genes.gtf\n"
    )
    command = [sys.executable, "-m", "carseq", "check", str(tmp_path / "config.yaml")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    assert "sample from_bam: BAM of" in checked.stdout
    run(tmp_path, *TO_THE_REPORT)
    detection = read_table(tmp_path / "results/cohort/detection.tsv", DETECTION).set_index("sample")
    for sample, reads in (("from_bam", "P01_urine_D28"), ("from_matrix", "P01_blood_D28")):
        before = demo.detection.loc[reads, "n_car_positive"]
        assert detection.loc[sample, "verdict"] == "detected"
        assert abs(detection.loc[sample, "n_car_positive"] - before) <= 2, sample
    receptors = read_table(tmp_path / "results/cohort/receptors.tsv", RECEPTORS).set_index("sample")
    assert list(receptors.index) == ["from_matrix"]
    assert receptors.loc["from_matrix", "share_t_receptor"] > 0.9
    obs = anndata.read_h5ad(tmp_path / "results/cohort/cells.h5ad", backed="r").obs
    assert set(OPTIONAL_OBS.columns) <= set(obs.columns)
    assert (obs["clonotype"][obs["tcr_chains"] == "TRB"] == "P1:1").all()
    assert not (tmp_path / "results/reference").joinpath("augmented").exists()


def test_another_construct_reuses_alignments_and_cells(demo, tmp_path):
    """Only what depends on the construct is made; the CAR by another name gives the very same molecules and calls."""
    config = yaml.safe_load((demo.folder / "config.yaml").read_text())
    files = {k: str(demo.folder / v) for k, v in config["reference"].items()}
    config |= {k: str(demo.folder / config[k]) for k in ("samples", "units")}
    config |= {"reference": files, "reuse": str(demo.results)}
    config["construct"] = {
        **config["construct"],
        "file": "hbi0101_surrogate_native.gb",
        "name": "OTHER",
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    told = run(tmp_path, "results/cohort/detection.tsv")
    rooms = re.findall(r"(?m)^Job \d+: (\w+): ", told)
    assert rooms.count("reuse") == 2
    assert set(rooms) == {"reference", "construct", "reuse", "molecules", "calling"}
    for sample in demo.samples:
        path = f"samples/{sample}/molecules/molecules.parquet"
        before, after = (
            pd.read_parquet(results / path).sort_values(["barcode", "umi"], ignore_index=True)
            for results in (demo.results, tmp_path / "results")
        )
        columns = ["barcode", "umi", "n_reads", "evidence", "tx_start", "tx_end", "p_car"]
        pd.testing.assert_frame_equal(before[columns], after[columns])
    after = anndata.read_h5ad(tmp_path / "results/cohort/cells.h5ad", backed="r")
    assert after.uns["car"] == "OTHER"
    for column in ("barcode", "cell_type", "car_umis", "car_posterior", "car_call"):
        assert (after.obs[column] == demo.cohort.obs[column]).all(), column
    assert (tmp_path / f"results/samples/{demo.samples[0]}/solo/aligned.bam").is_symlink()
    assert "Nothing to be done" in run(tmp_path, "results/cohort/detection.tsv")


def test_it_works_as_a_module(demo, tmp_path):
    """Another workflow takes carseq in as a module, through workflow/Snakefile."""
    config = (demo.folder / "config.yaml").read_text()
    for name in ("samples.tsv", "units.tsv", "genome.fa", "genes.gtf", "construct.gb"):
        config = config.replace(name, str(demo.folder / name))
    indented = "".join(f"  {line}\n" for line in config.splitlines())
    (tmp_path / "outer.yaml").write_text(f"carseq:\n{indented}")
    (tmp_path / "Snakefile").write_text(
        'configfile: "outer.yaml"\n\n'
        "module carseq:\n"
        f'    snakefile: "{ROOT}/workflow/Snakefile"\n'
        '    config: config["carseq"]\n\n'
        "use rule * from carseq as carseq_*\n\n"
        "rule mine:\n    default_target: True\n    input: rules.carseq_all.input\n"
    )
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--dry-run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "carseq_calling" in done.stdout + done.stderr
