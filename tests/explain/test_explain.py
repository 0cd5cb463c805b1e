"""explain: for one cell, the posterior adds up, each read is laid on what may explain it, and names are forgiven."""

from __future__ import annotations

import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pysam
import pytest
import yaml
from scipy import sparse

from carseq import cli
from carseq.calling import call_cells
from carseq.cells.barcodes import NOT_IN_LIST
from carseq.construct import Construct, homology, rivals
from carseq.construct.homology import EndogenousTranscript
from carseq.construct.library import relatives
from carseq.data import path as data_path
from carseq.errors import CarseqError
from carseq.explain import (
    Pileup,
    draw,
    explain,
    place,
    write_evidence,
)
from carseq.explain.cell import explain_droplet, posterior_terms, words
from carseq.explain.gather import find_cell
from carseq.io.bam import open_bam, write_bam
from carseq.io.files import write_table
from carseq.io.h5ad import read_h5ad, write_h5ad
from carseq.library.reads import LibraryReads
from carseq.molecules import Target, cell_records, find_molecules, write_slice
from carseq.reference.genome import write_transcripts
from carseq.schema.tables import MOLECULES
from test_molecules import COMPLEMENT, Bam, barcode, loci
from test_molecules import place as domain

MACROPHAGE, DROPLET, FILTERED = 40, 90, 91


def cohort(molecules: pd.DataFrame) -> ad.AnnData:
    """Forty T cells and a macrophage of sample S, and ten cells of sample M, which came as a matrix."""
    rows = [("S", barcode(i), "T" if i < MACROPHAGE else "myeloid") for i in range(MACROPHAGE + 1)]
    rows += [("M", barcode(i), "T") for i in range(10)]
    obs = pd.DataFrame(rows, columns=["sample", "barcode", "lineage"])
    obs.index = obs["sample"] + ":" + obs["barcode"]
    obs = obs.assign(total_umis=2000, n_genes=500, is_doublet=False, patient="P1", cell_type="x")
    obs = obs.assign(lineage_2=obs["lineage"], cell_type_confidence=0.9, compartment="urine")
    counts = np.zeros((len(obs), 2))
    counts[-1, 0] = 3
    adata = ad.AnnData(
        sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=["HBI0101", "CD3E"])
    )
    samples = pd.DataFrame({"sample": ["S", "M"], "ambient_umis": 1e5, "ambient_car": 1.0})
    call_cells(adata, {"S": molecules}, samples, car="HBI0101")
    return adata


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, surrogate: Construct) -> Path:
    folder = tmp_path_factory.mktemp("study") / "results"
    car, native = surrogate.sequence, relatives()["CD247"]
    found = rivals(car, [EndogenousTranscript(g, g, s) for g, s in relatives().items()])
    table = homology(car, found)
    zeta, _ = domain(surrogate, "CD3zeta")
    hinge, _ = domain(surrogate, "CD8A hinge")
    at = native.index(car[zeta : zeta + 60])
    bam = Bam(folder.parent / "s.bam", surrogate)
    changed = car[3250:3260] + ("A" if car[3260] != "A" else "C") + car[3261:3340]
    bam.add(car[3200:3290], contig="HBI0101", start=3200, cell=1, umi="A" * 12)
    bam.add(changed, contig="HBI0101", start=3250, cell=1, umi="A" * 12)
    bam.add(car[3000:3090], cell=1, umi="C" * 12)
    bam.add(car[hinge - 45 : hinge + 45], contig="HBI0101", start=hinge - 45, cell=2)
    bam.add(car[zeta + 100 : zeta + 190], contig="CD247", start=at + 100, cell=3)
    bam.add(native[at - 40 : at + 50], contig="CD247", start=at - 40, cell=4)
    bam.add(car[3100:3190], contig="HBI0101", start=3100, cell=MACROPHAGE)
    bam.add(car[3100:3190], contig="HBI0101", start=3100, cell=DROPLET)
    path = bam.write()
    molecules, _ = find_molecules(path, surrogate, found, table, sample="S", loci=loci())
    write_table(molecules, folder / "samples" / "S" / "molecules" / "molecules.parquet", MOLECULES)
    rows = [(barcode(DROPLET), 31, 20, False, "as few UMIs as an empty droplet")]
    rows += [(barcode(FILTERED), 900, 150, True, "far more UMIs than an empty droplet")]
    droplets = pd.DataFrame(rows, columns=["barcode", "total_umis", "n_genes", "is_cell", "reason"])
    write_table(droplets, folder / "samples" / "S" / "cells" / "barcodes.tsv.gz")
    write_table(table, folder / "construct" / "homology.tsv")
    (folder / "construct" / "construct.json").write_text(surrogate.to_json())
    library = LibraryReads("Forward", 90, "sheet")
    (folder / "samples" / "S" / "molecules" / "library.json").write_text(library.to_json())
    write_transcripts(found, folder / "construct" / "rivals.fa")
    places = [(x.contig, x.start, x.end, x.gene) for x in loci()]
    columns = ["contig", "start", "end", "gene"]
    write_table(pd.DataFrame(places, columns=columns), folder / "construct" / "loci.tsv")
    file = str(data_path("constructs/hbi0101_surrogate_native.gb"))
    config = {
        "construct": {"file": file, "name": "HBI0101", "form": "auto"},
        "sheet": {
            "S": {"chemistry": "10x_3p_v3", "bam": str(path), "raw_matrix": "raw.h5"},
            "M": {"chemistry": "auto", "bam": None, "matrix": "m.h5"},
        },
    }
    (folder / "run_config.yaml").write_text(yaml.safe_dump(config))
    write_h5ad(cohort(molecules), folder / "cohort" / "cells.h5ad")
    return folder


