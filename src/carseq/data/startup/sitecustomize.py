"""Python reads this at its start where a run has put this folder on its path (:mod:`carseq.preload`).

A job's script begins with what Snakemake writes before it, which imports for a quarter of a second. Here it is handed
over before that.
"""

import os
import sys
from importlib.machinery import PathFinder

# Snakemake writes the scripts of its jobs there.
_script = getattr(sys, "argv", [""])[0]
if os.environ.get("CARSEQ_PRELOADED") and "/.snakemake/scripts/" in _script:
    try:
        import carseq  # noqa: F401
    except Exception:
        # Of an environment without carseq: the script itself tells what it lacks.
        sys.modules.pop("carseq", None)

# This file stands before another one of its name, which is read as it would have been.
_here = os.path.dirname(os.path.abspath(__file__))
_further = [folder for folder in sys.path if os.path.abspath(folder) != _here]
if (_found := PathFinder.find_spec("sitecustomize", _further)) is not None and _found.loader:
    from importlib.util import module_from_spec

    _module = module_from_spec(_found)
    sys.modules["sitecustomize"] = _module
    _found.loader.exec_module(_module)
