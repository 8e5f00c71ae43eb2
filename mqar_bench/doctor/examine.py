"""All sections, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from mqar_bench.doctor.sections import Check, Section
from mqar_bench.doctor.versions import check_versions


def examine(results: Path, address: str | None, use_ray: bool, tell: Callable[[str], None]) -> Iterator[Section]:
    """Look at everything, a section at a time.

    Args:
        results: the folder of records.
        address: of a Ray cluster to join; None for a private Ray.
        use_ray: without it Ray is left alone.
        tell: told what is being looked at.
    """
    versions = Section("Versions", tuple(check_versions()))
    yield versions
    try:
        from mqar_bench.doctor.engines import check_engines, explain
        from mqar_bench.doctor.folder import check_folder
        from mqar_bench.doctor.hardware import check_hardware
        from mqar_bench.doctor.ray_check import check_ray
        from mqar_bench.training.device import pick_device
    except (ImportError, OSError) as error:  # a missing package, or one whose libraries do not load
        known = any(check.mark == "FIX" for check in versions.checks)
        text = f"not looked at: {type(error).__name__}: {error}"
        yield Section("The rest", (Check("imports", text, "note" if known else "FIX"),))
        return
    tell("machine")
    yield Section("Machine", tuple(check_hardware()))
    device = pick_device("auto")
    mixers = check_engines(device, tell)
    title = f"Mixers on {device.type}: engine in training, in decoding, and whether it trains"
    yield Section(title, tuple(mixers), explain(mixers))
    tell("Ray starts, which takes about 10 seconds" if address is None else f"the Ray cluster at {address}")
    ray = check_ray(address, device.type == "cuda") if use_ray else [Check("ray", "not tried")]
    yield Section("Ray", tuple(ray))
    tell(f"folder {results}")
    yield Section("Records", tuple(check_folder(results)))
