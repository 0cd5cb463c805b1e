# reuse. Takes a finished study of the same samples; makes its alignments, cells and cohort those of this one.
from carseq.schema.results import CELLS, COHORT, PANEL, READS, SUMMARY

ALIGNED = [s for s in SAMPLES if has_reads(s)]


# As the finished study made it.
ruleorder: reuse_reads > strand_panel


# Everything of theirs that later steps take, but for the summaries.
def reads_of(results):
    names = [name for name in READS if name != SUMMARY]
    files = [
        file for name in names for file in each_sample(f"solo/{name}", ALIGNED, results)
    ]
    return files + ([f"{results}/{PANEL}"] if WITH_READS else [])


rule reuse_reads:
    input:
        files=reads_of(CONFIG.reuse),
        summaries=each_sample(f"solo/{SUMMARY}", ALIGNED, CONFIG.reuse),
    output:
        files=reads_of(RESULTS),
        summaries=each_sample(f"solo/{SUMMARY}", ALIGNED),
    log:
        f"{RESULTS}/logs/reuse_reads.log",
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(30),
    params:
        version=VERSION,
    message:
        "reuse: taking over the alignments in {CONFIG.reuse}"
    script:
        "../scripts/reuse_reads.py"


# By what they hold: barcodes, ambient, knee, filters.
def cells_of(results):
    return {
        name.partition(".")[0]: each_sample(f"cells/{name}", results=results)
        for name in CELLS
    }


rule reuse_cells:
    input:
        **cells_of(CONFIG.reuse),
        cohort=[f"{CONFIG.reuse}/cohort/{name}" for name in COHORT],
        molecules=each_sample("molecules/molecules.parquet", WITH_READS),
    output:
        **cells_of(RESULTS),
        cohort=[f"{RESULTS}/cohort/{name}" for name in COHORT],
    log:
        f"{RESULTS}/logs/reuse_cells.log",
    benchmark:
        f"{RESULTS}/benchmarks/reuse_cells.tsv"
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=cohort_memory,
        runtime=minutes(60),
    params:
        car=CAR,
        samples={name: sample.carried() for name, sample in STUDY.samples.items()},
        with_reads=WITH_READS,
        version=VERSION,
    message:
        "reuse: taking over the cells in {CONFIG.reuse}"
    script:
        "../scripts/reuse_cells.py"
