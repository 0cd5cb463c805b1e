"""Import paths of version 0.1 go on working, with a word."""

import importlib
import subprocess
import sys

import pytest

from carseq.moved import MOVED


@pytest.mark.parametrize("old", sorted(MOVED))
def test_an_old_import_path_is_answered_with_its_new_place(old: str) -> None:
    sys.modules.pop(old, None)
    with pytest.warns(FutureWarning, match=MOVED[old][0]):
        module = importlib.import_module(old)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = module.nothing


@pytest.mark.parametrize(
    "statement",
    [
        "from carseq.chemistry import check_pair, check_counts, detect_chemistry",
        "from carseq.sheets import Sample, further_columns, load_study",
        "from carseq.tables import MOLECULES, OBS, read_table, write_table, read_cells",
        "from carseq.solo import read_counts",
        "from carseq.config import load_config",
        "from carseq.calling import match_barcodes",
    ],
)
def test_a_script_of_version_0_1_runs(statement: str) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", statement], check=True)
