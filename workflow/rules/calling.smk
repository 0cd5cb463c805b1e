# calling. Takes molecules and annotated cells; makes a call for each cell and a verdict for each sample.


rule calling:
    input:
        cohort=f"{RESULTS}/cohort/annotated.h5ad",
        molecules=each_sample("molecules/molecules.parquet", WITH_READS),
        losses=each_sample("molecules/losses.tsv", WITH_READS),
        barcodes=each_sample("cells/barcodes.tsv.gz"),
        ambient=each_sample("cells/ambient.tsv"),
        lint=f"{RESULTS}/construct/lint.json",
        chemistry=each_sample(
            "solo/chemistry.json", [s for s in SAMPLES if has_reads(s)]
        ),
    output:
        cells=f"{RESULTS}/cohort/cells.h5ad",
        detection=report(
            f"{RESULTS}/cohort/detection.tsv",
            caption="../report/detection.rst",
            category="Tables",
            labels={"what": "detection"},
        ),
        thresholds=report(
            f"{RESULTS}/cohort/thresholds.tsv",
            caption="../report/thresholds.rst",
            category="Tables",
            labels={"what": "thresholds"},
        ),
        downsampling=report(
            f"{RESULTS}/cohort/downsampling.tsv",
            caption="../report/downsampling.rst",
            category="Tables",
            labels={"what": "downsampling"},
        ),
        rules=report(
            f"{RESULTS}/cohort/rules.tsv",
            caption="../report/rules.rst",
            category="Tables",
            labels={"what": "rules"},
        ),
        calls=each_sample("calling/calls.tsv"),
        losses=each_sample("calling/losses.tsv", WITH_READS),
    log:
        f"{RESULTS}/logs/calling.log",
    benchmark:
        f"{RESULTS}/benchmarks/calling.tsv"
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
        samples={name: sample.carried() for name, sample in STUDY.samples.items()},
        with_reads=WITH_READS,
        with_chemistry=[s for s in SAMPLES if has_reads(s)],
        version=VERSION,
    message:
        "calling: which cells are CAR T cells"
    script:
        "../scripts/calling.py"
