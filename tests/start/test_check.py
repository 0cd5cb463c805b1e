"""carseq check: what is wrong is told before anything runs, all of it in one pass, and what is right passes."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import time
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pysam
import pytest
import yaml

from bad_inputs import BAD, attempt
from carseq.construct import load_construct
from carseq.data import path as data_path
from carseq.errors import CarseqError
from carseq.io.genes import marker_genes
from carseq.start.check import check_study
from carseq.start.note import Note
from tiny import CAR, GENES, Tiny, dna, write_h5, write_mtx

#: Some of each kind; `make torture-inputs` tries them all.
CHOSEN = re.compile(
    r"a section twice|a broken address|other letters|results '/'|a path with braces|sheet: true line|column _index"
    r"|nearly numbers|one matrix for two|copies of one|another name|trailing|genes.gtf.gz cut|cells.markers ''"
    r"|annotation: Latin|no transcript_id"
    r"|R2.fastq.gz damaged|one lane|lanes of|one UMI|empty reads|exchanged near|matrix: a raw"
    r"|BAM: (a tenth|read groups|as text|no UMI|of called|of another)"
    r"|BAM: (of two|a CRAM|an index|two samples|an agg)"
    r"|receptors: (of another|UMIs)|mtx: (a half|the CAR as an anti)|h5ad: (neg|inf)|pool|of an aggr"
    r"|counted twice|transposed"
    r"|slip:|markers: (genes|commas)|another pickle|all at once|HDF5 head|matrix.mtx.gz damaged"
)
SELECTION = [case for case in BAD if CHOSEN.search(case.name)]


@pytest.mark.parametrize("case", SELECTION, ids=[case.name for case in SELECTION])
def test_a_bad_input_is_told(case, tmp_path):
    outcome = attempt(case, tmp_path / "study")
    assert outcome.verdict == ("told" if case.note else "refused"), outcome


def test_there_are_many_bad_inputs():
    assert len(BAD) >= 150
    assert len(SELECTION) >= 40


def faults(path) -> list[CarseqError]:
    return [result for _, result in check_study(path) if isinstance(result, CarseqError)]


def test_a_good_study_of_every_way_in_passes(tmp_path):
    tiny = Tiny(tmp_path)
    found = list(check_study(tiny.write()))
    assert [str(r) for _, r in found if isinstance(r, CarseqError)] == []
    told = "\n".join(f"{what}: {result}" for what, result in found)
    assert "sample F: 10x_3p_v3, 100 % of reads with a valid barcode" in told
    assert "100 % of the BAM's reads are in the matrix's barcodes" in told
    assert "30 productive chains in 30 barcodes, 100 % of them in the matrix" in told
    assert "matrix of 50 barcodes and 41 genes, 2 antibodies" in told


def test_a_study_of_matrices_needs_neither_genome_nor_construct(tmp_path):
    tiny = Tiny(tmp_path, only="M")
    tiny.config["construct"] = {"name": CAR}
    del tiny.config["reference"]
    found = list(check_study(tiny.write()))
    assert not [r for _, r in found if isinstance(r, CarseqError)]
    assert any(f"the feature {CAR} of the matrices" in str(r) for _, r in found)


def test_a_protein_is_told_its_gene_where_there_is_no_annotation(tmp_path):
    """A study of matrices alone: the target was looked up in an annotation, and not at all where there is none."""
    tiny = Tiny(tmp_path, only="M")
    tiny.config["construct"] = {"name": CAR, "target": "BCMA"}
    del tiny.config["reference"]
    assert any("its gene is TNFRSF17" in str(r) for _, r in check_study(tiny.write()))
    tiny.config["construct"]["target"] = "TNFRSF17"
    assert not any("TNFRSF17" in str(r) for _, r in check_study(tiny.write()))
    tiny.config["construct"]["target"] = "cd3d"
    assert any("did you mean CD3D?" in str(r) for _, r in check_study(tiny.write()))


@pytest.mark.parametrize("suffix", ["", "-1", "-2", "_1"])
def test_barcodes_that_are_written_otherwise_are_matched(tmp_path, suffix):
    """The BAM of a library beside its matrix, whatever stands around the bases."""
    tiny = Tiny(tmp_path, only="B")
    names = [f"GSM1_{b.removesuffix('-1')}{suffix}" for b in tiny.written]
    write_h5(tiny.folder / "raw.h5", tiny.counts, names, [*GENES, CAR])
    write_h5(tiny.folder / "filtered.h5", tiny.counts[:40], names[:40], [*GENES, CAR])
    found = list(check_study(tiny.write()))
    assert not [str(r) for _, r in found if isinstance(r, CarseqError)]
    assert any("100 % of the BAM's reads" in str(r) and "GSM1_" in str(r) for _, r in found)


def test_a_pool_is_taken_where_a_matrix_says_whose_the_cells_are(tmp_path):
    """Two samples of one library: the raw matrix is theirs together, each one's cells are listed."""
    tiny = Tiny(tmp_path, only="B")
    tags = np.where((np.arange(240) % 2 == 0)[:, None] == [True, False], 200, 3)
    types = ["Gene Expression"] * (len(GENES) + 1) + ["Multiplexing Capture"] * 2
    counts = np.hstack([tiny.counts, tags])
    names = [*GENES, CAR, "CMO301", "CMO302"]
    write_h5(tiny.folder / "raw.h5", counts, tiny.written, names, types)
    tiny.rows = {}
    for i, sample in enumerate("XY"):
        own = range(i, 40, 2)
        cells = [tiny.written[j] for j in own]
        write_h5(tiny.folder / f"{sample}.h5", counts[list(own)], cells, names, types)
        row = {"patient": sample, "compartment": "urine", "raw_matrix": "raw.h5"}
        tiny.rows[sample] = {**row, "matrix": f"{sample}.h5"}
    assert [str(f) for f in faults(tiny.write())] == []
    for sample in tiny.rows:
        tiny.rows[sample]["matrix"] = ""
    assert any("several samples" in str(f) for f in faults(tiny.write()))


