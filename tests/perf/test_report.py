import pytest

from mqar_bench.basics.machine.hardware import show_bytes
from mqar_bench.perf.record import Row, Target, Timing
from mqar_bench.perf.report import print_rows, print_targets, show_count, show_seconds, show_spread


def row(seconds=None, **fields) -> Row:
    timing = None if seconds is None else Timing(median=seconds, low=0.9 * seconds, high=1.2 * seconds, repeats=9)
    return Row(
        **{"case": "memory", "what": "forward + backward", "name": "cpu", "role": "ours", "timing": timing, **fields}
    )


@pytest.mark.parametrize(
    "seconds, text",
    [(2.5, "2.5 s"), (0.0123, "12.3 ms"), (4.5678e-5, "45.7 us"), (9.999e-4, "1000 us"), (5e-8, "50 ns")],
)
def test_seconds(seconds, text):
    assert show_seconds(seconds) == text


def test_bytes_and_spread():
    assert show_bytes(3 * 2**29) == "1.50 GiB" and show_bytes(2**20) == "1 MiB"
    assert [show_count(n) for n in (999, 66560, 17_039_360)] == ["999", "66.6k", "17.0M"]
    assert show_spread(Timing(median=2.0, low=1.5, high=2.2, repeats=3)) == "-25% +10%"


def test_a_table_with_what_could_not_run(capsys):
    print_rows(
        [
            row(0.002, times_ours=1.0, fraction_minimum=0.052, fraction_with_rows=0.71, state_elements=33792),
            row(0.5, name="fla chunk_gla", role="peer", note="equal state, d=256", times_ours=250.0),
            row(name="fla chunk_gated_delta_rule", role="peer", cannot_run="fla is not installed"),
        ]
    )
    lines = capsys.readouterr().out.splitlines()
    # neither memory nor rates, which no row has
    assert " ".join(lines[0].split()) == "what engine or peer median spread problem x ours in+out +rows state"
    first = "fwd + bwd cpu 2 ms -10% +20% 1 5.2% 71% 33.8k"
    assert lines[2].split() == first.split()
    assert "500 ms" in lines[3] and "equal state, d=256" in lines[3] and "250" in lines[3]
    assert "cannot run" in lines[4]
    assert lines[5] == "cannot run: fla chunk_gated_delta_rule, forward + backward: fla is not installed"


def test_the_widest_table_fits_in_120_columns(capsys):
    print_rows(
        [
            row(
                0.0123,
                name="fla chunk_gated_delta_rule",
                note="equal state, d=256",
                times_ours=123.0,
                fraction_minimum=0.1,
                fraction_with_rows=0.9,
                state_elements=17_039_360,
                peak_memory_bytes=2**31,
            )
        ]
    )
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 120


def test_targets(capsys):
    target = Target(name="a", wanted="at least 2 x", measured="3.00 x", value=3.0, limit=2.0, met=True)
    print_targets([target, target.model_copy(update={"met": False}), target.model_copy(update={"met": None})])
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()[2:]] == ["yes", "NO", "-"]
