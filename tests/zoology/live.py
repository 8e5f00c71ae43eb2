"""Zoology's own code, from a checkout that is used as it is: the variable ZOOLOGY says where.

What its newest commit needs to train at all on a CPU (no CUDA device, logits instead of hidden states, stand-ins for
torchvision and wandb) is set from here, in memory.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
import types
from pathlib import Path

import torch

HOW = (
    "set ZOOLOGY to a checkout: git clone https://github.com/HazyResearch/zoology"
    " (also needs einops, opt_einsum and tqdm)"
)


def checkout() -> Path | None:
    path = os.environ.get("ZOOLOGY")
    return Path(path) if path else None


def import_zoology(path: Path) -> types.SimpleNamespace:
    """Its modules ``config``, ``data`` (of MQAR), ``model`` and ``train``."""

    class StochasticDepth(torch.nn.Identity):
        def __init__(self, p, mode):
            super().__init__()

    torchvision, ops = types.ModuleType("torchvision"), types.ModuleType("torchvision.ops")
    ops.StochasticDepth = StochasticDepth
    torchvision.ops = ops
    for name, module in (("torchvision", torchvision), ("torchvision.ops", ops), ("wandb", types.ModuleType("wandb"))):
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)  # others ask whether it is installed
        sys.modules.setdefault(name, module)
    if str(path) not in sys.path:
        sys.path.insert(0, str(path))
    import zoology.data.multiquery_ar as data
    import zoology.model as model
    import zoology.train as train
    from zoology import config

    for name in ("torchvision", "torchvision.ops"):  # transformers, which its TTT imports, looks into what is there
        if sys.modules[name] in (torchvision, ops):
            del sys.modules[name]
    embeddings = model.TokenEmbeddings.__init__
    embeddings.__defaults__ = tuple("cpu" if d == "cuda" else d for d in embeddings.__defaults__)
    forward = model.LanguageModel.forward
    forward.__defaults__ = (*forward.__defaults__[:-1], False)  # return_embeddings
    train.tqdm = lambda iterable, **_: _Bar(iterable)
    return types.SimpleNamespace(data=data, model=model, train=train, config=config)


class _Bar:
    def __init__(self, iterable):
        self.iterable = iterable

    def __iter__(self):
        return iter(self.iterable)

    def set_postfix(self, _):
        pass
