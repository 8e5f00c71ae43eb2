"""Zoology's own experiment files: how many configs of each run here, and what keeps the others."""

import re

import pytest

import mixers
from mqar_bench.zoology import load_experiment
from mqar_bench.zoology.mixers import COUNTERPARTS
from tests.zoology.live import HOW, checkout

pytestmark = pytest.mark.skipif(checkout() is None, reason=HOW)

BASED, TTT, NSA = "based.Based", "ttt.TTT", "deepseek_nsa.SparseAttention"
HYENA, RWKV, MRA = "hyena.Hyena", "rwkv.RWKVTimeMixer", "mra.MRAAttention"
MAMBA, LONG = "mamba.Mamba", "long_conv"
ABLATIONS, EXPLORE = "paper_configs/arxiv24_based_ablations", "paper_configs/iclr24_explore_configs"
CIRCUITS, EXAMPLES = "paper_configs/arxiv24_based_rebuttal_circuits", "mqar_example_configs"
#: The configs of each file, and how many of them need a mixer that there may not be.
FILES: dict[str, tuple[int, dict[str, int]]] = {
    "011126/mqar_continuous.py": (72, {TTT: 48}),
    "basic_examples/basic.py": (1, {}),
    "basic_examples/basic_sweep.py": (10, {}),
    f"{EXAMPLES}/composition_configs.py": (176, {BASED: 36, NSA: 12, TTT: 48}),
    f"{EXAMPLES}/composition_configs_random_false.py": (176, {BASED: 36, NSA: 12, TTT: 48}),
    f"{EXAMPLES}/forgetting_configs.py": (176, {BASED: 36, NSA: 12, TTT: 48}),
    f"{EXAMPLES}/mqar_configs_random_false.py": (104, {TTT: 48}),
    f"{EXAMPLES}/original_mqar_configs.py": (104, {TTT: 48}),
    f"{ABLATIONS}/01-26_extrap.py": (192, {BASED: 80, MAMBA: 60, HYENA: 20}),
    f"{ABLATIONS}/01-27_feature_map.py": (16, {BASED: 16}),
    f"{ABLATIONS}/01-27_tradeoff.py": (16, {BASED: 16}),
    f"{ABLATIONS}/01-28_taylor_low.py": (60, {BASED: 60}),
    f"{ABLATIONS}/01-31_tradeoff.py": (32, {}),
    f"{ABLATIONS}/02-01_sliding.py": (8, {BASED: 8}),
    f"{ABLATIONS}/02-09_harder_yet.py": (76, {BASED: 36}),
    f"{ABLATIONS}/02-09_new_feature_maps.py": (304, {BASED: 304}),
    f"{ABLATIONS}/mqar_taylor_kv.py": (48, {}),
    "paper_configs/arxiv24_based_appendix/configs.py": (16, {MRA: 16}),
    "paper_configs/arxiv24_based_figure2/configs.py": (36, {BASED: 36}),
    "paper_configs/arxiv24_based_figure3/configs.py": (288, {BASED: 288}),
    f"{EXPLORE}/mqar_dmodel.py": (24, {BASED: 24}),
    f"{EXPLORE}/mqar_taylor.py": (48, {BASED: 48}),
    f"{EXPLORE}/mqar_taylor_kv.py": (48, {BASED: 48}),
    "paper_configs/iclr24_zoology_figure2/configs.py": (336, {HYENA: 48, RWKV: 48, LONG: 48, BASED: 48, MAMBA: 48}),
    f"{CIRCUITS}/binary_majority.py": (80, {BASED: 36, MAMBA: 36}),
    f"{CIRCUITS}/configs.py": (8, {BASED: 4, MAMBA: 4}),
    f"{CIRCUITS}/majority.py": (60, {BASED: 20, MAMBA: 20}),
    f"{CIRCUITS}/parity.py": (24, {}),
}
#: How those are refused that do not go by the name of their mixer.
REASONS = {
    MAMBA: "block_type 'MambaBlock'",
    LONG: "base_conv.BaseConv with a long convolution (kernel_size -1)",
}


def is_here(mixer: str) -> bool:
    return mixer in COUNTERPARTS or mixer in mixers.names()


@pytest.mark.parametrize("file", FILES)
def test_all_configs_of_a_file_run_but_for_mixers_that_there_are_not(file):
    total, needed = FILES[file]
    refused = {REASONS.get(m, f"the mixer zoology.mixers.{m}"): n for m, n in needed.items() if not is_here(m)}
    experiment = load_experiment(checkout() / "zoology" / "experiments" / file)
    assert (experiment.total, experiment.refused) == (total, refused)
    repeated = experiment.notes.get("the same run as another config", 0)
    assert len(experiment.configs) == total - sum(refused.values()) - repeated


def test_no_file_is_left_out():
    folder = checkout() / "zoology" / "experiments"
    texts = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.py")}
    assert {name for name, text in texts.items() if re.search("^configs = ", text, re.MULTILINE)} == FILES.keys()
