import pytest

from plots import cost
from tests.plots.records import config, frame, record


def run(speed, memory, mixer="gla", rate=1e-2, seed=1, accuracy=0.5, state=4096, device="cpu", threads=1, **options):
    values = {"tokens_per_second": speed, "peak_memory_bytes": memory * 2**20, "device": device, "threads": threads}
    return record(config(mixer, rate=rate, seed=seed, **options), accuracy, state=state, **values)


FRAME = frame(
    run(100e3, 100, rate=1e-3),
    run(300e3, 200, rate=1e-2),
    run(900e3, 900, rate=3e-2, device="NVIDIA H200", threads=16),
    run(500e3, 500, rate=4e-2, threads=2),
    run(7e3, 7, accuracy=0.1, num_heads=1),  # of the same size, but not the one that is shown
    run(50e3, 300, state=9000, num_heads=4),
    run(80e3, 400, mixer="ramnet", device="NVIDIA H200", threads=16),
)


def test_all_runs_of_the_model_that_is_shown_count_but_machines_are_kept_apart():
    table = cost.table(FRAME).set_index(["mixer", "state_size", "device", "threads"])
    assert len(table) == 5
    row = table.loc[("gla", 4096, "cpu", 1)]
    assert (row["tokens_per_second"], row["tokens_per_second_low"], row["tokens_per_second_high"]) == (3e5, 1e5, 3e5)
    assert (row["peak_memory_bytes"], row["runs"]) == (150 * 2**20, 2)
    assert table.loc[("gla", 4096, "cpu", 2)]["tokens_per_second"] == 500e3
    assert table.loc[("gla", 4096, "NVIDIA H200", 16)]["runs"] == 1


def test_a_row_of_panels_for_each_machine_shows_its_part_of_the_table():
    table = cost.table(FRAME)
    axes = cost.figure(table).axes
    assert [ax.get_title(loc="left") for ax in axes[::2]] == [
        "NVIDIA H200, 16 threads",
        "cpu, 1 thread",
        "cpu, 2 threads",
    ]
    for i, machine in enumerate((("NVIDIA H200", 16), ("cpu", 1), ("cpu", 2))):
        part = table[(table["device"] == machine[0]) & (table["threads"] == machine[1])]
        for ax, column, unit in zip(
            axes[2 * i : 2 * i + 2], ("tokens_per_second", "peak_memory_bytes"), (1e3, 2**20), strict=True
        ):
            drawn = sorted(tuple(xy) for container in ax.containers for xy in container.lines[0].get_xydata())
            expected = sorted(zip(part["state_size"], part[column] / unit, strict=True))
            assert drawn == [pytest.approx(point) for point in expected]


def test_the_legend_has_architectures_that_ran_on_one_machine_only():
    figure = cost.figure(cost.table(FRAME))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["RAM-Net", "GLA"]
