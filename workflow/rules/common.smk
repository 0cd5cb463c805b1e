# Sheets, lookups and input functions, so that the other rule files read like a list of steps.
import os
import sys
from pathlib import Path

from carseq.preload import start

DRY = bool({"-n", "--dry-run", "--dryrun", "-np", "-nq"} & set(sys.argv))


# Whether the jobs run on a cluster, of whose nodes nothing is known here.
def elsewhere():
    given = workflow.resource_settings
    return given.nodes is not None and (given.cores is None or DRY)


# Before anything else: the libraries of the jobs are imported while the study is read and Snakemake plans.
if workflow.is_main_process and not (DRY or elsewhere()):
    start(Path(workflow.current_basedir).parent / "scripts")

from carseq.errors import CarseqError
from carseq.io.checksums import check_sizes, fingerprint
from carseq.io.failures import check_scratch
from carseq.io.remote import check_host, is_url, provider, watch_requests
from carseq.io.results import record_text, upgrade_notice
from carseq.locks import (
    check_alone,
    forget_results,
    forget_run,
    lock_notice,
    note_results,
    note_run,
)
from carseq.machine import machine_cores, machine_megabytes
from carseq.schema.results import FILES, VERSIONS, each
from carseq.study.construct_file import split_record
from carseq.study.memory import (
    alignment_megabytes,
    choice_of,
    index_megabytes,
    insertion_megabytes,
    keep_choice,
    reading_megabytes,
    settle,
    too_little,
    transcripts_megabytes,
)
from carseq.study.record import check_record, take_over_notes
from carseq.workflow import (
    dated,
    end_timers,
    future_notice,
    kill_notice,
    study_from_config,
)
from snakemake.exceptions import WorkflowError
from snakemake.io import get_flag_value, is_flagged
from snakemake.logging import logger

try:
    STUDY = study_from_config(config, workflow.configfiles)
except CarseqError as error:
    raise WorkflowError(str(error)) from None

if workflow.is_main_process and (told := upgrade_notice(STUDY.config.results)):
    logger.warning(told)


# On a cluster the CAR is inserted, unless the configuration says otherwise.
def megabytes_here():
    if elsewhere():
        return float("inf")
    told = workflow.global_resources.get("mem_mb")
    told = getattr(told, "value", told)
    return min(machine_megabytes(), float(told) if told else float("inf"))


CHOICE = choice_of(STUDY, megabytes_here())


# Before the first job, and not in a dry run; a `module` has no such hook.
def keep():
    if CHOICE.genome and not STUDY.kallisto:
        keep_choice(CHOICE, STUDY.config.results)


if workflow.is_main_process:
    if not (workflow.modifier.is_main_snakefile() or DRY or "--unlock" in sys.argv):
        keep()
    if CHOICE.insertion == "none" and not STUDY.kallisto:
        logger.info(f"reference: reads are aligned without the CAR: {CHOICE.why}")
    if told := too_little(STUDY, CHOICE, megabytes_here()):
        logger.warning(told)
STUDY = settle(STUDY, CHOICE)
RUN_RECORD = record_text(STUDY.record(), STUDY.config.results)
# Jobs run in the study's folder.
STUDY = STUDY.seen_from(Path.cwd())

CONFIG = STUDY.config
RESULTS = CONFIG.results.rstrip("/")

if workflow.is_main_process:
    if "--unlock" in sys.argv:
        forget_run(Path.cwd())
        forget_results(RESULTS, Path.cwd())
    elif told := lock_notice(Path.cwd(), workflow.configfiles, sys.argv):
        logger.warning(told)
    if told := future_notice(dated(STUDY)):
        logger.warning(told)


# How the CAR is brought in; and whose the lock is, should this run be killed.
onstart:
    keep()
    note_run(Path.cwd())
    note_results(RESULTS, Path.cwd())


onsuccess:
    forget_run(Path.cwd())
    forget_results(RESULTS, Path.cwd())
    end_timers()


