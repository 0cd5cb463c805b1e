# solo. Takes a sample's FASTQs; makes its BAM with CB/UB, its raw matrix and its mapping summary.


# Only of samples whose kit's list nobody may ship, or which ask for it.
rule observed:
    input:
        fastqs=fastqs,
    output:
        R("observed"),
    log:
        f"{RESULTS}/logs/{{sample}}/observed.log",
    priority: 80
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=memory(3000),
        runtime=minutes(30, per_gb=2),
    params:
        chemistry=lambda wildcards: STUDY.samples[wildcards.sample].chemistry,
        content=reads_content,
        version=VERSIONS["library"],
    message:
        "solo: learning the barcodes of {wildcards.sample} from its reads"
    script:
        "../scripts/observed.py"


rule chemistry:
    input:
        fastqs=fastqs,
        whitelist=whitelist,
        panel=R("strand_panel"),
    output:
        R("chemistry"),
    log:
        f"{RESULTS}/logs/{{sample}}/chemistry.log",
    priority: 80
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=memory(3000),
        runtime=minutes(30, per_gb=4),
    params:
        chemistry=lambda wildcards: STUDY.samples[wildcards.sample].chemistry,
        content=reads_content,
        version=VERSIONS["solo"],
    message:
        "solo: finding the chemistry of {wildcards.sample}"
    script:
        "../scripts/chemistry.py"


if KALLISTO:

    rule count:
        input:
            fastqs=fastqs,
            chemistry=R("chemistry"),
            whitelist=whitelist,
            index=R("transcripts_index"),
        output:
            raw=R("plain"),
            summary=R("summary"),
        log:
            f"{RESULTS}/logs/{{sample}}/count.log",
        # Before what needs one core and can run beside it.
        priority: 60
        conda:
            "../../envs/tools.yaml"
        threads: up_to(8)
        resources:
            mem_mb=transcripts_memory,
            runtime=minutes(60, per_gb=4),
        params:
            # Nothing of the CAR's: another one costs no counting.
            programs=CONFIG.solo.kallisto,
            content=reads_content,
            version=VERSIONS["solo"],
        message:
            "solo: counting {wildcards.sample} with kallisto and bustools"
        script:
            "../scripts/count.py"

else:

    rule align:
        input:
            fastqs=fastqs,
            chemistry=R("chemistry"),
            # Named in chemistry.json; one that Snakemake fetches must be there again.
            whitelist=whitelist,
            index=R("augmented_index") if INSERTION == "saved" else BASE_INDEX,
            insertion=(
                [R("transcript"), R("augmented_gtf")]
                if INSERTION == "each_run"
                else []
            ),
        output:
            **ALIGNED,
            raw=R("plain") if INSERTION == "none" else R("raw"),
            summary=R("summary"),
        log:
            f"{RESULTS}/logs/{{sample}}/align.log",
        # Before what needs one core and can run beside it.
        priority: 60
        conda:
            "../../envs/tools.yaml"
        threads: up_to(8)
        resources:
            mem_mb=align_memory,
            sort_mb=sort_memory,
            runtime=minutes(120, per_gb=8),
        params:
            # Nothing of the CAR's where it is not in the index: another one costs no alignment.
            car=None if INSERTION == "none" else CAR,
            feature=CONFIG.solo.feature,
            content=aligned_content,
            version=VERSIONS["solo"],
        message:
            "solo: aligning {wildcards.sample}"
        script:
            "../scripts/align.py"


if SEARCHED:

    rule search:
        input:
            fastqs=fastqs,
            chemistry=R("chemistry"),
            whitelist=whitelist,
            # For the lengths of the genome's contigs.
            index=R("transcripts_index") if KALLISTO else BASE_INDEX,
            construct=R("construct_json"),
            alternatives=ALTERNATIVES,
            rivals=R("rivals"),
            loci=R("loci"),
        output:
            bam=kept(R("slice_bam"), KEEP_BAM == "slice"),
            bai=kept(R("slice_bai"), KEEP_BAM == "slice"),
        log:
            f"{RESULTS}/logs/{{sample}}/search.log",
        conda:
            "../../envs/tools.yaml"
        threads: 2
        resources:
            mem_mb=search_memory,
            runtime=minutes(60, per_gb=2),
        params:
            records=RECORDS,
            content=lambda wildcards: CONSTRUCT_CONTENT[1:] + reads_content(wildcards),
            version=VERSIONS["solo"],
        message:
            "solo: searching all reads of {wildcards.sample} for the CAR and its relatives"
        script:
            "../scripts/search.py"

else:

    # Only where the config says that the whole alignment is not kept.
    rule slice_bam:
        input:
            bam=R("aligned_bam"),
            bai=R("aligned_bai"),
            construct=R("construct_json"),
            alternatives=ALTERNATIVES,
            loci=R("loci"),
        output:
            bam=kept(R("slice_bam"), KEEP_BAM == "slice"),
            bai=kept(R("slice_bai"), KEEP_BAM == "slice"),
        log:
            f"{RESULTS}/logs/{{sample}}/slice_bam.log",
        conda:
            "../../envs/tools.yaml"
        resources:
            mem_mb=memory(3000),
            runtime=minutes(60, per_gb=4),
        params:
            records=RECORDS,
            content=CONSTRUCT_CONTENT[1:],
            version=VERSIONS["solo"],
        message:
            "solo: cutting out of {wildcards.sample} the reads that may be the CAR's or its homologs'"
        script:
            "../scripts/slice_bam.py"


if INSERTION == "none":

    rule car_row:
        input:
            plain=R("plain"),
            molecules=R("molecules"),
        output:
            R("raw"),
        log:
            f"{RESULTS}/logs/{{sample}}/car_row.log",
        conda:
            "../../envs/tools.yaml"
        resources:
            mem_mb=cells_memory,
            runtime=minutes(20),
        params:
            car=CAR,
            version=VERSIONS["solo"],
        message:
            "solo: writing the CAR's row of the matrix of {wildcards.sample} from its molecules"
        script:
            "../scripts/car_row.py"
