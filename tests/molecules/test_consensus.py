"""construct: the reads' consensus finds what is wrong in the sequence, and nothing else."""

from __future__ import annotations

import random
import shutil
import subprocess
from dataclasses import replace

import mappy
import pysam
import pytest
from typer.testing import CliRunner

from carseq.cli import app
from carseq.construct import Transcript, load_construct
from carseq.construct.parts import sequences
from carseq.errors import CarseqError
from carseq.molecules.consensus import consensus, corrected

LENGTH = 90


def planted(sequence, seed):
    """Return the true sequence (8 substitutions, 3 indels away from the reference) and the expected changes."""
    rng = random.Random(seed)
    # Away from the ends, and 60 nt apart.
    places = [150 + 270 * i + rng.randrange(100) for i in range(11)]
    indels = dict(zip(rng.sample(places, 3), ["-1", "-4", "+3"], strict=True))
    true = sequence
    expected = set()
    for place in sorted(places, reverse=True):
        change = indels.get(place)
        if change is None:
            base = rng.choice([b for b in "ACGT" if b != sequence[place]])
            true = true[:place] + base + true[place + 1 :]
            expected.add((place, "snv"))
        elif change.startswith("-"):
            true = true[:place] + true[place + int(change[1:]) :]
            expected.add((place, "deletion"))
        else:
            true = true[:place] + "".join(rng.choice("ACGT") for _ in range(3)) + true[place:]
            expected.add((place, "insertion"))
    return true, expected


def reads(true, n_molecules, seed, error=0.004):
    """Yield (name, barcode, umi, sequence) of molecules all over the transcript, some amplified, with errors."""
    rng = random.Random(seed)
    for i in range(n_molecules):
        for copy in range(rng.choice([1, 1, 1, 2, 5])):
            start = rng.randrange(len(true) - LENGTH + 1)
            bases = list(true[start : start + LENGTH])
            for j in range(LENGTH):
                if rng.random() < error:
                    bases[j] = rng.choice("ACGT")
            yield f"m{i}.{copy}", f"C{i % 7}", f"U{i}", "".join(bases)


def write_bam(path, name, sequence, records):
    header = pysam.AlignmentHeader.from_references([name], [len(sequence)])
    unsorted = path.with_suffix(".unsorted.bam")
    with pysam.AlignmentFile(str(unsorted), "wb", header=header) as out:
        for query, barcode, umi, bases, start, cigar in records:
            record = pysam.AlignedSegment(header)
            record.query_name, record.query_sequence = query, bases
            record.query_qualities = pysam.qualitystring_to_array("F" * len(bases))
            record.reference_id, record.reference_start = 0, start
            record.cigarstring, record.mapping_quality = cigar, 60
            record.set_tag("CB", barcode)
            record.set_tag("UB", umi)
            out.write(record)
    pysam.sort("-o", str(path), str(unsorted))
    pysam.index(str(path))
    return path


def by_minimap2(path, construct, found):
    aligner = mappy.Aligner(seq=construct.sequence, preset="sr")
    records = []
    for query, barcode, umi, bases in found:
        hits = [h for h in aligner.map(bases) if h.is_primary and h.strand > 0]
        if hits:
            hit = hits[0]
            ends = [f"{n}S" if n else "" for n in (hit.q_st, LENGTH - hit.q_en)]
            cigar = ends[0] + hit.cigar_str + ends[1]
            records.append((query, barcode, umi, bases, hit.r_st, cigar))
    return write_bam(path, construct.name, construct.sequence, records)