onerror:
    forget_run(Path.cwd())
    forget_results(RESULTS, Path.cwd())
    if told := kill_notice(log):
        logger.error(told)
    end_timers()


# A file that a crashed copy cut off would be read as if it were whole, or never be read and never be noticed.
if workflow.is_main_process:
    try:
        if not DRY and (told := check_alone(RESULTS, Path.cwd())):
            logger.warning(told)
        check_record(STUDY, Path(".snakemake/metadata"))
        take_over_notes(Path(".snakemake/metadata"), Path.cwd())
        check_sizes(RESULTS)
        if not DRY:
            check_scratch()
        for key, _, path in STUDY.files():
            if is_url(path):
                check_host(key, path, resolve=True)
    except CarseqError as error:
        raise WorkflowError(str(error)) from None

# Each process fetches what its jobs read: no server may send it on to this machine.
if any(is_url(path) and provider(path) == "http" for _, _, path in STUDY.files()):
    watch_requests()

# How the profiles of Grid Engine, PBS and HTCondor send their jobs.
os.environ.setdefault(
    "CARSEQ_QUEUE", str(workflow.source_path("../../profiles/queue.sh"))
)

SAMPLES = list(STUDY.samples)
# Cells are put together in this order, whatever the sheet's: so it changes neither clusters nor types.
BY_NAME = sorted(SAMPLES)
CAR = CONFIG.construct.name
INSERTION = CONFIG.reference.insertion
KALLISTO = STUDY.kallisto
# The CAR's reads are taken out of the FASTQ files.
SEARCHED = STUDY.searched


# Path of a declared file; its wildcards stay.
def R(name, results=RESULTS):
    return FILES[name].at(results)


def each_sample(name, samples=None, results=RESULTS):
    return each(name, SAMPLES if samples is None else samples, results)


# An address becomes the copy of it that Snakemake fetches for a job.
def given(path):
    return getattr(storage, provider(path))(path) if is_url(path) else path


# What is reused stays where it lies.
KEEP_BAM = "all" if CONFIG.reuse else CONFIG.solo.keep_bam
# No BAM of all reads is made: the slice is all there is.
if SEARCHED and KEEP_BAM == "all":
    KEEP_BAM = "slice"
# A study of matrices alone may have neither genome nor construct.
FASTA, GTF = given(CONFIG.reference.fasta) or [], given(CONFIG.reference.gtf) or []
# The vector and the other constructs that may be there instead: files, and the record of a file that has several.
VECTORS = [
    split_record(vector)
    for vector in (CONFIG.construct.file, *CONFIG.construct.alternatives)
    if vector
]
CONSTRUCT = str(VECTORS[0][0]) if CONFIG.construct.file else []
OTHERS = VECTORS[1:] if CONFIG.construct.file else VECTORS
ALTERNATIVES, RECORDS = [str(file) for file, _ in OTHERS], [
    record for _, record in OTHERS
]
RECORD = VECTORS[0][1] if CONFIG.construct.file else None


# What the user's files hold, as a parameter of the rules that read them: a file that is exchanged for another of the
# same name reruns them, whatever its time.
def content(*paths):
    return [fingerprint(path) for path in paths if path]


GENOME_CONTENT = content(CONFIG.reference.fasta, CONFIG.reference.gtf)
CONSTRUCT_CONTENT = content(CONSTRUCT, *ALTERNATIVES)
BASE_INDEX = CONFIG.reference.star_index or R("base_index")
# Of an index of one's own alone: the rule that makes another has parameters of its own.
INDEX_CONTENT = [] if KALLISTO else content(CONFIG.reference.star_index)


wildcard_constraints:
    sample="|".join(map(re.escape, SAMPLES)),


def has_reads(sample):
    return STUDY.samples[sample].kind == "fastq"


def fastqs(wildcards):
    return [given(path) for pair in STUDY.pairs(wildcards.sample) for path in pair]


