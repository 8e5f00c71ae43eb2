"""Weights & Biases, as its own environment variables say: WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE, WANDB_DIR."""

from __future__ import annotations

import os

import wandb

from mqar_bench.tracking.base import Ending, Point, TrackedRun

PROJECT = "mqar-bench"
#: Its modes that need no key.
OFFLINE = ("offline", "disabled", "dryrun")
#: How long a run's last data may take to be uploaded; what is left is kept in its folder, for ``wandb sync``.
FINISH_SECONDS = 60.0


class WeightsAndBiases:
    """A tracker; see ``Tracker``. The run's id is ours, so that a run that goes on is the same one there.

    Its steps are the points' indices, which are the same however a run was interrupted: what it has is not sent again.
    ``step`` is the axis of its charts.
    """

    def start(self, run: TrackedRun) -> None:
        self._run = None
        mode = wandb.setup(wandb.Settings(silent=True)).settings.mode
        if mode not in OFFLINE and not wandb.login(prompt=False):  # it would ask for a key, on the terminal
            raise RuntimeError("there is no API key: wandb login, or WANDB_API_KEY, or WANDB_MODE=offline")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            entity=os.environ.get("WANDB_ENTITY") or None,
            id=run.config.run_id,
            name=run.name,
            group=run.group,
            job_type=run.job_type,
            config=run.settings,
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",  # one for all runs
                disable_git=True,  # of the current folder, which need not be ours
                x_disable_stats=True,  # of this machine, which need not be the run's
                x_save_requirements=False,
                finish_timeout=FINISH_SECONDS,
                finish_timeout_raises=True,
            ),
        )
        self._run.define_metric("*", step_metric="step")

    def log(self, point: Point) -> None:
        assert self._run is not None
        if point.index >= self._run.starting_step:
            self._run.log({**point.values, "step": point.step}, step=point.index)

    def finish(self, ending: Ending) -> None:
        assert self._run is not None
        self._run.summary.update({name: value for name, value in ending.summary.items() if value is not None})
        if ending.status == "paused":
            self._run.mark_preempting()
        self._run.finish(exit_code=0 if ending.status == "done" else 1)