def printed(results: Path, tmp_path: Path, cell: int, sample: str = "S") -> str:
    """The text as it is written."""
    write_evidence(explain(results, sample, barcode(cell)), tmp_path)
    return (tmp_path / "evidence.txt").read_text()


def test_prior_and_likelihood_ratio_add_up_to_the_stored_posterior(results: Path) -> None:
    for cell in (1, 2, 5):
        terms = explain(results, "S", barcode(cell)).terms.set_index("term")["value"]
        prior = terms["prior"]
        odds = np.log10(prior / (1 - prior)) + terms["log10 likelihood ratio"]
        assert 1 / (1 + 10**-odds) == pytest.approx(terms["posterior"], abs=1e-6)
        assert 0 < prior < 1
    assert terms["CAR molecules counted"] == 0
    assert terms["log10 likelihood ratio"] < 0


def test_molecules_and_reads_of_a_positive_cell(results: Path, tmp_path: Path) -> None:
    found = explain(results, "S", barcode(1))
    assert list(found.molecules["umi"]) == ["A" * 12, "C" * 12]
    assert found.molecules["counted"].all()
    assert "T cell with 2 CAR molecules in 2,000 UMIs" in found.words
    assert not found.notes
    text = printed(results, tmp_path, 1)
    assert "; second method agrees" in text
    assert "3001-3090" in text
    assert "unmapped" in text
    first = next(a for a in found.alignments if a.umi == "A" * 12)
    assert len(first.reads) == 2
    drawn = draw(first.pileups[0], 200).splitlines()
    assert "MSCV U3" in drawn[0]
    assert drawn[-2].removeprefix("read 1").strip() == "." * 90
    assert drawn[-1].removeprefix("read 2").strip()[10] in "AC"
    assert drawn[-1].count(".") == 89


def test_the_slice_of_cells_holds_what_explain_shows_of_each(
    results: Path, tmp_path: Path, surrogate: Construct
) -> None:
    """The BAM of cells 1, 2 and 40 holds the reads of each that may be CAR, by coordinate, indexed; no others."""
    cells = [barcode(cell) for cell in (1, 2, MACROPHAGE)]
    target = Target.read(surrogate, results / "construct", "Forward")
    records = cell_records(results.parent / "s.bam", target, cells)
    with open_bam(results.parent / "s.bam") as bam:
        index = write_bam(records, bam.header, tmp_path / "S.bam")
    assert index == tmp_path / "S.bam.bai"
    with pysam.AlignmentFile(str(tmp_path / "S.bam")) as back:
        assert back.check_index()
        names = [record.query_name for record in back.fetch(until_eof=True)]
        assert back.count("HBI0101") == 4
    shown = [r.query_name for cell in cells for r in explain(results, "S", cell).records]
    assert sorted(names) == sorted(shown)
    assert len(names) == 5