def test_a_sort_that_only_the_samples_name_tells_is_noted(tmp_path):
    """`P1_CARpos` and `P1_CARneg` without a `gating`: the purity of the one was the patient's CAR T fraction."""
    tiny = Tiny(tmp_path, only="M")
    names = {
        "P1_CARpos": "",
        "P1_CAR_neg_D14": "",
        "P3_CAR_neg": "",
        "P2_CARpos": "CD8+",
        "CART_high_dose": "",
        "urine_CART_1": "",
    }
    tiny.rows = {name: {**tiny.rows["M"], "gating": gating} for name, gating in names.items()}
    told = [str(r) for _, r in check_study(tiny.write()) if "sorted by the CAR" in str(r)]
    assert told[0].startswith("sample P1_CARpos has no")
    assert told[1].startswith("2 samples (P1_CAR_neg_D14, P3_CAR_neg) have no")
    assert len(told) == 2
    assert "write car_enriched" in told[0]
    assert "write car_depleted" in told[1]


@pytest.mark.parametrize("clue", ["run", "droplets", "read groups"])
def test_a_pool_that_the_sheet_does_not_name_is_noted(tmp_path, clue):
    """Two patients of one lane, each with files of its own: T cells of the one were called for the other's CAR."""
    tiny = Tiny(tmp_path, only="B")
    names, rows = [*GENES, CAR], {}
    for i, sample in enumerate("XY"):
        own = [j for j in range(240) if j >= 40 or j % 2 == i]
        cells = [j for j in own if j < 40]
        row = {"patient": sample, "compartment": "urine", "matrix": f"{sample}.h5"}
        if clue == "run":
            row["matrix"] = f"outs/per_sample_outs/{sample}/count/m.h5"
            (tmp_path / row["matrix"]).parent.mkdir(parents=True)
        if clue == "droplets":
            row["raw_matrix"] = f"raw{sample}.h5"
            write_h5(
                tmp_path / row["raw_matrix"],
                tiny.counts[own],
                [tiny.written[j] for j in own],
                names,
            )
        if clue == "read groups":
            row["bam"] = f"{sample}.bam"
            with pysam.AlignmentFile(tmp_path / tiny.rows["B"]["bam"]) as old:
                header = old.header.to_dict() | {"RG": [{"ID": "pool:0:1:HXXX:1", "SM": "pool"}]}
                with pysam.AlignmentFile(tmp_path / row["bam"], "wb", header=header) as new:
                    for record in old:
                        new.write(record)
            pysam.index(str(tmp_path / row["bam"]))
        write_h5(
            tmp_path / row["matrix"],
            tiny.counts[cells],
            [tiny.written[j] for j in cells],
            names,
        )
        rows[sample] = row
    tiny.rows = rows
    told = [str(r) for _, r in check_study(tiny.write()) if "are of one library" in str(r)]
    assert len(told) == 1
    for row in rows.values():
        row["library"] = "lane1"
    assert not any("are of one library" in str(r) for _, r in check_study(tiny.write()))


