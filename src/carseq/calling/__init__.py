"""calling: from CAR molecules to CAR T cells, with a probability for each and a verdict for each sample.

:func:`call_cells` takes annotated cells and CAR molecules; :func:`call_study` makes of a whole study what the workflow
makes of it. The rooms within: ``counts`` (molecules to counts), ``background`` (false CAR molecules), ``model`` (the
probability of a CAR T cell), ``clones`` (clonotypes as evidence), ``calls``, ``verdict``, ``fractions``, ``gates``
(sorted samples), ``rules`` (the field's own rules beside the model), ``robustness`` (other thresholds and depths).
"""

from carseq.calling.background import ASSUMED_CONTAMINATION
from carseq.calling.calls import MAX_AMBIENT_P, choose
from carseq.calling.cohort import call_cells
from carseq.calling.counts import (
    ambient_car,
    cell_losses,
    count_car,
    drop_swapped,
    unseen_share,
)
from carseq.calling.fractions import draw_fraction, explain_posterior, fraction_of
from carseq.calling.gates import fraction_is, gate_of, gates
from carseq.calling.model import Fit
from carseq.calling.robustness import downsampling, thresholds
from carseq.calling.rules import rules
from carseq.calling.study import StudyCalls, call_study
from carseq.calling.verdict import all_may_be_false, decide, never_twice, silent_left_out
from carseq.io.barcodes import match_barcodes as match_barcodes
from carseq.schema.thresholds import FDR, MIN_P_CAR

__all__ = [
    "ASSUMED_CONTAMINATION",
    "FDR",
    "MAX_AMBIENT_P",
    "MIN_P_CAR",
    "Fit",
    "StudyCalls",
    "all_may_be_false",
    "ambient_car",
    "call_cells",
    "call_study",
    "cell_losses",
    "choose",
    "count_car",
    "decide",
    "downsampling",
    "draw_fraction",
    "drop_swapped",
    "explain_posterior",
    "fraction_is",
    "fraction_of",
    "gate_of",
    "gates",
    "never_twice",
    "rules",
    "silent_left_out",
    "thresholds",
    "unseen_share",
]
