from functools import cache as memoize

import numpy as np
import pandas as pd
import pytest

import plots
from mqar_bench.analysis.caching import POLICIES, first_accesses, hottest, lru, optimal
from plots import cache


def streams(count=60, longest=14):
    """Short streams over few slots: uniform, skewed and with runs."""
    for seed in range(count):
        rng = np.random.default_rng(seed)
        length, slots = int(rng.integers(1, longest + 1)), int(rng.integers(1, 7))
        weights = rng.random(slots) ** (1 + seed % 3)
        yield rng.choice(slots, length, p=weights / weights.sum())


def lru_by_hand(stream, size):
    kept, hits = [], []
    for slot in stream:
        hits.append(slot in kept)
        kept = [slot, *(other for other in kept if other != slot)][:size]
    return hits


def hottest_by_hand(stream, size):
    counts = [(-list(stream).count(slot), slot) for slot in set(stream)]
    pinned, seen, hits = {slot for _, slot in sorted(counts)[:size]}, set(), []
    for slot in stream:
        hits.append(slot in pinned and slot in seen)
        seen.add(slot)
    return hits


def most_hits(stream, size):
    """By trying everything: after each access any of the slots at hand may be dropped."""

    @memoize
    def best(t, kept):
        if t == len(stream):
            return 0
        slot = stream[t]
        at_hand = kept | {slot}
        choices = [at_hand] if len(at_hand) <= size else [at_hand - {out} for out in at_hand]
        return (slot in kept) + max(best(t + 1, choice) for choice in choices)

    stream = tuple(int(slot) for slot in stream)
    return best(0, frozenset())


def test_lru_hits_what_a_list_of_the_last_slots_does():
    sizes = np.arange(1, 8)
    for stream in streams(200, longest=60):
        hits = lru(stream, sizes)
        assert hits.tolist() == [lru_by_hand(stream, size) for size in sizes]


def test_hottest_hits_the_slots_accessed_most_from_their_second_access_on():
    sizes = np.arange(1, 8)
    for stream in streams(200, longest=60):
        assert hottest(stream, sizes).tolist() == [hottest_by_hand(stream, size) for size in sizes]


def test_optimal_has_as_many_hits_as_there_can_be():
    sizes = np.arange(1, 7)
    for stream in streams():
        assert optimal(stream, sizes).sum(1).tolist() == [most_hits(stream, size) for size in sizes], stream


def test_optimal_bounds_the_others_and_all_hit_alike_where_everything_fits():
    sizes = cache.cache_sizes(64)
    rng = np.random.default_rng(0)
    for stream in (rng.integers(0, 64, 3000), (rng.zipf(1.3, 3000) % 64)):
        hits = {name: simulate(stream, sizes) for name, simulate in POLICIES.items()}
        for name, of_policy in hits.items():
            assert (of_policy.sum(1) <= hits["optimal"].sum(1)).all(), name
            assert (np.diff(of_policy.sum(1)) >= 0).all(), name  # more room, no fewer hits
            assert not of_policy[:, first_accesses(stream)].any()
            assert np.array_equal(of_policy[-1], ~first_accesses(stream)), name


def test_sizes_are_powers_of_two_below_m():
    assert list(cache.cache_sizes(8)) == [1, 2, 4, 8]
    assert list(cache.cache_sizes(27)) == [2, 3, 7, 14, 27]
    assert list(cache.cache_sizes(1)) == [1]


def test_the_table_has_rates_that_can_be_counted_by_hand(make_trace):
    # a token writes a slot and reads one: w0 r1, w0 r2, w1 r0; of six accesses three are first ones
    w = np.array([0, 0, 1], np.uint16).reshape(1, 3, 1, 1)
    r = np.array([1, 2, 0], np.uint16).reshape(1, 3, 1, 1)
    trace = make_trace(cape=(True,), num_slots=4, tokens=3, batch=1, top_k=1, layers=(0,), w_idx=w, r_idx=r)
    table = cache.table([trace]).set_index(["counted", "policy", "size"])
    # distances of the accesses that are no first ones: w0 2, w1 3, r0 3
    assert table.loc["all", "lru"]["hit_rate"].to_dict() == {1: 0, 2: pytest.approx(1 / 3), 4: 1}
    assert table.loc["reads", "lru"]["hit_rate"].to_dict() == {1: 0, 2: 0, 4: 1}
    # slot 0 is accessed three times and so pinned first, then 1
    assert table.loc["all", "hottest"]["hit_rate"].to_dict() == {1: pytest.approx(2 / 3), 2: 1, 4: 1}
    assert table.loc["all", "optimal"]["hit_rate"].to_dict() == {1: pytest.approx(2 / 3), 2: 1, 4: 1}
    row = table.loc["all", "lru", 4]
    assert row[["slots", "active", "fraction", "heads", "streams"]].to_dict() == {
        "slots": 4, "active": 2, "fraction": 1, "heads": 1, "streams": 1,
    }  # fmt: skip
    assert row["first_accesses"] == 0.5 and row["touched"] == 0.75 and row["cape"]
    assert table.loc["reads", "lru", 4]["first_accesses"] == pytest.approx(2 / 3)


