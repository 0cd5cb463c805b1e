"""library: what a sample's reads are: geometry of barcode and UMI, barcode list, strand."""

from carseq.library.detect import detect_chemistry
from carseq.library.fastq import check_counts, check_pair, count_reads
from carseq.library.geometry import CHEMISTRIES, Chemistry, parse_geometry
from carseq.library.reads import LibraryReads, measure_reads, read_length_of_bam, shortest_reads
from carseq.library.strand import count_strands, strand_of_bam, strand_panel
from carseq.library.whitelist import encode, known_whitelist, on_list, read_whitelist

__all__ = [
    "CHEMISTRIES",
    "Chemistry",
    "LibraryReads",
    "check_counts",
    "check_pair",
    "count_reads",
    "count_strands",
    "detect_chemistry",
    "encode",
    "known_whitelist",
    "measure_reads",
    "on_list",
    "parse_geometry",
    "read_length_of_bam",
    "read_whitelist",
    "shortest_reads",
    "strand_of_bam",
    "strand_panel",
]
