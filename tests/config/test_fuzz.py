"""Whatever is written into a config, on a command line or into a file: a valid config, or one line on the fault.

2,000 mutations of valid configs, in the same order every time.
"""

import copy
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mixers
import sweeps
from mixers.checks import brief
from mqar_bench.basics.errors import UsageError
from mqar_bench.config import RunConfig
from mqar_bench.config.overrides import apply_overrides, parse_config, parse_pairs, read_config
from mqar_bench.tasks import TASKS
from tests.training.small_models import compute, is_small

MAX_LINE = 400
#: How a message begins that is not about one setting: two that do not go together.
RULES = ("model.vocab_size is ", "model.max_position_embeddings is ", "train.warmup_fraction needs ")
RULES += ("model.input_type 'continuous' ", "train.min_learning_rate needs ")

VALID = [
    *(RunConfig.model_validate({"model": {"mixers": [{"name": name}]}}) for name in mixers.names()),
    *(
        RunConfig.model_validate({"data": {"train": [{"name": name}] * 2, "test": [{"name": name}]}})
        for name in [*TASKS] * 4
    ),
    *(config for scale in ("smoke", "laptop") for config in sweeps.load("fig3", scale)),
    RunConfig.model_validate(
        {
            "model": {
                "vocab_size": 178, "input_type": "continuous", "learnable_word_embeddings": False,
                "embedding_init_type": "spherical", "state_mixer": "glu",
            },
            "data": {"train": [{"name": "stacked"}], "test": [{"name": "stacked"}]},
        }
    ),
]  # fmt: skip
VALUES = [config.model_dump(mode="json") for config in VALID]

LEAVES = st.one_of(
    st.sampled_from(
        [
            *(None, True, False, 0, 1, -1, 3, 7, 2**16 + 1, 2**20 + 2, 2**31, 2**32, 2**63, -(2**63) - 1, 10**400),
            *(0.0, -0.5, 0.5, 8.0, 1e-320, 1e38, 1e308, -1e308, float("inf"), float("-inf"), float("nan")),
            *(
                "",
                "8",
                "-1",
                "1e400",
                "true",
                "null",
                " ",
                ".",
                "a.b",
                "..",
                "x" * 10_000,
                "\0",
                "\n",
                "a\nb",
                "\x1b[31m",
            ),
            *(
                "\ud800",
                "é",
                "日本語",
                "\u2028",
                "\u202e",
                "mixers",
                "mixers.Nothing",
                "torch.nn.Linear",
                "ramnett",
                "forgetting",
                "associative_retrieval",
                "auto",
            ),
        ]
    ),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
)
NUMBERS = st.sampled_from([0, 1, 2, 4, 8, 100, 64.0, 0.5, 1e-3, 10**9])
#: What else may stand for a value on a command line.
TEXTS = [
    *(
        "",
        "[",
        "{",
        '{"a": ',
        "[]",
        "{}",
        "null",
        "NaN",
        "-Infinity",
        "1e400",
        "1" * 5000,
        "[" * 3000,
        '"',
        "'8'",
        "--",
    ),
    *("-1", "0", "true", '{"name": "ramnet"}', '[{"name": "gla"}]'),
]
TREES = st.one_of(
    LEAVES,
    st.recursive(
        LEAVES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    ),
    st.sampled_from(
        ["[]", "{}", "[[]]", "[{}]", '{"": 1}', '{"name": "ramnet"}', '[{"name": "gla", "options": null}]']
        + ["[" * 200 + "]" * 200, '{"a":' * 200 + "1" + "}" * 200, json.dumps([1] * 2000)]
    ).map(json.loads),
)


def fuzz(examples):
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def refusal(call, *arguments):
    """The one line with which something is refused, or None where it gave a config: one that can be used."""
    try:
        config = call(*arguments)
    except UsageError as error:
        text = str(error)
        assert text.strip() and len(text) < MAX_LINE, text
        assert text.isprintable(), ascii(text)
        return text
    again = RunConfig.model_validate_json(config.model_dump_json())
    assert again == config and again.run_id == config.run_id
    if is_small(config):
        compute(config)
    return None


