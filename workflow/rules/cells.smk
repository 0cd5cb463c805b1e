# cells. Takes raw matrices; makes each sample's cells, and the cohort with clusters, types and states.


rule sample_cells:
    input:
        raw=raw_matrix,
        listed=cell_list,
    output:
        cells=f"{RESULTS}/samples/{{sample}}/cells/cells.h5ad",
        barcodes=f"{RESULTS}/samples/{{sample}}/cells/barcodes.tsv.gz",
        ambient=f"{RESULTS}/samples/{{sample}}/cells/ambient.tsv",
        knee=f"{RESULTS}/samples/{{sample}}/cells/knee.tsv",
    log:
        f"{RESULTS}/logs/{{sample}}/cells.log",
    benchmark:
        f"{RESULTS}/benchmarks/{{sample}}/sample_cells.tsv"
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=cells_memory,
        runtime=minutes(60),
    params:
        car=CAR,
        sample=lambda wildcards: STUDY.samples[wildcards.sample].carried(),
        called=lambda wildcards: not has_reads(wildcards.sample)
        and not STUDY.samples[wildcards.sample].raw_matrix,
        needs_car=lambda wildcards: wildcards.sample not in WITH_READS,
        seed=CONFIG.cells.seed,
        solo=CONFIG.cells.doublets == "solo",
        version=VERSION,
    message:
        "cells: telling cells from empty droplets in {wildcards.sample}"
    script:
        "../scripts/sample_cells.py"


# Only where the config asks for it.
rule cellbender:
    input:
        raw=raw_matrix,
        barcodes=f"{RESULTS}/samples/{{sample}}/cells/barcodes.tsv.gz",
    output:
        f"{RESULTS}/samples/{{sample}}/cells/cellbender.h5ad",
    log:
        f"{RESULTS}/logs/{{sample}}/cellbender.log",
    benchmark:
        f"{RESULTS}/benchmarks/{{sample}}/cellbender.tsv"
    conda:
        "../../envs/tools.yaml"
    threads: 4
    resources:
        mem_mb=cells_memory,
        runtime=minutes(360),
    params:
        car=CAR,
        epochs=CONFIG.cells.cellbender,
        version=VERSION,
    message:
        "cells: CellBender on {wildcards.sample}"
    script:
        "../scripts/cellbender.py"


rule cohort:
    input:
        cells=each_sample("cells/cells.h5ad"),
        ambient=each_sample("cells/ambient.tsv"),
        markers=CONFIG.cells.markers or [],
        reference=CONFIG.cells.reference or [],
        celltypist=CONFIG.cells.celltypist or [],
        cellbender=cellbender_matrices(),
        tcr=[STUDY.samples[s].tcr for s in WITH_RECEPTORS],
    output:
        cohort=f"{RESULTS}/cohort/annotated.h5ad",
        annotation=f"{RESULTS}/cohort/annotation.tsv",
        integration=f"{RESULTS}/cohort/integration.tsv",
        filters=each_sample("cells/filters.tsv"),
        protein=f"{RESULTS}/cohort/protein_agreement.tsv",
        receptors=f"{RESULTS}/cohort/receptors.tsv",
    log:
        f"{RESULTS}/logs/cohort.log",
    benchmark:
        f"{RESULTS}/benchmarks/cohort.tsv"
    conda:
        "../../envs/tools.yaml"
    threads: 2
    resources:
        mem_mb=cohort_memory,
        runtime=minutes(240, per_gb=60),
    params:
        car=CAR,
        cells=CONFIG.cells.model_dump(),
        samples=SAMPLES,
        with_raw=WITH_RAW,
        with_receptors=WITH_RECEPTORS,
        version=VERSION,
    message:
        "cells: clustering and annotating the cohort"
    script:
        "../scripts/cohort.py"
