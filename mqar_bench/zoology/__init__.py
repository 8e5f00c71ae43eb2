"""Both ways with Zoology: its experiment files run here, and our sweeps as experiment files for it.

``load_experiment`` translates a file, ``export`` writes one; neither needs Zoology. Facts about it are those of its
commit d88d6f5 (2026-01-11).
"""

from mqar_bench.zoology.experiment import Experiment, load_experiment
from mqar_bench.zoology.export import export

__all__ = ["Experiment", "export", "load_experiment"]
