import sys

import torch

import mixers
from mixers.base import EngineChoice
from mqar_bench.doctor import engines

CPU = torch.device("cpu")


class Stand(mixers.SequenceMixer):
    """A mixer that can be told what to give."""

    factor, reason = 1.0, None

    def __init__(self, d_model, layer_idx=None):
        super().__init__(d_model, layer_idx)
        self.weight = torch.nn.Parameter(torch.ones(d_model))

    def engine(self, device, dtype=torch.float32, decoding=False):
        return EngineChoice("step" if decoding else "chunk", self.reason)

    def forward(self, x):
        if self.factor == 0:
            raise RuntimeError("cannot cache function '_decode_rows': no locator available for file 'x.py'\nmore")
        return x * self.weight * self.factor


def check_stand(monkeypatch, **attributes):
    monkeypatch.setattr(mixers, "build", lambda name, d_model: type("Told", (Stand,), attributes)(d_model))
    return engines.check_mixer("told", CPU, lambda text: None)


def test_a_mixer_that_works_one_that_does_not_and_one_that_is_slow(monkeypatch):
    works = check_stand(monkeypatch)
    assert works.mark == "ok" and works.text.split() == ["chunk", "step", "works"]
    assert works.values == {"training": "chunk", "decoding": "step", "works": True}
    assert engines.explain([works]).startswith("chunk: PyTorch, in chunks")
    broken = check_stand(monkeypatch, factor=0)
    assert broken.mark == "FIX" and "NUMBA_CACHE_DIR" in broken.fix and not broken.values["works"]
    assert "RuntimeError: cannot cache function" in broken.text and "more" not in broken.text
    infinite = check_stand(monkeypatch, factor=float("inf"))
    assert infinite.mark == "FIX" and infinite.text.endswith("gives numbers that are not finite")
    slow = check_stand(monkeypatch, reason="fla needs the package fla: pip install flash-linear-attention")
    assert slow.mark == "note" and slow.text.endswith("pip install flash-linear-attention")


def test_looking_at_mixers_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    heard = []
    assert engines.check_mixer("gla", CPU, heard.append).mark == "ok" and heard[0] == "gla"
    assert torch.equal(torch.get_rng_state(), before)


def test_a_missing_numba_is_what_ramnet_says(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    check = engines.check_mixer("ramnet", CPU, lambda text: None)
    assert check.mark == "FIX" and "RAM-Net's cpu engine needs the package numba: pip install numba" in check.text