def test_libraries_of_one_flow_cell_without_a_run_are_noted(tmp_path):
    """A product and urine were sequenced together: molecules swapped between them were not looked for, unsaid."""
    tiny = Tiny(tmp_path, only="F")
    with gzip.open(tmp_path / tiny.units[0]["r1"], "rt") as file:
        lines = file.read().splitlines()
    for sample, cell in (("A", "HFWFVDMXX"), ("B", "HFWFVDMXX"), ("C", "HGGGGDMXX")):
        for mate in "12":
            with gzip.open(tmp_path / f"{sample}_R{mate}.fastq.gz", "wt") as out:
                for i in range(0, len(lines), 4):
                    out.write(f"@A1:279:{cell}:1:1101:{i}:1000 {mate}:N:0:AC\n")
                    out.write("".join(f"{line}\n" for line in lines[i + 1 : i + 4]))
    row = {"patient": "P", "compartment": "urine"}
    tiny.rows = {name: dict(row) for name in "ABC"}
    tiny.units = [
        {"sample": n, "unit": "1", "r1": f"{n}_R1.fastq.gz", "r2": f"{n}_R2.fastq.gz"}
        for n in "ABC"
    ]

    def told() -> list[str]:
        return [str(r) for _, r in check_study(tiny.write()) if "one flow cell" in str(r)]

    assert [text.split(" were")[0] for text in told()] == ["samples A, B"]
    for name in "AB":
        tiny.rows[name]["sequencing_run"] = "HFWFVDMXX"
    assert told() == []


def test_lanes_of_one_library_given_as_two_samples_are_noted(tmp_path):
    """Each lane was a sample of its own, judged by half of its molecules; reads of other cells are no matter."""
    tiny = Tiny(tmp_path, only="F")
    row = tiny.rows.pop("F")
    tiny.rows = {name: row | {"sequencing_run": "1"} for name in ("x", "y", "z", "m")}
    tiny.whitelist = [dna(tiny.rng, 16) for _ in range(400)]
    tiny.reads("L003")
    other = tiny.whitelist + (tmp_path / "list.txt").read_text().split()
    (tmp_path / "list.txt").write_text("\n".join(other) + "\n")
    tiny.units = [
        {"sample": s, "unit": "1", "r1": f"F_L00{i}_R1.fastq.gz", "r2": f"F_L00{i}_R2.fastq.gz"}
        for i, s in enumerate("xyz", 1)
    ]
    counts = np.random.default_rng(1).poisson(5, (60, len(GENES) + 1))
    cells = [f"{barcode}-1" for barcode in tiny.whitelist[:60]]
    write_h5(tmp_path / "m.h5", counts, cells, [*GENES, CAR])
    tiny.rows["m"] = {"patient": "P1", "compartment": "urine", "matrix": "m.h5"}
    told = [
        str(r)
        for _, r in check_study(tiny.write())
        if "same cells" in str(r) or "of the cells" in str(r)
    ]
    assert [" ".join(re.findall(r"\b[xyzm]\b", text.split(":")[0])) for text in told] == [
        "x y",
        "z m",
    ]


