"""How far training is, for mixers with a schedule of their own, where transformers' ``Trainer`` trains."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class TellProgress(TrainerCallback):
    """Tells a model's mixers before every step which fraction of training is done.

    ``Trainer(.., callbacks=[TellProgress()])``. RAM-Net, for one, then begins with more slots; without being told it
    trains with K throughout.
    """

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        kwargs["model"].set_training_progress(state.global_step / max(state.max_steps, 1))
