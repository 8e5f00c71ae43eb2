import math

from plots import published
from sweeps.published import configs
from tests.plots.records import config, frame, record


def run(name, accuracy, rate=1e-2, seed=1, curve=(0.2, 0.5)):
    return record(
        config(sweep="published", rate=rate, seed=seed).model_copy(update={"mixer": name}), accuracy, curve=curve
    )


def test_ours_stand_beside_theirs_at_the_best_rate():
    table = published.table(
        frame(
            run("1 layer, attention", 0.1),
            run("1 layer, attention", 0.3, rate=1e-3),
            run("basic example", 0.99, curve=(0.2,) * 30),
            run("something else", 0.5),
        )
    ).set_index("experiment")
    assert list(table.index) == ["basic example", "1 layer, attention", "something else"]  # as they are listed
    assert (table.loc["basic example", "epochs"], table.loc["basic example", "published_epochs"]) == (30, 26)
    assert (table.loc["1 layer, attention", "accuracy"], table.loc["1 layer, attention", "published"]) == (0.3, 0.02)
    assert table.loc["1 layer, attention", "learning_rate"] == 1e-3
    assert math.isnan(table.loc["something else", "published"])


def test_every_experiment_of_the_sweep_has_a_published_number_and_a_source():
    assert {run.mixer for scale in ("laptop", "paper") for run in configs(scale)} == set(published.THEIRS)
    assert all(0 <= theirs.accuracy <= 1 and theirs.what and theirs.source for theirs in published.THEIRS.values())


def test_a_row_for_each():
    figure = published.figure(published.table(frame(run("basic example", 0.99), run("1 layer, attention", 0.3))))
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["basic example", "1 layer, attention"]
