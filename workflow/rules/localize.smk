# localize. Takes the called cohort; makes CAR T fractions by sample, type and state, contrasts, and what lies
# beside them: target cells, the clinic, clonotypes.


rule localize:
    input:
        cells=f"{RESULTS}/cohort/cells.h5ad",
        detection=f"{RESULTS}/cohort/detection.tsv",
    output:
        localization=report(
            f"{RESULTS}/cohort/localization.tsv",
            caption="../report/localization.rst",
            category="Tables",
            labels={"what": "localization"},
        ),
        contrasts=report(
            f"{RESULTS}/cohort/contrasts.tsv",
            caption="../report/contrasts.rst",
            category="Tables",
            labels={"what": "contrasts"},
        ),
        blood_in_urine=f"{RESULTS}/cohort/blood_in_urine.tsv",
        target=f"{RESULTS}/cohort/target.tsv",
        clinic=f"{RESULTS}/cohort/clinic.tsv",
        agreement=f"{RESULTS}/cohort/agreement.tsv",
        clonotypes=f"{RESULTS}/cohort/clonotypes.tsv",
    log:
        f"{RESULTS}/logs/localize.log",
    benchmark:
        f"{RESULTS}/benchmarks/localize.tsv"
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=lambda wildcards, input, attempt: int(
            attempt * max(4000, 20 * megabytes(input.cells))
        ),
        runtime=minutes(30, per_gb=10),
    params:
        target=CONFIG.construct.target,
        given={name: sample.further() for name, sample in STUDY.samples.items()},
        version=VERSION,
    message:
        "localize: where the CAR T cells are"
    script:
        "../scripts/localize.py"
