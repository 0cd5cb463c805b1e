"""Call CAR T cells and give each sample its verdict."""

from carseq.calling import call_study
from carseq.guards import check_study
from carseq.io.barcodes import Belonging
from carseq.io.files import read_json, read_samples, read_table, read_text, write_table
from carseq.io.h5ad import read_cells, write_cells
from carseq.library.geometry import Chemistry
from carseq.schema import tables
from carseq.schema.obs import OBS, with_samples
from carseq.workflow import job

with job(snakemake):
    given, params, output = snakemake.input, snakemake.params, snakemake.output
    sheet = read_samples(given.samples)
    names, with_reads = list(sheet["sample"]), params.with_reads
    cohort = read_cells(given.cohort, genes=[params.car])
    cohort.obs = with_samples(cohort.obs, sheet)

    def each(paths, samples=with_reads, schema=None):
        """Read one table a sample."""
        return {s: read_table(p, schema) for s, p in zip(samples, paths, strict=True)}

    molecules = each(given.molecules, schema=tables.MOLECULES)
    barcodes = {s: t.set_index("barcode") for s, t in each(given.barcodes, names).items()}
    losses = each(given.losses, schema=tables.LOSSES)
    called = call_study(
        cohort,
        sheet,
        molecules,
        car=params.car,
        fdr=params.fdr,
        barcodes=barcodes,
        ambient=each(given.ambient, names),
        losses=losses,
        # Without a construct nothing is known of what it cannot show.
        findings=read_json(given.lint) if given.lint else [],
        strands={
            s: Chemistry.from_json(read_text(p)).strand
            for s, p in zip(params.with_chemistry, given.chemistry, strict=True)
        },
        belonging={
            s: Belonging.from_json(read_text(p))
            for s, p in zip(params.with_bam, given.belonging, strict=True)
        },
    )
    cohort.obs = OBS.conform(cohort.obs)
    check_study(
        losses=losses,
        accounts=called.losses,
        molecules=molecules,
        summaries={
            s: read_json(p) for s, p in zip(params.with_chemistry, given.summaries, strict=True)
        },
        barcodes=barcodes,
        filters=each(given.filters, names, tables.FILTERS),
        detection=called.detection,
        obs=cohort.obs,
    )
    for sample, path in zip(names, output.calls, strict=True):
        own = cohort.obs[cohort.obs["sample"] == sample]
        write_table(own[list(tables.CALLS.columns)], path, tables.CALLS)
    for sample, path in zip(with_reads, output.losses, strict=True):
        write_table(called.losses[sample], path, tables.LOSSES)
    write_table(called.detection, output.detection, tables.DETECTION)
    write_table(called.thresholds, output.thresholds, tables.THRESHOLDS)
    write_table(called.downsampling, output.downsampling, tables.DOWNSAMPLING)
    write_table(called.rules, output.rules, tables.RULES)
    write_cells(cohort, given.cohort, output.cells)
