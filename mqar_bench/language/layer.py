"""One block of the language model: a sequence mixer and a SwiGLU MLP, each behind a norm."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer

import mixers
from mixers.base import State
from mixers.layers import RMSNorm
from mqar_bench.basics.errors import UsageError
from mqar_bench.language.config import RecallConfig
from mqar_bench.training.model import add_up, auxiliary_losses, find_prefill
from mqar_bench.training.state_mixers import SwiGLU


class RecallLayer(GradientCheckpointingLayer):
    """``x + attn(attn_norm(x))``, then ``x + mlp(mlp_norm(x))``; names as in fla's blocks."""

    def __init__(self, config: RecallConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx = config, layer_idx
        self.attn_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.outlined = torch.get_default_device().type == "meta"
        self.attn = self._build()
        self.mlp_norm: RMSNorm | None = None
        self.mlp: SwiGLU | None = None
        if config.intermediate_size:
            self.mlp_norm = RMSNorm(config.hidden_size, config.norm_eps)
            act = F.silu if config.hidden_act in ("swish", "silu") else ACT2FN[config.hidden_act]
            self.mlp = SwiGLU(config.hidden_size, config.intermediate_size, act)
        #: What loading makes of parameters anew, and so loses.
        self.marks = {
            name: (p.requires_grad, getattr(p, "_no_weight_decay", False)) for name, p in self.attn.named_parameters()
        }
        #: Names of parameters that the mixer shares within itself, and the first name of each.
        first = {p: name for name, p in self.attn.named_parameters()}
        every = dict(self.attn.named_parameters(remove_duplicate=False))
        self.shared = {name: first[p] for name, p in every.items() if first[p] != name}
        for module in self.attn.modules():
            module._is_hf_initialized = True  # type: ignore[assignment]  # transformers leaves its weights alone

    def _build(self) -> nn.Module:
        spec = self.config.mixer(self.layer_idx)
        try:
            mixer: nn.Module = mixers.build(spec.name, self.config.hidden_size, self.layer_idx, **spec.options)
            return mixer
        except (RuntimeError, TypeError):
            if torch.get_default_device().type != "meta":
                raise
            with torch.device("cpu"):  # its constructor looks into its tensors
                return self._build()

    @torch.no_grad()
    def restore(self) -> None:
        """After loading: what the file has not, a mixer's buffers above all, as the mixer comes with it, and the marks
        on parameters. Does nothing to a mixer that was not made without memory, nor before it has some."""
        tensors = {**dict(self.attn.named_parameters()), **dict(self.attn.named_buffers())}
        tensors = {name: t for name, t in tensors.items() if name not in self.shared}  # transformers ties them later
        for name, (learns, spared) in self.marks.items():
            tensors[name].requires_grad_(learns)
            if spared:
                tensors[name]._no_weight_decay = True  # type: ignore[attr-defined]
        if not self.outlined or any(t.is_meta for t in tensors.values()):
            return
        missing = [name for name, t in tensors.items() if not getattr(t, "_is_hf_initialized", False)]
        if not missing:
            return
        drawn = any(name in self.marks for name in missing)
        with torch.device("cpu"), torch.random.fork_rng(devices=[], enabled=not drawn):
            fresh = self._build()
        values = {**dict(fresh.named_parameters()), **dict(fresh.named_buffers())}
        for name in missing:
            tensors[name].copy_(values[name])

    def forward(
        self, hidden: Tensor, state: State | None = None, keep_state: bool = False
    ) -> tuple[Tensor, State | None, Tensor | None]:
        """Run the block.

        Args:
            hidden: ``[B, T, hidden_size]``.
            state: the mixer's, after the tokens before; None: there are none.
            keep_state: return the state after these tokens.

        Returns:
            ``[B, T, hidden_size]``; the state, or None; what the mixer adds to the training loss, or None.
        """
        x = self.attn_norm(hidden)
        extra: Tensor | None = None
        if keep_state or state is not None:
            y, state = self._carry(x, state)
        else:
            y = self.attn(x)
            extra = add_up(auxiliary_losses(self.attn))
        hidden = hidden + y
        if self.mlp is not None and self.mlp_norm is not None:
            hidden = hidden + self.mlp(self.mlp_norm(hidden))
        return hidden, state, extra

    def _carry(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        mixer: Any = self.attn
        if state is not None and x.shape[1] == 1:
            y, state = mixer.step(x[:, 0], state)
            return y.unsqueeze(1), state
        try:
            prefill = find_prefill(mixer)
        except TypeError:
            name = self.config.mixer(self.layer_idx).name
            raise UsageError(f"mixer {name!r} has no prefill, nor step and init_state: give use_cache=False") from None
        return prefill(x, state)
