"""What a report has of each figure, in whatever form it is written: numbers, protocol, cost and claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import pandas as pd

from mqar_bench.analysis.report.claims import Claim
from mqar_bench.analysis.report.headlines import headlines
from mqar_bench.config import RunConfig
from mqar_bench.tasks import AnyTask
from mqar_bench.text.task import Scored

#: Columns of a figure's table that a report leaves to the CSV.
LEFT_OUT = (
    "accuracy_low", "accuracy_high", "accuracy_seeds", "capacity_low", "capacity_high", "capacity_seeds", "variants",
    "selected_on", "setting", "num_parameters", "learning_rates", "run_ids", "run_id", "overwritten_seeds",
    *(f"perplexity_{kind}_{end}" for kind in get_args(Scored) for end in ("low", "high", "seeds")),
)  # fmt: skip

#: What is to be known of any number, in paragraphs; words in backticks are to be typed.
DEVIATIONS = """\
The paper gives no MQAR settings beyond Zoology's defaults, and no numbers behind its figures. Of RAM-Net, ours is how
it begins and is trained; `mqar-bench mixers ramnet` names the paper's choice for each option.

A learning rate is chosen by validation settings after a share of the training, with one seed, and the runs shown are of
other seeds (`sweep --select`); test settings are scored once, when training is over. Where a protocol below says that
its test settings were scored every epoch, they also chose the rate, as in Zoology. Points are means over seeds with
bootstrap intervals, which of five seeds cover about 0.85 of the time instead of 0.95. Answers are decided by the seeds:
above or below where Welch's interval of the difference leaves out 0, equal where two one-sided tests put it within a
tenth of a capacity or 0.02 of accuracy, else not told apart, as is what a bound leaves open. At equal state an
architecture has what the best of its models with no more holds, or, where that is more, what lies between the two next
to that state, linear in its logarithm, seed by seed. A model is not converged whose validation accuracy gained more
than 0.02 in the last fifth of its training.

Scales below `paper` train with a small vocabulary, on few pairs first, for one or two thousand steps: so short, mixers
that begin as an average of the past (linear attention, RAM-Net) have an advantage over gates. Longer test sequences
have keys among their filler: at laptop 3, 6 and 11 % of the queries for 128, 256 and 512 pairs meet their key again
before they are asked, followed by another key, which costs a memory that overwrites.
"""


@dataclass(frozen=True)
class Section:
    """A figure in the report.

    Args:
        name: of the figure.
        title: what it shows, a line.
        picture: path of its PNG, from the report's folder.
        table: the numbers in it.
        runs: the records behind it, failed ones too; none where it is drawn from something else.
        configs: of the runs, for their protocols.
        note: what else is to be said of where it comes from.
        claims: what it answers.
        left_out: lines that name the runs it lacks.
    """

    name: str
    title: str
    picture: str
    table: pd.DataFrame
    runs: pd.DataFrame | None
    configs: Sequence[RunConfig]
    claims: Sequence[Claim] = ()
    note: str = ""
    left_out: Sequence[str] = ()


def in_short(sections: Sequence[Section]) -> list[str]:
    """The lines that a report begins with."""
    points = next((section.table for section in sections if section.name == "capacity"), None)
    return headlines(points, [claim for section in sections for claim in section.claims])


def protocols(configs: Sequence[RunConfig]) -> str:
    """The protocols that there are; where they differ, with the names of the runs."""
    found: dict[str, list[str]] = {}
    for config in configs:
        found.setdefault(_protocol(config), []).append(config.mixer)
    if len(found) == 1:
        return f"Protocol: {next(iter(found))}"
    return " ".join(f"Protocol of {', '.join(dict.fromkeys(names))}: {text}" for text, names in found.items())


def _protocol(config: RunConfig) -> str:
    train, steps = config.train, [-(-s.num_examples // config.train.batch_size) for s in config.data.train]
    mix = ", ".join(f"{_setting(s)} x {n}" for s, n in zip(config.data.train, steps, strict=True))
    guides, test = (", ".join(map(_setting, part)) for part in (config.data.guides, config.data.test))
    scored = (
        f"validated on {guides}; tested once on {test}" if config.data.validation else f"scored every epoch on {test}"
    )
    return (
        f"(pairs, length) x steps an epoch {mix}; at most {train.max_epochs} epochs in batches of"
        f" {train.batch_size}; {scored}; vocabulary {config.model.vocab_size}; {train.schedule} schedule,"
        f" warm-up {train.warmup_fraction:g}, weight decay {train.weight_decay:g}."
    )


def _setting(task: AnyTask) -> str:
    """Its pairs and length; of one that goes by its path, which need not have pairs, its label."""
    return task.label if task.own else f"({task.num_kv_pairs}, {task.input_seq_len})"


def cost(runs: pd.DataFrame | None) -> str:
    """What a section's runs were, and took."""
    if runs is None:
        return ""
    done = runs[runs["status"] == "done"]
    failed = len(runs) - len(done)
    devices = ", ".join(sorted(set(done["device"])))
    seeds = ", ".join(map(str, sorted(set(done["seed"]))))
    count = f"{len(done)} runs{f', {failed} failed' if failed else ''}"
    return f"{count}; seeds {seeds}; {devices}; {done['seconds'].sum() / 3600:.1f} hours of runs."
