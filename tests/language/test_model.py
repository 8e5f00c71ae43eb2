"""What transformers' conventions ask of a model, whatever its mixers; of a stack that has several kinds."""

import copy
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, DynamicCache, set_seed

from mqar_bench.basics.errors import UsageError
from mqar_bench.language import RecallConfig, RecallForCausalLM, RecallModel, StateCache, TellProgress

VOCAB = 29
RAMNET = {"name": "ramnet", "options": {"sub_dim": 2, "order": 4, "top_k": 2, "cape": 1}}
STACK = [{"name": "attention"}, RAMNET, {"name": "gla", "options": {"num_heads": 1}}]
MASK = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]])


def make(mixers=STACK, seed=0, **fields):
    settings = {"hidden_size": 8, "num_hidden_layers": 4, "intermediate_size": 8, "pad_token_id": 0} | fields
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RecallForCausalLM(RecallConfig(VOCAB, mixers=mixers, **settings)).eval()


def tokens(batch=3, length=6, seed=0):
    return torch.randint(3, VOCAB, (batch, length), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def model():
    return make(initializer_range=0.5).double()


def logits(model, ids, **arguments):
    with torch.no_grad():
        return model(ids, **arguments).logits


def test_mixers_are_cycled_over_the_layers(model):
    names = [type(layer.attn).__name__ for layer in model.model.layers]
    assert names == ["SoftmaxAttention", "RAMNet", "GatedLinearAttention", "SoftmaxAttention"]
    assert [layer.attn.layer_idx for layer in model.model.layers] == [0, 1, 2, 3]


def test_a_block_is_the_equation_in_its_docstring(model):
    layer, x = model.model.layers[2], torch.randn(2, 5, 8, dtype=torch.float64, generator=torch.Generator())

    def norm(x, weight):
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight

    with torch.no_grad():
        h = x + layer.attn(norm(x, layer.attn_norm.weight))
        z, mlp = norm(h, layer.mlp_norm.weight), layer.mlp
        gate, up = z @ mlp.gate_proj.weight.T, z @ mlp.up_proj.weight.T
        expected = h + (gate * gate.sigmoid() * up) @ mlp.down_proj.weight.T
        torch.testing.assert_close(layer(x)[0], expected)


def test_labels_are_shifted_inside_and_padding_is_not_counted(model):
    ids, mask = tokens(), MASK
    with torch.no_grad():
        out = model(ids, attention_mask=mask, labels=ids)
        one = [model(ids[i][real][None], labels=ids[i][real][None]) for i, real in enumerate(mask.bool())]
    assert out.logits.shape == (3, 6, VOCAB) and out.loss.dtype == torch.float32
    first = F.cross_entropy(one[0].logits[0, :-1], ids[0, 3:])
    torch.testing.assert_close(one[0].loss.double(), first, rtol=1e-6, atol=0)
    expected = (3 * one[0].loss + 5 * one[1].loss + 3 * one[2].loss) / 11
    torch.testing.assert_close(out.loss, expected)
    summed = model(ids, attention_mask=mask, labels=ids, num_items_in_batch=22).loss
    torch.testing.assert_close(summed, expected / 2)


def test_logits_of_the_last_tokens_or_of_some_places_alone(model):
    whole = logits(model, tokens())
    torch.testing.assert_close(logits(model, tokens(), logits_to_keep=2), whole[:, -2:])
    torch.testing.assert_close(logits(model, tokens(), logits_to_keep=torch.tensor([1, 3])), whole[:, [1, 3]])


def test_outputs_come_in_transformers_forms(model):
    embeds = model.get_input_embeddings()(tokens())
    torch.testing.assert_close(logits(model, None, inputs_embeds=embeds), logits(model, tokens()))
    out = model(tokens(), attention_mask=MASK, output_hidden_states=True, use_cache=False)
    assert len(out.hidden_states) == 5 and out.past_key_values is None and out.loss is None
    real = MASK.bool()
    assert torch.equal(out.hidden_states[0][real], embeds[real])
    torch.testing.assert_close(model.lm_head(out.hidden_states[-1]), out.logits)
    pair = model(tokens(), return_dict=False)
    assert isinstance(pair, tuple) and isinstance(pair[1], StateCache) and torch.equal(pair[0], logits(model, tokens()))


def test_the_head_is_the_embeddings_unless_told_otherwise(tmp_path):
    tied, apart = make(), make(tie_word_embeddings=False)
    assert tied.lm_head.weight is tied.model.embeddings.weight
    assert apart.lm_head.weight is not apart.model.embeddings.weight
    for model in (tied, apart):
        model.save_pretrained(tmp_path)
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
        assert (loaded.lm_head.weight is loaded.model.embeddings.weight) == (model is tied)
        assert torch.equal(logits(loaded, tokens()), logits(model, tokens()))


@pytest.mark.parametrize("tie", [True, False], ids=["tied", "apart"])
def test_what_a_mixer_shares_within_itself_stays_shared(tmp_path, tie):
    model = make([{"name": "hyena"}], tie_word_embeddings=tie)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert len(list(loaded.parameters())) == len(list(model.parameters()))
    assert torch.equal(logits(loaded, tokens()), logits(model, tokens()))


def test_auto_classes_know_it(tmp_path):
    make().save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is RecallConfig and config.mixer(1).name == "ramnet" and config.mixer(4).name == "ramnet"
    assert type(AutoModel.from_pretrained(tmp_path)) is RecallModel
    assert type(AutoModelForCausalLM.from_config(config)) is RecallForCausalLM
    half = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16 and logits(half, tokens()).isfinite().all()


def test_weights_that_a_file_lacks_are_as_the_mixer_begins(tmp_path):
    saved = make(seed=1)
    state = {key: tensor for key, tensor in saved.state_dict().items() if "layers.1.attn" not in key}
    saved.save_pretrained(tmp_path, state_dict=state)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    mixer, begun = loaded.model.layers[1].attn, make(seed=2).model.layers[1].attn
    assert torch.equal(mixer.q_proj.bias, begun.q_proj.bias) and mixer.q_proj.bias.abs().sum() > 0
    assert torch.equal(mixer.cape, begun.cape) and not mixer.alpha_q.requires_grad
    assert torch.equal(loaded.model.layers[2].attn.q_proj.weight, saved.model.layers[2].attn.q_proj.weight)


@pytest.mark.parametrize("beams", [2, 3])
def test_beams_with_the_cache_are_those_without(model, beams):
    ask = {"attention_mask": MASK, "num_beams": beams, "max_new_tokens": 5, "do_sample": False}
    ask |= {"num_return_sequences": beams}
    assert torch.equal(model.generate(tokens(), **ask), model.generate(tokens(), use_cache=False, **ask))


def test_sampling_repeats_with_its_seed_and_is_the_same_without_the_cache(model):
    ask = {"attention_mask": MASK, "do_sample": True, "top_k": 5, "max_new_tokens": 6, "num_return_sequences": 2}
    written = []
    for use_cache in (True, True, False):
        set_seed(3)
        written.append(model.generate(tokens(), use_cache=use_cache, **ask))
    assert torch.equal(written[0], written[1]) and torch.equal(written[0], written[2])
    assert not torch.equal(written[0][0], written[0][1])


def test_a_long_prompt_can_be_taken_in_pieces_and_a_cache_be_continued(model):
    whole = model.generate(tokens(), attention_mask=MASK, max_new_tokens=6, do_sample=False, eos_token_id=None)
    pieces = model.generate(
        tokens(), attention_mask=MASK, max_new_tokens=6, do_sample=False, eos_token_id=None, prefill_chunk_size=2,
        past_key_values=StateCache(),
    )  # fmt: skip
    assert torch.equal(pieces, whole)
    first = model.generate(
        tokens(),
        attention_mask=MASK,
        max_new_tokens=3,
        do_sample=False,
        eos_token_id=None,
        return_dict_in_generate=True,
    )
    cache, mask = copy.deepcopy(first.past_key_values), F.pad(MASK, (0, 3), value=1)
    for again in (first.past_key_values, cache):  # the copy is not changed by the first time
        assert again.get_seq_length() == 8 and again.batch == 3
        rest = model.generate(
            first.sequences, attention_mask=mask, past_key_values=again, max_new_tokens=3, do_sample=False,
            eos_token_id=None,
        )  # fmt: skip
        assert torch.equal(rest, whole)


def test_rows_of_a_cache_are_repeated_chosen_and_reordered(model):
    out = model(tokens(), attention_mask=MASK)
    cache, following = out.past_key_values, tokens(3, 1, seed=1)
    cache.batch_repeat_interleave(2)
    cache.reorder_cache(torch.tensor([5, 0, 1, 2, 3, 4]))
    cache.batch_select_indices(torch.tensor([0, 2, 3]))  # rows 2, 0 and 1 of the first batch
    assert cache.batch == 3 and repr(cache) == "StateCache(batch=3, seen=6)"
    rows = [2, 0, 1]
    whole = logits(model, torch.cat([tokens()[rows], following], 1), attention_mask=F.pad(MASK[rows], (0, 1), value=1))
    torch.testing.assert_close(logits(model, following, past_key_values=cache), whole[:, -1:])
    cache.reset()
    assert (cache.batch, cache.get_seq_length()) == (0, 0)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ({"position_ids": torch.zeros(3, 6)}, "position_ids is not taken"),
        ({"output_attentions": True}, "output_attentions is not taken, got True: a mixer need not have"),
        ({"cu_seqlens": torch.tensor([0, 6])}, "cu_seqlens is not taken"),
        ({"use_cahce": True}, "use_cahce is not taken, got True: it has no meaning here"),
        ({"attention_mask": torch.ones(3, 4)}, "attention_mask must be [3, 6], 0 for padding: got [3, 4]"),
        ({"attention_mask": torch.ones(3, 1, 6, 6)}, "attention_mask must be [3, 6]"),
        (
            {"past_key_values": DynamicCache()},
            "past_key_values must be a StateCache, the states of mixers: got Dynamic",
        ),
        ({"inputs_embeds": torch.zeros(3, 6, 8)}, "give input_ids or inputs_embeds, and not both"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_is_refused_in_one_line(model, ask, message):
    with pytest.raises(UsageError) as error:
        model(tokens(), **ask)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_what_a_state_cannot_do_is_refused_in_one_line(model):
    cache = model(tokens()).past_key_values
    with pytest.raises(UsageError, match="^a state cannot be cropped: keep copy.deepcopy"):
        cache.crop(1)
    with pytest.raises(UsageError, match="^past_key_values holds 3 rows, and the batch has 2$"):
        model(tokens(2), past_key_values=cache)
    with pytest.raises(ValueError, match="^assisted generation is not supported with stateful models"):
        model.generate(tokens(1), prompt_lookup_num_tokens=2, max_new_tokens=3)
    training = make().train()
    training.activation_checkpointing_enable()
    with pytest.raises(UsageError, match="^gradient checkpointing keeps no states"):
        training(tokens(), use_cache=True)


def test_what_mixers_add_to_the_loss_is_added_in_training_alone_and_padding_does_not_count():
    model = make([{"name": "mom"}]).double()
    ids, mask = tokens(), MASK.flip(1)
    quiet = model(ids, attention_mask=mask, labels=ids, use_cache=False)
    assert quiet.aux_loss is None
    out = model.train()(ids, attention_mask=mask, labels=ids)
    torch.testing.assert_close(out.loss, quiet.loss + out.aux_loss.float(), check_dtype=False)
    parts = [model(ids[rows][:, :n]).aux_loss * n * len(rows) for rows, n in (([0, 2], 4), ([1], 6))]
    torch.testing.assert_close(out.aux_loss, sum(parts) / 14)


def test_progress_is_told_before_every_step():
    model = make([{"name": "ramnet", "options": {"sub_dim": 2, "order": 6, "top_k": 2}}])
    told = TellProgress()
    for step, share in ((0, 1.0), (55, 0.5), (90, 0.0)):
        told.on_step_begin(None, SimpleNamespace(global_step=step, max_steps=100), None, model=model)
        assert [layer.attn.extra_share for layer in model.model.layers] == pytest.approx([share] * 4)


def test_padding_under_autocast_and_a_batch_of_nothing_but_padding(model):
    single = make()
    with torch.autocast("cpu", torch.bfloat16):
        loss = single.train()(tokens(), attention_mask=MASK, labels=tokens()).loss
    loss.backward()
    assert loss.isfinite() and all(p.grad.isfinite().all() for p in single.parameters() if p.requires_grad)
    out = model(tokens(), attention_mask=0 * MASK)
    assert out.logits.eq(0).all() and out.past_key_values.elements() == 0
    again = logits(model, tokens(), attention_mask=MASK, past_key_values=out.past_key_values)
    torch.testing.assert_close(again[1], logits(model, tokens())[1])


def test_a_mixer_from_elsewhere_that_looks_into_its_tensors(tmp_path):
    model = make([{"name": "tests.language.own.Mean", "options": {"scale": 3.0}}])
    reason = "^mixer 'tests.language.own.Mean' has no prefill, nor step and init_state: give use_cache=False$"
    with pytest.raises(UsageError, match=reason):
        model(tokens())
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert [layer.attn.total for layer in loaded.model.layers] == [8 * 3.0] * 4
    asks = {"attention_mask": MASK, "use_cache": False}
    assert torch.equal(logits(loaded, tokens(), **asks), logits(model, tokens(), **asks))
    assert loaded.generate(tokens(), max_new_tokens=2, **asks).shape == (3, 8)
    assert model.resize_token_embeddings(31).weight.shape == (31, 8)
    assert logits(model, tokens(), use_cache=False).shape == (3, 6, 31)


def test_a_mixer_from_elsewhere_that_only_steps():
    model = make([{"name": "tests.language.own.RunningMean", "options": {"scale": 3.0}}]).double()
    whole = logits(model, tokens(), attention_mask=MASK, use_cache=False)
    torch.testing.assert_close(logits(model, tokens(), attention_mask=MASK, use_cache=True), whole)
    asks = {"attention_mask": MASK, "max_new_tokens": 4, "do_sample": False}
    cached, anew = (model.generate(tokens(), use_cache=use, **asks) for use in (True, False))
    assert torch.equal(cached, anew)


def test_transformers_loads_only_where_it_is_asked_for():
    code = (
        "import sys, mixers, mqar_bench\n"
        "mqar_bench.RunConfig, mqar_bench.load_model\n"
        "print('transformers' in sys.modules)\n"
        "sys.modules['transformers'] = None\n"
        "try: import mqar_bench.language\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "False",
        "mqar_bench.language needs transformers: pip install 'mqar-bench[language]'",
    ]
