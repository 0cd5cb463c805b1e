# construct. Takes the vector's map; makes the CAR's transcript, its domains, lint and homology.
from carseq.schema.results import TRANSCRIPT


rule construct:
    input:
        CONFIG.construct.file,
    output:
        fasta=f"{RESULTS}/construct/construct.fa",
        gtf=f"{RESULTS}/construct/construct.gtf",
        domains=f"{RESULTS}/construct/domains.tsv",
        coverage=f"{RESULTS}/construct/coverage.tsv",
        lint=f"{RESULTS}/construct/lint.json",
        map=report(
            f"{RESULTS}/construct/construct.svg",
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
        version=VERSION,
    message:
        "construct: deriving the CAR's transcript"
    script:
        "../scripts/construct.py"


rule homology:
    input:
        construct=CONFIG.construct.file,
        fasta=FASTA,
        gtf=GTF,
        checked=f"{RESULTS}/reference/checked.json",
        # What the reads were aligned to: reads of parts that both CARs have lie there.
        earlier=f"{CONFIG.reuse}/{TRANSCRIPT}" if CONFIG.reuse else [],
    output:
        homology=f"{RESULTS}/construct/homology.tsv",
        bed=f"{RESULTS}/construct/homology.bed",
        rivals=f"{RESULTS}/construct/rivals.fa",
        loci=f"{RESULTS}/construct/loci.tsv",
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
        version=VERSION,
    message:
        "construct: comparing the CAR with the genome's transcripts"
    script:
        "../scripts/homology.py"
