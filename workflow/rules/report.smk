# report. Takes all of it; makes the page, the notebooks, exports, and the record of the run.


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
        blood=f"{RESULTS}/cohort/blood_in_urine.tsv",
        annotation=f"{RESULTS}/cohort/annotation.tsv",
        integration=f"{RESULTS}/cohort/integration.tsv",
        protein=f"{RESULTS}/cohort/protein_agreement.tsv",
        receptors=f"{RESULTS}/cohort/receptors.tsv",
        thresholds=f"{RESULTS}/cohort/thresholds.tsv",
        downsampling=f"{RESULTS}/cohort/downsampling.tsv",
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
        page=report(
            f"{RESULTS}/report/report.html",
            caption="../report/report.rst",
            category="Report",
            labels={"what": "the report"},
        ),
        methods=report(
            f"{RESULTS}/report/methods.md",
            caption="../report/methods.rst",
            category="Report",
            labels={"what": "methods, as text"},
        ),
        # Read from benchmarks/, which is no input: a job measured again is no ground for a new report.
        run_times=f"{RESULTS}/report/run_times.tsv",
    log:
        f"{RESULTS}/logs/report.log",
    benchmark:
        f"{RESULTS}/benchmarks/report.tsv"
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
        downsampling=f"{RESULTS}/cohort/downsampling.tsv",
        filters=each_sample("cells/filters.tsv"),
        losses=each_sample("calling/losses.tsv", WITH_READS),
        config=f"{RESULTS}/run_config.yaml",
    output:
        report(
            f"{RESULTS}/notebooks/{{notebook}}.ipynb",
            caption="../report/notebook.rst",
            category="Notebooks",
            labels={"what": "{notebook}"},
        ),
    log:
        f"{RESULTS}/logs/notebooks/{{notebook}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/notebook_{{notebook}}.tsv"
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


rule export_matrix:
    input:
        cells=f"{RESULTS}/cohort/cells.h5ad",
    output:
        matrix=f"{RESULTS}/cohort/matrix/matrix.mtx.gz",
        features=f"{RESULTS}/cohort/matrix/features.tsv.gz",
        barcodes=f"{RESULTS}/cohort/matrix/barcodes.tsv.gz",
    log:
        f"{RESULTS}/logs/export_matrix.log",
    benchmark:
        f"{RESULTS}/benchmarks/export_matrix.tsv"
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=lambda wildcards, input, attempt: int(
            attempt * max(4000, 30 * megabytes(input.cells))
        ),
        runtime=minutes(30, per_gb=60),
    params:
        version=VERSION,
    message:
        "report: writing the cohort as a 10x matrix"
    script:
        "../scripts/export_matrix.py"


rule car_reads:
    input:
        calls=f"{RESULTS}/samples/{{sample}}/calling/calls.tsv",
        bam=bam,
        bai=bam_index,
        chemistry=chemistry_json,
        panel=f"{RESULTS}/reference/strand_panel.fa",
        construct=CONFIG.construct.file,
        homology=f"{RESULTS}/construct/homology.tsv",
        rivals=f"{RESULTS}/construct/rivals.fa",
        loci=f"{RESULTS}/construct/loci.tsv",
    output:
        bam=f"{RESULTS}/report/reads/{{sample}}.bam",
        bai=f"{RESULTS}/report/reads/{{sample}}.bam.bai",
    log:
        f"{RESULTS}/logs/{{sample}}/car_reads.log",
    benchmark:
        f"{RESULTS}/benchmarks/{{sample}}/car_reads.tsv"
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=memory(3000),
        runtime=minutes(60, per_gb=4),
    params:
        name=CAR,
        form=CONFIG.construct.form,
        barcode_tag=CONFIG.molecules.barcode_tag,
        umi_tag=CONFIG.molecules.umi_tag,
        chemistry=lambda wildcards: STUDY.samples[wildcards.sample].chemistry,
        version=VERSION,
    message:
        "report: writing the reads of the CAR-bearing cells of {wildcards.sample}"
    script:
        "../scripts/car_reads.py"


rule export_multiqc:
    input:
        cells=f"{RESULTS}/cohort/cells.h5ad",
        detection=f"{RESULTS}/cohort/detection.tsv",
        molecules=each_sample("molecules/molecules.parquet", WITH_READS),
    output:
        f"{RESULTS}/report/multiqc/carseq_detection_mqc.json",
        f"{RESULTS}/report/multiqc/carseq_general_mqc.json",
        f"{RESULTS}/report/multiqc/carseq_evidence_mqc.json",
    log:
        f"{RESULTS}/logs/export_multiqc.log",
    benchmark:
        f"{RESULTS}/benchmarks/export_multiqc.tsv"
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=lambda wildcards, input, attempt: int(
            attempt * max(2000, 10 * megabytes(input.cells))
        ),
        runtime=minutes(15, per_gb=10),
    params:
        version=VERSION,
    message:
        "report: writing content for MultiQC"
    script:
        "../scripts/export_multiqc.py"


rule ro_crate:
    input:
        final_files(),
    output:
        f"{RESULTS}/ro-crate-metadata.json",
    log:
        f"{RESULTS}/logs/ro_crate.log",
    benchmark:
        f"{RESULTS}/benchmarks/ro_crate.tsv"
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=minutes(120, per_gb=10),
    params:
        inputs=STUDY.inputs(),
        checksums=CONFIG.report.checksums == "all",
        command=f"snakemake --configfile {' '.join(Path(p).name for p in workflow.configfiles)}",
        version=VERSION,
    message:
        "report: writing the manifest with checksums"
    script:
        "../scripts/ro_crate.py"
