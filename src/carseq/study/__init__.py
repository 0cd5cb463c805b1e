"""study: a validated configuration with its sheets."""

from carseq.study.config import Config, load_config, parse_config, read_config, resolve_paths
from carseq.study.load import load_study, read_study
from carseq.study.model import Study
from carseq.study.sheets import Sample, Unit, further_columns

__all__ = [
    "Config",
    "Sample",
    "Study",
    "Unit",
    "further_columns",
    "load_config",
    "load_study",
    "parse_config",
    "read_config",
    "read_study",
    "resolve_paths",
]
