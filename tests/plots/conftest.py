import numpy as np
import pytest
import torch

from mqar_bench.analysis.trace import LayerTrace, Trace
from mqar_bench.config import RunConfig
from mqar_bench.records.result import now, provenance


@pytest.fixture
def make_trace():
    """A made-up trace: slots and weights at random, or the slots given."""

    def make(cape=(True, False), num_slots=64, tokens=20, batch=2, top_k=3, layers=(0, 2), seed=0, **slots):
        rng = np.random.default_rng(seed)
        shape = (batch, tokens, len(cape), top_k)
        config = RunConfig.model_validate({"model": {"mixers": [{"name": "ramnet"}]}})

        def layer():
            w, r = (np.sort(rng.random(shape, np.float32), -1)[..., ::-1] for _ in range(2))
            drawn = {name: rng.integers(0, num_slots, shape).astype(np.uint16) for name in ("w_idx", "r_idx")}
            return LayerTrace(w=w, r=r, num_slots=num_slots, gamma=1.0, cape=np.array(cape), **(drawn | slots))

        whole = {name: np.zeros((batch, tokens), np.int32) for name in ("tokens", "positions", "answers")}
        return Trace(
            config=config,
            provenance=provenance(torch.device("cpu"), now()),
            setting="L20-kv2",
            first=0,
            predictions=whole["answers"],
            layers={i: layer() for i in layers},
            shown=tuple((i, h) for h in range(len(cape)) for i in layers),
            **whole,
        )

    return make
