# calling. Takes molecules and annotated cells; makes a call for each cell and a verdict for each sample.


# What the samples sheet says reaches the cells here and nowhere before: a label or a clinical number that is edited
# costs the calls and what follows them, but neither cells nor clusters.
rule samples:
    output:
        R("samples"),
    log:
        f"{RESULTS}/logs/samples.log",
    # A second's work: no job of a cluster.
    localrule: True
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(15),
    params:
        samples={name: sample.carried() for name, sample in STUDY.samples.items()},
        version=VERSIONS["calling"],
    message:
        "calling: writing down the samples' metadata"
    script:
        "../scripts/samples.py"


rule calling:
    input:
        cohort=R("annotated"),
        samples=R("samples"),
        molecules=each_sample("molecules", WITH_READS),
        losses=each_sample("molecule_losses", WITH_READS),
        barcodes=each_sample("barcodes"),
        ambient=each_sample("ambient"),
        lint=R("lint") if CONSTRUCT else [],
        belonging=each_sample("belonging", WITH_BAM),
        chemistry=each_sample("chemistry", [s for s in SAMPLES if has_reads(s)]),
        # For the totals that must agree.
        summaries=each_sample("summary", [s for s in SAMPLES if has_reads(s)]),
        filters=each_sample("filters"),
    output:
        cells=R("cells"),
        detection=report(
            R("detection"),
            caption="../report/detection.rst",
            category="Tables",
            labels={"what": "detection"},
        ),
        thresholds=report(
            R("thresholds"),
            caption="../report/thresholds.rst",
            category="Tables",
            labels={"what": "thresholds"},
        ),
        downsampling=report(
            R("downsampling"),
            caption="../report/downsampling.rst",
            category="Tables",
            labels={"what": "downsampling"},
        ),
        rules=report(
            R("rules"),
            caption="../report/rules.rst",
            category="Tables",
            labels={"what": "rules"},
        ),
        calls=each_sample("calls"),
        losses=each_sample("losses", WITH_READS),
    log:
        f"{RESULTS}/logs/calling.log",
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=lambda wildcards, input, attempt: int(
            attempt * max(4000, 20 * megabytes(input.cohort))
        ),
        runtime=minutes(60, per_gb=20),
    params:
        car=CAR,
        fdr=CONFIG.calling.fdr,
        with_reads=WITH_READS,
        with_bam=WITH_BAM,
        with_chemistry=[s for s in SAMPLES if has_reads(s)],
        version=VERSIONS["calling"],
    message:
        "calling: which cells are CAR T cells"
    script:
        "../scripts/calling.py"
