"""A mistake on the command line is one line and exit code 2; what is no mistake of the user keeps its traceback."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mqar_bench.cli import app

CASES = [
    # names
    ("nope", "No such command 'nope'"),
    ("swep fig3", "No such command 'swep'. Did you mean 'sweep'?"),
    ("sweep fig33 --scale demo", "no sweep named 'fig33': did you mean 'fig3'?"),
    ("sweep fig3 --scale dem", "sweep 'fig3' has no scale 'dem': did you mean 'demo'?"),
    ("plot fig33", "no figure named 'fig33': did you mean 'fig3'?"),
    ("mixers ramnt", "no mixer named 'ramnt': did you mean 'ramnet'?"),
    ("mixers mixers.RAMNett", "module 'mixers' has no 'RAMNett'; did you mean 'RAMNet'?"),
    ("mixers torch.nn.Linear", "'torch.nn.Linear' must take d_model and layer_idx"),
    ("state-size --preset table3", "no preset named 'table3': did you mean 'table2'?"),
    ("perf memory --json perf.json", "--json takes no file, it prints: --out perf.json writes one"),
    ("perf memry", "no case named 'memry': did you mean 'memory'?"),
    # options
    ("sweep", "Missing argument 'NAME|FILE'"),
    ("sweep fig3", "sweep 'fig3' needs a scale: --scale smoke, demo, laptop, paper"),
    ("sweep mysweep", "no sweep named 'mysweep': there is fig3,"),
    ("sweep fig33", "no sweep named 'fig33': did you mean 'fig3'?"),
    ("export-zoology mysweep", "no sweep named 'mysweep': there is fig3,"),
    ("export-zoology fig3", "sweep 'fig3' needs a scale: --scale smoke, demo, laptop, paper"),
    ("sweep mine.py --scale demo", "--scale demo: an experiment file has no scales"),
    ("sweep none.py", "there is no file none.py"),
    ("export-zoology fig3 --scale smoke", "Zoology has no data.fresh but False, and run"),
    ("sweep fig3 --scale demo extra", "unexpected extra argument(s) (extra)"),
    ("sweep fig3 --scale demo --excutor ray", "No such option: --excutor (Possible options: --executor)"),
    ("sweep fig3 --scale demo --executor ry", "'ry' is not one of 'ray', 'inline'"),
    ("sweep fig3 --scale demo --jobs -1", "Invalid value for '--jobs'"),
    ("sweep fig3 --scale demo --jobs two", "Invalid value for '--jobs'"),
    ("sweep fig3 --scale demo --cpus-per-run 0", "Invalid value for '--cpus-per-run'"),
    ("sweep fig3 --scale demo --gpus-per-run nan", "Invalid value for '--gpus-per-run'"),
    ("sweep fig3 --scale demo --executor inline --jobs 2", "the inline executor has one run at a time"),
    ("run --excutor ray", "no option --excutor; did you mean --executor?"),
    ("run --confg c.json", "no option --confg; did you mean --config?"),
    ("run --cpus-per-run 0", "Invalid value for '--cpus-per-run'"),
    ("results --format xml", "'xml' is not one of 'table', 'csv', 'json'"),
    ("results --colums accuracy", "No such option: --colums (Possible options: --columns)"),
    ("state-size --length 0", "Invalid value for '--length'"),
    ("state-size --length -5", "Invalid value for '--length'"),
    ("state-size --lenght 5", "no option --lenght; did you mean --length?"),
    ("state-size --convention zoo", "'zoo' is not one of 'counted', 'zoology'"),
    ("perf --top-k 0", "Invalid value for '--top-k'"),
    ("perf --engine fast", "'fast' is not one of 'auto'"),
    # settings
    ("run stray", "unexpected argument 'stray'"),
    ("run -x", "unexpected argument '-x'"),
    ("run --=3", "unexpected argument '--=3'"),
    ("run --d_model 3", "no setting 'd_model'; did you mean 'model.d_model'?"),
    ("run --model.d_modle 3", "no setting 'model.d_modle'; did you mean 'model.d_model'?"),
    ("run --seed 5", "no setting 'seed'; did you mean 'train.seed' or 'data.seed'?"),
    ("run --train.seed 5 --train.seed=6", "--train.seed is given twice: 5 and 6"),
    ("state-size --model.d_model 8 --model.d_model 16", "--model.d_model is given twice: 8 and 16"),
    ("trace --base fig3/demo/22 --train.seed 5 --train.seed 6", "--train.seed is given twice: 5 and 6"),
    ("run --config twice", "twice: 'seed' is given twice in one object: 1 and 2"),
    ("run --model.d_model", "--model.d_model needs a value"),
    ("run --model.d_model 3.5", "model.d_model: Input should be a valid integer"),
    ("run --model.d_model true", "model.d_model: Input should be a number (got true)"),
    ("run --model.d_model 1000000000", "model.d_model: Input should be less than or equal to 65536 (got 1000000000)"),
    ("run --data.train.0.num_examples 1000000000000", "num_examples must be at most 100000000, got 1000000000000"),
    ("run --data.train.0.name forgeting", "data.train.0.name: no task named 'forgeting': did you mean 'forgetting'?"),
    ("run --data.test.0.num_updates 2", "no setting 'data.test.0.num_updates'; the task 'multiquery_ar' has name"),
    ("run --data.test.0.name jrt --data.test.0.num_passes 4", "= 80 positions, but input_seq_len has 64: 16 too few"),
    ("run --train.device gpu", "train.device: Input should be 'auto', 'cpu' or 'cuda' (got gpu)"),
    ("run --mixer.name gla", "mixer.name: mixer is a single value"),
    ("run --model.mixers.5.name gla", "model.mixers has 2 entries (0, 1)"),
    ("run --model.mixers.1.name ramnt", "model.mixers.1: no mixer named 'ramnt': did you mean 'ramnet'?"),
    ("run --model.mixers.1.name no.such.Mixer", "mixer 'no.such.Mixer': there is no module 'no'"),
    ("run --model.mixers.1.options.num_heds 4", "has no option 'num_heds'; did you mean 'num_heads'?"),
    ("run --model.mixers.1.options.num_heads 3", "d_model 64 must be a multiple of num_heads 3"),
    ("run --model.mixers.1.options.dropout NaN", "'dropout' must be JSON (finite numbers"),
    ("run --model.mixers.1.options.d_model 8", "d_model is no option: the model sets it"),
    ("state-size --preset table2 --model.d_model 3", "it takes no --model.d_model"),
    ("perf --top-k 5000", "--top-k 5000: there are only 4^5 = 1024 slots"),
    # where to start from
    ("run --base fig3", "--base fig3: a run is given as SWEEP/SCALE/I, such as fig3/demo/0"),
    ("run --base fig3/demo", "--base fig3/demo: a run is given as SWEEP/SCALE/I"),
    ("run --base fig3/demo/1/2", "--base fig3/demo/1/2: a run is given as SWEEP/SCALE/I"),
    ("run --base fig3/demo/x", "--base fig3/demo/x: the last part must be a run from 0 to"),
    ("run --base fig3/demo/-1", "the last part must be a run from 0 to"),
    ("run --base fig3/demo/24", "the last part must be a run from 0 to"),
    ("run --base fig3/dmo/1", "has no scale 'dmo': did you mean 'demo'?"),
    ("run --base fig33/demo/1", "no sweep named 'fig33': did you mean 'fig3'?"),
    ("run --base fig3/demo/1 --config file", "--base, --config and --from-record exclude each other"),
    ("run --from-record abc", "there is no file and no record 'abc' in results"),
    # files
    ("run --config none.json", "cannot read none.json: No such file or directory"),
    ("run --config folder", "cannot read folder: Is a directory"),
    ("run --from-record folder", "cannot read folder: Is a directory"),
    ("run --config file", "file is not JSON"),
    ("run --config bytes", "bytes is not JSON"),
    ("run --config deep", "deep is not JSON"),
    ("run --config list", "list: a config is a JSON object, not a list of 1"),
    ("run --config typo", "typo: no setting 'trian'; did you mean 'train'?"),
    ("run --results file", "cannot write to file/adhoc-custom: Not a directory"),
    ("sweep fig3 --scale demo --executor inline --results file", "cannot write to file/fig3-demo: Not a directory"),
    ("results", "no records: there is no folder results"),
    ("results --results file", "no records: there is no folder file"),
    ("plot fig3 --results folder", "in folder: there is none"),
    ("perf memory --out folder", "cannot write folder: it is a folder"),
]


@pytest.fixture
def cli(monkeypatch, tmp_path):
    """Runs a command in a folder of files that are no configs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("folder").mkdir()
    files = {"file": b"{", "bytes": b"\xff{}", "deep": b"[" * 100_000, "list": b"[1]", "typo": b'{"trian": {}}'}
    files["twice"] = b'{"train": {"seed": 1, "seed": 2}}'
    files["mine.py"] = b"configs = [1]"
    for name, content in files.items():
        Path(name).write_bytes(content)
    return lambda words: CliRunner().invoke(app, words.split())


@pytest.mark.parametrize("words, message", CASES, ids=[words for words, _ in CASES])
def test_a_mistake_is_one_line_and_exit_code_2(cli, words, message):
    result = cli(words)
    assert result.exit_code == 2, result.output
    assert result.stdout == "" and result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ") and message in result.stderr


def test_a_column_that_is_not_there(cli):
    records = Path(__file__).parents[2] / "results"
    result = cli(f"results --results {records} --columns acuracy")
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr == "error: no column 'acuracy': did you mean 'accuracy'?\n"


@pytest.mark.parametrize(
    "text, error",
    [
        ("raise RuntimeError('theirs')", RuntimeError),
        ("import nothing_of_the_kind", ModuleNotFoundError),
        ("import sys; sys.nothing", AttributeError),
        ("def broken(:", SyntaxError),
    ],
)
def test_a_module_of_theirs_that_fails_on_import_keeps_its_traceback(cli, tmp_path, text, error):
    name = f"mine_{tmp_path.name}"  # failed imports are not kept, but folders of modules are
    (tmp_path / f"{name}.py").write_text(text)
    result = cli(f"run --model.mixers.1.name {name}.Mine --dry-run")
    assert isinstance(result.exception, error) and result.exit_code == 1 and "error:" not in result.stderr
