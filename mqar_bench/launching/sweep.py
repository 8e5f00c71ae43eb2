"""Run what the store does not hold yet, and record each run as soon as it ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

from mqar_bench.basics.errors import UsageError
from mqar_bench.config import RunConfig
from mqar_bench.launching.budget import Budget, Durations
from mqar_bench.launching.claims import Claims
from mqar_bench.launching.executor import Executor
from mqar_bench.launching.here import check_here
from mqar_bench.launching.loop import Loop
from mqar_bench.launching.screen import SUFFIX
from mqar_bench.launching.watcher import Silent, Watcher
from mqar_bench.records.flat import run_group, run_name
from mqar_bench.records.result import RunResult, ScreenRecord
from mqar_bench.records.store import Store
from mqar_bench.records.weights import find_weights
from mqar_bench.tracking import JobType, TrackedRun, Tracking, load_tracker

EXECUTORS = ("ray", "inline")
RETRIES = 2


@dataclass(frozen=True)
class Summary:
    """The records of a launch, by what became of the run; and the runs left when it ended.

    ``stopped`` is why it ended before them, one line, if not for lack of time. It was ``in_vain`` where that is that
    one run after another died in its own code before its first step: the same command would fare no better.
    """

    done: tuple[RunResult, ...] = ()
    skipped: tuple[RunResult, ...] = ()
    failed: tuple[RunResult, ...] = ()
    left: tuple[RunConfig, ...] = ()
    paused: int = 0
    stopped: str = ""
    in_vain: bool = False


def launch(
    configs: Iterable[RunConfig],
    store: Store,
    executor: str = "ray",
    *,
    address: str | None = None,
    jobs: int | None = None,
    cpus_per_run: int | None = None,
    gpus_per_run: float | None = None,
    retries: int = RETRIES,
    budget: Budget | None = None,
    force: bool = False,
    screens: Mapping[str, ScreenRecord] | None = None,
    save_weights: bool = False,
    retrain_without_weights: bool = False,
    track: Sequence[str] = (),
    watcher: Watcher | None = None,
) -> Summary:
    """Execute the runs that are not done yet, in the order given; a failed run does not stop the others.

    Calling it again resumes: what is done is skipped, what was interrupted goes on from its checkpoint if it has one
    (runs of more than half a minute do), what failed runs from scratch. Runs that another process has under way are
    waited for, not executed twice; of runs that another sweep has done, the record is taken over.

    Where Ray itself is lost, what ran goes on from its checkpoints with a new one. If there is none to be had, or
    whatever is begun dies before its first step, the launch stops and leaves the rest undone (see ``Summary``).

    Args:
        configs: the runs; a run listed twice is executed once.
        store: where records are looked up and written, each as soon as its run ends.
        executor: ``ray``, in parallel, or ``inline``, one after another in this process.
        address: of a Ray cluster to join; by default a private Ray on this machine.
        jobs: most runs at a time, with ray; by default as many as fit.
        cpus_per_run: CPUs and torch threads of a run; by default 1 with ray, all of them inline.
        gpus_per_run: GPUs of a run, with ray; by default 1 where there is one and a run may use it, else 0.
        retries: how often a run is tried again whose process or machine died; one that raises is not.
        budget: when to stop: runs under way are stopped with a checkpoint, none is begun that would not fit.
        force: execute also what is done. A record that is done is replaced only by another such.
        screens: how runs were chosen among others, for their records, by run id.
        save_weights: keep the trained weights of each run that is executed, beside its record and written before it.
            Of runs that are done already and have none it is only said how many they are.
        retrain_without_weights: the same, and train these again.
        track: trackers that follow the runs that are executed: ``tensorboard``, ``wandb``, or dotted paths to classes
            (``tracking.Tracker``). They are called in this process. One that fails is told of and left out.
        watcher: told how it goes.

    Raises:
        UsageError: the executor or a tracker does not exist, is not installed, or cannot give what is asked; or a run
            asks for a device or an engine that this machine has not, where it is to be this one.
        StoreError: a record cannot be written; what was written before stays.
        KeyboardInterrupt: likewise, after the runs under way have been stopped.
    """
    if executor not in EXECUTORS:
        raise UsageError(f"no executor named {executor!r}: there is {', '.join(EXECUTORS)}")
    if retries < 0:
        raise UsageError(f"retries must be 0 or more, got {retries}")
    trackers = {name: load_tracker(name) for name in track}
    wanted: dict[str, RunConfig] = {}
    for config in configs:
        wanted.setdefault(config.run_id, config)
    known = {run_id: result for run_id, result in store.find(wanted.values()).items() if result.status == "done"}
    known |= _mark(store, known, wanted)
    known |= _rescreen(store, known, screens or {})
    if not force:
        known |= _adopt(store, [c for c in wanted.values() if c.run_id not in known], screens or {})
    save_weights = save_weights or retrain_without_weights
    bare = _without_weights(store, known, wanted) if save_weights and not force else set()
    again = set(wanted) if force else bare if retrain_without_weights else set()
    screens = {run_id: screen for run_id in again & bare if (screen := known[run_id].screen)} | dict(screens or {})
    skipped = tuple(known[run_id] for run_id in wanted if run_id in known and run_id not in again)
    waiting = [c for c in wanted.values() if c.run_id in again or c.run_id not in known]
    if not waiting and not bare:
        return Summary(skipped=skipped)
    for config in {store.folder(config): config for config in waiting}.values():
        store.check_writable(config)
    if address is None:
        check_here(waiting)
    with ExitStack() as stack:
        watcher = watcher or Silent()
        stack.enter_context(closing(watcher))
        watcher.start(tuple(wanted.values()), len(skipped))
        if bare:
            watcher.note("", _describe_bare(len(bare), retrain_without_weights))
        if not waiting:
            return Summary(skipped=skipped)
        tracking = Tracking(trackers, lambda config, step: _describe(store, config, step), watcher.note)
        stack.enter_context(closing(tracking))  # after the workers: it may take a while
        claims = stack.enter_context(closing(Claims(store)))
        workers = stack.enter_context(closing(_make(executor, waiting, address, jobs, cpus_per_run, gpus_per_run)))
        loop = Loop(
            waiting,
            store,
            claims,
            workers,
            watcher,
            known,
            retries,
            budget,
            force,
            screens,
            save_weights,
            retrain_without_weights,
            tracking,
        )
        loop.durations = Durations(known.values())
        loop.run()
    return Summary(
        tuple(loop.done),
        skipped + tuple(loop.elsewhere),
        tuple(loop.failed),
        tuple(loop.left),
        loop.paused,
        loop.stopped,
        loop.in_vain,
    )


def _describe(store: Store, config: RunConfig, step: int) -> TrackedRun:
    job: JobType = "screen" if config.scale.endswith(SUFFIX) else "train"
    return TrackedRun(config, run_name(config), run_group(config), job, store.folder(config), step)


def _mark(store: Store, known: Mapping[str, RunResult], wanted: Mapping[str, RunConfig]) -> dict[str, RunResult]:
    """Records that are to say, from now on, what was left out of a run to make it one that is done."""
    marked = {}
    for run_id, result in known.items():
        ignored = {*result.config.ignored, *wanted[run_id].ignored}
        if len(ignored) > len(result.config.ignored):
            config = result.config.model_copy(update={"ignored": tuple(sorted(ignored))})
            marked[run_id] = result.model_copy(update={"config": config})
            store.write(marked[run_id])
    return marked


def _rescreen(
    store: Store, known: Mapping[str, RunResult], screens: Mapping[str, ScreenRecord]
) -> dict[str, RunResult]:
    """Records of runs that have won again, among more rates: they say so from now on."""
    renewed = {}
    for run_id, screen in screens.items():
        result = known.get(run_id)
        if result is not None and result.screen != screen:
            renewed[run_id] = result.model_copy(update={"screen": screen})
            store.write(renewed[run_id])
    return renewed


def _without_weights(store: Store, known: Mapping[str, RunResult], wanted: Mapping[str, RunConfig]) -> set[str]:
    """The runs that are done and whose weights are nowhere in the store, by run id."""
    done = [config for run_id, config in wanted.items() if run_id in known]
    return {config.run_id for config in done} - find_weights(store, done).keys()


def _describe_bare(count: int, retrain: bool) -> str:
    runs = "1 run that is done has" if count == 1 else f"{count} runs that are done have"
    left = "left" if count == 1 else "left as they are"
    what = "trained again" if retrain else f"{left}; --retrain-without-weights trains {'it' if count == 1 else 'them'}"
    return f"{runs} no weights: {what}"


def _adopt(store: Store, configs: Sequence[RunConfig], screens: Mapping[str, ScreenRecord]) -> dict[str, RunResult]:
    """Record what is done under another sweep or scale also under those that the configs name."""
    adopted = {}
    same = store.same(configs)
    for config in configs:
        if result := same.get(config.run_id):
            adopted[config.run_id] = result.model_copy(update={"config": config, "screen": screens.get(config.run_id)})
            store.write(adopted[config.run_id])
    return adopted


def _make(
    executor: str,
    configs: Sequence[RunConfig],
    address: str | None,
    jobs: int | None,
    cpus_per_run: int | None,
    gpus_per_run: float | None,
) -> Executor:
    if executor == "ray":
        from mqar_bench.launching.ray_parent import make_ray

        if gpus_per_run is None:
            gpus_per_run = _default_gpus(configs)
        return make_ray(configs, address, jobs, cpus_per_run or 1, gpus_per_run)
    if jobs not in (None, 1) or gpus_per_run is not None or address is not None:
        raise UsageError(
            "the inline executor has one run at a time, here, and leaves the GPU to it:"
            " use ray, or no --jobs, --gpus-per-run, --address"
        )
    from mqar_bench.launching.inline import InlineExecutor

    return InlineExecutor(cpus_per_run)


def _default_gpus(configs: Iterable[RunConfig]) -> float:
    import torch

    wanted = any(config.train.device != "cpu" for config in configs)
    return 1.0 if wanted and torch.cuda.is_available() else 0.0
