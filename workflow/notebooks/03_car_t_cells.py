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
# # CAR T cells: which, where, how sure
#
# The verdict of the study and the evidence below it, from the tables in the results folder. Every cell can be
# run again with nothing but the `carseq` package installed: change what you like.

# %% tags=["parameters"]
# The results folder, relative to the folder of this notebook.
results = ".."

# %%
from pathlib import Path

from IPython.display import display

from carseq import figures
from carseq.figures import summaries
from carseq.report import alerts, read_study

# %matplotlib inline
study = read_study(Path(results))
# With their counts: `anndata.read_h5ad(Path(results) / "cohort" / "cells.h5ad")`.
adata = study.cells_on_map()
adata

# %% [markdown]
# ## The verdict
#
# A cell without a CAR molecule may still be a CAR T cell. The estimated share corrects for that; the number of
# calls does not.

# %%
study.detection[
    [
        "sample",
        "verdict",
        "n_t_cells",
        "n_car_positive",
        "prevalence",
        "prevalence_low",
        "prevalence_high",
        "detection_limit",
        "expected_false_calls",
    ]
]

# %%
figures.prevalence(study.detection)

# %% [markdown]
# ## What to know before believing it

# %%
for alert in alerts.alerts(study):
    print(f"{alert.level}: {alert.where}: {alert.message}\n    {alert.remedy}")

# %% [markdown]
# ## The cells

# %%
figures.umap(adata, by="cell_type")

# %%
figures.umap(adata, by="car_call")

# %%
figures.composition(study.cells)

# %% [markdown]
# ## The evidence

# %%
figures.coverage(
    study.molecules,
    study.domains,
    study.homology,
    study.tx_length,
    alerts.expected_depth(study, list(study.molecules["sample"].unique())),
)

# %%
figures.evidence_classes(study.molecules)

# %%
figures.weighing(study.cells)

# %%
cells = alerts.car_bearing(study)
cells[
    ["cell_type", "car_call", "car_posterior", "car_umis", "car_expected_ambient", "car_reason"]
].head(30)

# %% [markdown]
# The molecules of the strongest cell; put in any other.

# %%
if len(cells):
    cell = cells.iloc[0]
    mine = (study.molecules["sample"] == cell["sample"]) & (
        study.molecules["barcode"] == cell["barcode"]
    )
    display(study.molecules[mine])

# %% [markdown]
# ## Where they are

# %%
figures.localization(study.localization, level="t_state")

# %%
figures.contrasts(study.contrasts)

# %%
summaries.signal_outside_t(study.cells).head(20)

# %% [markdown]
# ## Why so few?

# %%
figures.rules(study.cells, study.detection)

# %%
figures.rule_overlap(study.rules)

# %%
figures.losses(study.losses)

# %% [markdown]
# ## How firm is it?
#
# Had another false discovery rate been allowed, or fewer molecules been seen.

# %%
figures.thresholds(study.thresholds)

# %%
figures.downsampling(study.downsampling)
