"""Whether a config that was accepted can be computed too, where that is little work."""

import torch

from mixers.registry import outline
from mqar_bench.config import RunConfig
from mqar_bench.training.model import LanguageModel

BATCH, LENGTH = 2, 9
#: Of parameters and states; larger models are left alone.
MAX_ELEMENTS = 10**5


def is_small(config: RunConfig) -> bool:
    model = config.model
    sizes = [model.n_layers, (model.vocab_size + model.max_position_embeddings) * model.d_model]
    sizes += [model.mlp_hidden_mult * model.d_model**2 * model.n_layers]
    for spec in model.mixers:
        mixer = outline(spec.name, model.d_model, **spec.options)
        sizes += [sum(p.numel() for p in mixer.parameters()), mixer.state_size(LENGTH)]
    return max(sizes) <= MAX_ELEMENTS and model.n_layers <= 8


def compute(config: RunConfig) -> None:
    """Build the model for real, and run it on a short input.

    Raises:
        ValueError: it needs another device.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vocab_size, width = config.model.vocab_size, config.model.vocab_size
        if config.model.input_type == "continuous":
            width = config.model.vocab_size // 2 + 1
            vocab_size = width**2
        tokens = torch.randint(vocab_size, (BATCH, LENGTH))
        logits = LanguageModel(config.model)(tokens)
    assert logits.shape == (BATCH, LENGTH, width)
