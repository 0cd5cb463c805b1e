"""What begins with a finished study: spoilt inputs, the index, another construct."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import anndata
import pandas as pd
import pytest
import yaml

from runs import CAR, INDEX, ROOT, VOID, WORKFLOW, head_of, run, snakemake

pytestmark = WORKFLOW


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
    units = pd.read_csv(demo.folder / "units.tsv", sep="\t").query("sample == 'P02_urine_D28'")
    pairs = [(tmp_path / "R1.fastq.gz", tmp_path / "R2.fastq.gz")]
    for source, target in zip(units.iloc[0][["r1", "r2"]], pairs[0], strict=True):
        head_of(demo.folder / source, target, 50_000)
    chemistry = Chemistry.from_json(
        (demo.results / "samples/P02_urine_D28/solo/chemistry.json").read_text()
    )
    built, saved = tmp_path / "index", demo.results / "reference/augmented"
    inserted = (
        demo.results / "construct/construct.fa",
        demo.results / "reference/augmented.gtf",
    )
    align(pairs, chemistry, built, tmp_path / "rebuilt", car=CAR, threads=2)
    align(pairs, chemistry, saved, tmp_path / "saved", car=CAR, threads=2)
    base = demo.folder / INDEX
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


class TestBadInput:
    """Faults are told with cause and remedy, and spare the other samples."""

    @pytest.fixture
    def study(self, demo, tmp_path) -> Path:
        for name in ("config.yaml", "samples.tsv", "units.tsv"):
            lines = (demo.folder / name).read_text().splitlines(keepends=True)
            # The first patient's samples, of either sheet.
            text = "".join(x for x in lines if not x.startswith(("P02_", VOID)))
            for word in ("genome.fa", "genes.gtf", "construct.gb", INDEX):
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
            ("samples.tsv", "P01_urine_D0\t", "P01_urine_D28\t", "occurs twice"),
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
        head_of(Path(units.loc[cut, "r2"].iloc[0]), study / "short.fastq.gz", 20_000)
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
        # Cells that are not asked have no posterior, before and after.
        assert after.obs[column].equals(demo.cohort.obs[column]), column
    assert (tmp_path / f"results/samples/{demo.samples[0]}/solo/aligned.bam").is_symlink()
    assert "Nothing to be done" in run(tmp_path, "results/cohort/detection.tsv")


def test_it_works_as_a_module(demo, tmp_path):
    """Another workflow takes carseq in as a module, through workflow/Snakefile."""
    config = (demo.folder / "config.yaml").read_text()
    for name in ("samples.tsv", "units.tsv", "genome.fa", "genes.gtf", "construct.gb", INDEX):
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
