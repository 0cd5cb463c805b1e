"""Write the reads of a sample's CAR-bearing cells as a BAM."""

from carseq.construct import read_construct
from carseq.io.bam import open_bam, write_bam
from carseq.io.files import read_table
from carseq.library.reads import LibraryReads
from carseq.molecules import Target, cell_records
from carseq.reference.genome import read_loci, read_transcript_fasta
from carseq.workflow import job

with job(snakemake):
    given, params = snakemake.input, snakemake.params
    calls = read_table(given.calls)
    barcodes = calls.loc[calls["car_umis"] > 0, "barcode"].astype(str).tolist()
    target = Target(
        read_construct(given.construct),
        read_transcript_fasta(given.rivals),
        read_loci(given.loci),
        LibraryReads.read(given.library).strand,
    )
    records = cell_records(given.bam, target, barcodes, (params.barcode_tag, params.umi_tag))
    with open_bam(given.bam) as bam:
        write_bam(records, bam.header, snakemake.output.bam)
