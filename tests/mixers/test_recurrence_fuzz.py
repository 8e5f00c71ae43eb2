"""The engines of the recurrence, whatever length, decay and strength: the loop over time in float64, gradients too.

The same cases in the same order every time. Their bound is the loop's own error, and what the form with chunks adds: a
read and a write each carry the rounding of sums of up to CHUNK terms, and of an exponent.
"""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mixers.ops.delta_rule import gated_delta_rule
from mixers.ops.recurrence import recurrence
from mixers.ops.recurrence_chunk import BLOCKS, CHUNK, FACTOR_SPAN, choose_decay
from mixers.ops.recurrence_decay import NOTHING, FactoredDecay, HalvedDecay
from tests.mixers.test_recurrence import ENGINES, B, H, K, V, rank_one, run, worst

DTYPES = (torch.float32, torch.float64)
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
#: The largest exponents of which a difference is taken: float32 goes over to float64 beyond its span, float64 to none.
EXPONENT = {torch.float32: FACTOR_SPAN[torch.float32], torch.float64: CHUNK * -NOTHING[torch.float64]}
#: Around what exp can hold, and what a chunk may sum up to.
EDGES = [0.0, 1e-4, 0.1, 1.0, 7.5, 30.0, 60.0, 103.5, 104.5, 119.5, 120.5, 745.0, 746.5, 999.0, 1001.0, torch.inf]

lengths = st.integers(1, 17) | st.integers(1, 130)
strengths = st.lists(st.sampled_from(EDGES) | st.floats(-4, 4).map(lambda power: 10**power), min_size=1, max_size=4)
pers = st.sampled_from(["token", "chunk"])
fuzz = settings(
    max_examples=120,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def strong(shape, mixed, per, g):
    """w of which every entry is one of the strengths: that of a token, or of as many as are in a chunk together."""
    tokens = 1 if per == "token" else min(shape[1], CHUNK)
    return -torch.tensor(mixed, dtype=torch.float64)[torch.randint(len(mixed), shape, generator=g)] / tokens


def rounding(dtype):
    return 2 * torch.finfo(dtype).eps * (CHUNK + EXPONENT[dtype])


@by_dtype
@given(
    length=lengths,
    form=st.sampled_from(["none", "scalar", "channel"]),
    mixed=strengths,
    per=pers,
    term=st.sampled_from(["none", "rank-one", "delta"]),
    with_state=st.booleans(),
    final=st.booleans(),
    seed=st.integers(0, 2**32),
)
@example(length=2, form="channel", mixed=[100.0], per="token", term="none", with_state=True, final=True, seed=0)
@example(length=8, form="channel", mixed=[torch.inf], per="token", term="rank-one", with_state=True, final=True, seed=0)
@fuzz
def test_engines_equal_the_loop_over_time(dtype, length, form, mixed, per, term, with_state, final, seed):
    g = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(B, length, H, width, dtype=torch.float64, generator=g) for width in (K, K, V))
    state = torch.randn(B, H, K, V, dtype=torch.float64, generator=g) if with_state else None
    w = {"none": None, "scalar": strong(q.shape[:3], mixed, per, g), "channel": strong(q.shape, mixed, per, g)}[form]
    operation, tensors = recurrence, [q, k, v, w]
    if term == "delta":
        beta = 2 * torch.rand(q.shape[:3], dtype=torch.float64, generator=g)
        operation, tensors = gated_delta_rule, [q, F.normalize(k, dim=-1), v, beta, w]
    elif term != "none":
        tensors += rank_one(g, length)
    *tensors, state = (None if x is None else x.to(dtype).double() for x in (*tensors, state))
    exact = run(operation, tensors, state, "reference", final=final)
    loop = worst(run(operation, tensors, state, "reference", dtype, final), exact)
    for engine in (*ENGINES, "auto") if length == 1 else ENGINES:  # one token takes a step of its own
        assert worst(run(operation, tensors, state, engine, dtype, final), exact) <= 4 * loop + rounding(dtype)


@by_dtype
@given(length=st.integers(1, 200), mixed=strengths, per=pers, seed=st.integers(0, 2**32))
@fuzz
def test_decay_takes_the_largest_blocks_that_fit(dtype, length, mixed, per, seed):
    w = strong((B, length, H, K), mixed, per, torch.Generator().manual_seed(seed)).to(dtype)
    chunks, size, decay = choose_decay(w, length, dtype)
    assert (chunks - 1) * size < length <= chunks * size and size <= CHUNK

    def fits(block, w):
        tokens = F.pad(w, (0, 0, 0, 0, 0, chunks * size - length)).unflatten(1, (-1, block))
        return bool((tokens.sum(2) >= -FACTOR_SPAN[dtype]).all())

    if isinstance(decay, FactoredDecay):
        assert fits(size, w)
    else:
        assert isinstance(decay, HalvedDecay) and size & (size - 1) == 0
        finite = w.clamp(min=NOTHING[dtype])
        assert decay.block == max([block for block in BLOCKS if block <= size and fits(block, finite)], default=1)