@pytest.mark.parametrize("clue", ["name", "folder", "obs", "library", "read group"])
def test_files_of_another_sample_of_the_sheet_are_noted(tmp_path, clue):
    """Baseline and D28 were exchanged in the sheet: their files' names or contents say so, and nobody did."""
    tiny = Tiny(tmp_path, only="B")
    given, tiny.rows = tiny.rows["B"], {}
    names = {"P1_D0": "P1_D28", "P1_D28": "P1_D0", "P2_D28": "P2_D28"}
    for i, (sample, of) in enumerate(names.items()):
        row = {"patient": sample[:2], "compartment": "urine"}
        cells = [f"{dna(tiny.rng, 16)}-1" for _ in range(40)]
        row["matrix"] = {"name": f"runs/{of}_filtered.h5", "folder": f"runs/{of}/outs/f.h5"}.get(
            clue, f"m{i}.h5"
        )
        (tmp_path / row["matrix"]).parent.mkdir(parents=True, exist_ok=True)
        write_h5(tmp_path / row["matrix"], tiny.counts[:40] + i, cells, [*GENES, CAR])
        if clue == "library":
            with h5py.File(tmp_path / row["matrix"], "a") as file:
                file.attrs["library_ids"] = np.array([of.encode()])
        if clue == "obs":
            row["matrix"] = f"m{i}.h5ad"
            obs = pd.DataFrame({"sample": pd.Categorical([of] * 40)}, index=cells)
            made = anndata.AnnData(
                tiny.counts[:40].astype("float32") + i, obs, pd.DataFrame(index=[*GENES, CAR])
            )
            made.write_h5ad(tmp_path / row["matrix"])
        if clue == "read group":
            row |= {"bam": f"{i}.bam", "matrix": "filtered.h5"}
            with pysam.AlignmentFile(tmp_path / given["bam"]) as old:
                header = old.header.to_dict() | {"RG": [{"ID": f"{of}:0", "SM": of}]}
                with pysam.AlignmentFile(tmp_path / row["bam"], "wb", header=header) as new:
                    for record in old:
                        new.write(record)
            pysam.index(str(tmp_path / row["bam"]))
        tiny.rows[sample] = row
    told = [str(r) for _, r in check_study(tiny.write()) if "is of sample" in str(r)]
    assert len(told) == 2
    assert "P1_D0 is given" in told[0]
    assert "is of sample P1_D28" in told[0]
    tiny.rows["P1_D0"], tiny.rows["P1_D28"] = tiny.rows["P1_D28"], tiny.rows["P1_D0"]
    assert not [r for _, r in check_study(tiny.write()) if "is of sample" in str(r)]


def test_samples_that_lie_in_a_folder_of_ones_name_are_no_exchange(tmp_path):
    """Illumina's S1 is no sample, a folder above all says nothing, and a name within a longer one is not another's."""
    tiny = Tiny(tmp_path / "P1_D28", only="F")
    row = tiny.rows.pop("F")
    tiny.rows = dict.fromkeys(("S1", "P1_D28", "P1", "urine"), row)
    tiny.units = []
    for sample, stem in (
        ("S1", "a_S4"),
        ("P1_D28", "b_S1"),
        ("P1", "P1_D28_S2"),
        ("urine", "c_S1"),
    ):
        for mate in "12":
            shutil.copy(
                tiny.folder / f"F_L001_R{mate}.fastq.gz",
                tiny.folder / f"{stem}_L001_R{mate}_001.fastq.gz",
            )
        files = {f"r{m}": f"{stem}_L001_R{m}_001.fastq.gz" for m in "12"}
        tiny.units.append({"sample": sample, "unit": "1", **files})
    assert not [r for _, r in check_study(tiny.write()) if "is of sample" in str(r)]


