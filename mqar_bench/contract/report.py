"""Everything that was found of a mixer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mixers import MixerError
from mqar_bench.basics.errors import UsageError
from mqar_bench.config.overrides import parse_mixer
from mqar_bench.contract.building import WIDTHS, fit_width
from mqar_bench.contract.check import Finding, check_mixer
from mqar_bench.contract.subject import Subject, prepare


@dataclass(frozen=True)
class Report:
    """What was found of a mixer, a finding a property; printed, a line each and a verdict."""

    subject: Subject
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> list[str]:
        """The properties that the mixer has not, by name; none if it keeps the contract."""
        return [finding.name for finding in self.findings if finding.mark == "FAILED"]

    @property
    def verdict(self) -> str:
        """One line."""
        name = self.subject.name
        if self.failed:
            return f"{name} breaks the contract: {', '.join(self.failed)}"
        counts = Counter(finding.mark for finding in self.findings)
        return f"{name} keeps the contract: {', '.join(f'{count} {mark}' for mark, count in counts.items())}"

    def __str__(self) -> str:
        lines = [f"{finding.mark:14}  {finding.name:11}  {finding.text}" for finding in self.findings]
        return "\n".join([*lines, self.verdict])

    __repr__ = __str__

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return {
            "mixer": self.subject.name,
            "options": dict(self.subject.options),
            "d_model": self.subject.d_model,
            "dtype": self.subject.dtype_name,
            "failed": self.failed,
            "properties": [asdict(finding) for finding in self.findings],
        }


def check(mixer: str, options: Mapping[str, Any] | None = None, d_model: int | None = None) -> Report:
    """Check a mixer against the contract, on the CPU, in seconds.

    Args:
        mixer: a class as ``module.Class``, or a registered name; ``__main__.Class`` of a notebook or a script.
        options: its own.
        d_model: width; by default the least of 16, 32, .., 256 that it takes.

    Raises:
        UsageError: there is no such mixer, or it takes these options at no such width; one line.
    """
    subject = make_subject(mixer, {} if options is None else options, [d_model] if d_model else WIDTHS)
    return Report(subject, tuple(check_mixer(subject)))


def make_subject(mixer: str, options: Mapping[str, Any] | str, widths: Sequence[int] = WIDTHS) -> Subject:
    """What ``check_mixer`` looks at, at the first of some widths with which a mixer takes its options, which may be
    JSON text; other arguments and errors are those of ``check``."""
    spec = parse_mixer(mixer, options)
    try:
        return prepare(mixer, fit_width(mixer, spec.options, widths), spec.options)
    except MixerError as error:
        raise UsageError(str(error)) from None
