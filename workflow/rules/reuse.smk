# reuse. Takes a finished study of the same samples; makes its alignments, cells and cohort those of this one.
from itertools import chain

from carseq.schema.results import reused

ALIGNED = [s for s in SAMPLES if has_reads(s)]


# As the finished study made it.
ruleorder: reuse_reads > strand_panel


# Everything of theirs that later steps take, but for the summaries.
def reads_of(results):
    names = [name for name in reused("solo") if name != "summary"]
    files = [file for name in names for file in each_sample(name, ALIGNED, results)]
    return files + ([R("strand_panel", results)] if WITH_READS else [])


rule reuse_reads:
    input:
        files=reads_of(CONFIG.reuse),
        summaries=each_sample("summary", ALIGNED, CONFIG.reuse),
    output:
        files=reads_of(RESULTS),
        summaries=each_sample("summary", ALIGNED),
    log:
        f"{RESULTS}/logs/reuse_reads.log",
    # All samples wait for it.
    priority: 99
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(30),
    params:
        # Restored from a copy or exchanged, they may be older than what was made from the former ones.
        content=content(
            *reads_of(CONFIG.reuse), *each_sample("summary", ALIGNED, CONFIG.reuse)
        ),
        version=VERSIONS["solo"],
    message:
        "reuse: taking over the alignments in {CONFIG.reuse}"
    script:
        "../scripts/reuse_reads.py"


# By what they hold: barcodes, ambient, knee, filters.
def cells_of(results):
    return {
        name: each_sample(name, results=results)
        for name in reused("cells")
        if FILES[name].by_sample
    }


# The annotated cells first.
def cohort_of(results):
    return [R(name, results) for name in reused("cells") if not FILES[name].by_sample]


rule reuse_cells:
    input:
        **cells_of(CONFIG.reuse),
        cohort=cohort_of(CONFIG.reuse),
        molecules=each_sample("molecules", WITH_READS),
    output:
        **cells_of(RESULTS),
        cohort=cohort_of(RESULTS),
    log:
        f"{RESULTS}/logs/reuse_cells.log",
    # The calls wait for it.
    priority: 80
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=cohort_memory,
        runtime=minutes(60),
    params:
        content=content(
            *chain.from_iterable(cells_of(CONFIG.reuse).values()),
            *cohort_of(CONFIG.reuse),
        ),
        car=CAR,
        samples=SAMPLES,
        with_reads=WITH_READS,
        version=VERSIONS["cells"],
    message:
        "reuse: taking over the cells in {CONFIG.reuse}"
    script:
        "../scripts/reuse_cells.py"
