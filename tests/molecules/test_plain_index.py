"""Molecules of reads aligned without the CAR: the same as with it, whatever of the genome resembles the CAR."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from carseq.construct import Construct, load_construct
from carseq.data import path as data_path
from carseq.errors import CarseqError
from carseq.io.h5ad import read_h5ad
from carseq.library.geometry import Chemistry
from carseq.molecules import Target, molecules_of
from carseq.molecules.row import with_car_row
from carseq.reference.genome import locus_list
from carseq.reference.resembling import find_homologs, resembling_places
from carseq.schema.tables import MOLECULES
from carseq.solo import align
from six_genes import GENES, TURN, Reference, copy, make_reference, noise

END = 500


@pytest.fixture(scope="module")
def car() -> Construct:
    return load_construct(data_path("constructs/tisa-cel.gb"), name="CAR")


@pytest.fixture(scope="module")
def reference(car: Construct, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """Six genes; and a contig without any, with copies of both ends of the CAR, on either strand."""
    rng = np.random.default_rng(5)
    five, three = car.sequence[:END], car.sequence[-END:]
    turned = copy(rng, three, 0.1)[::-1].translate(TURN)
    trap = noise(rng, 2000).join(["", five, copy(rng, three, 0.05), turned, ""])
    return make_reference(tmp_path_factory.mktemp("genome"), car, trap)


@pytest.fixture(scope="module")
def genome(reference: Reference) -> Path:
    return reference.folder


def write_reads(reference: Reference, strand: str) -> Chemistry:
    """Write molecules of CAR and genes, two reads each, of 40 cells; return their chemistry."""
    folder, car, genes = reference.folder, reference.car, reference.genes
    rng = np.random.default_rng(9)
    cells = [noise(rng, 16) for _ in range(40)]
    (folder / "list.txt").write_text("\n".join(cells) + "\n")
    one, two = [], []
    for molecule in range(900):
        is_car = molecule % 3 == 0
        source = car.sequence if is_car else genes[molecule % GENES]
        tag = cells[molecule % len(cells)] + noise(rng, 12)
        for _ in range(2):
            start = int(rng.integers(0, len(source) - 90))
            if is_car and rng.random() < 0.7:
                near = rng.integers(0, END)
                start = int(near if strand == "Reverse" else len(source) - 90 - near)
            read = copy(rng, source[start : start + 90], 0.005)
            if strand == "Reverse":
                read = read[::-1].translate(TURN)
            one.append(f"@r{len(one)}\n{tag}\n+\n{'I' * 28}\n")
            two.append(f"@r{len(two)}\n{read}\n+\n{'I' * 90}\n")
    (folder / "R1.fastq").write_text("".join(one))
    (folder / "R2.fastq").write_text("".join(two))
    return Chemistry("x", 1, 16, 17, 12, strand, str(folder / "list.txt"), 1.0, len(one), 90, 0, 0)


@pytest.mark.parametrize("strand", ["Forward", "Reverse"])
def test_a_plain_index_gives_the_molecules_of_one_with_the_car(
    reference: Reference, strand: str, tmp_path: Path
) -> None:
    """All of them, of the same evidence but for those in a stretch that the genome holds unchanged (tolerance 1 %)."""
    genome, car = reference.folder, reference.car
    chemistry = write_reads(reference, strand)
    reads = [(genome / "R1.fastq", genome / "R2.fastq")]
    align(reads, chemistry, genome / "index", tmp_path / "one", car="CAR")
    align(reads, chemistry, genome / "base", tmp_path / "two", car=None)
    homologs, loci = find_homologs(car, genome / "g.fa", genome / "g.gtf")
    target = Target(car, homologs, locus_list(loci), strand)
    found = [
        molecules_of(tmp_path / name / "aligned.bam", target, sample="s")[0]
        for name in ("one", "two")
    ]
    keys = [set(zip(t["barcode"], t["umi"], t["evidence"], strict=True)) for t in found]
    assert len(found[1]) > 250
    assert len(keys[0] & keys[1]) >= 0.99 * len(keys[0] | keys[1])
    assert set(found[1]["source"]) == {"homolog", "unmapped"}
    if strand == "Reverse":
        # The first 500 bases stand in the genome as they are: a read inside them proves nothing.
        inside = found[1][found[1]["tx_end"] <= END]
        assert len(inside) > 20
        assert set(inside["evidence"]) == {"shared"}
    star, ours = (
        read_h5ad(tmp_path / "one/raw.h5ad"),
        with_car_row(read_h5ad(tmp_path / "two/plain.h5ad"), found[1], "CAR"),
    )
    assert list(ours.var["gene_id"]) == list(star.var["gene_id"])
    told = found[1][found[1]["p_car"] >= 0.5]["barcode"].value_counts()
    row = pd.Series(ours[:, "CAR"].X.toarray().ravel(), index=ours.obs_names)
    assert row[row > 0].sort_index().to_dict() == told.sort_index().to_dict()
    others = [g for g in star.var_names if g != "CAR"]
    assert (star[ours.obs_names, others].X != ours[:, others].X).nnz == 0


def test_places_that_no_annotation_tells_of_are_found(genome: Path, car: Construct) -> None:
    places = resembling_places(genome / "g.fa", [car.sequence])
    assert [(p.contig, p.strand) for p in places] == [("chrT", "+"), ("chrT", "+"), ("chrT", "-")]
    whole = [(2000, 2500), (4500, 5000), (7000, 7500)]
    for place, (start, end) in zip(places, whole, strict=True):
        assert place.start <= start + 20
        assert place.end >= end - 20
        assert place.end - place.start < END + 200


def test_a_genome_that_holds_the_car_without_an_annotation_is_refused(
    genome: Path, car: Construct, tmp_path: Path
) -> None:
    (tmp_path / "g.fa").write_text((genome / "g.fa").read_text() + f">v\n{car.sequence}\n")
    with pytest.raises(CarseqError, match="holds the CAR already, at v:0-"):
        find_homologs(car, tmp_path / "g.fa", genome / "g.gtf")


def molecules(barcodes: list[str]) -> pd.DataFrame:
    table = pd.DataFrame({"barcode": barcodes, "p_car": 1.0, "sample": "s", "evidence": "unique"})
    return MOLECULES.conform(table.reindex(columns=list(MOLECULES.columns)).fillna(0))


def test_a_row_of_other_reads_is_refused() -> None:
    names = [f"B{i}" for i in range(40)]
    raw = anndata.AnnData(
        sparse.csr_matrix(np.ones((40, 2), dtype=np.int32)),
        obs=pd.DataFrame(index=names),
        var=pd.DataFrame({"gene_id": ["g1", "g2"]}, index=["A", "B"]),
    )
    with pytest.raises(CarseqError, match="not of the same reads"):
        with_car_row(raw, molecules([f"C{i}" for i in range(30)] * 2), "CAR")
    with pytest.raises(CarseqError, match="gene named A already"):
        with_car_row(raw, molecules(["B1"]), "A")
    made = with_car_row(raw, molecules(["B1", "B1", "ONLY_CAR"]), "CAR")
    assert made.shape == (41, 3)
    assert made["B1", "CAR"].X.toarray().tolist() == [[2]]
    assert made["ONLY_CAR"].X.toarray().tolist() == [[0, 0, 1]]