def test_symbols_come_from_the_annotation_where_the_matrix_has_ids_alone(tmp_path):
    tiny = Tiny(tmp_path, only="M")
    ids = [f"ENSG{i:011d}" for i in range(len(GENES))]
    names = [*ids, CAR]
    write_h5(tiny.folder / "m.h5", tiny.m_counts[:, :-2], tiny.m_barcodes, names, ids=names)
    tiny.rows["M"]["matrix"] = "m.h5"
    assert faults(tiny.write()) == []
    # Without an annotation nothing says what they are.
    tiny.config["reference"] = {}
    tiny.config["construct"] = {"name": CAR}
    assert any("none of the" in str(fault) for fault in faults(tiny.write()))


def test_a_fraction_where_per_cent_is_meant_is_noted(tmp_path):
    """A user wrote `max_pct_mito: 0.2`, as scripts for other programs do: nearly all cells went beyond it."""
    tiny = Tiny(tmp_path, only="M")
    for limit, told in ((0.2, True), (5, False)):
        tiny.config["cells"] = {**tiny.config.get("cells", {}), "max_pct_mito": limit}
        notes = [str(r) for _, r in check_study(tiny.write()) if isinstance(r, Note)]
        assert any("write 20" in note for note in notes) == told


@pytest.mark.parametrize("key", ["markers", "tcr", "matrix"])
@pytest.mark.parametrize("pointer", [True, False], ids=["pointer", "dangling"])
def test_a_file_that_was_not_fetched_is_told_once(tmp_path, key, pointer):
    """Of a repository cloned without Git LFS or git-annex: every reader called it damaged, in words of its own."""
    tiny = Tiny(tmp_path, only="M")
    lost = tmp_path / ("lost.h5ad" if key == "matrix" else "lost.tsv")
    if key == "markers":
        tiny.config["cells"] = {"markers": str(lost)}
    else:
        tiny.rows["M"][key] = str(lost)
    config = tiny.write()
    if pointer:
        lost.write_text("version https://git-lfs.github.com/spec/v1\noid\n")
    else:
        lost.symlink_to(".git/annex/objects/lost")
    told = [str(fault) for fault in faults(config)]
    assert len(told) == 1
    assert ("git lfs pull" if pointer else str(lost)) in told[0]


def test_a_variable_in_a_path_is_told(tmp_path):
    """The shell replaces $HOME, a configuration does not: "no such file" left the user looking for it."""
    tiny = Tiny(tmp_path, only="M")
    tiny.config["cells"] = {"markers": "$HOME/markers.tsv"}
    assert any("$HOME are not replaced" in str(fault) for fault in faults(tiny.write()))


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("loop.tsv", "Too many levels"),
        ("lost.tsv", "a link to gone/markers.tsv: No such file"),
        ("pipe.tsv", "it is a pipe"),
        ("mark*.tsv", "name each file"),
        ("a.tsv,b.tsv", "one cell names one file"),
    ],
)
def test_what_is_no_file_is_told_as_that(tmp_path, path, told):
    """A link to itself ended in a traceback, a pipe was waited for, and "cannot be read" stood for all the others."""
    tiny = Tiny(tmp_path, only="M")
    tiny.rows["M"]["tcr"] = str(tmp_path / path)
    config = tiny.write()
    (tmp_path / "loop.tsv").symlink_to("loop.tsv")
    (tmp_path / "lost.tsv").symlink_to("gone/markers.tsv")
    os.mkfifo(tmp_path / "pipe.tsv")
    assert any(told in str(fault) for fault in faults(config))


