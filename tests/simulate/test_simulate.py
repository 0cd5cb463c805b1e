"""The synthetic study: its truth must be the truth of its reads."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from carseq.construct import load_construct
from carseq.data import path as data_path
from carseq.errors import CarseqError
from carseq.io.files import read_table
from carseq.simulate import Protocol, SampleSpec, demo_samples, simulate_study
from carseq.simulate.expression import composition, gene_symbols, make_profiles
from carseq.simulate.genome import complement, make_genome, read_relatives
from carseq.simulate.molecules import MIN_SHARED, make_pool
from carseq.simulate.reads import make_qualities
from carseq.study.config import load_config

CONSTRUCT = data_path("constructs") / "hbi0101_surrogate_native.gb"
T_CELLS = {"CD4 T": 20, "CD8 T": 20, "macrophage": 20}
SPECS = [
    SampleSpec(
        name="control", role="negative_control", cells=T_CELLS, n_empty=100, median_depth=800
    ),
    SampleSpec(
        name="case",
        cells=T_CELLS,
        car_fraction=0.8,
        car_expression=0.02,
        median_depth=800,
        ambient=0.1,
        n_empty=200,
        doublet_rate=0.1,
    ),
]


@pytest.fixture(scope="module")
def genome():
    return make_genome(gene_symbols(), n_genes=450)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study")
    protocol = Protocol(reads_per_molecule=2.0)
    simulate_study(
        out,
        construct=CONSTRUCT,
        chemistry="10x_3p_v2",
        samples=SPECS,
        protocol=protocol,
        n_genes=450,
    )
    return out


def fastq(study: Path, sample: str, mate: int) -> list[tuple[str, str]]:
    records = []
    for file in sorted((study / "fastq").glob(f"{sample}_S*_R{mate}_001.fastq.gz")):
        lines = gzip.decompress(file.read_bytes()).decode().splitlines()
        records += list(zip(lines[::4], lines[1::4], strict=True))
    return records


def fasta(path: Path) -> dict[str, str]:
    blocks = path.read_text().split(">")[1:]
    return {b.split("\n", 1)[0]: b.split("\n", 1)[1].replace("\n", "") for b in blocks}


def reverse_complement(text: str) -> str:
    return complement(np.frombuffer(text.encode(), dtype=np.uint8)[::-1]).tobytes().decode()


def test_study_is_ready_to_run(study: Path):
    config = load_config(study / "config.yaml")
    assert config.construct.name == "HBI0101"
    assert Path(config.construct.file).exists()
    samples = pd.read_csv(config.samples, sep="\t")
    required = ["sample", "patient", "compartment", "timepoint", "role", "chemistry"]
    assert list(samples.columns[:6]) == required
    units = pd.read_csv(study / "units.tsv", sep="\t")
    assert len(units) == 4
    assert all((study / file).exists() for file in [*units["r1"], *units["r2"]])
    assert not list(study.rglob(".*"))


def test_spliced_annotation_spells_the_mrnas_and_introns_are_canonical(genome, tmp_path: Path):
    genome.write(tmp_path / "genome.fa", tmp_path / "genes.gtf")
    chromosomes = fasta(tmp_path / "genome.fa")
    exons: dict[str, list[tuple[int, int]]] = defaultdict(list)
    place = {}
    for line in (tmp_path / "genes.gtf").read_text().splitlines():
        fields = line.split("\t")
        gene = fields[8].split('gene_name "')[1].split('"')[0]
        if fields[2] == "exon":
            exons[gene].append((int(fields[3]) - 1, int(fields[4])))
            place[gene] = fields[0], fields[6]
    for gene in genome.genes:
        chrom, strand = place[gene.name]
        blocks = sorted(exons[gene.name])
        mrna = "".join(chromosomes[chrom][start:end] for start, end in blocks)
        introns = [chromosomes[chrom][a[1] : b[0]] for a, b in pairwise(blocks)]
        if strand == "-":
            mrna, introns = reverse_complement(mrna), [reverse_complement(i) for i in introns]
        assert mrna == gene.mrna.tobytes().decode()
        assert all(i[:2] == "GT" and i[-2:] == "AG" and 100 <= len(i) <= 2000 for i in introns)
    assert {strand for _, strand in place.values()} == {"+", "-"}


def test_relatives_of_the_car_are_the_real_genes(genome):
    by_name = {gene.name: gene for gene in genome.genes}
    for name, sequence in read_relatives().items():
        assert (by_name[name].mrna == sequence).all()
        assert len(by_name[name].exons) >= 2
    assert {"CD247", "CD28", "TNFRSF9", "CD8A"} <= set(by_name)


def test_profiles_are_distributions_and_only_t_and_nk_express_cd247(genome):
    genes = [gene.name for gene in genome.genes]
    profiles = make_profiles(genes)
    for name, profile in profiles.by_type.items():
        assert profile.sum() == pytest.approx(1)
        assert (profile >= 0).all()
        expressed = profile[genes.index("CD247")] > 0
        assert expressed == (name in {"CD4 T", "CD8 T", "Treg", "NK"})
    assert profiles.by_type["plasma"][genes.index("TNFRSF17")] > 0


def test_reads_are_paired_counted_and_within_lanes_unique(study: Path):
    first, second = fastq(study, "case", 1), fastq(study, "case", 2)
    names = [name.split()[0] for name, _ in first]
    assert names == [name.split()[0] for name, _ in second]
    assert len(set(names)) == len(names)
    assert {len(sequence) for _, sequence in first} == {26}
    assert {len(sequence) for _, sequence in second} == {90}
    counts = json.loads((study / "truth" / "case.reads.json").read_text())
    assert counts["total"] == len(names)
    kinds = ["own", "partner", "ambient", "swapped", "junk", "background_barcode"]
    assert sum(counts[kind] for kind in kinds) == counts["total"]


def test_molecules_of_every_droplet_are_in_the_fastq(study: Path):
    droplets = read_table(study / "truth" / "case.droplets.tsv.gz").set_index("barcode")
    umis: dict[str, set[str]] = defaultdict(set)
    for _, sequence in fastq(study, "case", 1):
        umis[sequence[:16]].add(sequence[16:])
    observed = np.array([len(umis[barcode]) for barcode in droplets.index])
    # Sequencing errors add some UMIs and move some reads to other barcodes.
    total = droplets["n_molecules"].to_numpy()
    assert np.corrcoef(observed, total)[0, 1] > 0.999
    assert observed.sum() == pytest.approx(total.sum(), rel=0.06)


@pytest.mark.parametrize("chemistry", ["10x_3p_v2", "10x_5p_v2"])
def test_car_reads_lie_where_the_truth_says_and_on_the_strand_of_the_chemistry(
    chemistry: str, study: Path, tmp_path: Path
):
    if chemistry != "10x_3p_v2":
        study = tmp_path
        simulate_study(study, construct=CONSTRUCT, chemistry=chemistry, samples=SPECS, n_genes=450)
    transcripts = {t.name: t for t in load_construct(CONSTRUCT).transcripts}
    truth = read_table(study / "truth" / "case.car_molecules.tsv.gz")
    truth = truth.set_index(truth["barcode"] + truth["umi"])
    assert len(truth) > 100
    n_reads, n_good = 0, 0
    pairs = zip(fastq(study, "case", 1), fastq(study, "case", 2), strict=True)
    full = next(iter(transcripts.values())).sequence
    for (_, barcode), (_, read) in pairs:
        if barcode not in truth.index:
            continue
        row = truth.loc[barcode]
        sense = read if "3p" in chemistry else reverse_complement(read)
        if row["transcript"] == "unspliced" and row["end"] - row["start"] >= 90:
            n_reads += 1
            window = full[row["start"] : row["end"]]
            n_good += any(sense[i : i + 30] in window for i in (0, 30, 60))
    assert n_reads > 50
    # The rest is junk under the molecule's barcode, or has errors in every third.
    assert n_good / n_reads > 0.93


def test_reads_of_a_molecule_begin_at_different_places(study: Path):
    truth = read_table(study / "truth" / "case.car_molecules.tsv.gz")
    several = truth[truth["n_reads"] >= 3]
    assert ((several["end"] - several["start"]) > 90).mean() > 0.9


def test_negative_control_has_no_car(study: Path):
    droplets = read_table(study / "truth" / "control.droplets.tsv.gz")
    assert not droplets["is_car_t"].any()
    assert droplets.filter(like="n_car_").to_numpy().sum() == 0
    assert len(read_table(study / "truth" / "control.car_molecules.tsv.gz")) == 0


def test_truth_tables_agree_with_each_other(study: Path):
    droplets = read_table(study / "truth" / "case.droplets.tsv.gz").set_index("barcode")
    molecules = read_table(study / "truth" / "case.car_molecules.tsv.gz")
    for origin in ("own", "partner", "ambient", "swapped"):
        counted = molecules[molecules["origin"] == origin]["barcode"].value_counts()
        expected = droplets[f"n_car_{origin}"]
        assert counted.reindex(droplets.index, fill_value=0).eq(expected).all()
    assert (droplets.loc[~droplets["is_car_t"], "n_car_own"] == 0).all()
    assert (droplets["partner_type"].fillna("").ne("") == (droplets["kind"] == "doublet")).all()
    assert set(droplets.loc[droplets["is_car_t"], "lineage"]) == {"T"}


def test_rates_asked_for_are_the_rates_found(study: Path):
    """Ambient 80 molecules a droplet within 15 %, CAR share 2 % within half, doublets 10 ± 3 %."""
    droplets = read_table(study / "truth" / "case.droplets.tsv.gz")
    t_cells = droplets[droplets["is_car_t"] & (droplets["kind"] == "cell")]
    own = t_cells["n_molecules"] - t_cells["n_ambient"]
    # Gamma between some 25 cells: a standard error of about 18 % of the mean.
    assert t_cells["n_car_own"].sum() / own.sum() == pytest.approx(0.02, rel=0.5)
    assert droplets["n_ambient"].mean() == pytest.approx(80, rel=0.15)
    assert (droplets["kind"] == "doublet").sum() / (droplets["kind"] != "empty").sum() == (
        pytest.approx(0.1, abs=0.03)
    )


def test_same_seed_gives_the_same_files_on_any_number_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("carseq.simulate.reads.CHUNK", 3000)
    for name, seed, threads in (("a", 5, 1), ("b", 5, 3), ("c", 6, 1)):
        simulate_study(
            tmp_path / name,
            construct=CONSTRUCT,
            chemistry="10x_3p_v2",
            samples=[SampleSpec(name="s", cells=8, n_empty=20)],
            n_genes=450,
            seed=seed,
            threads=threads,
        )
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a/fastq").iterdir())
    for file in files:
        a, b, c = ((tmp_path / name / file).read_bytes() for name in "abc")
        assert a == b
        assert a != c
    genomes = [(tmp_path / name / "genome.fa").read_bytes() for name in "ac"]
    assert genomes[0] == genomes[1]


def test_longest_shared_stretch_is_exact(genome):
    """Against a plain search, for a chimera of two relatives and foreign sequence."""
    by_name = {gene.name: gene.mrna.tobytes().decode() for gene in genome.genes}
    foreign = "ACGGTCATTGCCGATACGTTAGCCTA" * 3
    car = foreign + by_name["CD28"][300:420] + by_name["CD247"][500:577] + foreign
    pool = make_pool(genome, [("transcript", car, [(0, len(car))])], pad=100)
    texts = [
        t for g in genome.genes for t in (g.mrna.tobytes().decode(), g.premrna.tobytes().decode())
    ]
    for start in range(60, 300, 13):
        best = 0
        for size in range(MIN_SHARED, len(car) - start + 1):
            if not any(car[start : start + size] in text for text in texts):
                break
            best = size
        assert pool.longest[0][start] == best


def test_base_errors_lie_between_2_and_5_in_a_thousand():
    qualities = make_qualities(90, np.random.default_rng(0))
    rate = (qualities.threshold / 65536).mean()
    assert 0.002 < rate < 0.005


def test_index_hopping_carries_car_molecules_into_the_control(tmp_path: Path):
    simulate_study(
        tmp_path,
        construct=CONSTRUCT,
        chemistry="10x_3p_v2",
        samples=SPECS,
        protocol=Protocol(index_hopping=0.05),
        n_genes=450,
    )
    case = read_table(tmp_path / "truth" / "case.car_molecules.tsv.gz")
    control = read_table(tmp_path / "truth" / "control.car_molecules.tsv.gz")
    assert len(control) > 5
    assert set(control["origin"]) == {"swapped"}
    assert set(control["barcode"] + control["umi"]) <= set(case["barcode"] + case["umi"])


def test_sample_without_cells_or_reads_is_written(tmp_path: Path):
    specs = [
        SampleSpec(name="empty", cells=0, n_empty=30),
        SampleSpec(name="nothing", cells=0, n_empty=0),
    ]
    table = simulate_study(
        tmp_path, construct=CONSTRUCT, chemistry="10x_5p_v3", samples=specs, n_genes=450
    )
    assert table["n_reads"].iloc[0] > 0
    assert table["n_reads"].iloc[1] == 0
    assert fastq(tmp_path, "nothing", 1) == []
    # The list of 5' v3 is not public: one is made and named.
    assert load_config(tmp_path / "config.yaml").chemistry.whitelist == str(
        tmp_path / "whitelist.txt.gz"
    )


def test_composition_adds_up():
    for n in (0, 8, 317, 5000):
        assert sum(composition("urine", n).values()) == n


def test_demo_has_a_control_and_enough_car_t_cells():
    samples = demo_samples(with_product=True)
    assert [s.role for s in samples] == ["negative_control", "case", "case", "product"]
    assert samples[0].car_fraction == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SampleSpec(name="s", car_fraction=1.5), "car_fraction"),
        (lambda: SampleSpec(name="s", cells={"astrocyte": 3}), "astrocyte"),
        (lambda: SampleSpec(name="s", compartment="moon"), "moon"),
        (lambda: Protocol(junk=2), "junk"),
        (lambda: Protocol(reads_per_molecule=0.5), "reads_per_molecule"),
        (lambda: simulate_study(Path("x"), construct=CONSTRUCT, chemistry="10x"), "10x_3p_v3"),
        (lambda: make_genome(gene_symbols(), n_genes=10), "at least"),
    ],
)
def test_impossible_requests_are_refused_with_a_remedy(make, message: str):
    with pytest.raises(CarseqError, match=message) as error:
        make()
    assert error.value.remedy


def test_too_few_barcodes_are_refused(tmp_path: Path):
    (tmp_path / "list.txt").write_text("ACGTACGTACGTACGT\nTTTTACGTACGTACGT\n")
    with pytest.raises(CarseqError, match="too few barcodes"):
        simulate_study(
            tmp_path / "out",
            construct=CONSTRUCT,
            whitelist=tmp_path / "list.txt",
            samples=[SampleSpec(name="s", cells=8)],
            n_genes=450,
        )