def test_heads_with_and_without_cape_are_averaged_apart_over_heads_and_sequences(make_trace):
    traces = [make_trace(batch=3, layers=(0, 2)), make_trace(batch=1, layers=(1,), seed=1)]
    table = cache.table(traces)
    assert set(table["cape"]) == {True, False} and set(table["policy"]) == {*POLICIES, "shuffled"}
    assert set(table["heads"]) == {3} and set(table["streams"]) == {2 * 3 + 1}
    each = pd.concat([cache.table([t]).assign(weight=w) for t, w in zip(traces, (6, 1), strict=True)])
    keys = ["cape", "counted", "policy", "size"]
    means = each.groupby(keys).apply(lambda g: np.average(g["hit_rate"], weights=g["weight"]))
    together = table.set_index(keys)["hit_rate"]
    assert np.allclose(together, means.loc[together.index])
    assert (table["hit_rate_min"] <= table["hit_rate"] + 1e-12).all()
    assert (table["hit_rate"] <= table["hit_rate_max"] + 1e-12).all()


def test_lru_gains_from_tokens_being_in_order_only_where_accesses_are_near_in_time(make_trace):
    tokens = np.arange(400)
    near = (tokens // 20)[None, :, None, None].astype(np.uint16)  # the same slot twenty times, then the next
    trace = make_trace(cape=(False,), num_slots=32, tokens=400, batch=1, top_k=1, layers=(0,), w_idx=near, r_idx=near)
    rates = (
        cache.table([trace]).query("counted == 'reads' or counted == 'all'").set_index(["counted", "policy", "size"])
    )
    assert rates.loc["all", "lru", 1]["hit_rate"] == 1
    assert rates.loc["all", "shuffled", 1]["hit_rate"] < 0.6


def test_a_row_of_panels_for_each_kind_of_head_shows_every_point(make_trace):
    table = cache.table([make_trace(), make_trace(cape=(False,), num_slots=16, layers=(1,))])
    figure = cache.figure(table)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == [
        f"{counted}, {kind}"
        for kind in ("with CAPE, M = 64", "no CAPE, M = 16", "no CAPE, M = 64")
        for counted in ("Writes and reads", "Reads alone")
    ]
    for ax, (cape, slots, counted) in zip(
        figure.axes,
        [(c, m, n) for c, m in ((True, 64), (False, 16), (False, 64)) for n in ("all", "reads")],
        strict=True,
    ):
        assert ax.get_xscale() == "log" and ax.get_ylim() == (0, 1)
        lines = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
        points = table[(table["cape"] == cape) & (table["slots"] == slots) & (table["counted"] == counted)]
        of_lru = points[points["policy"] == "lru"].sort_values("size")
        assert lines["LRU"] == of_lru[["fraction", "hit_rate"]].to_numpy().tolist()
        assert len(lines) == 5 and lines["slots of one token"][0][0] == 6 / slots


def test_files_are_written_and_repeat_to_the_byte(make_trace, tmp_path):
    first = plots.draw("cache", [make_trace()], tmp_path / "a")
    assert [path.name for path in first] == ["cache.pdf", "cache.png", "cache.csv"]
    for a, b in zip(first, plots.draw("cache", [make_trace()], tmp_path / "b"), strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name
    assert len(pd.read_csv(first[2])) == 2 * 2 * 4 * 7


def test_nothing_to_draw_is_said(make_trace):
    once = np.arange(6, dtype=np.uint16).reshape(1, 2, 1, 3)
    trace = make_trace(cape=(True,), tokens=2, batch=1, layers=(0,), w_idx=once, r_idx=once + 6)
    with pytest.raises(ValueError, match="no slot is accessed twice"):
        cache.table([trace])
