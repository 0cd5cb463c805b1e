"""simulate: a synthetic study with its truth, made by following molecules, never a caller's model.

Takes a construct. Makes a small genome (CD247, CD28, TNFRSF9 and CD8A are the real ones, so that a
CAR's domains are truly shared), FASTQ of urine and blood samples, sheets and a configuration ready
to run, and the truth of every droplet and CAR molecule.

- :func:`simulate_study` writes a study.
- :class:`SampleSpec`: a sample to simulate; :func:`demo_samples`: those of the demo.
- :class:`Protocol`: rates of the wet lab and the sequencer.
"""

from carseq.simulate.molecules import Protocol
from carseq.simulate.study import SampleSpec, demo_samples, simulate_study

__all__ = ["Protocol", "SampleSpec", "demo_samples", "simulate_study"]