def whitelist(wildcards):
    if STUDY.observes(wildcards.sample):
        return FILES["observed"].at(RESULTS, sample=wildcards.sample)
    path = STUDY.whitelist(wildcards.sample)
    return given(path) if path else []


# What the evidence is read from: the BAM that was given, the whole alignment, or the slice of it that is kept.
def bam(wildcards):
    own = STUDY.samples[wildcards.sample].bam
    name = "aligned_bam" if KEEP_BAM == "all" else "slice_bam"
    return own or FILES[name].at(RESULTS, sample=wildcards.sample)


# A temporary index lasts as long as something takes it as input.
def bam_index(wildcards):
    ours = has_reads(wildcards.sample)
    return f"{bam(wildcards)}.bai" if ours and KEEP_BAM == "none" else []


def kept(path, is_kept):
    return path if is_kept else temp(path)


# What STAR writes of the alignments: nothing where the reads are searched.
ALIGNED = (
    {}
    if SEARCHED
    else {
        "bam": kept(R("aligned_bam"), KEEP_BAM == "all"),
        "bai": kept(R("aligned_bai"), KEEP_BAM == "all"),
    }
)


def raw_matrix(wildcards):
    sample = STUDY.samples[wildcards.sample]
    if has_reads(wildcards.sample):
        return FILES["raw"].at(RESULTS, sample=wildcards.sample)
    return sample.raw_matrix or sample.matrix


def cell_list(wildcards):
    # A matrix of called cells beside the raw one says which barcodes are cells.
    sample = STUDY.samples[wildcards.sample]
    return sample.matrix if sample.matrix and sample.raw_matrix else []


def reads_content(wildcards):
    pairs = STUDY.pairs(wildcards.sample)
    return content(
        *[path for pair in pairs for path in pair], STUDY.whitelist(wildcards.sample)
    )


# With the index, where reads are aligned to the one that was given.
def aligned_content(wildcards):
    index = [] if INSERTION == "saved" else INDEX_CONTENT
    return reads_content(wildcards) + index


def made_content(wildcards):
    sample = STUDY.samples[wildcards.sample]
    return content(sample.bam, sample.raw_matrix, sample.matrix)


# Of genes that a matrix names by their ids the annotation knows the symbols.
def matrix_gtf(wildcards):
    return [] if has_reads(wildcards.sample) else GTF


def belonging_json(wildcards):
    if STUDY.samples[wildcards.sample].kind == "bam":
        return FILES["belonging"].at(RESULTS, sample=wildcards.sample)
    return []


# Cell Ranger's BAM says which reads lie in introns.
def given_bam(wildcards):
    return STUDY.samples[wildcards.sample].bam or []


def chemistry_json(wildcards):
    if has_reads(wildcards.sample):
        return FILES["chemistry"].at(RESULTS, sample=wildcards.sample)
    return []


# Strand and read length of FASTQ files are in their chemistry: no BAM is read, nor waited for.
def bam_to_measure(wildcards):
    return [] if has_reads(wildcards.sample) else bam(wildcards)


# Tables made only where the config names other constructs.
def support_tables():
    return each_sample("support", WITH_READS) if CONFIG.construct.alternatives else []


# Samples given as a matrix alone have no molecules: their CAR counts come from the matrix.
WITH_READS = [s for s in SAMPLES if STUDY.samples[s].kind != "matrix"]

WITH_BAM = [s for s in SAMPLES if STUDY.samples[s].kind == "bam"]

WITH_RECEPTORS = [s for s in BY_NAME if STUDY.samples[s].tcr]


# Samples of called cells alone have no empty droplets to learn from.
WITH_RAW = [s for s in BY_NAME if has_reads(s) or STUDY.samples[s].raw_matrix]


def cellbender_matrices():
    return each_sample("cellbender", WITH_RAW) if CONFIG.cells.cellbender else []


def bytes_of(path):
    if is_flagged(path, "storage_object"):
        return get_flag_value(path, "storage_object").size()
    return Path(path).stat().st_size if Path(path).is_file() else 0


