import pytest

from mqar_bench.basics.errors import UsageError
from mqar_bench.config import DataConfig, RunConfig
from mqar_bench.launching.screen import Screening
from mqar_bench.records.result import Provenance, RunResult
from mqar_bench.tasks import MQARConfig

MADE = Provenance(
    device="", threads=1, python="", versions={}, git_commit=None, git_dirty=None, started_at="2026-01-01T00:00:00"
)


def config(rate, d_model=64, seed=1, epochs=8) -> RunConfig:
    train = {"learning_rate": rate, "seed": seed, "max_epochs": epochs}
    return RunConfig.model_validate({"sweep": "grid", "scale": "tiny", "model": {"d_model": d_model}, "train": train})


def records(screening, accuracies) -> dict[str, RunResult]:
    """Of the short run of each config; ``None`` for one that failed, ``...`` for one that was lost."""
    found = {}
    for of, accuracy in accuracies:
        short = screening.short(of)
        done = isinstance(accuracy, float)
        found[short.run_id] = RunResult(
            run_id=short.run_id,
            status="done" if done else "failed",
            config=short,
            provenance=MADE,
            accuracy=accuracy if done else None,
            lost=accuracy is ...,
        )
    return found


GRID = [config(rate, seed=seed) for seed in (1, 2) for rate in (1e-3, 1e-2, 1e-1)] + [config(1e-3, d_model=32)]


def test_the_first_stage_is_short_and_has_each_rate_of_a_model_once():
    first = Screening(0.25).first_stage(GRID)
    assert [(c.train.learning_rate, c.train.seed, c.model.d_model) for c in first] == [
        (1e-3, 1, 64),
        (1e-2, 1, 64),
        (1e-1, 1, 64),
    ]
    assert {c.train.max_epochs for c in first} == {2} and {c.scale for c in first} == {"tiny-screen"}
    assert not {c.run_id for c in first} & {c.run_id for c in GRID}  # the budget is part of what a run is


def test_the_best_are_kept_for_every_seed_and_it_is_recorded():
    screening = Screening(0.25)
    chosen, why = screening.second_stage(GRID, records(screening, zip(GRID[:3], (0.1, 0.7, 0.2), strict=True)))
    assert chosen == [GRID[1], GRID[4], GRID[6]]  # in the sweep's order; without rivals there is nothing to choose
    assert set(why) == {GRID[1].run_id, GRID[4].run_id}
    assert why[GRID[1].run_id].rivals == {"0.001": 0.1, "0.01": 0.7, "0.1": 0.2}
    assert (why[GRID[1].run_id].epochs, why[GRID[1].run_id].keep) == (2, 1)


@pytest.mark.parametrize(
    "accuracies, kept",
    [
        ((0.5, 0.5, 0.4), 0),  # of equals the lower rate
        ((None, 0.0, None), 1),  # one that failed is behind all others
        ((None, None, None), 0),
    ],
    ids=["equal", "failed", "all failed"],
)
def test_ties_and_failures(accuracies, kept):
    screening = Screening(0.25)
    chosen, _ = screening.second_stage(GRID[:3], records(screening, zip(GRID[:3], accuracies, strict=True)))
    assert chosen == [GRID[kept]]


@pytest.mark.parametrize(
    "losses, kept",
    [((3.0, 2.0, 2.5), 1e-2), ((2.0, 2.0, 2.5), 1e-3), ((3.0, None, 2.5), 1e-1)],
    ids=["the lowest", "a tie", "a failure"],
)
def test_runs_that_keep_losses_are_told_apart_by_them(losses, kept):
    """Though their accuracies say otherwise."""
    screening = Screening(0.25)
    found = {}
    for key, result in records(screening, zip(GRID[:3], (0.1, 0.2, 0.3), strict=True)).items():
        loss = losses[[screening.short(c).run_id for c in GRID[:3]].index(key)]
        update = {"losses": {"a": loss - 1, "b": loss + 1}} if loss else {"status": "failed", "accuracy": None}
        found[key] = result.model_copy(update=update)
    chosen, why = screening.second_stage(GRID[:3], found)
    assert [c.train.learning_rate for c in chosen] == [kept]
    record = why[chosen[0].run_id]
    assert record.by == "loss" and list(record.rivals.values()) == list(losses)
    assert record.model_dump()["by"] == "loss" and "by" not in record.model_copy(update={"by": "accuracy"}).model_dump()


@pytest.mark.parametrize("missing", [..., "absent"], ids=["lost", "not run yet"])
def test_a_model_is_undecided_while_a_short_run_is_missing(missing):
    screening = Screening(0.25)
    found = records(screening, [(GRID[0], 0.1), (GRID[1], 0.7), (GRID[2], ...)])
    if missing == "absent":
        del found[screening.short(GRID[2]).run_id]
    chosen, why = screening.second_stage(GRID, found)
    assert chosen == [GRID[6]] and why == {}


def test_several_are_kept():
    screening = Screening(0.5, keep=2)
    found = records(screening, zip(GRID[:3], (0.1, 0.7, 0.2), strict=True))
    assert screening.second_stage(GRID[:3], found)[0] == [GRID[1], GRID[2]]
    assert Screening(0.5, keep=3).first_stage(GRID) == []


def test_fresh_seeds_are_others_than_the_one_screened_with():
    screening = Screening(0.25, fresh=2)
    grid = [c for c in GRID if c.train.seed == 1]
    chosen, why = screening.second_stage(grid, records(screening, zip(GRID[:3], (0.1, 0.7, 0.2), strict=True)))
    assert chosen == [grid[1].reseeded(1), grid[3].reseeded(1), grid[1].reseeded(2), grid[3].reseeded(2)]
    assert {(c.train.seed - 1, c.data.seed - grid[1].data.seed) for c in chosen} == {(1, 1), (2, 2)}
    assert set(why) == {chosen[0].run_id, chosen[2].run_id}
    record = why[chosen[0].run_id]
    assert (record.seed, record.runs["0.01"]) == (1, screening.short(grid[1]).run_id)


def test_what_is_screened_on_validation_settings_never_sees_the_test():
    task = MQARConfig(vocab_size=64, input_seq_len=16, num_kv_pairs=2)
    data = DataConfig(validation=(task,))
    short = Screening(0.25).short(GRID[0].model_copy(update={"data": data}))
    assert short.data.test == (task,) and short.data.validation == ()


def test_what_is_too_short_for_a_share_is_run_in_full():
    short = [config(rate, epochs=1) for rate in (1e-3, 1e-2)]
    assert Screening(0.25).first_stage(short) == []
    assert Screening(0.25).second_stage(short, {}) == (short, {})


@pytest.mark.parametrize(
    "share, keep, message", [(0.0, 1, "between 0 and 1"), (1.0, 1, "between 0"), (0.5, 0, "at least 1")]
)
def test_mistakes(share, keep, message):
    with pytest.raises(UsageError, match=message):
        Screening(share, keep)
