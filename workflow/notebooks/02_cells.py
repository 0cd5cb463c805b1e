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
# # The cells: types, states, and how sure
#
# Maps, markers, the second opinion, and the states of T cells. No gene of the CAR was used to type a cell. Every cell
# can be run again with nothing but the `carseq` package installed: change what you like.

# %% tags=["parameters"]
# The results folder, relative to the folder of this notebook.
results = ".."

# %%
from pathlib import Path

import anndata as ad

from carseq import figures
from carseq.figures import summaries
from carseq.report import read_study

# %matplotlib inline
study = read_study(Path(results))
adata = ad.read_h5ad(Path(results) / "cohort" / "cells.h5ad")
adata

# %% [markdown]
# ## The map

# %%
figures.umap(adata, by="cell_type")

# %%
figures.umap(adata, by="lineage")

# %% [markdown]
# ## Integration
#
# Samples that share cell types should share clusters. A cluster of one sample may be its biology (a product, a sorted
# sample) or its batch.

# %%
print("samples were integrated by:", study.integration)
figures.umap(adata, by="sample")

# %%
figures.mixing(study.cells)

# %% [markdown]
# ## Composition

# %%
figures.composition(study.cells)

# %%
summaries.composition(study.cells, study.samples).T

# %% [markdown]
# ## Markers
#
# If a type is doubtful, look for its markers here.

# %%
figures.markers(adata)

# %% [markdown]
# ## Two methods
#
# The lineage in use beside a second opinion made in another way. T cells that the second opinion puts elsewhere deserve
# a look before a call rests on them.

# %%
figures.agreement(study.cells)

# %%
confidence = study.cells.groupby("cell_type")["cell_type_confidence"]
confidence.describe()[["count", "25%", "50%", "75%"]].sort_values("50%")

# %%
summaries.car_by_type(study.cells)[["cell_type", "n_cells", "confidence", "marker_coverage"]]

# %% [markdown]
# ## States of the T cells

# %%
figures.states(study.cells)
