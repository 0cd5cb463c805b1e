# construct. Takes the vector's map; makes the CAR's transcript, its domains, lint and homology.


# What alignments depend on. The other files of the room have a rule of their own, so that a version of carseq with
# better lint or another map costs no alignment.
rule transcript:
    input:
        CONSTRUCT,
    output:
        fasta=R("transcript"),
        gtf=R("construct_gtf"),
        construct=R("construct_json"),
    log:
        f"{RESULTS}/logs/transcript.log",
    # All else waits for it.
    priority: 100
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=minutes(20),
    params:
        name=CAR,
        form=CONFIG.construct.form,
        record=RECORD,
        content=CONSTRUCT_CONTENT[:1],
        version=VERSIONS["transcript"],
    message:
        "construct: deriving the CAR's transcript"
    script:
        "../scripts/transcript.py"


rule construct:
    input:
        construct=R("construct_json"),
        libraries=each_sample("library", WITH_READS),
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
        read_length=CONFIG.molecules.read_length,
        version=VERSIONS["construct"],
    message:
        "construct: finding the CAR's domains and faults"
    script:
        "../scripts/construct.py"


if WITH_READS:

    # Apart from `homology`, which depends on the length of the reads: a further sample with shorter reads must not
    # cost the molecules of the others.
    rule homologs:
        input:
            construct=R("construct_json"),
            fasta=FASTA,
            gtf=GTF,
            checked=R("checked"),
            car_checked=R("car_checked"),
            # What the reads were aligned to: reads of parts that both CARs have lie there.
            earlier=R("transcript", CONFIG.reuse) if CONFIG.reuse else [],
        output:
            rivals=R("rivals"),
            loci=R("loci"),
        log:
            f"{RESULTS}/logs/homologs.log",
        # Without alignments to wait for, molecules wait for this.
        priority: 99 if CONFIG.reuse else 0
        conda:
            "../../envs/tools.yaml"
        resources:
            mem_mb=genome_memory,
            runtime=minutes(60),
        params:
            content=GENOME_CONTENT,
            version=VERSIONS["construct"],
        message:
            "construct: finding the genome's transcripts that share sequence with the CAR"
        script:
            "../scripts/homologs.py"

    rule homology:
        input:
            construct=R("construct_json"),
            rivals=R("rivals"),
            libraries=each_sample("library", WITH_READS),
        output:
            homology=R("homology"),
            bed=R("homology_bed"),
        log:
            f"{RESULTS}/logs/homology.log",
        conda:
            "../../envs/tools.yaml"
        resources:
            mem_mb=memory(2000),
            runtime=minutes(60),
        params:
            min_identity=CONFIG.molecules.min_homology,
            read_length=CONFIG.molecules.read_length,
            version=VERSIONS["construct"],
        message:
            "construct: which bases of the CAR the genome shares"
        script:
            "../scripts/homology.py"
