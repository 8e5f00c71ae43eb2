"""The baselines of fig3 that come with the package: their rows, and the protocol that they were trained by.

One file a scale, ``mqar_bench/shipped/baselines-<scale>.json``, is written from the committed records and read wherever
the package is installed. It says what all runs share (``protocol``), how their rates were chosen (``screening``), what
made them (``versions``, ``schema_version``), and has a row a run, of ``records.table``.

    python -m mqar_bench.records.baselines    # or `make baselines`: writes the files anew from results/
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mqar_bench.basics.errors import UsageError, hint
from mqar_bench.basics.files import write_atomically
from mqar_bench.config import MixerSpec, RunConfig
from mqar_bench.records.result import SCHEMA_VERSION, RunResult
from mqar_bench.records.store import read_file
from mqar_bench.records.table import LEADING, TRAILING, from_rows, to_row

FOLDER = Path(__file__).parents[1] / "shipped"
#: The sweep whose records they are, and its scales that are shipped.
SWEEP, SCALES = "fig3", ("demo", "laptop")


@dataclass(frozen=True, eq=False)
class Baselines:
    """What is shipped of a scale.

    Args:
        scale: of the sweep fig3.
        rows: a run each, as ``to_row`` makes them.
        protocol: what all runs share, as ``protocol_of`` has it.
        seed: what rates were chosen with; runs in full have those that follow, where there was a screening.
        screening: ``epochs`` of the short runs that chose the rates; None where all rates were trained in full.
        versions: of each package that numbers come from, those that made the records.
        schema_version: of the records.
    """

    scale: str
    rows: list[dict[str, Any]]
    protocol: dict[str, Any]
    seed: int
    screening: dict[str, int] | None
    versions: dict[str, list[str]]
    schema_version: int

    @property
    def frame(self) -> pd.DataFrame:
        """A row a run, as ``to_frame`` has it."""
        return from_rows(self.rows)

    def config(self, spec: MixerSpec, d_model: int, learning_rate: float, sweep: str, label: str = "") -> RunConfig:
        """A run of another mixer by the same protocol, with the first seed.

        Args:
            spec: the mixer, which stands where theirs do.
            d_model: width of the model.
            learning_rate: peak rate.
            sweep: under which it is listed, at their scale.
            label: what figures call the architecture; by default the mixer's name.
        """
        shared = self.protocol
        mixers = [*shared["model"]["mixers"], spec.model_dump(mode="json")]
        return RunConfig.model_validate(
            {
                "sweep": sweep,
                "scale": self.scale,
                "mixer": label,
                "data": shared["data"] | {"seed": self.seed},
                "model": shared["model"] | {"d_model": d_model, "mixers": mixers},
                "train": shared["train"] | {"learning_rate": learning_rate, "seed": self.seed},
            }
        )

    def differences(self, config: RunConfig) -> list[str]:
        """What of a run's protocol is not theirs: ``train.batch_size 32 instead of 48``."""
        theirs, ours = (dict(_flatten(values)) for values in (self.protocol, protocol_of(config)))
        return [
            f"{path} {json.dumps(ours.get(path))} instead of {json.dumps(theirs.get(path))}"
            for path in dict.fromkeys([*theirs, *ours])
            if theirs.get(path) != ours.get(path)
        ]


def baselines(scale: str) -> pd.DataFrame:
    """The baselines' runs at a scale of fig3, ``demo`` or ``laptop``, a row each, as ``to_frame`` has them.

    Raises:
        UsageError: none are shipped of that scale.
    """
    return load_baselines(scale).frame


def load_baselines(scale: str) -> Baselines:
    """The baselines at a scale, with their protocol.

    Raises:
        UsageError: none are shipped of that scale.
    """
    if scale not in SCALES:
        raise UsageError(f"no baselines at scale {scale!r}{hint(scale, SCALES)}")
    return _parse((FOLDER / f"baselines-{scale}.json").read_text(encoding="utf-8"))


def protocol_of(config: RunConfig) -> dict[str, Any]:
    """What decides a run besides the mixer under test, the width, the learning rate, the seeds and the device."""
    values = config.model_dump(mode="json", include={"data", "model", "train"})
    values["model"]["mixers"] = values["model"]["mixers"][:-1]
    left_out = {"data": ("seed",), "model": ("d_model",), "train": ("learning_rate", "seed", "device")}
    return {part: {k: v for k, v in values[part].items() if k not in left_out[part]} for part in values}


def write_baselines(results: Iterable[RunResult]) -> str:
    """The file of some records of one scale, in the order given: the same records give the same text.

    Raises:
        UsageError: there are none, they are of several protocols, or were screened in several ways.
    """
    results = list(results)
    if not results:
        raise UsageError("there are no records to make baselines of")
    protocols = {json.dumps(protocol_of(result.config), sort_keys=True) for result in results}
    screens = {(r.screen.epochs, r.screen.seed) if r.screen else None for r in results}
    if len(protocols) > 1:
        raise UsageError(f"the records are of {len(protocols)} protocols: baselines have one in common")
    if len(screens) > 1:
        raise UsageError(f"the records were screened in {len(screens)} ways: baselines have one in common")
    screen = screens.pop()
    seed = screen[1] if screen and screen[1] is not None else min(result.config.train.seed for result in results)
    made = [result.provenance.versions for result in results]
    head = {
        "scale": results[0].config.scale,
        "schema_version": SCHEMA_VERSION,
        "versions": {
            name: sorted({v[name] for v in made if name in v}) for name in sorted({n for v in made for n in v})
        },
        "seed": seed,
        "screening": {"epochs": screen[0]} if screen else None,
        "protocol": protocol_of(results[0].config),
    }
    rows = [to_row(result) for result in results]
    varying = sorted({name for row in rows for name in row} - {*LEADING, *TRAILING}, key=list(from_rows(rows)).index)
    columns = [*LEADING, *varying, *TRAILING]
    lines = [json.dumps([row.get(name) for name in columns]) for row in rows]  # one a run, so that git tells them apart
    parts = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in head.items()]
    parts += [f'"columns": {json.dumps(columns)}', '"rows": [\n' + ",\n".join(lines) + "\n]"]
    return "{" + ",\n".join(parts) + "}\n"


def read_packed(root: Path, scale: str) -> list[RunResult]:
    """The records of fig3 at a scale in the packed file of a folder of records.

    Raises:
        UsageError: it cannot be read, or has lines that are no records.
    """
    problems: list[str] = []
    results = [entry.result for entry in read_file(root / f"{SWEEP}-{scale}.jsonl", problems)]
    if problems:
        raise UsageError(problems[0])
    return results


def _parse(text: str) -> Baselines:
    values = json.loads(text)
    always = {*LEADING, *TRAILING}
    rows = [
        {name: value for name, value in zip(values["columns"], row, strict=True) if value is not None or name in always}
        for row in values["rows"]
    ]
    return Baselines(
        scale=values["scale"],
        rows=rows,
        protocol=values["protocol"],
        seed=values["seed"],
        screening=values["screening"],
        versions=values["versions"],
        schema_version=values["schema_version"],
    )


def _flatten(values: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def main(root: Path = Path("results"), folder: Path = FOLDER) -> None:
    """Write every scale's file from the packed records below ``root``."""
    for scale in SCALES:
        path = folder / f"baselines-{scale}.json"
        write_atomically(path, write_baselines(read_packed(root, scale)).encode())
        print(path)


if __name__ == "__main__":
    main()
