# localize. Takes the called cohort; makes CAR T fractions by sample, type and state, contrasts, and what lies
# beside them: target cells, the clinic, clonotypes.


rule localize:
    input:
        cells=R("cells"),
        detection=R("detection"),
    output:
        localization=report(
            R("localization"),
            caption="../report/localization.rst",
            category="Tables",
            labels={"what": "localization"},
        ),
        contrasts=report(
            R("contrasts"),
            caption="../report/contrasts.rst",
            category="Tables",
            labels={"what": "contrasts"},
        ),
        blood_in_urine=R("blood_in_urine"),
        target=R("target"),
        clinic=R("clinic"),
        agreement=R("agreement"),
        clonotypes=R("clonotypes"),
    log:
        f"{RESULTS}/logs/localize.log",
    # Report and notebooks wait for it.
    priority: 60
    conda:
        "../../envs/tools.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, input, attempt: int(
            attempt * max(4000, 20 * megabytes(input.cells))
        ),
        runtime=minutes(30, per_gb=10),
    params:
        target=CONFIG.construct.target,
        given={name: sample.further() for name, sample in STUDY.samples.items()},
        version=VERSIONS["localize"],
    message:
        "localize: where the CAR T cells are"
    script:
        "../scripts/localize.py"
