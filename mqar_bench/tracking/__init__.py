"""Runs told to trackers of experiments, as they go: TensorBoard, Weights & Biases, one of the user's own.

Whatever a tracker does, runs and their records are the same with it and without.
"""

from mqar_bench.tracking.base import Ending, JobType, Point, TrackedRun, Tracker
from mqar_bench.tracking.launch import Tracking
from mqar_bench.tracking.load import OURS, load_tracker

__all__ = ["OURS", "Ending", "JobType", "Point", "TrackedRun", "Tracker", "Tracking", "load_tracker"]
