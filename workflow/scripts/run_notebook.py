"""Execute a notebook on the results; the executed notebook is the output.

Not called notebook.py: Jupyter imports a module of that name, and scripts lie on the import path.
"""

from carseq.report.notebooks import run_notebook
from carseq.workflow import job

with job(snakemake):
    run_notebook(snakemake.input.source, snakemake.output[0])
