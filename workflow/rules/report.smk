# report. Takes all of it; makes the page, the notebooks, exports, and the record of the run.


rule run_record:
    output:
        config=R("run_config"),
        versions=R("versions"),
    log:
        f"{RESULTS}/logs/run_record.log",
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(15),
    params:
        record=RUN_RECORD,
        kallisto=KALLISTO,
        programs=CONFIG.solo.kallisto,
        version=VERSIONS["report"],
    message:
        "report: writing down configuration and versions"
    script:
        "../scripts/run_record.py"


rule report:
    input:
        cells=R("cells"),
        detection=R("detection"),
        localization=R("localization"),
        contrasts=R("contrasts"),
        blood=R("blood_in_urine"),
        annotation=R("annotation"),
        integration=R("integration"),
        protein=R("protein_agreement"),
        receptors=R("receptors"),
        thresholds=R("thresholds"),
        downsampling=R("downsampling"),
        target=R("target"),
        clinic=R("clinic"),
        agreement=R("agreement"),
        clonotypes=R("clonotypes"),
        domains=R("domains") if CONSTRUCT else [],
        homology=R("homology") if WITH_READS else [],
        lint=R("lint") if CONSTRUCT else [],
        config=R("run_config"),
        versions=R("versions"),
        molecules=each_sample("molecules", WITH_READS),
        losses=each_sample("losses", WITH_READS),
        filters=each_sample("filters"),
        support=support_tables(),
    output:
        page=report(
            R("report"),
            caption="../report/report.rst",
            category="Report",
            labels={"what": "the report"},
        ),
        methods=report(
            R("methods"),
            caption="../report/methods.rst",
            category="Report",
            labels={"what": "methods, as text"},
        ),
        # What jobs took is read but not declared as input, so that a job that runs again makes no new report by its time.
        run_times=R("run_times"),
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
        version=VERSIONS["report"],
    message:
        "report: writing {output.page}"
    script:
        "../scripts/report.py"


# One job for all, whose libraries are imported once.
rule notebook:
    input:
        sources=list(NOTEBOOKS.values()),
        cells=R("cells"),
        detection=R("detection"),
        localization=R("localization"),
        contrasts=R("contrasts"),
        thresholds=R("thresholds"),
        downsampling=R("downsampling"),
        filters=each_sample("filters"),
        losses=each_sample("losses", WITH_READS),
        config=R("run_config"),
    output:
        [
            report(
                FILES["notebook"].at(RESULTS, notebook=name),
                caption="../report/notebook.rst",
                category="Notebooks",
                labels={"what": name},
            )
            for name in NOTEBOOKS
        ],
    log:
        f"{RESULTS}/logs/notebook.log",
    # The longest of the last jobs.
    priority: 50
    conda:
        "../../envs/tools.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, input, attempt: int(
            attempt * max(6000, 30 * megabytes(input.cells))
        ),
        runtime=minutes(60, per_gb=40),
    params:
        version=VERSIONS["report"],
    message:
        "report: running the notebooks"
    script:
        "../scripts/run_notebook.py"


rule export_matrix:
    input:
        # As they are before they are called, with the same counts: the matrix is written beside the calling.
        cells=R("annotated"),
    output:
        matrix=R("matrix"),
        features=R("matrix_features"),
        barcodes=R("matrix_barcodes"),
    log:
        f"{RESULTS}/logs/export_matrix.log",
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=lambda wildcards, input, attempt: int(
            attempt * max(4000, 30 * megabytes(input.cells))
        ),
        runtime=minutes(30, per_gb=60),
    params:
        version=VERSIONS["report"],
    message:
        "report: writing the cohort as a 10x matrix"
    script:
        "../scripts/export_matrix.py"


rule car_reads:
    input:
        calls=R("calls"),
        bam=bam,
        bai=bam_index,
        library=R("library"),
        construct=R("construct_json"),
        rivals=R("rivals"),
        loci=R("loci"),
    output:
        bam=R("car_reads"),
        bai=R("car_reads_bai"),
    log:
        f"{RESULTS}/logs/{{sample}}/car_reads.log",
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=memory(3000),
        runtime=minutes(60, per_gb=4),
    params:
        barcode_tag=CONFIG.molecules.barcode_tag,
        umi_tag=CONFIG.molecules.umi_tag,
        version=VERSIONS["report"],
    message:
        "report: writing the reads of the CAR-bearing cells of {wildcards.sample}"
    script:
        "../scripts/car_reads.py"


rule export_multiqc:
    input:
        cells=R("cells"),
        detection=R("detection"),
        versions=R("versions"),
        molecules=each_sample("molecules", WITH_READS),
    output:
        R("multiqc_detection"),
        R("multiqc_general"),
        R("multiqc_evidence"),
    log:
        f"{RESULTS}/logs/export_multiqc.log",
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=lambda wildcards, input, attempt: int(
            attempt * max(2000, 10 * megabytes(input.cells))
        ),
        runtime=minutes(15, per_gb=10),
    params:
        version=VERSIONS["report"],
    message:
        "report: writing content for MultiQC"
    script:
        "../scripts/export_multiqc.py"


rule ro_crate:
    input:
        final_files(),
    output:
        R("ro_crate"),
    log:
        f"{RESULTS}/logs/ro_crate.log",
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=minutes(120, per_gb=10),
    params:
        inputs=STUDY.inputs(),
        checksums=CONFIG.report.checksums == "all",
        command=f"snakemake --configfile {' '.join(Path(p).name for p in workflow.configfiles)}",
        version=VERSIONS["report"],
    message:
        "report: writing the manifest with checksums"
    script:
        "../scripts/ro_crate.py"
