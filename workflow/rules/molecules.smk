# molecules. Takes a BAM with barcodes and UMIs; makes one row a CAR molecule, and the accounting of reads.


rule molecules:
    input:
        bam=bam,
        bai=bam_index,
        chemistry=chemistry_json,
        panel=f"{RESULTS}/reference/strand_panel.fa",
        construct=CONFIG.construct.file,
        homology=f"{RESULTS}/construct/homology.tsv",
        rivals=f"{RESULTS}/construct/rivals.fa",
        loci=f"{RESULTS}/construct/loci.tsv",
    output:
        molecules=f"{RESULTS}/samples/{{sample}}/molecules/molecules.parquet",
        losses=f"{RESULTS}/samples/{{sample}}/molecules/losses.tsv",
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
        version=VERSION,
    message:
        "molecules: collecting the evidence for the CAR in {wildcards.sample}"
    script:
        "../scripts/molecules.py"


rule support:
    input:
        bam=bam,
        bai=bam_index,
        chemistry=chemistry_json,
        panel=f"{RESULTS}/reference/strand_panel.fa",
        construct=CONFIG.construct.file,
        alternatives=CONFIG.construct.alternatives,
    output:
        f"{RESULTS}/samples/{{sample}}/molecules/support.tsv",
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
        version=VERSION,
    message:
        "molecules: which construct the reads of {wildcards.sample} support"
    script:
        "../scripts/support.py"
