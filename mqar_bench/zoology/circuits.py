"""Zoology's circuits, a class of settings each: one task here. Both ways."""

from __future__ import annotations

from typing import Any

from mqar_bench.tasks.circuits import Circuit, CircuitsConfig
from mqar_bench.zoology import shim
from mqar_bench.zoology.fields import Reader

#: What its classes are here.
CIRCUITS: dict[type[shim.BaseConfig], Circuit] = {
    shim.ParityConfig: "parity",
    shim.MajorityConfig: "majority",
    shim.VocabMajorityConfig: "vocab_majority",
    shim.CumulativeParityConfig: "cumulative_parity",
    shim.CumulativeMajorityConfig: "cumulative_majority",
}


def translate_circuit(config: shim.DataSegmentConfig, reader: Reader) -> CircuitsConfig:
    """A segment of one of ``CIRCUITS``.

    Raises:
        Untranslatable: it has a field that is not known.
    """
    config = reader.settle(config, *CIRCUITS)
    circuit, length = CIRCUITS[type(config)], config.input_seq_len
    if circuit == "cumulative_parity":
        length -= 1  # as many tokens there are in its examples
    if circuit == "majority" and length == 1:
        reader.note("MajorityConfig of no symbols at all is 0; Zoology divides by zero")
    return CircuitsConfig(
        circuit=circuit,
        num_examples=config.num_examples,
        input_seq_len=length,
        num_symbols=config.vocab_size - 1 if circuit == "vocab_majority" else 2,
    )


def export_circuit(task: CircuitsConfig) -> tuple[str, dict[str, Any]]:
    """Zoology's class for a task, by its name, and its fields."""
    (kind,) = (kind for kind, circuit in CIRCUITS.items() if circuit == task.circuit)
    length = task.input_seq_len + (task.circuit == "cumulative_parity")
    return kind.__name__, {
        "vocab_size": task.vocab_size,
        "num_examples": task.num_examples,
        "input_seq_len": length,
    }
