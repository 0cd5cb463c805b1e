# reference. Takes genome and annotation; makes the base STAR index once, and one with the CAR inserted.


rule check_reference:
    input:
        fasta=FASTA,
        gtf=GTF,
        index=CONFIG.reference.star_index or [],
    output:
        f"{RESULTS}/reference/checked.json",
    log:
        f"{RESULTS}/logs/check_reference.log",
    benchmark:
        f"{RESULTS}/benchmarks/check_reference.tsv"
    priority: 100
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=minutes(30),
    params:
        name=CAR,
        version=VERSION,
    message:
        "reference: checking genome and annotation"
    script:
        "../scripts/check_reference.py"


rule strand_panel:
    input:
        fasta=FASTA,
        gtf=GTF,
        # A construct of another name is checked anew, but changes nothing here.
        checked=ancient(f"{RESULTS}/reference/checked.json"),
    output:
        f"{RESULTS}/reference/strand_panel.fa",
    log:
        f"{RESULTS}/logs/strand_panel.log",
    benchmark:
        f"{RESULTS}/benchmarks/strand_panel.tsv"
    priority: 90
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=genome_memory,
        runtime=minutes(60),
    params:
        version=VERSION,
    message:
        "reference: choosing transcripts that tell the strand of reads"
    script:
        "../scripts/strand_panel.py"


if not CONFIG.reference.star_index:

    rule star_index:
        input:
            fasta=FASTA,
            gtf=GTF,
            checked=ancient(f"{RESULTS}/reference/checked.json"),
        output:
            directory(f"{RESULTS}/reference/base"),
        log:
            f"{RESULTS}/logs/star_index.log",
        benchmark:
            f"{RESULTS}/benchmarks/star_index.tsv"
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
            version=VERSION,
        message:
            "reference: building the base STAR index (once for every construct)"
        script:
            "../scripts/star_index.py"


rule augmented_gtf:
    input:
        gtf=GTF,
        car=f"{RESULTS}/construct/construct.gtf",
        checked=f"{RESULTS}/reference/checked.json",
    output:
        f"{RESULTS}/reference/augmented.gtf",
    log:
        f"{RESULTS}/logs/augmented_gtf.log",
    benchmark:
        f"{RESULTS}/benchmarks/augmented_gtf.tsv"
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=minutes(30),
    params:
        version=VERSION,
    message:
        "reference: adding the CAR to the annotation"
    script:
        "../scripts/augmented_gtf.py"


rule insert_car:
    input:
        base=BASE_INDEX,
        car=f"{RESULTS}/construct/construct.fa",
        gtf=f"{RESULTS}/reference/augmented.gtf",
    output:
        directory(f"{RESULTS}/reference/augmented"),
    log:
        f"{RESULTS}/logs/insert_car.log",
    benchmark:
        f"{RESULTS}/benchmarks/insert_car.tsv"
    conda:
        "../../envs/tools.yaml"
    threads: 4
    resources:
        mem_mb=insert_memory,
        runtime=minutes(120),
    params:
        name=CAR,
        version=VERSION,
    message:
        "reference: inserting the CAR into the index"
    script:
        "../scripts/insert_car.py"
