# construct. Takes the vector's map; makes the CAR's transcript, its domains, lint and homology.


# What alignments depend on. The other files of the room have a rule of their own, so that a version of carseq with
# better lint or another map costs no alignment.
rule transcript:
    input:
        CONFIG.construct.file,
    output:
        fasta=R("transcript"),
        gtf=R("construct_gtf"),
        construct=R("construct_json"),
    log:
        f"{RESULTS}/logs/transcript.log",
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=minutes(20),
    params:
        name=CAR,
        form=CONFIG.construct.form,
        content=CONSTRUCT_CONTENT[:1],
        version=VERSIONS["transcript"],
    message:
        "construct: deriving the CAR's transcript"
    script:
        "../scripts/transcript.py"


rule construct:
    input:
        CONFIG.construct.file,
    output:
        domains=R("domains"),
        coverage=R("coverage"),
        lint=R("lint"),
        map=report(
            R("construct_map"),
            caption="../report/map.rst",
            category="Construct",
            labels={"what": "map"},
        ),
    log:
        f"{RESULTS}/logs/construct.log",
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=minutes(20),
    params:
        name=CAR,
        form=CONFIG.construct.form,
        content=CONSTRUCT_CONTENT[:1],
        version=VERSIONS["construct"],
    message:
        "construct: finding the CAR's domains and faults"
    script:
        "../scripts/construct.py"


if WITH_READS:

    rule homology:
        input:
            construct=CONFIG.construct.file,
            fasta=FASTA,
            gtf=GTF,
            checked=R("checked"),
            car_checked=R("car_checked"),
            # What the reads were aligned to: reads of parts that both CARs have lie there.
            earlier=R("transcript", CONFIG.reuse) if CONFIG.reuse else [],
        output:
            homology=R("homology"),
            bed=R("homology_bed"),
            rivals=R("rivals"),
            loci=R("loci"),
        log:
            f"{RESULTS}/logs/homology.log",
        benchmark:
            f"{RESULTS}/benchmarks/homology.tsv"
        conda:
            "../../envs/tools.yaml"
        resources:
            mem_mb=genome_memory,
            runtime=minutes(60),
        params:
            name=CAR,
            form=CONFIG.construct.form,
            min_identity=CONFIG.molecules.min_homology,
            read_length=CONFIG.molecules.read_length or 90,
            content=CONSTRUCT_CONTENT[:1] + GENOME_CONTENT,
            version=VERSIONS["construct"],
        message:
            "construct: comparing the CAR with the genome's transcripts"
        script:
            "../scripts/homology.py"
