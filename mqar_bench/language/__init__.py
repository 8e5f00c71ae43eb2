"""The mixers as language models by Hugging Face's conventions: ``pip install 'mqar-bench[language]'``.

    >>> config = RecallConfig(vocab_size=32000, hidden_size=256, num_hidden_layers=4, mixers=[{"name": "ramnet"}])
    >>> model = RecallForCausalLM(config)
    >>> model.generate(input_ids, max_new_tokens=20)

| to | there is |
|---|---|
| say what a model is | ``RecallConfig``; ``preset`` and ``PRESETS``, those of RAM-Net's Table 2 among them |
| have it | ``RecallForCausalLM``, or without a head ``RecallModel``; with transformers' Auto classes, too |
| decode with it | its ``generate``, on a ``StateCache`` of the mixers' states |
| have what ``mqar-bench language`` trained | ``export``, which writes a folder for the Auto classes; ``as_recall`` |
| train it with transformers' ``Trainer`` | ``TellProgress``, for mixers with a schedule of their own |

Importing this registers the model type ``recall`` with ``AutoConfig``, ``AutoModel`` and ``AutoModelForCausalLM``.
Nothing else of the package needs transformers.
"""

try:
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM
except ImportError as error:
    raise ImportError("mqar_bench.language needs transformers: pip install 'mqar-bench[language]'") from error

from mqar_bench.language.cache import StateCache
from mqar_bench.language.config import RecallConfig
from mqar_bench.language.export import as_recall, export
from mqar_bench.language.model import RecallForCausalLM, RecallModel
from mqar_bench.language.presets import PRESETS, preset
from mqar_bench.language.progress import TellProgress

AutoConfig.register(RecallConfig.model_type, RecallConfig, exist_ok=True)
AutoModel.register(RecallConfig, RecallModel, exist_ok=True)
AutoModelForCausalLM.register(RecallConfig, RecallForCausalLM, exist_ok=True)

__all__ = [
    "PRESETS",
    "RecallConfig",
    "RecallForCausalLM",
    "RecallModel",
    "StateCache",
    "TellProgress",
    "as_recall",
    "export",
    "preset",
]
