import pytest

from mqar_bench.records.result import Epoch
from plots.select import select_points, summarise, tabulate
from tests.plots.records import config, frame, record


def only(records, by=("mixer", "state_size")):
    (point,) = select_points(frame(*records), by)
    return point


def runs(accuracies: dict, **options):
    """By (rate, seed)."""
    return [record(config(rate=rate, seed=seed, **options), a) for (rate, seed), a in accuracies.items()]


def test_the_best_mean_over_seeds_wins_and_not_the_best_run():
    point = only(runs({(1e-3, 1): 0.5, (1e-2, 1): 0.9, (1e-2, 2): 0.7, (3e-2, 1): 0.95, (3e-2, 2): 0.2}))
    row = summarise(point)
    assert row["learning_rate"] == 1e-2 and row["accuracy"] == pytest.approx(0.8)
    assert (row["accuracy_low"], row["accuracy_high"], row["seeds"]) == (0.7, 0.9, 2)
    assert row["accuracy_seeds"] == "0.9 0.7" and row["solved"] == 0.5
    assert (row["learning_rates"], row["variants"], row["runs"], row["failed"]) == (3, 1, 5, 0)
    assert row["accuracy/L64-kv8"] == pytest.approx(0.8) and row["selected_on"] == "test"


def test_of_equals_the_lower_rate_wins():
    assert summarise(only(runs({(3e-2, 1): 0.5, (1e-2, 1): 0.5})))["learning_rate"] == 1e-2


def test_where_all_keep_it_the_lowest_loss_wins():
    def by_loss(*losses):
        epochs = [
            Epoch(epoch=0, loss=1.0, accuracy=0.5, settings={}, losses={"a": a, "b": 2.0} if a else {}) for a in losses
        ]
        return [record(config(rate=1e-2 * (i + 1)), 0.5 + 0.1 * i, epochs=(e,)) for i, e in enumerate(epochs)]

    assert summarise(only(by_loss(3.0, 2.0, 2.5)))["learning_rate"] == 2e-2
    assert summarise(only(by_loss(2.0, 2.0, 2.5)))["learning_rate"] == 1e-2
    epochs = (Epoch(epoch=0, loss=1.0, accuracy=0.6, settings={}),)
    assert summarise(only([*by_loss(3.0, 2.0), record(config(rate=3e-2), epochs=epochs)]))["learning_rate"] == 3e-2


def test_models_that_share_a_point_compete():
    point = only(runs({(1e-2, 1): 0.5}, num_heads=1) + runs({(1e-2, 1): 0.6, (3e-2, 1): 0.1}, num_heads=2))
    row = summarise(point)
    assert row["accuracy"] == 0.6 and row["variants"] == 2 and row["runs"] == 3
    assert point.chosen["option.num_heads"].tolist() == [2]


def test_the_survivors_of_a_rate_that_failed_do_not_win():
    lucky = {(3e-2, 1): 0.99, (3e-2, 2): None, (3e-2, 3): None}
    row = summarise(only(runs({(1e-2, 1): 0.6, (1e-2, 2): 0.7} | lucky)))
    assert row["learning_rate"] == 1e-2 and row["failed"] == 2 and row["runs"] == 3
    row = summarise(only(runs(lucky)))
    assert row["learning_rate"] == 3e-2 and row["seeds"] == 1  # there is nothing better


def test_the_order_of_the_rows_does_not_matter():
    table = frame(
        *runs({(rate, seed): 0.1 * seed + rate for rate in (1e-3, 1e-2) for seed in (1, 2, 3)}),
        *[record(config("gla", rate=rate), 0.3, state=size) for rate in (1e-2, 1e-3) for size in (100, 50)],
    )

    def rows(table):
        return [point.at | summarise(point) for point in select_points(table, ["mixer", "state_size"])]

    assert rows(table) == rows(table.iloc[::-1]) == rows(table.sample(frac=1, random_state=3))
    assert [(row["mixer"], row["state_size"]) for row in rows(table)] == [
        ("attention", 4096),
        ("gla", 50),
        ("gla", 100),
    ]


def test_settings_that_nothing_was_scored_on_are_no_columns():
    there = frame(record(config(), settings={"a": 0.5}), record(config(sweep="other"), settings={"b": 0.5}))
    rows = [summarise(point) for point in select_points(there[there["sweep"] == "fig3"], ["mixer"])]
    assert "accuracy/a" in tabulate(rows, there, "fig3") and "accuracy/b" not in tabulate(rows, there, "fig3")


@pytest.mark.parametrize(
    "there, command",
    [
        (frame(), "top_k --scale demo"),
        (frame(record(config(sweep="top_k", scale="laptop"), None)), "top_k --scale laptop"),
        (frame(record(config(sweep="gamma", scale="paper"), None)), "gamma --scale paper"),
        (frame(record(config(sweep="gamma", scale="laptop"))), "top_k --scale laptop"),  # finished, but not for this
    ],
    ids=["no records", "all failed", "all failed of another sweep", "none of the kind"],
)
def test_nothing_to_draw_is_one_line_that_says_what_to_run(there, command):
    with pytest.raises(ValueError, match=f"no finished run; start one with `mqar-bench sweep {command}`$"):
        tabulate([], there, "top_k")
    assert list(select_points(frame(), ["mixer"])) == []
