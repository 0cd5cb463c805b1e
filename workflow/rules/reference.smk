# reference. Takes genome and annotation; makes the base STAR index once, and one with the CAR inserted.


rule check_reference:
    input:
        fasta=FASTA,
        gtf=GTF,
        index=[] if KALLISTO else CONFIG.reference.star_index or [],
    output:
        R("checked"),
    log:
        f"{RESULTS}/logs/check_reference.log",
    priority: 100
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=minutes(30),
    params:
        # Only of an index that was given: one of our own is not built anew for it.
        plain=bool(CONFIG.reference.star_index) and INSERTION == "none" and not KALLISTO,
        content=GENOME_CONTENT + INDEX_CONTENT,
        version=VERSIONS["reference"],
    message:
        "reference: checking genome and annotation"
    script:
        "../scripts/check_reference.py"


# Apart from the above: another construct is checked anew, which must not cost a new index.
rule check_car:
    input:
        construct=CONSTRUCT,
        fasta=FASTA,
        gtf=GTF,
        checked=R("checked"),
    output:
        R("car_checked"),
    log:
        f"{RESULTS}/logs/check_car.log",
    priority: 100
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=genome_memory,
        runtime=minutes(60),
    params:
        name=CAR,
        form=CONFIG.construct.form,
        record=RECORD,
        content=CONSTRUCT_CONTENT[:1] + GENOME_CONTENT,
        version=VERSIONS["reference"],
    message:
        "reference: checking that the genome does not hold the CAR already"
    script:
        "../scripts/check_car.py"


rule strand_panel:
    input:
        fasta=FASTA,
        gtf=GTF,
        checked=R("checked"),
    output:
        R("strand_panel"),
    log:
        f"{RESULTS}/logs/strand_panel.log",
    priority: 90
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=genome_memory,
        runtime=minutes(60),
    params:
        content=GENOME_CONTENT,
        version=VERSIONS["reference"],
    message:
        "reference: choosing transcripts that tell the strand of reads"
    script:
        "../scripts/strand_panel.py"


if not CONFIG.reference.star_index:

    rule star_index:
        input:
            fasta=FASTA,
            gtf=GTF,
            checked=R("checked"),
        output:
            directory(R("base_index")),
        log:
            f"{RESULTS}/logs/star_index.log",
        # The longest way to the first alignment.
        priority: 95
        conda:
            "../../envs/tools.yaml"
        threads: index_threads
        resources:
            mem_mb=index_memory,
            runtime=minutes(240),
        params:
            sjdb_overhang=CONFIG.reference.sjdb_overhang,
            sa_sparse=CONFIG.reference.sa_sparse,
            content=GENOME_CONTENT,
            version=VERSIONS["reference"],
        message:
            "reference: building the base STAR index (once for every construct)"
        script:
            "../scripts/star_index.py"


rule transcripts_index:
    input:
        fasta=FASTA,
        gtf=GTF,
        checked=R("checked"),
    output:
        directory(R("transcripts_index")),
    log:
        f"{RESULTS}/logs/transcripts_index.log",
    priority: 95
    conda:
        "../../envs/tools.yaml"
    threads: index_threads
    resources:
        mem_mb=transcripts_memory,
        runtime=minutes(120),
    params:
        programs=CONFIG.solo.kallisto,
        content=GENOME_CONTENT,
        version=VERSIONS["reference"],
    message:
        "reference: indexing the transcripts for kallisto (once for every construct)"
    script:
        "../scripts/transcripts_index.py"


rule augmented_gtf:
    input:
        gtf=GTF,
        car=R("construct_gtf"),
        checked=R("checked"),
        car_checked=R("car_checked"),
    output:
        R("augmented_gtf"),
    log:
        f"{RESULTS}/logs/augmented_gtf.log",
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=minutes(30),
    params:
        content=GENOME_CONTENT,
        version=VERSIONS["reference"],
    message:
        "reference: adding the CAR to the annotation"
    script:
        "../scripts/augmented_gtf.py"


rule insert_car:
    input:
        base=BASE_INDEX,
        car=R("transcript"),
        gtf=R("augmented_gtf"),
    output:
        directory(R("augmented_index")),
    log:
        f"{RESULTS}/logs/insert_car.log",
    # All alignments wait for it.
    priority: 95
    conda:
        "../../envs/tools.yaml"
    threads: up_to(4)
    resources:
        mem_mb=insert_memory,
        runtime=minutes(120),
    params:
        **({"content": INDEX_CONTENT} if INDEX_CONTENT else {}),
        name=CAR,
        # No parameter where there is none: finished studies stay finished.
        version=VERSIONS["reference"],
    message:
        "reference: inserting the CAR into the index"
    script:
        "../scripts/insert_car.py"
