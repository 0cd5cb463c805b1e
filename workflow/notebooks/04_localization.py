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

from IPython.display import display

from carseq import figures
from carseq.figures import summaries
from carseq.report import read_study

# %matplotlib inline
study = read_study(Path(results))
figures.prevalence(study.detection)

# %% [markdown]
# ## By lineage, type and state
#
# Estimates are corrected for dropout: a shallow sample shows fewer of its CAR T cells; that alone makes no difference
# between samples.

# %%
figures.localization(study.localization, level="cell_type")

# %%
figures.localization(study.localization, level="t_state")

# %%
figures.localization(study.localization, level="cell_type x t_state")

# %%
shown = study.localization.assign(sample=figures.shown_sample(study.localization))
estimated = shown[shown["estimate"].notna()]
estimated[["sample", "level", "group", "n_cells", "n_car_positive", "estimate", "low", "high"]]

# %% [markdown]
# ## Contrasts
#
# The column `method` says what was compared and how. One patient gives an estimate, never a claim about patients.

# %%
figures.contrasts(study.contrasts)

# %%
if (study.contrasts["group"] != "").any():
    display(figures.contrasts(study.contrasts, within=True))
else:
    print("No contrast of T-cell states or types.")

# %%
compared = ["contrast", "compartment", "group", "patient", "sample", "reference"]
study.contrasts[[*compared, "estimate", "low", "high", "p", "q", "n_patients", "method"]]

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

# %% [markdown]
# ## Blood in the urine
#
# How many of the urine's T cells blood could have brought, by marker population of blood and combined.

# %%
if len(study.blood):
    columns = [
        "sample",
        "population",
        "n_urine",
        "n_blood",
        "estimate",
        "low",
        "high",
        "used",
        "note",
    ]
    display(study.blood[columns])
else:
    print("No urine sample.")

# %% [markdown]
# ## Cells that express the target
#
# A shallow cell may express it unseen.

# %%
if len(study.target):
    display(figures.target(study.target), study.target)
else:
    print("No target was given (construct.target).")

# %% [markdown]
# ## Along time, with the clinic
#
# Side by side: nothing says that one causes the other.

# %%
if len(study.clinic):
    display(figures.clinic(study.clinic), study.clinic)
else:
    print("No number in the samples sheet.")

# %% [markdown]
# ## Agreement with flow cytometry and qPCR
#
# Differences are carseq's share less the measured one, described and not tested.

# %%
if len(study.agreement):
    display(study.agreement)
else:
    print("No share measured otherwise.")

# %% [markdown]
# ## Clonotypes
#
# T-cell receptors that compartments of a patient share, and those of CAR T cells.

# %%
if len(study.clonotypes):
    display(study.clonotypes)
else:
    print("No T-cell receptors, or none shared.")
