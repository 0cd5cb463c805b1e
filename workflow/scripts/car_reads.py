"""Write the reads of a sample's CAR-bearing cells as a BAM."""

from pathlib import Path

from carseq.construct import load_construct
from carseq.io.bam import open_bam, write_bam
from carseq.io.files import read_table
from carseq.library.strand import strand_of_library
from carseq.molecules import Target, cell_records
from carseq.workflow import job

with job(snakemake):
    given, params = snakemake.input, snakemake.params
    calls = read_table(given.calls)
    barcodes = calls.loc[calls["car_umis"] > 0, "barcode"].astype(str).tolist()
    strand = strand_of_library(given.chemistry, given.bam, given.panel, named=params.chemistry)
    construct = load_construct(given.construct, name=params.name, form=params.form)
    target = Target.read(construct, Path(given.homology).parent, strand)
    records = cell_records(given.bam, target, barcodes, (params.barcode_tag, params.umi_tag))
    with open_bam(given.bam) as bam:
        write_bam(records, bam.header, snakemake.output.bam)
