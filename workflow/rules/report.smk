# report. Takes all of it; makes the page, the notebook, and the record of the run.


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
        target=f"{RESULTS}/cohort/target.tsv",
        clinic=f"{RESULTS}/cohort/clinic.tsv",
        agreement=f"{RESULTS}/cohort/agreement.tsv",
        clonotypes=f"{RESULTS}/cohort/clonotypes.tsv",
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
        f"{RESULTS}/report/report.html",
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
        "report: writing {output}"
    script:
        "../scripts/report.py"


rule notebook:
    input:
        source=workflow.source_path("../notebooks/03_car_t_cells.py"),
        cells=f"{RESULTS}/cohort/cells.h5ad",
        detection=f"{RESULTS}/cohort/detection.tsv",
        localization=f"{RESULTS}/cohort/localization.tsv",
        contrasts=f"{RESULTS}/cohort/contrasts.tsv",
    output:
        f"{RESULTS}/notebooks/03_car_t_cells.ipynb",
    log:
        f"{RESULTS}/logs/notebook.log",
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
        "report: running the notebook"
    script:
        "../scripts/run_notebook.py"