def test_a_shared_read_is_shown_on_both_transcripts_with_equal_scores(results: Path) -> None:
    found = explain(results, "S", barcode(3))
    (alignment,) = found.alignments
    assert found.molecules.loc[0, "evidence"] == "shared"
    assert "the CAR and CD247 explain the reads equally well" in alignment.words
    on_car, on_gene = alignment.pileups
    assert on_car.title.startswith("on HBI0101")
    assert on_gene.title == "on CD247 (transcript CD247)"
    assert "CD247" in draw(on_car).splitlines()[1]
    for pileup in (on_car, on_gene):
        assert draw(pileup).splitlines()[-1].endswith("." * 90)
    assert "scores: CAR 120, CD247 120" in alignment.reads[0]


def test_a_junction_read_fits_the_car_alone(results: Path) -> None:
    (alignment,) = explain(results, "S", barcode(2)).alignments
    assert "the CAR explains the reads over a million times better than CD8A" in alignment.words
    on_car, on_gene = (draw(p).splitlines()[-1] for p in alignment.pileups)
    assert on_car.endswith("." * 90)
    # The scFv's end does not fit CD8A: small letters.
    assert sum(c.islower() for c in on_gene.removeprefix("read 1")) > 25


def test_a_molecule_better_explained_by_a_gene_is_shown_and_not_counted(
    results: Path, tmp_path: Path
) -> None:
    found = explain(results, "S", barcode(4))
    assert list(found.molecules["evidence"]) == ["endogenous"]
    assert not found.molecules["counted"].any()
    assert "not CAR mRNA" in found.alignments[0].words
    assert "did not count" in found.words
    assert "NO: rather the gene's than the CAR's" in printed(results, tmp_path, 4)


def test_no_t_cell_gets_a_posterior(results: Path, tmp_path: Path) -> None:
    found = explain(results, "S", barcode(MACROPHAGE))
    assert "posterior" not in set(found.terms["term"])
    assert "Only T cells" in found.words
    assert "no posterior: only T cells" in printed(results, tmp_path, MACROPHAGE)


def test_droplets_and_filtered_cells_are_explained_too(results: Path, tmp_path: Path) -> None:
    text = printed(results, tmp_path, DROPLET)
    assert "Not called a cell: 31 UMIs; its CAR molecules: 1." in text
    assert "3101-3190" in text
    assert "Removed by a quality filter: 900 UMIs" in printed(results, tmp_path, FILTERED)


def test_a_sample_that_was_taken_out_of_the_sheet_is_not_explained(
    results: Path, tmp_path: Path
) -> None:
    """Its cells were said to be removed by a quality filter."""
    copy = tmp_path / "results"
    shutil.copytree(results, copy)
    shutil.copytree(copy / "samples" / "S", copy / "samples" / "Levi")
    with pytest.raises(CarseqError, match="Levi is not in the samples sheet any more"):
        explain(copy, "Levi", barcode(1))


def test_a_sample_without_reads_says_so_and_shows_the_rest(results: Path, tmp_path: Path) -> None:
    text = printed(results, tmp_path, 9, "M")
    assert "this sample came as a matrix" in text
    assert "T cell with 3 CAR molecules" in text
    # "3, 3 of them told apart from human genes" stood there, and of three molecules "none".
    assert "told apart from human genes" not in text
    assert "3, as the matrix counts them: no read was compared" in text
    assert text.count("not known: the sample came as a matrix") == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["evidence.txt", "molecules.tsv"]


def test_the_slice_holds_the_cells_candidates_with_their_tags(
    results: Path, tmp_path: Path
) -> None:
    found = explain(results, "S", barcode(1))
    write_evidence(found, tmp_path / "out")
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["evidence.txt", "molecules.tsv", "reads.bam", "reads.bam.bai"]
    with pysam.AlignmentFile(str(tmp_path / "out" / "reads.bam")) as bam:
        records = list(bam.fetch(until_eof=True))
        assert bam.count("HBI0101", 3200, 3290) == 2
    assert len(records) == 3
    assert {r.get_tag("CB") for r in records} == {barcode(1)}
    assert {r.get_tag("UB") for r in records} == {"A" * 12, "C" * 12}