def names_one_of(touched, text):
    """Whether a message is about one of the paths, or what lies below it, or what it lies in."""
    # What a task is called decides what else is a fault.
    touched = [*touched, *(path.removesuffix(".name") for path in touched if path.startswith("data."))]
    if text.startswith("no setting "):
        return any(text.startswith(f"no setting {brief(path)[:-1]}") for path in touched)
    named = text.partition(": ")[0]
    if text.startswith(RULES) or named == "a config":
        return True
    if named.startswith("model.mixers.") and {"model.d_model", "train.device", "train"} & set(touched):
        return True  # a mixer is refused for where it is to stand
    return any(f"{path}.".startswith(f"{named}.") or named.startswith(path) for path in touched)


def places(node, path=()):
    """The paths of everything below ``node``, not too far."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, inner in entries if len(path) < 20 else ():
        yield (*path, key)
        yield from places(inner, (*path, key))


@st.composite
def typos(draw, word):
    """A word with one character left out, doubled, swapped with the next, wrong, or in capitals."""
    i = draw(st.integers(0, max(len(word) - 1, 0)))
    before, at, after = word[:i], word[i : i + 1], word[i + 1 :]
    other = draw(st.sampled_from([*"aeg_-. 0", "\n", "é", "\ud800"]))
    middles = ["", at + at, after[:1] + at, other, at + other, at.upper()]
    middle = draw(st.sampled_from(middles))
    return before + middle + (after[1:] if middle == after[:1] + at else after)


@st.composite
def paths(draw, values):
    """The path of something in a config; the names of a sweep are as likely as a part of its model."""
    everything = list(places(values))
    parts = sorted({path[0] for path in everything} & {"model", "train", "data"}) * 3 + list(values)
    part = draw(st.sampled_from(parts))
    below = [path for path in everything if path[0] == part]
    return list(below[draw(st.integers(0, len(below) - 1))])


#: Names that are no mixers, or none that can be had.
NAMES = [
    *(
        "",
        ".",
        "..",
        ".a",
        "a.",
        "a..b",
        "mixers.",
        "mixers.Nothing",
        "mixers.ramnet",
        "mixers.SequenceMixer",
        "no.Such",
    ),
    *(
        "torch.nn.Linear",
        "torch.nn.Module",
        "torch.float32",
        "os.path.join",
        "os.x.Y",
        "ramnet\n",
        "RAMNET",
        "1.2",
        "a b.c",
    ),
]


@st.composite
def mixers_of(draw, values):
    """Give a mixer another name or another option, in place; the paths."""
    specs = values["model"].get("mixers") if isinstance(values["model"], dict) else None
    specs = [s for s in specs if isinstance(s, dict)] if isinstance(specs, list) else []
    if not specs:
        return []
    spec = draw(st.sampled_from(specs))
    if draw(st.integers(0, 2)) == 0:
        spec["name"] = draw(st.sampled_from(NAMES) | st.sampled_from(mixers.names()).flatmap(typos) | LEAVES)
    elif isinstance(spec.get("options"), dict):
        known = [option.name for option in mixers.describe(spec["name"])] if spec.get("name") in mixers.names() else []
        option = draw(st.sampled_from([*known, *known, *known, "d_model", "layer_idx", "self", "name", "", "top_k"]))
        spec["options"][option] = draw(NUMBERS | LEAVES | TREES)
    return ["model.mixers"]


@st.composite
def mutated_values(draw):
    """The plain values of a valid config with one or two things wrong, or right by chance; and their paths."""
    touched = []
    values = copy.deepcopy(draw(st.sampled_from(VALUES)))
    for _ in range(draw(st.integers(1, 2))):
        if draw(st.integers(0, 3)) == 0 and values.get("model") and (named := draw(mixers_of(values))):
            touched += named
            continue
        *above, key = draw(paths(values))
        node = values
        for step in above:
            node = node[step]
        new = key
        kind = draw(
            st.sampled_from(["replace"] * 5 + ["delete", "add", "typo" if isinstance(node, dict) else "repeat"])
        )
        if kind == "replace":
            node[key] = draw(NUMBERS | LEAVES | TREES)
        elif kind == "delete":
            del node[key]
        elif kind == "add" and isinstance(node, dict):
            new = draw(st.text(max_size=8) | st.sampled_from(["x" * 10_000, "\ud800", "self", "name", "d_model"]))
            node[new] = draw(TREES)
        elif kind == "typo":
            new = draw(typos(key))
            node[new] = node.pop(key)
        elif isinstance(node, list):
            node[:] = node * draw(st.sampled_from([0, 2, 3]))
        faults = [[*above, key], [*above, new]] if isinstance(node, dict) else [above]  # in a list the others move
        touched += [".".join(map(str, fault)) for fault in faults]
    return values, touched


@fuzz(1000)
@given(case=mutated_values())
def test_any_json_is_a_config_or_one_line(case):
    values, touched = case
    text = refusal(parse_config, values)
    assert text is None or names_one_of(touched, text), (text, touched)


def parse_words(config, words):
    return apply_overrides(config, parse_pairs(words, ["--force", "--executor"]))


@st.composite
def overrides(draw):
    """A valid config, and the words of a command line about it, mostly with one mistake each."""
    place = draw(st.integers(0, len(VALID) - 1))
    words = []
    for _ in range(draw(st.integers(1, 2))):
        keys = [str(key) for key in draw(paths(VALUES[place]))]
        i = draw(st.integers(0, len(keys) - 1))
        text, dashes, mistake = "4", "--", draw(st.sampled_from(["value"] * 4 + [*"tieblfw"]))
        if mistake == "value":
            text = draw(st.sampled_from(TEXTS) | NUMBERS.map(json.dumps) | st.text(max_size=6) | TREES.map(json.dumps))
        elif mistake == "t":
            keys[i] = draw(typos(keys[i]))
        elif mistake == "i":
            keys[i] = draw(st.sampled_from(["-1", "2", "99", "9" * 5000, "٣", "01", "+1", "1.5", "²"]))
        elif mistake == "e":
            keys.insert(i, "")
        elif mistake == "b":
            keys += draw(st.sampled_from([["x"], ["0"], ["options", "top_k"], [""]]))
        elif mistake == "l":
            keys = keys[i:]
        elif mistake == "w":
            keys = [draw(st.text(max_size=6))]
        else:
            dashes = draw(st.sampled_from(["-", "", "---", "--."]))
        path = dashes + ".".join(keys)
        words += draw(st.sampled_from([[path, text], [f"{path}={text}"]] * 4 + [[path], [f"{path}."]]))
    return VALID[place], words


@fuzz(700)
@given(case=overrides())
def test_any_words_are_a_config_or_one_line(case):
    refusal(parse_words, *case)


@st.composite
def mutated_files(draw):
    """The bytes of a config, damaged."""
    values = draw(st.sampled_from(VALUES))
    data = json.dumps(draw(st.sampled_from([values, {"config": values}, {"config": draw(TREES)}]))).encode()
    at = draw(st.integers(0, len(data)))
    damages = [
        *(data[:at], data[at:], data + data, b"\xef\xbb\xbf" + data, data.decode().encode("utf-16")),
        *(data[:at] + b"\xff" + data[at:], data[:at] + draw(st.binary(max_size=4)) + data[at + 1 :]),
        *(b"[" * 100_000, b'{"model": ' * 5000, data[:at] + b"[" * 2000 + data[at:], data.replace(b"1", b"1e400")),
        *(b"", b"\0" * 9, b"1" * 5000, b"NaN", b"-"),
    ]
    return draw(st.sampled_from(damages))


@fuzz(300)
@given(data=mutated_files())
def test_any_file_is_a_config_or_one_line(data, tmp_path_factory):
    file = tmp_path_factory.getbasetemp() / "config.json"
    file.write_bytes(data)
    refusal(read_config, file)