def by_star(path, construct, found):
    folder = path.parent
    (folder / "car.fa").write_text(f">{construct.name}\n{construct.sequence}\n")
    tags = {}
    with (folder / "reads.fq").open("w") as stream:
        for query, barcode, umi, bases in found:
            tags[query] = (barcode, umi)
            stream.write(f"@{query}\n{bases}\n+\n{'F' * len(bases)}\n")
    star = ["STAR", "--genomeDir", folder / "index", "--outFileNamePrefix", f"{folder}/"]
    make = ["--runMode", "genomeGenerate", "--genomeFastaFiles", folder / "car.fa"]
    sizes = ["--genomeSAindexNbases", "4", "--genomeChrBinNbits", "11"]
    align = ["--readFilesIn", folder / "reads.fq", "--outSAMtype", "BAM", "Unsorted"]
    for options in ([*make, *sizes], align):
        subprocess.run([*map(str, star + options)], check=True, capture_output=True)
    with (
        pysam.AlignmentFile(str(folder / "Aligned.out.bam")) as given,
        pysam.AlignmentFile(str(folder / "tagged.bam"), "wb", header=given.header) as out,
    ):
        for record in given:
            for tag, value in zip(("CB", "UB"), tags[record.query_name], strict=True):
                record.set_tag(tag, value)
            out.write(record)
    pysam.sort("-o", str(path), str(folder / "tagged.bam"))
    pysam.index(str(path))
    return path


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("aligner", ["minimap2", "STAR"])
def test_all_planted_changes_are_found_and_none_invented(tmp_path, surrogate, aligner, seed):
    if aligner == "STAR" and shutil.which("STAR") is None:
        pytest.skip("STAR is not installed")
    true, expected = planted(surrogate.sequence, seed)
    found = list(reads(true, 1500, seed))
    align = by_star if aligner == "STAR" else by_minimap2
    variants = consensus(align(tmp_path / "a.bam", surrogate, found), surrogate)
    assert variants["depth"].min() >= 10
    kinds = variants["kind"].value_counts()
    assert dict(kinds) == {"snv": 8, "deletion": 2, "insertion": 1}
    snvs = set(variants.loc[variants["kind"] == "snv", "position"])
    assert snvs == {p for p, kind in expected if kind == "snv"}
    # Where an indel can stand in several places the sequence it gives is what counts.
    assert corrected(surrogate, variants) == true


def test_a_right_sequence_is_left_alone(tmp_path, surrogate):
    found = list(reads(surrogate.sequence, 1500, 5))
    variants = consensus(by_minimap2(tmp_path / "a.bam", surrogate, found), surrogate)
    assert len(variants) == 0
    assert corrected(surrogate, variants) == surrogate.sequence


def test_amplified_copies_of_one_molecule_vote_once(tmp_path, surrogate):
    sequence = surrogate.sequence
    wrong = sequence[1000:1045] + ("A" if sequence[1045] != "A" else "C") + sequence[1046:1090]
    copies = [(f"r{i}", "C1", "U1", wrong, 1000, "90M") for i in range(50)]
    others = [(f"o{i}", "C1", f"V{i}", sequence[1000:1090], 1000, "90M") for i in range(12)]
    bam = write_bam(tmp_path / "a.bam", surrogate.name, sequence, copies + others)
    assert len(consensus(bam, surrogate)) == 0
    # Nor do nine molecules speak, though all agree.
    few = [(f"r{i}", "C1", f"U{i}", wrong, 1000, "90M") for i in range(9)]
    bam = write_bam(tmp_path / "b.bam", surrogate.name, sequence, few)
    assert len(consensus(bam, surrogate)) == 0
    assert len(consensus(bam, surrogate, min_depth=9)) == 1


def test_an_unknown_intron_is_no_deletion(tmp_path, surrogate):
    """The map did not mark its promoter's intron: `--correct` took it out, and with it what unspliced reads show."""
    sequence = surrogate.sequence
    cut = sequence.index("GT", 1600)
    size = sequence.index("AG", cut + 300) + 2 - cut
    joined = sequence[cut - 45 : cut] + sequence[cut + size : cut + size + 45]
    spliced = [(f"s{i}", "C1", f"U{i}", joined, cut - 45, f"45M{size}N45M") for i in range(30)]
    whole = sequence[cut - 45 : cut + 45]
    others = [(f"o{i}", "C1", f"V{i}", whole, cut - 45, "90M") for i in range(6)]
    bam = write_bam(tmp_path / "a.bam", surrogate.name, sequence, spliced + others)
    variants = consensus(bam, surrogate)
    assert variants.values.tolist() == [
        [cut, sequence[cut : cut + size], "-", 36, 30 / 36, "intron"]
    ]
    assert corrected(surrogate, variants) == sequence
    command = ["construct", "consensus", "hbi0101_surrogate_native.gb", str(bam), "--name"]
    told = CliRunner().invoke(app, [*command, surrogate.name]).output
    assert f"30 of 36 molecules lack bases {cut + 1:,}-{cut + size:,}: an intron" in told
    assert "they agree with the file there" in told


