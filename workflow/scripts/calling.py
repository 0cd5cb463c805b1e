"""Call CAR T cells and give each sample its verdict."""

import anndata
import pandas as pd

from carseq.calling import call_cells, cell_losses
from carseq.tables import DETECTION, LOSSES, OBS, read_table, write_h5ad, write_table
from carseq.workflow import job
