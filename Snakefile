# carseq: are there CAR T cells in this urine, which cells are they, and how sure are we?
#
#   construct ─ reference ─ solo ─ molecules ─ calling ─ localize ─ report, notebooks
#                             └────── cells ──────┘
#
# snakemake --configfile my.yaml --cores N


from snakemake.utils import min_version

min_version("9.6")


include: "workflow/rules/common.smk"
include: "workflow/rules/construct.smk"
include: "workflow/rules/reference.smk"
include: "workflow/rules/solo.smk"
include: "workflow/rules/molecules.smk"
include: "workflow/rules/cells.smk"
include: "workflow/rules/calling.smk"
include: "workflow/rules/localize.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        f"{RESULTS}/report/report.html",
        f"{RESULTS}/notebooks/03_car_t_cells.ipynb",
        f"{RESULTS}/cohort/cells.h5ad",
        f"{RESULTS}/cohort/detection.tsv",
        f"{RESULTS}/cohort/localization.tsv",
        f"{RESULTS}/cohort/contrasts.tsv",
        f"{RESULTS}/cohort/target.tsv",
        f"{RESULTS}/cohort/clinic.tsv",
        f"{RESULTS}/run_config.yaml",
        f"{RESULTS}/versions.json",
