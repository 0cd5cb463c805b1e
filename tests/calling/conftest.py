"""Fixtures of the calling room."""

from __future__ import annotations

import pytest

from called_studies import CAR, study
from carseq.calling import call_cells


@pytest.fixture(scope="module")
def called():
    adata, samples = study()
    detection = call_cells(adata, None, samples, car=CAR).set_index("sample")
    return adata, samples, detection
