"""figures: what the report's page and the notebooks draw, each figure defined once.

Charts of rows, curves and points are Altair charts (:class:`carseq.figures.chart.Figure`); maps and distributions of
many cells, and the construct's map, are drawn with matplotlib.
"""

import lazy_loader as lazy

# Loaded when asked for: neither Altair nor matplotlib is needed by who wants only names and colours.
__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "cells": [
            "agreement",
            "composition",
            "contamination",
            "doublets",
            "filters",
            "markers",
            "mixing",
            "quality",
            "quality_scatter",
            "states",
            "umap",
        ],
        "droplets": ["knee"],
        "chart": ["Figure", "Menu"],
        "construct": ["construct_map"],
        "calls": ["downsampling", "prevalence", "rule_overlap", "rules", "thresholds", "weighing"],
        "molecules": ["cell_molecules", "coverage", "evidence_classes", "losses"],
        "localize": ["clinic", "contrasts", "localization", "target"],
        "output": ["write_map"],
        "palette": [
            "CALLS",
            "CATEGORIES",
            "EVIDENCE",
            "OKABE_ITO",
            "UNKNOWN",
            "VERDICTS",
            "colours",
            "shown_call",
            "shown_sample",
        ],
        "style": ["style"],
    },
)
