"""Execute the notebooks on the results; the executed notebooks are the output.

Not called notebook.py: Jupyter imports a module of that name, and scripts lie on the import path.
"""

from carseq.report.notebooks import run_notebooks
from carseq.workflow import job

with job(snakemake):
    run_notebooks(snakemake.input.sources, snakemake.output, processes=snakemake.threads)