def with_sheet(results: Path, folder: Path, **changes: str) -> Path:
    """A copy of the results whose sheet says something else of sample S."""
    config = yaml.safe_load((results / "run_config.yaml").read_text())
    config["sheet"]["S"].update(changes)
    folder.mkdir()
    for name in ("samples", "construct", "cohort"):
        (folder / name).symlink_to(results / name)
    (folder / "run_config.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_a_moved_bam_leaves_the_call_readable(results: Path, tmp_path: Path) -> None:
    moved = with_sheet(results, tmp_path / "moved", bam=str(tmp_path / "gone.bam"))
    found = explain(moved, "S", barcode(1))
    assert "gone.bam is not there" in found.notes[0]
    assert len(found.molecules) == 2
    assert not found.alignments


def test_a_slice_and_the_reads_of_car_cells_are_enough(
    results: Path, tmp_path: Path, surrogate: Construct
) -> None:
    """Without the whole alignment, the slice and then `report/reads/` show the same reads of a cell."""
    whole = results.parent / "s.bam"
    shown = [a.reads for a in explain(results, "S", barcode(1)).alignments]
    none = with_sheet(results, tmp_path / "none", bam="")
    (none / "report" / "reads").mkdir(parents=True)
    (none / "report" / "reads" / "S.bam").symlink_to(whole)
    (none / "report" / "reads" / "S.bam.bai").symlink_to(f"{whole}.bai")
    assert [a.reads for a in explain(none, "S", barcode(1)).alignments] == shown
    kept = with_sheet(results, tmp_path / "kept", bam="")
    (kept / "samples").unlink()
    shutil.copytree(results / "samples", kept / "samples")
    (kept / "samples" / "S" / "solo").mkdir()
    write_slice(whole, [surrogate], loci(), kept / "samples" / "S" / "solo" / "slice.bam")
    assert [a.reads for a in explain(kept, "S", barcode(1)).alignments] == shown
    assert len(shown) == 2


def test_antisense_reads_of_5_prime_are_turned(
    results: Path, tmp_path: Path, surrogate: Construct
) -> None:
    bam = Bam(tmp_path / "5p.bam", surrogate)
    bam.add(surrogate.sequence[3000:3090].translate(COMPLEMENT)[::-1], umi="C" * 12)
    turned = with_sheet(results, tmp_path / "turned", bam=str(bam.write()), chemistry="10x_5p_v2")
    (turned / "samples").unlink()
    shutil.copytree(results / "samples", turned / "samples")
    library = LibraryReads("Reverse", 90, "sheet")
    (turned / "samples" / "S" / "molecules" / "library.json").write_text(library.to_json())
    found = explain(turned, "S", barcode(1))
    (alignment,) = found.alignments
    assert draw(alignment.pileups[0]).splitlines()[-1].endswith("." * 90)
    # The table's other molecule is not in this BAM.
    assert "it is not the BAM they were found in" in found.notes[0]


def test_insertions_deletions_and_overhangs_are_drawn_in_place() -> None:
    sequence = "ACGTTGCATGCCATGACTGATCCAGTACGATTACAGGCATCAGTTCAGGAC"
    read = "TT" + sequence[0:20] + "GG" + sequence[20:30] + sequence[31:51]
    pileup = Pileup("t", sequence, range(1, 52), {}, [("read 1", place(read, sequence))])
    base, transcript, drawn = (line[12:] for line in draw(pileup).splitlines())
    assert transcript == "  " + sequence[:20] + "--" + sequence[20:]
    assert drawn[:2] == "tt"
    assert drawn[22:24] == "GG"
    assert drawn.count("-") == 1
    assert base.index("|20") == 21


def test_names_are_forgiven_or_told(results: Path) -> None:
    assert explain(results, "S", barcode(1) + "-1").barcode == barcode(1)
    assert explain(results, "S", barcode(1).lower()).barcode == barcode(1)
    with pytest.raises(CarseqError, match="no sample 's'"):
        explain(results, "s", barcode(1))
    wrong = barcode(1)[:-1] + "G"
    with pytest.raises(CarseqError, match=f"did you mean.*S:{barcode(1)}"):
        explain(results, "S", wrong)
    with pytest.raises(CarseqError, match="it is a cell of S: name that sample"):
        explain(results, "M", barcode(20))
    with pytest.raises(CarseqError, match="holds no finished run"):
        explain(results.parent, "S", barcode(1))


def told(row: pd.Series, model: dict[str, object], **changes: object) -> str:
    """The sentences about a cell that differs from one of the cohort."""
    changed = pd.DataFrame([row]).assign(**changes)
    return words(changed.iloc[0], posterior_terms(changed, model, changed.index[0]))


def test_sentences_rest_on_what_the_model_counted(results: Path) -> None:
    """Of two shared molecules, which are no evidence, "a CAR T cell explains the count" was said; no clone was told."""
    found = read_h5ad(results / "cohort" / "cells.h5ad")
    model, row = dict(found.uns["car_model"]), found.obs.iloc[1]
    shared = told(row, model, car_umis=2, car_umis_unique=0, car_evidence=0, car_call="uncertain")
    assert "they are no evidence" in shared
    assert "explains the count" not in shared
    more = told(row, model, car_umis=3, car_umis_unique=2, car_evidence=2)
    assert "3 CAR molecules in 2,000 UMIs (2 of them as evidence)" in more
    assert "clonotype" not in more
    assert "T cells of its depth, type and clonotype" in told(row, model, car_clone_support=1.0)


def test_a_likely_cell_that_is_not_called_says_why(results: Path) -> None:
    """A probability of 0.9 and the call "uncertain" stood side by side, without a reason."""
    found = read_h5ad(results / "cohort" / "cells.h5ad")
    model, row = dict(found.uns["car_model"]), found.obs.iloc[1]
    likely = {"car_posterior": 0.9, "car_call": "uncertain"}
    assert "of the sample's calls would be expected to be false" in told(row, model, **likely)
    by_chance = told(row, model, car_evidence=1, car_expected_ambient=0.5, **likely)
    assert "ambient RNA and background show as many with a probability of" in by_chance
    assert "cells of its clonotype" in told(row, model, car_clone_support=-5.0, **likely)
    assert "Alone it would be doubtful" in told(row, model, car_posterior=0.8, car_call="positive")
    assert "It is not called" not in told(row, model, car_posterior=0.3, car_call="uncertain")


def test_another_librarys_barcode_is_not_shown_for_it(results: Path) -> None:
    """Of cells -1 and droplets -2 in one sample a droplet was explained as the cell; cell_7 was not found."""
    obs = pd.DataFrame({"sample": "S", "barcode": ["ACGTACGTACGT-1", "GGGTACGTACGT_2", "cell_7"]})
    assert find_cell(obs, "S", "ACGTACGTACGT-2") is None
    assert find_cell(obs, "S", "acgtacgtacgt")["barcode"] == "ACGTACGTACGT-1"
    assert find_cell(obs, "S", "GGGTACGTACGT-2")["barcode"] == "GGGTACGTACGT_2"
    assert find_cell(obs, "S", "cell_7")["barcode"] == "cell_7"


def test_a_droplet_that_was_left_out_of_given_cells_is_not_called_ambient(results: Path) -> None:
    """Of a given list of cells: a barcode of 5,000 UMIs outside it was "what ambient RNA is made of"."""
    droplet = pd.Series(
        {"barcode": "A", "total_umis": 5000, "is_cell": False, "reason": NOT_IN_LIST}
    )
    assert "or a cell that was left out" in explain_droplet(results, "S", droplet, 2)[2]


@pytest.mark.parametrize("words", [[f"S:{barcode(1)}"], ["S", f"{barcode(1)}-1"]])
def test_the_command_takes_one_word_or_two(
    results: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    cli.app(["explain", *words, "--results", str(results), "--width", "90"], standalone_mode=False)
    out = capsys.readouterr().out
    folder = tmp_path / f"explain_S_{barcode(1)}"
    assert (folder / "evidence.txt").read_text() in out
    assert max(map(len, out.splitlines())) <= 90 + len(str(folder))
    with pytest.raises(CarseqError, match="which cell"):
        cli.app(["explain", "S", "--results", str(results)], standalone_mode=False)
