"""reference: genome and annotation, and the STAR index that every construct shares.

Takes the genome's FASTA and GTF; makes the base index, the index with the CAR inserted, the augmented annotation and
the transcripts and loci that resemble the CAR.
"""

from carseq.reference.genome import (
    check_reference,
    gene_symbols,
    locus_list,
    read_loci,
    read_transcript_fasta,
    read_transcripts,
    rival_context,
    write_augmented_gtf,
    write_transcripts,
)
from carseq.reference.index import (
    build_index,
    check_augmented,
    check_genes,
    check_index,
    index_contigs,
    index_options,
    index_parameters,
    insert_car,
    insertion_options,
)
from carseq.reference.star import run_star, scratch_folder, star_version, star_version_if_any
from carseq.reference.transgene import check_car_is_new, same_as_car

__all__ = [
    "build_index",
    "check_augmented",
    "check_car_is_new",
    "check_genes",
    "check_index",
    "check_reference",
    "gene_symbols",
    "index_contigs",
    "index_options",
    "index_parameters",
    "insert_car",
    "insertion_options",
    "locus_list",
    "read_loci",
    "read_transcript_fasta",
    "read_transcripts",
    "rival_context",
    "run_star",
    "same_as_car",
    "scratch_folder",
    "star_version",
    "star_version_if_any",
    "write_augmented_gtf",
    "write_transcripts",
]
