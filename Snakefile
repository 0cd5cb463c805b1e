# carseq: are there CAR T cells in this urine, which cells are they, and how sure are we?
#
#   construct ─ reference ─ solo ─ molecules ─ calling ─ localize ─ report, notebooks
#                             └────── cells ──────┘
#
# snakemake --configfile my.yaml --cores N


from snakemake.utils import min_version

min_version("9.6")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


if CONFIG.construct.file:

    include: "workflow/rules/construct.smk"


if WITH_READS:

    include: "workflow/rules/reference.smk"
    include: "workflow/rules/molecules.smk"


if CONFIG.reuse:

    include: "workflow/rules/reuse.smk"

else:

    include: "workflow/rules/solo.smk"
    include: "workflow/rules/cells.smk"


include: "workflow/rules/calling.smk"
include: "workflow/rules/localize.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        final_files(),
        R("ro_crate"),
