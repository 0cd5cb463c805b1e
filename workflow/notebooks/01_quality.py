# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Quality: libraries, droplets, cells
#
# What the reads gave, which droplets were called cells, what the filters took, and how much ambient RNA is about. Every
# cell can be run again with nothing but the `carseq` package installed: change what you like.

# %% tags=["parameters"]
# The results folder, relative to the folder of this notebook.
results = ".."

# %%
from pathlib import Path

import pandas as pd
from IPython.display import display

from carseq import figures
from carseq.report import alerts, read_study

# %matplotlib inline
study = read_study(Path(results))
study.detection[["sample", "compartment", "timepoint", "role", "n_cells", "n_t_cells"]]

# %% [markdown]
# ## What to know first

# %%
for alert in alerts.alerts(study):
    print(f"{alert.level}: {alert.where}: {alert.message}\n    {alert.remedy}")

# %% [markdown]
# ## Libraries
#
# Samples that came as a BAM or a matrix have no row here.

# %%
pd.DataFrame({name: summary for name, summary in study.solo.items() if summary}).T

# %% [markdown]
# ## Droplets by rank
#
# Triangles carry a CAR molecule. Those far down the tail are ambient CAR RNA, not cells.

# %%
for name, knee in study.knees.items():
    display(figures.knee(knee, name))

# %% [markdown]
# ## Filters
#
# Limits differ by lineage: kidney cells are rich in mitochondria and T cells are small.

# %%
figures.filters(study.filters)

# %%
study.filters

# %% [markdown]
# ## The cells kept

# %%
figures.quality(study.cells, by="lineage")

# %%
figures.quality(study.cells, by="sample")

# %%
figures.quality_scatter(study.cells)

# %% [markdown]
# ## Doublets
#
# A doublet is never called a CAR T cell.

# %%
figures.doublets(study.cells)

# %% [markdown]
# ## Ambient RNA
#
# The share of a cell's molecules that came from the fluid. The CAR model asks of every cell how many CAR molecules
# this alone would bring.

# %%
figures.contamination(study.cells)

# %% [markdown]
# ## Time and memory of the run
#
# They are in `report/run_times.tsv`: not here, so that the same study gives the same notebook.
