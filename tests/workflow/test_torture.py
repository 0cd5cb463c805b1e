"""Jobs of the demo study under faults, in small; a file of its own, so that another worker may take it."""

from __future__ import annotations

import json
import subprocess
import sys

from runs import ROOT, WORKFLOW

pytestmark = WORKFLOW


def test_faults_are_survived_and_told(demo, tmp_path):
    """Jobs killed and limited give the same when run again; damaged inputs are told (the whole: `make torture`)."""
    outcomes = tmp_path / "outcomes.json"
    torture = [
        ROOT / "tests/faults/torture.py",
        "--study",
        demo.folder,
        "--short",
        "--json",
        outcomes,
    ]
    done = subprocess.run(
        [sys.executable, *map(str, torture)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    found = json.loads(outcomes.read_text())
    assert len(found) >= 25
    assert sum(o["told"] is True for o in found) >= 20
    assert sum(o["survived"] is True for o in found) >= 7
    assert not any(o["survived"] is False or o["told"] is False for o in found)