def test_ambiguous_bases_are_resolved_by_the_reads(tmp_path, surrogate):
    sequence = surrogate.sequence
    blank = sequence[:500] + "N" + sequence[501:]
    unsure = replace(surrogate, transcripts=(Transcript("transcript", blank, ((0, len(blank)),)),))
    bam = by_minimap2(tmp_path / "a.bam", unsure, list(reads(sequence, 1500, 6)))
    variants = consensus(bam, unsure)
    assert list(variants["kind"]) == ["resolved"]
    assert corrected(unsure, variants) == sequence


def test_a_bam_of_another_construct_is_refused(tmp_path, surrogate):
    bam = write_bam(tmp_path / "a.bam", surrogate.name, "A" * 500, [])
    with pytest.raises(CarseqError, match="made with another"):
        consensus(bam, surrogate)
    bam = write_bam(tmp_path / "b.bam", "OTHER", "A" * 500, [])
    with pytest.raises(CarseqError, match="no contig"):
        consensus(bam, surrogate)


def test_the_command_writes_the_corrected_transcript(tmp_path, surrogate):
    true, _ = planted(surrogate.sequence, 1)
    bam = by_minimap2(tmp_path / "a.bam", surrogate, list(reads(true, 1500, 1)))
    out = tmp_path / "corrected.fa"
    command = ["construct", "hbi0101_surrogate_native.gb", "--name", surrogate.name]
    done = CliRunner().invoke(app, [*command, "--bam", str(bam), "--correct", str(out)])
    assert done.exit_code == 0, done.output
    assert "disagreements" in done.output
    again = load_construct(out, name=surrogate.name)
    assert again.sequence == true
    # What the map says of itself stays.
    assert again.surrogate


def test_nothing_is_written_where_nothing_is_corrected(tmp_path, surrogate):
    """A file "corrected by 0 variants" was to be given instead of the map; 0 bases compared "agreed with the file"."""
    sequence = surrogate.sequence
    right = [(f"r{i}", "C1", f"U{i}", sequence[1000:1090], 1000, "90M") for i in range(12)]
    out = tmp_path / "corrected.fa"
    command = [
        "construct",
        "hbi0101_surrogate_native.gb",
        "--name",
        surrogate.name,
        "--correct",
        str(out),
        "--bam",
    ]
    for reads_there, told in (
        (right, "they agree with the file there"),
        ([], "too few to compare"),
    ):
        bam = write_bam(tmp_path / "a.bam", surrogate.name, sequence, reads_there)
        done = CliRunner().invoke(app, [*command, str(bam)])
        assert done.exit_code == 0, done.output
        assert told in done.output
        assert "nothing to correct" in done.output
        assert not out.exists()


def test_what_the_corrected_bases_lack_of_the_map_is_told(tmp_path):
    """The map names its intron; the FASTA that `--correct` writes cannot, and lost the spliced mRNA without a word."""
    rng = random.Random(5)
    exon, rest = ("".join(rng.choice("ACT") for _ in range(60)) for _ in range(2))
    intron = "GTAAGT" + "".join(rng.choice("ACT") for _ in range(300)) + "TACTAACTTTCTTTCTCTTTCAG"
    bases = exon + intron + rest + "GCCACC" + sequences("orfs.fa")["ide-cel"]
    lines = "".join(f"{i + 1:>9} {bases[i : i + 60]}\n" for i in range(0, len(bases), 60))
    path = tmp_path / "v.gb"
    path.write_text(
        f"LOCUS       v {len(bases)} bp    mRNA    linear SYN 01-JAN-2020\n"
        f"FEATURES             Location/Qualifiers\n     intron          61..{60 + len(intron)}\n"
        f"ORIGIN\n{lines}//\n"
    )
    wrong = bases[1000:1045] + ("A" if bases[1045] != "A" else "C") + bases[1046:1090]
    reads_there = [(f"r{i}", "C1", f"U{i}", wrong, 1000, "90M") for i in range(12)]
    bam = write_bam(tmp_path / "a.bam", "CAR", bases, reads_there)
    out = tmp_path / "corrected.fa"
    done = CliRunner().invoke(
        app, ["construct", str(path), "--bam", str(bam), "--correct", str(out)]
    )
    assert out.exists(), done.output
    assert "its introns" in " ".join(done.output.split())
    assert "Correct the map" in " ".join(done.output.split())
