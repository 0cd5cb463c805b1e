"""Thresholds that several rooms, the configuration and the command line share, each defined once."""

from __future__ import annotations

#: Expected share of false calls among the positive ones of a sample, unless asked otherwise. A rate between 0 and 1,
#: both excluded.
FDR = 0.05
#: A molecule counts for a cell if it is more likely CAR than endogenous.
MIN_P_CAR = 0.5
#: Fewer reads on the CAR's contig that are unlike the construct are noise.
FEWEST_UNLIKE = 20
#: Share of these reads that may be unlike it without a word: chimeras, and reads of poor quality.
MOST_UNLIKE = 0.1
