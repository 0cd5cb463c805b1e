# report. Takes all of it; makes the page, the notebooks, exports, and the record of the run.

NOTEBOOKS = {
    name: workflow.source_path(f"../notebooks/{name}.py")
    for name in ("01_quality", "02_cells", "03_car_t_cells", "04_localization")
}


rule run_record:
    output:
        config=f"{RESULTS}/run_config.yaml",
        versions=f"{RESULTS}/versions.json",
    log:
        f"{RESULTS}/logs/run_record.log",
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(15),
    params:
        config=CONFIG.model_dump(),
        samples={name: s.model_dump() for name, s in STUDY.samples.items()},
        version=VERSION,
    message:
        "report: writing down configuration and versions"
    script:
        "../scripts/run_record.py"


rule report:
    input:
        cells=f"{RESULTS}/cohort/cells.h5ad",
        detection=f"{RESULTS}/cohort/detection.tsv",
        localization=f"{RESULTS}/cohort/localization.tsv",
        contrasts=f"{RESULTS}/cohort/contrasts.tsv",
        thresholds=f"{RESULTS}/cohort/thresholds.tsv",
        thinning=f"{RESULTS}/cohort/thinning.tsv",
        domains=f"{RESULTS}/construct/domains.tsv",
        homology=f"{RESULTS}/construct/homology.tsv",
        lint=f"{RESULTS}/construct/lint.json",
        config=f"{RESULTS}/run_config.yaml",
        versions=f"{RESULTS}/versions.json",
        molecules=each_sample("molecules/molecules.parquet", WITH_READS),
        losses=each_sample("calling/losses.tsv", WITH_READS),
        filters=each_sample("cells/filters.tsv"),
        support=support_tables(),
    output:
        page=f"{RESULTS}/report/report.html",
        methods=f"{RESULTS}/report/methods.md",
    log:
        f"{RESULTS}/logs/report.log",
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=lambda wildcards, input, attempt: int(
            attempt * max(4000, 20 * megabytes(input.cells))
        ),
        runtime=minutes(60, per_gb=20),
    params:
        version=VERSION,
    message:
        "report: writing {output.page}"
    script:
        "../scripts/report.py"


rule notebook:
    input:
        source=lambda wildcards: NOTEBOOKS[wildcards.notebook],
        cells=f"{RESULTS}/cohort/cells.h5ad",
        detection=f"{RESULTS}/cohort/detection.tsv",
        localization=f"{RESULTS}/cohort/localization.tsv",
        contrasts=f"{RESULTS}/cohort/contrasts.tsv",
        thresholds=f"{RESULTS}/cohort/thresholds.tsv",
        thinning=f"{RESULTS}/cohort/thinning.tsv",
        filters=each_sample("cells/filters.tsv"),
        losses=each_sample("calling/losses.tsv", WITH_READS),
        config=f"{RESULTS}/run_config.yaml",
    output:
        f"{RESULTS}/notebooks/{{notebook}}.ipynb",
    log:
        f"{RESULTS}/logs/notebooks/{{notebook}}.log",
    wildcard_constraints:
        notebook="|".join(NOTEBOOKS),
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=lambda wildcards, input, attempt: int(
            attempt * max(4000, 20 * megabytes(input.cells))
        ),
        runtime=minutes(60, per_gb=20),
    params:
        version=VERSION,
    message:
        "report: running the notebook {wildcards.notebook}"
    script:
        "../scripts/run_notebook.py"
