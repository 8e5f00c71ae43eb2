"""What every registered mixer does as a language model; a new mixer is covered by being registered."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments
from transformers.utils import is_accelerate_available

import mixers
from mqar_bench.language import RecallConfig, RecallForCausalLM, TellProgress
from tests.mixers.test_contract import D_MODEL, VARIANTS

VOCAB = 23
LENGTH = 9
#: Real tokens of four sequences side by side: two with padding before them, one after, one between.
MASK = torch.tensor([[0] * 3 + [1] * 6, [1] * 9, [1] * 4 + [0] * 5, [0, 1, 1, 0, 0, 1, 1, 1, 1]])
#: With padding before the tokens alone, as decoding has it.
LEFT = torch.tensor([[0] * 3 + [1] * 6, [1] * 9, [0] * 3 + [1] * 6, [0] * 6 + [1] * 3])


def tokens(batch=4, length=LENGTH, seed=0):
    return torch.randint(1, VOCAB, (batch, length), generator=torch.Generator().manual_seed(seed))


def make(name, **fields):
    """Two layers, of the first two option sets that the mixers' own tests have; parameters moved off special values."""
    specs = [{"name": name, "options": options} for options in VARIANTS.get(name, [{}])[:2]]
    config = RecallConfig(
        vocab_size=VOCAB, hidden_size=D_MODEL, num_hidden_layers=2, mixers=specs, intermediate_size=8, pad_token_id=0,
        bos_token_id=None, eos_token_id=None, **fields,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = RecallForCausalLM(config)
        for p in model.parameters():
            if p.requires_grad:
                p.data.add_(0.1 * torch.randn_like(p))
    return model.eval()


@pytest.fixture(scope="module", params=mixers.names())
def name(request):
    return request.param


@pytest.fixture(scope="module")
def model(name):
    return make(name).double()


@pytest.fixture(scope="module")
def alone(model):
    """Logits of each sequence of ``MASK`` and of ``LEFT``, run without the others and without padding."""
    with torch.no_grad():
        return {
            key: [model(tokens()[i][real][None], use_cache=False).logits[0] for i, real in enumerate(mask.bool())]
            for key, mask in (("any", MASK), ("left", LEFT))
        }


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("use_cache", [False, True], ids=["", "cached"])
def test_a_padded_batch_equals_separate_sequences(model, alone, use_cache):
    with torch.no_grad():
        logits = model(tokens(), attention_mask=MASK, use_cache=use_cache).logits
    for row, real, expected in zip(logits, MASK.bool(), alone["any"], strict=True):
        close(row[real], expected)


def test_left_padded_prefill_then_token_by_token_equals_the_whole(model, alone):
    with torch.no_grad():
        out = model(tokens()[:, :6], attention_mask=LEFT[:, :6])  # the last row: nothing but padding so far
        logits, cache = [out.logits], out.past_key_values
        for t in range(6, LENGTH):
            out = model(tokens()[:, t : t + 1], attention_mask=LEFT[:, : t + 1], past_key_values=cache)
            logits.append(out.logits)
    for row, real, expected in zip(torch.cat(logits, 1), LEFT.bool(), alone["left"], strict=True):
        close(row[real], expected)
    assert [cache.elements(row) for row in range(4)] == [model.state_size(n) for n in (6, 9, 6, 3)]
    assert cache.get_seq_length() == LENGTH and 0 < model.active_state_size(LENGTH) <= model.state_size(LENGTH)


def test_generate_continues_each_row_as_if_it_were_alone(model):
    batch = model.generate(tokens(), attention_mask=LEFT, max_new_tokens=2, do_sample=False)
    for i, real in enumerate(LEFT.bool()):
        prompt, written = tokens()[i][real][None], []
        for _ in range(2):
            with torch.no_grad():
                written.append(int(model(prompt, use_cache=False).logits[0, -1].argmax()))
            prompt = torch.cat([prompt, torch.tensor([written[-1:]])], 1)
        assert batch[i, LENGTH:].tolist() == written


def test_saved_and_loaded_it_has_the_same_weights_and_logits(name, tmp_path):
    model = make(name)
    model.save_pretrained(tmp_path)
    drawn = torch.get_rng_state()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(drawn, torch.get_rng_state()) and type(loaded) is RecallForCausalLM
    assert loaded.config.to_dict() | {"_name_or_path": ""} == model.config.to_dict() | {"_name_or_path": ""}
    with torch.no_grad():
        logits = [m(tokens(), attention_mask=MASK, use_cache=False).logits for m in (model, loaded)]
    # what is loaded lies in the file at any address, and kernels round by where a row begins
    torch.testing.assert_close(*logits, rtol=1e-6, atol=1e-6)
    for (key, mine), (other, theirs) in zip(model.named_parameters(), loaded.named_parameters(), strict=True):
        assert key == other and mine.requires_grad == theirs.requires_grad and torch.equal(mine, theirs), key
        assert hasattr(mine, "_no_weight_decay") == hasattr(theirs, "_no_weight_decay"), key


def test_a_mixer_keeps_the_values_that_it_begins_with(name, monkeypatch):
    begun = []
    build = mixers.build

    def spy(*args, **options):
        mixer = build(*args, **options)
        begun.append(copy.deepcopy(mixer.state_dict()))
        return mixer

    monkeypatch.setattr(mixers, "build", spy)
    specs = [{"name": name, "options": options} for options in VARIANTS.get(name, [{}])[:2]]
    model = RecallForCausalLM(RecallConfig(VOCAB, D_MODEL, 2, specs, intermediate_size=8))
    assert len(begun) == 2
    for layer, before in zip(model.model.layers, begun, strict=True):
        after = layer.attn.state_dict()
        assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)


def test_checkpointing_changes_no_gradient_and_a_step_lowers_the_loss(name):
    model = make(name).double().train()
    batch = {"input_ids": tokens(2), "attention_mask": MASK[:2], "labels": tokens(2)}
    gradients = []
    for checkpointed in (False, True):
        if checkpointed:
            model.activation_checkpointing_enable()
        model.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        gradients.append({key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() == {k for k, p in model.named_parameters() if p.requires_grad}
    for key, gradient in gradients[0].items():
        close(gradients[1][key], gradient)
    with torch.no_grad():
        for p in model.parameters():
            if p.grad is not None:
                p.sub_(1e-3 * p.grad)
        assert model(**batch).loss < loss


@pytest.mark.parametrize(
    "name", [n if n in ("attention", "ramnet") else pytest.param(n, marks=pytest.mark.slow) for n in mixers.names()]
)
@pytest.mark.skipif(
    not is_accelerate_available(), reason="transformers' Trainer needs accelerate, which is not installed"
)
def test_trainer_takes_a_step(name, tmp_path):
    model = make(name)
    before = copy.deepcopy(model.state_dict())
    rows = [{"input_ids": row, "labels": row} for row in tokens()]
    settings = TrainingArguments(
        str(tmp_path), max_steps=1, per_device_train_batch_size=2, report_to=[], save_strategy="no", use_cpu=True,
        disable_tqdm=True, learning_rate=1e-2,
    )  # fmt: skip
    result = Trainer(model, settings, train_dataset=rows, callbacks=[TellProgress()]).train()
    assert 0 < result.training_loss < 10
    assert any(not torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
