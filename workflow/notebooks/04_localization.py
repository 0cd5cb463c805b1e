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
# # Where the CAR T cells are
#
# Shares by sample, lineage, type and state, how samples compare, and CAR molecules outside T cells. Every cell can be
# run again with nothing but the `carseq` package installed: change what you like.

# %% tags=["parameters"]
# The results folder, relative to the folder of this notebook.
results = ".."

# %%
from pathlib import Path

from carseq import figures
from carseq.report import read_study, summaries

# %matplotlib inline
study = read_study(Path(results))
figures.prevalence(study.detection)

# %% [markdown]
# ## By lineage, type and state
#
# Estimates are corrected for dropout: a shallow sample shows fewer of its CAR T cells, which is no difference between
# samples.

# %%
figures.localization(study.localization, level="cell_type")

# %%
figures.localization(study.localization, level="t_state")

# %%
estimated = study.localization[study.localization["estimate"].notna()]
estimated[["sample", "level", "group", "n_cells", "n_car_positive", "estimate", "low", "high"]]

# %% [markdown]
# ## Contrasts
#
# The column `method` says what was compared and how. One patient gives an estimate, never a claim about patients.

# %%
figures.contrasts(study.contrasts)

# %%
study.contrasts

# %% [markdown]
# ## CAR by cell type

# %%
summaries.car_by_type(study.cells)

# %% [markdown]
# ## CAR molecules outside T cells
#
# Never a call: a finding with a reason.

# %%
summaries.signal_outside_t(study.cells).head(30)
