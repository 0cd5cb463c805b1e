# molecules. Takes a BAM with barcodes and UMIs; makes one row a CAR molecule, and the accounting of reads.


rule molecules:
    input:
        bam=bam,
        bai=bam_index,
        chemistry=chemistry_json,
        panel=R("strand_panel"),
        construct=CONFIG.construct.file,
        homology=R("homology"),
        rivals=R("rivals"),
        loci=R("loci"),
    output:
        molecules=R("molecules"),
        losses=R("molecule_losses"),
    log:
        f"{RESULTS}/logs/{{sample}}/molecules.log",
    benchmark:
        f"{RESULTS}/benchmarks/{{sample}}/molecules.tsv"
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=memory(3000),
        runtime=minutes(60, per_gb=4),
    params:
        name=CAR,
        form=CONFIG.construct.form,
        barcode_tag=CONFIG.molecules.barcode_tag,
        umi_tag=CONFIG.molecules.umi_tag,
        chemistry=lambda wildcards: STUDY.samples[wildcards.sample].chemistry,
        version=VERSIONS["molecules"],
    message:
        "molecules: collecting the evidence for the CAR in {wildcards.sample}"
    script:
        "../scripts/molecules.py"


rule support:
    input:
        bam=bam,
        bai=bam_index,
        chemistry=chemistry_json,
        panel=R("strand_panel"),
        construct=CONFIG.construct.file,
        alternatives=CONFIG.construct.alternatives,
    output:
        R("support"),
    log:
        f"{RESULTS}/logs/{{sample}}/support.log",
    benchmark:
        f"{RESULTS}/benchmarks/{{sample}}/support.tsv"
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=memory(3000),
        runtime=minutes(60, per_gb=4),
    params:
        name=CAR,
        form=CONFIG.construct.form,
        barcode_tag=CONFIG.molecules.barcode_tag,
        umi_tag=CONFIG.molecules.umi_tag,
        chemistry=lambda wildcards: STUDY.samples[wildcards.sample].chemistry,
        version=VERSIONS["molecules"],
    message:
        "molecules: which construct the reads of {wildcards.sample} support"
    script:
        "../scripts/support.py"