def test_a_link_to_itself_among_reads_is_told(tmp_path):
    """`ln -s R1.fastq.gz R1.fastq.gz`: the check ended in a traceback."""
    tiny = Tiny(tmp_path, only="F")
    config = tiny.write()
    reads = next(tmp_path.glob("*_R1.fastq.gz"))
    reads.unlink()
    reads.symlink_to(reads.name)
    assert any("Too many levels" in str(fault) for fault in faults(config))


def test_results_of_another_configuration_are_noted(tmp_path):
    tiny = Tiny(tmp_path, only="M")
    (tmp_path / "results").mkdir()
    record = {"calling": {"fdr": 0.2}, "sheet": {"M": {}}}
    (tmp_path / "results/run_config.yaml").write_text(yaml.safe_dump(record))
    notes = [str(r) for _, r in check_study(tiny.write()) if isinstance(r, Note)]
    assert any("another configuration (calling.fdr)" in note for note in notes)


def test_files_of_a_sample_that_was_taken_out_of_the_sheet_are_noted(tmp_path):
    """A patient withdrew: the sample's folder and reads stayed among the results, and nothing said so."""
    tiny = Tiny(tmp_path, only="M")
    for name in ("M", "Levi"):
        (tmp_path / "results/samples" / name).mkdir(parents=True)
    notes = [str(r) for _, r in check_study(tiny.write()) if isinstance(r, Note)]
    (told,) = [note for note in notes if "of an earlier sheet" in note]
    assert "holds Levi of" in told


@pytest.mark.parametrize("whole", [True, False])
def test_an_annotation_without_genes_of_the_construct_is_noted(tmp_path, whole):
    """A GTF that was filtered for some genes: the reads of CD247 itself would be taken for the CAR's."""
    tiny = Tiny(tmp_path, only="M")
    names = sorted(marker_genes() - set(GENES) - {"CD247", "TNFRSF9"})[:10]
    names += ["CD247", "TNFRSF9"] if whole else []
    tiny.genome([(name, dna(tiny.rng, 300)) for name in names])
    notes = [str(r) for _, r in check_study(tiny.write()) if isinstance(r, Note)]
    told = [note for note in notes if "has parts" in note]
    assert [("CD247 (CD3zeta)" in note, "CD8A" in note) for note in told] == (
        [] if whole else [(True, False)]
    )


@pytest.mark.parametrize(
    ("write", "told"),
    [(str.capitalize, "those of mouse"), (lambda name: f"x{name}", "`unknown`"), (str, "")],
)
def test_an_annotation_of_no_human_genes_is_told_before_the_run(tmp_path, write, told):
    """Reads were aligned to a mouse genome, and the run said at its end that no cell can be typed."""
    tiny = Tiny(tmp_path, only="F")
    names = sorted(marker_genes() - set(GENES))[:100]
    tiny.genome([(f"c{i}", dna(tiny.rng, 300)) for i in range(len(names))])
    gtf = tiny.folder / "genes.gtf"
    text = gtf.read_text()
    for i, name in enumerate(names):
        text = text.replace(f'gene_name "c{i}"', f'gene_name "{name}"')
    gtf.write_text(re.sub('gene_name "([^"]+)"', lambda m: f'gene_name "{write(m[1])}"', text))
    found = [str(r) for _, r in check_study(tiny.write()) if isinstance(r, Note | CarseqError)]
    of_genes = [r for r in found if "mouse" in r or "`unknown`" in r]
    assert [told in r for r in of_genes] == ([True] if told else [])


def test_genes_behind_a_genomes_prefix_are_known(tmp_path):
    """A genome of human and mouse, as 10x makes it: the target, there as GRCh38_CD19, was said to be missing."""
    tiny = Tiny(tmp_path, only="M")
    tiny.config["construct"]["target"] = "CD19"
    gtf = tiny.folder / "genes.gtf"
    gtf.write_text(gtf.read_text().replace('gene_name "', 'gene_name "GRCh38_'))
    notes = [str(r) for _, r in check_study(tiny.write()) if isinstance(r, Note)]
    assert not any("CD19 is not a gene" in note for note in notes)


