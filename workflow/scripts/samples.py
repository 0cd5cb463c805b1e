"""Write down what the samples sheet says of each sample."""

import pandas as pd

from carseq.io.files import write_table
from carseq.schema.tables import METADATA
from carseq.workflow import job

with job(snakemake):
    rows = [{"sample": name, **own} for name, own in snakemake.params.samples.items()]
    write_table(pd.DataFrame(rows), snakemake.output[0], METADATA)
