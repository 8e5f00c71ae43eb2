"""Recall in efficient sequence models: tasks, training, runs, their store, and the command line."""

import os

# Waiting OpenMP threads that spin slow training several times over on few cores; read once, when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
