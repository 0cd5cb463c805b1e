"""Write the reads of a sample's CAR-bearing cells as a BAM."""

from carseq.construct import load_construct
from carseq.io.bam import open_bam, write_bam
from carseq.io.files import read_table
from carseq.library.strand import strand_of_library
from carseq.molecules import Scorer, candidate_reads, car_records
from carseq.reference.genome import read_loci, read_transcript_fasta
from carseq.workflow import job

with job(snakemake):
    given, params = snakemake.input, snakemake.params
    calls = read_table(given.calls)
    barcodes = calls.loc[calls["car_umis"] > 0, "barcode"].astype(str).tolist()
    strand = strand_of_library(given.chemistry, given.bam, given.panel, named=params.chemistry)
    construct = load_construct(given.construct, name=params.name, form=params.form)
    rivals, homology = read_transcript_fasta(given.rivals), read_table(given.homology)
    scorer = Scorer(construct, rivals, homology, late=strand != "Reverse")
    tags = params.barcode_tag, params.umi_tag
    with open_bam(given.bam) as bam:
        found = candidate_reads(bam, scorer, read_loci(given.loci), strand, tags, barcodes)
        write_bam(car_records(found, scorer), bam.header, snakemake.output.bam)
