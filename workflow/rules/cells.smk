# cells. Takes raw matrices; makes each sample's cells, and the cohort with clusters, types and states.


rule sample_cells:
    input:
        raw=raw_matrix,
        listed=cell_list,
        gtf=matrix_gtf,
        chemistry=chemistry_json,
        belonging=belonging_json,
        bam=given_bam,
    output:
        cells=R("sample_cells"),
        barcodes=R("barcodes"),
        ambient=R("ambient"),
        knee=R("knee"),
    log:
        f"{RESULTS}/logs/{{sample}}/sample_cells.log",
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=cells_memory,
        runtime=minutes(60),
    params:
        car=CAR,
        called=lambda wildcards: not has_reads(wildcards.sample)
        and not STUDY.samples[wildcards.sample].raw_matrix,
        needs_car=lambda wildcards: wildcards.sample not in WITH_READS,
        own=lambda wildcards: has_reads(wildcards.sample),
        content=made_content,
        seed=CONFIG.cells.seed,
        doublet_rate=CONFIG.cells.doublet_rate,
        scvi_solo=CONFIG.cells.doublets == "scvi_solo",
        version=VERSIONS["cells"],
    message:
        "cells: telling cells from empty droplets in {wildcards.sample}"
    script:
        "../scripts/sample_cells.py"


# Only where the config asks for it.
rule cellbender:
    input:
        raw=raw_matrix,
        barcodes=R("barcodes"),
    output:
        R("cellbender"),
    log:
        f"{RESULTS}/logs/{{sample}}/cellbender.log",
    conda:
        "../../envs/tools.yaml"
    threads: up_to(4)
    resources:
        mem_mb=cells_memory,
        runtime=minutes(360),
    params:
        car=CAR,
        epochs=CONFIG.cells.cellbender,
        version=VERSIONS["cells"],
    message:
        "cells: CellBender on {wildcards.sample}"
    script:
        "../scripts/cellbender.py"


rule cohort:
    input:
        cells=each_sample("sample_cells", BY_NAME),
        ambient=each_sample("ambient", BY_NAME),
        markers=CONFIG.cells.markers or [],
        reference=CONFIG.cells.atlas or [],
        celltypist=CONFIG.cells.celltypist or [],
        cellbender=cellbender_matrices(),
        tcr=[STUDY.samples[s].tcr for s in WITH_RECEPTORS],
        # Genes that the construct shares sequence with may not help to say what a cell is.
        homology=R("homology") if WITH_READS else [],
    output:
        cohort=R("annotated"),
        annotation=R("annotation"),
        integration=R("integration"),
        filters=each_sample("filters", BY_NAME),
        protein=R("protein_agreement"),
        receptors=R("receptors"),
    log:
        f"{RESULTS}/logs/cohort.log",
    conda:
        "../../envs/tools.yaml"
    threads: cohort_threads
    resources:
        mem_mb=cohort_memory,
        runtime=minutes(240, per_gb=60),
    params:
        car=CAR,
        cells=CONFIG.cells.model_dump(),
        samples=BY_NAME,
        with_raw=WITH_RAW,
        # Clonotypes are told apart within a patient.
        patients={s: STUDY.samples[s].patient for s in WITH_RECEPTORS},
        content=content(
            CONFIG.cells.markers,
            CONFIG.cells.atlas,
            CONFIG.cells.celltypist,
            *[STUDY.samples[s].tcr for s in WITH_RECEPTORS],
        ),
        version=VERSIONS["cells"],
    message:
        "cells: clustering and annotating the cohort"
    script:
        "../scripts/cohort.py"
