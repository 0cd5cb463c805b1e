# molecules. Takes a BAM with barcodes and UMIs; makes one row a CAR molecule, and the accounting of reads.


# Before anything is made of them.
rule belonging:
    input:
        bam=bam,
        raw=raw_matrix,
        listed=cell_list,
        checked=R("checked"),
    output:
        R("belonging"),
    log:
        f"{RESULTS}/logs/{{sample}}/belonging.log",
    priority: 85
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=cells_memory,
        runtime=minutes(30),
    params:
        barcode_tag=CONFIG.molecules.barcode_tag,
        umi_tag=CONFIG.molecules.umi_tag,
        content=made_content,
        version=VERSIONS["molecules"],
    message:
        "molecules: holding the BAM, the genome and the matrix of {wildcards.sample} against each other"
    script:
        "../scripts/belonging.py"


# Measured once: how long the reads are and which strand they have is asked by all that follow.
rule library:
    input:
        bam=bam_to_measure,
        chemistry=chemistry_json,
        panel=R("strand_panel"),
    output:
        R("library"),
    log:
        f"{RESULTS}/logs/{{sample}}/library.log",
    priority: 85
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=minutes(20),
    params:
        chemistry=lambda wildcards: STUDY.samples[wildcards.sample].chemistry,
        content=made_content,
        version=VERSIONS["library"],
    message:
        "molecules: measuring the strand and length of the reads of {wildcards.sample}"
    script:
        "../scripts/library.py"


rule molecules:
    input:
        bam=bam,
        belonging=belonging_json,
        bai=bam_index,
        library=R("library"),
        construct=R("construct_json"),
        rivals=R("rivals"),
        loci=R("loci"),
    output:
        molecules=R("molecules"),
        losses=R("molecule_losses"),
    log:
        f"{RESULTS}/logs/{{sample}}/molecules.log",
    # Where cells are taken over, the calls wait for it.
    priority: 70 if CONFIG.reuse else 0
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=memory(3000),
        runtime=minutes(60, per_gb=4),
    params:
        barcode_tag=CONFIG.molecules.barcode_tag,
        umi_tag=CONFIG.molecules.umi_tag,
        content=made_content,
        version=VERSIONS["molecules"],
    message:
        "molecules: collecting the evidence for the CAR in {wildcards.sample}"
    script:
        "../scripts/molecules.py"


rule support:
    input:
        bam=bam,
        bai=bam_index,
        library=R("library"),
        construct=R("construct_json"),
        alternatives=ALTERNATIVES,
    output:
        R("support"),
    log:
        f"{RESULTS}/logs/{{sample}}/support.log",
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=memory(3000),
        runtime=minutes(60, per_gb=4),
    params:
        barcode_tag=CONFIG.molecules.barcode_tag,
        umi_tag=CONFIG.molecules.umi_tag,
        records=RECORDS,
        content=lambda wildcards: CONSTRUCT_CONTENT[1:] + made_content(wildcards),
        version=VERSIONS["molecules"],
    message:
        "molecules: which construct the reads of {wildcards.sample} support"
    script:
        "../scripts/support.py"