@pytest.mark.parametrize("file", ["tisa-cel.gb", "hbi0101_surrogate_native.gb"])
def test_a_bam_of_another_car_is_noted(tmp_path, file):
    """All reads on the contig of the CAR's name are another CAR's: the sample would show no CAR molecule."""
    tiny = Tiny(tmp_path, only="B")
    tiny.config["construct"]["file"] = file
    notes = [str(r) for _, r in check_study(tiny.write()) if isinstance(r, Note)]
    assert any("do not resemble the construct" in note for note in notes) is (file == "tisa-cel.gb")


def test_reads_of_a_part_of_the_contig_that_the_construct_lacks_are_noted(tmp_path):
    """An ORF, or another binder in the same vector: the other reads were lost without a word."""
    tiny = Tiny(tmp_path, only="B")
    car = load_construct(data_path("constructs/hbi0101_surrogate_native.gb"), name=CAR)
    start, end = car.orf
    assert not any("do not resemble" in str(found) for _, found in check_study(tiny.write()))
    (tiny.folder / "orf.fa").write_text(f">orf\n{car.sequence[start:end]}\n")
    tiny.config["construct"]["file"] = "orf.fa"
    notes = [str(r) for _, r in check_study(tiny.write()) if isinstance(r, Note)]
    assert any("reads on the BAM's contig MYCAR do not resemble" in note for note in notes)


def test_twenty_samples_are_checked_in_ten_seconds(tmp_path):
    """The time is Python's own: a busy machine counts no more than an idle one."""
    tiny = Tiny(tmp_path, only="FM")
    for i in range(9):
        for source in ("F", "M"):
            tiny.rows[f"{source}{i}"] = dict(tiny.rows[source])
        shutil.copytree(tiny.folder / "mtx", tiny.folder / f"mtx{i}")
        barcodes = [b[i + 1 : 16] + b[: i + 1] + "-1" for b in tiny.m_barcodes]
        write_mtx(tiny.folder / f"mtx{i}", tiny.m_counts, barcodes, tiny.m_names, tiny.m_types)
        tiny.rows[f"M{i}"]["matrix"] = f"mtx{i}"
        for unit in [u for u in tiny.units if u["sample"] == "F"]:
            pair = {k: f"{i}_{unit[k]}" for k in ("r1", "r2")}
            for k in pair:
                shutil.copy(tiny.folder / unit[k], tiny.folder / pair[k])
            tiny.units.append({**unit, "sample": f"F{i}", **pair})
    path = tiny.write()
    start = time.process_time()
    assert faults(path) == []
    assert time.process_time() - start < 10


def test_the_disk_and_the_results_looked_at_are_those_of_carseq_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From another folder, those beside the configuration; a disk is asked about by the folder that is to be made."""
    asked = []
    monkeypatch.setattr(
        "carseq.start.check.disk_megabytes", lambda folder: asked.append(str(folder)) or 0.0
    )
    monkeypatch.setattr("carseq.start.check.disk_needed", lambda study, choice: 1.0)
    study = tmp_path / "study"
    shutil.copytree(Path(__file__).parents[1] / "data/lint", study)
    monkeypatch.chdir(tmp_path)
    told = [str(what) for _, what in check_study(Path("study/config.yaml"))]
    assert asked == ["study/results"]
    assert any("on the disk of study/results" in line for line in told)


def test_chromosomes_that_the_genome_lacks_are_noted(tmp_path):
    """A genome whose download ended early: chromosome 6's genes were lost, though all "go together"."""
    tiny = Tiny(tmp_path)
    gtf = tmp_path / "genes.gtf"
    lines = gtf.read_text()
    more = "".join(
        f'{contig}\tx\texon\t{i}1\t{i}9\t.\t+\tx\tgene_id "G{i}"; transcript_id "T{i}"; gene_name "{name}";\n'
        for contig, i, name in [("chr6", 1, "HLA-A"), ("chr6", 2, "HLA-B")]
    )
    for text, told in ((lines + more, True), (lines, False)):
        gtf.write_text(text)
        notes = [str(r) for _, r in check_study(tiny.write()) if isinstance(r, Note)]
        assert any("2 genes" in note and "chr6" in note for note in notes) == told
    # The same genes on a contig that is there too: only copies on alternative contigs are lost.
    known = lines.split('gene_name "')[1].split('"')[0]
    gtf.write_text(
        lines + more.replace("HLA-A", known).replace("HLA-B", known).replace("chr6", "chr6_alt")
    )
    notes = [str(r) for _, r in check_study(tiny.write()) if isinstance(r, Note)]
    assert not any("chr6_alt" in note for note in notes)


