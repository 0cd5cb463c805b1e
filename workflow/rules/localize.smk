# localize. Takes the called cohort; makes CAR T fractions by sample, type and state, and contrasts.


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
        blood=f"{RESULTS}/cohort/blood_in_urine.tsv",
    log:
        f"{RESULTS}/logs/localize.log",
    conda:
        "../../envs/tools.yaml"
    resources:
        mem_mb=lambda wildcards, input, attempt: int(
            attempt * max(4000, 20 * megabytes(input.cells))
        ),
        runtime=minutes(30, per_gb=10),
    params:
        version=VERSION,
    message:
        "localize: where the CAR T cells are"
    script:
        "../scripts/localize.py"
