"""A synthetic study on disk: genome, construct, sheets, FASTQ and the truth."""

from __future__ import annotations

import json
import shutil
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml
from isal import igzip

from carseq.errors import CarseqError
from carseq.io.files import atomic, write_table, write_text
from carseq.library.geometry import BARCODE_LENGTH, CHEMISTRIES
from carseq.library.whitelist import known_whitelist
from carseq.log import get_logger
from carseq.simulate.expression import (
    Cells,
    Profiles,
    cell_types,
    composition,
    gene_symbols,
    make_cells,
    make_profiles,
    t_state_shares,
)
from carseq.simulate.genome import Bases, make_genome
from carseq.simulate.molecules import Library, Pool, Protocol, hop_indexes, make_library, make_pool
from carseq.simulate.reads import make_reads, write_fastq
from carseq.simulate.truth import car_molecules_truth, count_reads, droplets_truth

if TYPE_CHECKING:
    from carseq.construct import Construct

log = get_logger(__name__)

#: Barcodes of the list made for a chemistry whose true list is not public.
_MADE_WHITELIST = 200_000


@dataclass(frozen=True, kw_only=True)
class SampleSpec:
    """A sample to simulate.

    Parameters
    ----------
    name
        Name of the sample and of its files.
    patient, compartment, timepoint, role
        As in ``samples.tsv``.
    cells
        Cells by type, or their number in all, shared out as is usual in the compartment.
    car_fraction
        CAR T cells among T cells, 0 to 1; rounded to whole cells.
    car_expression
        Expected CAR share of a CAR T cell's UMIs.
    car_dispersion
        Shape of the gamma distribution of that share between cells: the smaller, the more uneven.
    median_depth
        Median captured UMIs of a cell.
    depth_sigma
        Standard deviation of their natural logarithm.
    ambient
        Ambient molecules expected in a droplet, as a share of ``median_depth``.
    n_empty
        Droplets without a cell.
    doublet_rate
        Share of cell-holding droplets that hold two.
    t_states
        Shares of T states; None: the compartment's (CAR T cells are less often naive).
    chemistry
        None: the study's.
    clinic
        Further columns of ``samples.tsv``.
    """

    name: str
    patient: str = "P01"
    compartment: str = "urine"
    timepoint: str = "D28"
    role: str = "case"
    cells: Mapping[str, int] | int = 400
    car_fraction: float = 0.0
    car_expression: float = 15e-4
    car_dispersion: float = 1.2
    median_depth: float = 1800.0
    depth_sigma: float = 0.5
    ambient: float = 0.03
    n_empty: int = 3000
    doublet_rate: float = 0.045
    t_states: Mapping[str, float] | None = None
    chemistry: str | None = None
    clinic: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("car_fraction", "car_expression", "ambient", "doublet_rate"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise CarseqError(
                    f"{name} of sample {self.name} is not a share",
                    f"it is {value}",
                    "give a number from 0 to 1",
                )
        if self.median_depth <= 0 or self.n_empty < 0 or self.car_dispersion <= 0:
            raise CarseqError(
                f"sample {self.name} cannot be simulated",
                f"median_depth {self.median_depth}, n_empty {self.n_empty}, "
                f"car_dispersion {self.car_dispersion}",
                "give positive numbers",
            )
        known = list(cell_types().index)
        unknown = [name for name in self.cell_counts() if name not in known]
        if unknown:
            raise CarseqError(
                f"sample {self.name} asks for an unknown cell type",
                f"{', '.join(unknown)}; known are {', '.join(known)}",
                "name known cell types",
            )
        states = list(t_state_shares("blood", car=False))
        unknown = [name for name in self.t_states or {} if name not in states]
        if unknown:
            raise CarseqError(
                f"sample {self.name} asks for an unknown T state",
                f"{', '.join(unknown)}; known are {', '.join(states)}",
                "name known T states",
            )

    def cell_counts(self) -> dict[str, int]:
        """Return cells by type."""
        if isinstance(self.cells, int):
            return composition(self.compartment, self.cells)
        return {str(name): int(n) for name, n in self.cells.items()}


def demo_samples(*, cells: int = 400, with_product: bool = False) -> list[SampleSpec]:
    """Return the demo's samples: one patient's urine before and after CAR T cells, and blood.

    Parameters
    ----------
    cells
        Cells of a sample on average; the samples have 3/4, 9/8 and 1 times it.
    with_product
        Whether the CAR T product was sequenced too.
    """
    empty = round(7.5 * cells)
    samples = [
        SampleSpec(
            name="P01_urine_D0",
            timepoint="D0",
            role="negative_control",
            cells=round(0.75 * cells),
            n_empty=empty,
            clinic={"proteinuria_g_per_day": 3.1, "car_pct_flow": 0.0},
        ),
        SampleSpec(
            name="P01_urine_D28",
            cells=round(1.125 * cells),
            car_fraction=0.35,
            n_empty=empty,
            clinic={"proteinuria_g_per_day": 1.2, "car_pct_flow": 12.0},
        ),
        SampleSpec(
            name="P01_blood_D28",
            compartment="blood",
            cells=cells,
            car_fraction=0.15,
            median_depth=2500.0,
            ambient=0.02,
            n_empty=empty,
            clinic={"proteinuria_g_per_day": 1.2, "car_pct_flow": 12.0},
        ),
    ]
    if with_product:
        samples.append(
            SampleSpec(
                name="P01_product",
                compartment="product",
                timepoint="infusion",
                role="product",
                cells=round(0.75 * cells),
                car_fraction=0.5,
                median_depth=4000.0,
                ambient=0.02,
                n_empty=empty,
                clinic={"proteinuria_g_per_day": 3.1, "car_pct_flow": 45.0},
            )
        )
    return samples


def simulate_study(
    out: str | Path,
    *,
    construct: str | Path | Construct,
    construct_name: str = "HBI0101",
    construct_form: str = "auto",
    target: str | None = "TNFRSF17",
    chemistry: str = "10x_3p_v3",
    samples: Sequence[SampleSpec] | None = None,
    cells: int = 400,
    with_product: bool = False,
    protocol: Protocol | None = None,
    whitelist: str | Path | None = None,
    lanes: int = 2,
    n_genes: int = 1000,
    seed: int = 1,
    genome_seed: int = 1,
    threads: int | None = None,
) -> pd.DataFrame:
    """Make a synthetic study whose truth is known, by following every molecule into its reads.

    Parameters
    ----------
    out
        Folder to make: ``genome.fa``, ``genes.gtf``, the construct, ``config.yaml``,
        ``samples.tsv``, ``units.tsv``, ``fastq/`` and ``truth/``.
    construct
        File of the construct (or the name of one that comes with carseq), or the construct.
    construct_name, construct_form, target
        As in the configuration's ``construct`` section.
    chemistry
        10x_3p_v2, _v3, _v4 or 10x_5p_v1, _v2, _v3.
    samples
        What to simulate; None: :func:`demo_samples` of ``cells`` and ``with_product``.
    protocol
        Rates of the wet lab and the sequencer; None: the defaults of :class:`Protocol`.
    whitelist
        Barcode list; None: 10x's. The one of 5' v3 is not public: a made-up one is then written
        beside the study, as ``whitelist.txt.gz``.
    lanes
        FASTQ pairs of a sample.
    n_genes
        Genes of the genome.
    seed
        Seed of the cells, molecules and reads.
    genome_seed
        Seed of the genome and the expression profiles: studies that share it (and ``n_genes``) can
        share a STAR index.
    threads
        Threads that compress; None: the machine's, at most 4.

    Returns
    -------
    pandas.DataFrame
        One row a sample: cells, T cells, CAR T cells, those with an own CAR molecule, reads.

    Raises
    ------
    CarseqError
        For an unknown chemistry, cell type or compartment, samples of one name, too few barcodes, a
        genome too small for the profiles, or a construct that cannot be read.
    """
    started = time.monotonic()
    out = Path(out)
    specs = (
        list(samples)
        if samples is not None
        else demo_samples(cells=cells, with_product=with_product)
    )
    protocol = protocol or Protocol()
    _check_specs(specs, chemistry, lanes)
    (out / "truth").mkdir(parents=True, exist_ok=True)
    car, construct_file, construct_form = _take_construct(
        construct, out, construct_name, construct_form
    )

    log.info("making the genome")
    genome = make_genome(gene_symbols(), seed=genome_seed, n_genes=n_genes)
    genome.write(out / "genome.fa", out / "genes.gtf")
    profiles = make_profiles([gene.name for gene in genome.genes], seed=genome_seed)
    pool = make_pool(genome, car, pad=protocol.read_length + 10)

    sheet = pd.DataFrame([_sheet_row(spec) for spec in specs])
    config: dict[str, Any] = {
        "samples": "samples.tsv",
        "units": "units.tsv",
        "results": "results",
        "construct": {"file": construct_file, "name": construct_name, "form": construct_form},
        "reference": {"fasta": "genome.fa", "gtf": "genes.gtf"},
    }
    if target:
        config["construct"]["target"] = target
    used = {spec.name: spec.chemistry or chemistry for spec in specs}
    lists = _barcode_lists(used, whitelist, out, seed, config, sheet)

    groups, libraries = [], []
    for spec in specs:
        umi_length, strand, _ = CHEMISTRIES[used[spec.name]]
        group, library = make_sample(
            spec,
            pool,
            profiles,
            protocol,
            np.random.default_rng([seed, zlib.crc32(spec.name.encode()), 1]),
            barcodes=lists[used[spec.name]],
            umi_length=umi_length,
            five_prime=strand == "Reverse",
        )
        libraries.append(library)
        groups.append(group)
        log.info("%s: %d molecules", spec.name, len(library.molecules))
    libraries = hop_indexes(libraries, protocol.index_hopping, np.random.default_rng([seed, 0, 2]))

    units: list[dict[str, str]] = []
    summary = []
    for number, (spec, group, library) in enumerate(zip(specs, groups, libraries, strict=True), 1):
        files = _fastq_files(spec.name, number, lanes)
        units += files
        summary.append(
            _sequence(
                library,
                group,
                pool,
                protocol,
                out,
                name=spec.name,
                chemistry=used[spec.name],
                pairs=[(out / unit["r1"], out / unit["r2"]) for unit in files],
                seed=seed,
                threads=threads,
            )
        )

    write_table(pd.DataFrame(units), out / "units.tsv")
    write_table(sheet, out / "samples.tsv")
    parameters = {
        "seed": seed,
        "genome_seed": genome_seed,
        "n_genes": n_genes,
        "chemistry": chemistry,
        "lanes": lanes,
        "construct": config["construct"],
        "protocol": asdict(protocol),
        "samples": [{**asdict(spec), "cells": spec.cell_counts()} for spec in specs],
    }
    write_text(json.dumps(parameters, indent=1) + "\n", out / "truth" / "parameters.json")
    # Last, so that a folder with a configuration is a whole study.
    write_text(yaml.safe_dump(config, sort_keys=False), out / "config.yaml")
    log.info("the study is in %s (%.0f s)", out, time.monotonic() - started)
    return pd.DataFrame(summary)


def _barcode_lists(
    used: Mapping[str, str],
    whitelist: str | Path | None,
    out: Path,
    seed: int,
    config: dict[str, Any],
    sheet: pd.DataFrame,
) -> dict[str, Bases]:
    """Return the barcodes of each chemistry; name lists that carseq does not have in configuration or sheet.

    Parameters
    ----------
    used
        The chemistry of each sample.
    whitelist, out, seed
        As in :func:`simulate_study`.
    config, sheet
        Configuration and sheet of samples, changed here.
    """
    lists: dict[str, Bases] = {}
    for name in dict.fromkeys(used.values()):
        lists[name], given = _barcodes(name, whitelist, out, seed)
        if given is None:
            continue
        if set(used.values()) == {name} or whitelist is not None:
            config["chemistry"] = {"whitelist": given}
        else:
            if "whitelist" not in sheet:
                sheet["whitelist"] = ""
            sheet.loc[sheet["sample"].map(used) == name, "whitelist"] = given
    return lists


def _fastq_files(sample: str, number: int, lanes: int) -> list[dict[str, str]]:
    """Return the rows of ``units.tsv`` of a sample, the ``number``-th of the study: a pair of files for each lane."""
    units = []
    for lane in (f"L{lane:03d}" for lane in range(1, lanes + 1)):
        stem = f"fastq/{sample}_S{number}_{lane}"
        first, second = f"{stem}_R1_001.fastq.gz", f"{stem}_R2_001.fastq.gz"
        units.append({"sample": sample, "unit": lane, "r1": first, "r2": second})
    return units


def _sequence(
    library: Library,
    group: Cells,
    pool: Pool,
    protocol: Protocol,
    out: Path,
    *,
    name: str,
    chemistry: str,
    pairs: list[tuple[Path, Path]],
    seed: int,
    threads: int | None,
) -> dict[str, Any]:
    """Sequence the library of a sample: write its reads, and the truth about its droplets, molecules and reads.

    Parameters
    ----------
    library, group
        Molecules and cells of the sample.
    pool, protocol
        Transcripts, and rates of the wet lab and the sequencer.
    out
        Folder of the study.
    name, chemistry
        Of the sample.
    pairs
        FASTQ files (R1, R2), a pair for each lane.
    seed, threads
        As in :func:`simulate_study`.

    Returns
    -------
    dict
        The sample's row of what :func:`simulate_study` returns.
    """
    umi_length, strand, _ = CHEMISTRIES[chemistry]
    five_prime = strand == "Reverse"
    entropy = [seed, zlib.crc32(name.encode()), 3]
    reads = make_reads(library, protocol, np.random.default_rng(entropy), five_prime=five_prime)
    write_fastq(
        library,
        reads,
        pool,
        protocol,
        pairs=pairs,
        umi_length=umi_length,
        five_prime=five_prime,
        flowcell=f"SIMFC{seed % 10_000:04d}",
        seed=[*entropy, 4],
        threads=threads,
    )
    truth = out / "truth"
    droplets = droplets_truth(library, group, pool)
    write_table(droplets, truth / f"{name}.droplets.tsv.gz")
    molecules = car_molecules_truth(library, reads, pool, protocol, umi_length=umi_length)
    write_table(molecules, truth / f"{name}.car_molecules.tsv.gz")
    counts = count_reads(library, reads, pool)
    write_text(json.dumps(counts, indent=1) + "\n", truth / f"{name}.reads.json")
    is_car = droplets["is_car_t"] | droplets["partner_is_car_t"]
    with_own = is_car & (droplets["n_car_own"] + droplets["n_car_partner"] > 0)
    log.info("%s: %d read pairs, %d CAR T cells", name, len(reads), int(is_car.sum()))
    return {
        "sample": name,
        "n_cells": len(group.cell_type),
        "n_t_cells": int((droplets["lineage"] == "T").sum()),
        "n_car_t_cells": int(is_car.sum()),
        "n_car_t_cells_with_own": int(with_own.sum()),
        "n_reads": len(reads),
    }


def make_sample(
    spec: SampleSpec,
    pool: Pool,
    profiles: Profiles,
    protocol: Protocol,
    rng: np.random.Generator,
    *,
    barcodes: Bases,
    umi_length: int,
    five_prime: bool,
) -> tuple[Cells, Library]:
    """Make the cells of a sample and the molecules of its library.

    Parameters
    ----------
    spec
        The sample.
    pool, profiles
        Transcripts and expression of the genome.
    protocol
        Rates of the wet lab.
    rng
        Source of randomness.
    barcodes
        List of barcodes (rows of bases) that its droplets are drawn from.
    umi_length
        nt.
    five_prime
        Whether reads begin at the 5' end.

    Raises
    ------
    CarseqError
        If there are fewer barcodes than droplets.
    """
    group = make_cells(
        spec.cell_counts(),
        profiles,
        rng,
        compartment=spec.compartment,
        car_fraction=spec.car_fraction,
        car_expression=spec.car_expression,
        car_dispersion=spec.car_dispersion,
        median_depth=spec.median_depth,
        depth_sigma=spec.depth_sigma,
        t_states=spec.t_states,
    )
    needed = len(group.cell_type) + spec.n_empty
    if needed > len(barcodes):
        raise CarseqError(
            f"too few barcodes for sample {spec.name}",
            f"{needed} droplets, {len(barcodes)} barcodes on the list",
            "give a longer whitelist, or fewer cells and empty droplets",
        )
    library = make_library(
        group,
        pool,
        protocol,
        rng,
        barcodes=barcodes[rng.choice(len(barcodes), needed, replace=False)],
        umi_length=umi_length,
        five_prime=five_prime,
        fallback_ambient=np.append(np.mean(list(profiles.by_type.values()), axis=0), 0.0),
        ambient_molecules=spec.ambient * spec.median_depth,
        n_empty=spec.n_empty,
        doublet_rate=spec.doublet_rate,
    )
    return group, library


def _check_specs(specs: list[SampleSpec], chemistry: str, lanes: int) -> None:
    for name in dict.fromkeys([chemistry, *(spec.chemistry or chemistry for spec in specs)]):
        if name not in CHEMISTRIES:
            raise CarseqError(
                f"the chemistry `{name}` is unknown",
                f"known are {', '.join(CHEMISTRIES)}",
                "choose one of them",
            )
    names = [spec.name for spec in specs]
    if not names or len(set(names)) < len(names):
        raise CarseqError(
            "the samples cannot be told apart" if names else "there are no samples",
            f"their names are {', '.join(names)}" if names else "",
            "give every sample its own name",
        )
    if lanes < 1:
        raise CarseqError("a sample needs a lane", f"lanes is {lanes}", "give 1 or more")


def _take_construct(
    construct: str | Path | Construct, out: Path, name: str, form: str
) -> tuple[list[tuple[str, str, list[tuple[int, int]]]], str, str]:
    """Read the construct and put its file into the study: transcripts, file name, form."""
    from carseq.construct import Construct, load_construct
    from carseq.study.construct_file import find_construct_file, split_record, with_record

    if isinstance(construct, Construct):
        loaded, file, form = construct, "construct.fa", "transcript"
        write_text(f">{construct.name}\n{construct.sequence}\n", out / file)
        if construct.form in {"orf", "partial"}:
            form = construct.form
    else:
        vector = find_construct_file(str(construct), Path.cwd())
        source, record = split_record(vector)
        loaded = load_construct(vector, name=name, form=form)  # type: ignore[arg-type]
        suffix = "".join(source.suffixes[-2:] if source.suffix == ".gz" else source.suffixes[-1:])
        file = f"construct{suffix}"
        with atomic(out / file) as temporary:
            shutil.copyfile(source, temporary)
        file = with_record(file, record)
    car = [(t.name, t.sequence, list(t.blocks)) for t in loaded.transcripts]
    return car, file, form


def _sheet_row(spec: SampleSpec) -> dict[str, Any]:
    return {
        "sample": spec.name,
        "patient": spec.patient,
        "compartment": spec.compartment,
        "timepoint": spec.timepoint,
        "role": spec.role,
        "chemistry": "auto",
        **spec.clinic,
    }


def _barcodes(
    chemistry: str, whitelist: str | Path | None, out: Path, seed: int
) -> tuple[Bases, str | None]:
    """Return a chemistry's barcodes (n × 16) and the list to name in the configuration, if any."""
    named: str | None = None
    known = CHEMISTRIES[chemistry][2]
    if whitelist is None and known is None:
        rng = np.random.default_rng([seed, 0, 5])
        codes = np.unique(rng.integers(0, 4**BARCODE_LENGTH, _MADE_WHITELIST))
        digits = codes[:, None] >> (2 * np.arange(BARCODE_LENGTH)[::-1]) & 3
        barcodes = np.frombuffer(b"ACGT", dtype=np.uint8)[digits]
        lines = np.hstack([barcodes, np.full((len(barcodes), 1), ord("\n"), dtype=np.uint8)])
        with atomic(out / "whitelist.txt.gz") as temporary:
            temporary.write_bytes(igzip.compress(lines.tobytes(), 2, mtime=0))
        return barcodes, "whitelist.txt.gz"
    if whitelist is not None:
        path = Path(whitelist)
        named = str(path.absolute())
    else:
        path = known_whitelist(str(known))
    try:
        raw = path.read_bytes()
        text = igzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        lines = np.frombuffer(text.rstrip(b"\n") + b"\n", dtype=np.uint8)
        lines = lines.reshape(-1, BARCODE_LENGTH + 1)
    except (OSError, EOFError, ValueError) as error:
        raise CarseqError(
            f"cannot use the whitelist {path}",
            str(error),
            f"give a file (plain or .gz) of {BARCODE_LENGTH}-nt barcodes, one a line",
        ) from None
    return lines[:, :BARCODE_LENGTH], named