def test_a_bam_of_reads_too_short_to_tell_the_car_is_refused(tmp_path):
    """Its CAR molecules were all left out, and the sample was "not detected"."""
    tiny = Tiny(tmp_path, only="B")
    assert not faults(tiny.write())
    path = str(tmp_path / "b.bam")
    with pysam.AlignmentFile(path, "rb") as bam:
        header, records = bam.header, list(bam)
    with pysam.AlignmentFile(path, "wb", header=header) as out:
        for record in records:
            record.query_sequence = record.query_sequence[:30]
            record.query_qualities = pysam.qualitystring_to_array("I" * 30)
            if not record.is_unmapped:
                record.cigarstring = "30M"
            out.write(record)
    pysam.index(path)
    assert any("too short to tell the CAR" in str(fault) for fault in faults(tiny.write()))


def test_results_that_cannot_be_written_are_noted(tmp_path, monkeypatch):
    """A colleague's study, read-only: the check said "all well", and the run could not begin."""
    config = Tiny(tmp_path, only="M").write()
    for allowed in (True, False):
        monkeypatch.setattr(os, "access", lambda *_, allowed=allowed: allowed)
        notes = [str(found) for what, found in check_study(config) if what == "results"]
        assert any("could not write its results" in note for note in notes) is not allowed


def test_a_construct_by_its_address_is_told(tmp_path):
    """`file: https://...`, as reads may be given: "No such file" stood there, twice."""
    tiny = Tiny(tmp_path, only="F")
    tiny.config["construct"]["file"] = "https://plasmids.example/pCAR.gb"
    told = [str(fault) for fault in faults(tiny.write())]
    assert told
    assert all("fetch" in text for text in told)


@pytest.mark.parametrize("annotated", [True, False])
def test_markers_of_genes_that_no_matrix_has_are_told_without_an_annotation(tmp_path, annotated):
    """A marker table by Ensembl's ids or in small letters: every cell was unknown, at the end of the run."""
    tiny = Tiny(tmp_path / "s", only="M")
    (tiny.folder / "own.tsv").write_text("lineage\tcell_type\tgene\nT\tT cell\tcd3d\n")
    tiny.config["cells"] = {"markers": "own.tsv"}
    if not annotated:
        del tiny.config["reference"]
    told = [str(found) for what, found in check_study(tiny.write()) if "marker table" in str(found)]
    where = ["the annotation"] * annotated + ["the matrix of M"]
    assert [re.search("own.tsv is in (.*)", text)[1] for text in told] == where


@pytest.mark.parametrize(
    ("there", "written"), [("Mu\u0308ller", "M\u00fcller"), ("mtx", "MTX"), ("Mtx", "mtx")]
)
def test_a_name_that_is_there_in_other_letters_is_named(tmp_path, there, written):
    """A folder that was copied from a Mac, which keeps an umlaut as two letters, or from Windows: "not there"."""
    tiny = Tiny(tmp_path / "s", only="M")
    (tiny.folder / "mtx").rename(tiny.folder / there)
    tiny.rows["M"]["matrix"] = written
    (told,) = [str(found) for what, found in check_study(tiny.write()) if what.startswith("conf")]
    assert f"{there} is there, in other letters" in told