def megabytes(*paths):
    return sum(map(bytes_of, paths)) / 1e6


def genome_megabytes():
    # A gzipped genome takes 0.28 byte a base.
    return megabytes(FASTA) * (3.6 if CONFIG.reference.fasta.endswith(".gz") else 1)


# Memory measured over growing genomes (carseq.study.memory).
def index_memory(wildcards, input, attempt):
    asked = index_megabytes(
        genome_megabytes(), CONFIG.reference.sa_sparse, plain=INSERTION == "none"
    )
    return int(attempt * max(2000, asked))


# Threads of a job that can use so many: no more than this machine has cores. `carseq run` starts one job more than
# that, which uses what an alignment leaves idle when it reads its lists, sorts or counts.
def up_to(threads):
    return threads if elsewhere() else min(threads, machine_cores())


def index_threads(wildcards):
    # Of a small genome most steps have one thread only: the other cores are for the jobs beside it. A job of two would
    # wait at the start of a run until two cores are free at once.
    return up_to(8) if genome_megabytes() > 100 else 1


def insert_memory(wildcards, input, attempt):
    asked = insertion_megabytes(genome_megabytes(), CONFIG.reference.sa_sparse)
    return int(attempt * max(2000, asked))


def align_memory(wildcards, input, attempt):
    # The genome in memory, or what inserting the CAR into it takes, and the FASTQ's size for sorting the BAM.
    of = insertion_megabytes if INSERTION == "each_run" else alignment_megabytes
    genome = of(genome_megabytes(), CONFIG.reference.sa_sparse)
    sorting = 0 if SEARCHED else sort_memory(wildcards, input, 1)
    return int(attempt * max(4000, genome + sorting))


# kallisto's index of the transcripts, and what sorts its records.
def transcripts_memory(wildcards, input, attempt):
    return int(attempt * max(2000, transcripts_megabytes(genome_megabytes())))


# What is kept of the reads that may be the CAR's.
def search_memory(wildcards, input, attempt):
    return int(attempt * (3000 + 0.1 * megabytes(*input.fastqs)))


def sort_memory(wildcards, input, attempt):
    return int(attempt * min(30000, max(2000, megabytes(*input.fastqs))))


def cells_memory(wildcards, input, attempt):
    return int(attempt * max(4000, 30 * megabytes(*input)))


def cohort_memory(wildcards, input, attempt):
    return int(attempt * max(4000, 2000 + 10 * megabytes(*input)))


def cohort_threads(wildcards, input):
    # With two, scVI's process starts while the samples are read; a few hundred cells, below 200 kB, do not pay for it.
    return 2 if megabytes(*input.cells) > 0.2 else 1


def genome_memory(wildcards, input, attempt):
    return int(attempt * reading_megabytes(genome_megabytes()))


# Time to ask for, in minutes: so much for any job, so much more for each GB of its input files, and the same again
# at each retry. A cluster ends a job at this limit, so it is two to four times what the job takes.
def minutes(base, per_gb=0):
    def asked(wildcards, input, attempt):
        return int(attempt * (base + per_gb * megabytes(*input) / 1000))

    return asked


# Memory of rules whose need does not depend on their input.
def memory(mb):
    return lambda wildcards, attempt: attempt * mb


NOTEBOOKS = {
    name: workflow.source_path(f"../notebooks/{name}.py")
    for name in ("01_quality", "02_cells", "03_car_t_cells", "04_localization")
}


# What a finished run has, but for its manifest.
def final_files():
    wanted = [
        name
        for name, file in FILES.items()
        if file.wanted and name not in {"notebook", "ro_crate"}
    ]
    return [
        *[R(name) for name in wanted if not FILES[name].by_sample],
        *[FILES["notebook"].at(RESULTS, notebook=name) for name in NOTEBOOKS],
        *[
            path
            for name in wanted
            if FILES[name].by_sample
            for path in each_sample(name, WITH_READS)
        ],
    ]
