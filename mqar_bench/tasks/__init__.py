"""Synthetic tasks: a frozen config builds a `Segment`, examples of one difficulty with sparse labels."""

from mqar_bench.tasks.mqar import MQARConfig, segment_seeds
from mqar_bench.tasks.segment import Segment

__all__ = ["MQARConfig", "Segment", "segment_seeds"]
