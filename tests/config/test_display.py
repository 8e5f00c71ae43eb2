"""What a notebook and a traceback show of a run and of its settings."""

from html.parser import HTMLParser

import pytest

from mqar_bench.config import DataConfig, MixerSpec, ModelConfig, RunConfig, TrainConfig
from mqar_bench.tasks import MQARConfig

RAMNET = MixerSpec(name="ramnet", options={"top_k": 4, "order": 3})
CONFIG = RunConfig(
    sweep="s",
    scale="demo",
    model=ModelConfig(d_model=32, mixers=(RAMNET,)),
    data=DataConfig(test=tuple(MQARConfig(input_seq_len=8 * n, num_kv_pairs=n) for n in (2, 4, 8, 16, 32))),
    train=TrainConfig(learning_rate=0.01),
)


class Cells(HTMLParser):
    """The text of each cell of a table, and the tags that are open when it ends."""

    def __init__(self, html):
        super().__init__()
        self.open, self.cells = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_data(self, text):
        self.cells[-1] += text


@pytest.mark.parametrize("show", [repr, str, "{}".format])
def test_a_config_is_one_line_of_what_is_not_as_by_default(show):
    assert show(CONFIG) == (
        f"<RunConfig {CONFIG.run_id} s/demo ramnet: mixers='ramnet(top_k=4, order=3)'"
        " test='L16-kv2 L32-kv4 .. L256-kv32' model.d_model=32 train.learning_rate=0.01>"
    )


def test_parts_leave_out_what_is_as_by_default():
    assert repr(TrainConfig()) == "TrainConfig()"
    assert repr(TrainConfig(learning_rate=0.01, grad_clip=None)) == "TrainConfig(learning_rate=0.01)"
    assert repr(ModelConfig(mixers=(RAMNET,))) == (
        "ModelConfig(mixers=(MixerSpec(name='ramnet', options={'top_k': 4, 'order': 3}),))"
    )
    for part in (CONFIG.model, CONFIG.data, CONFIG.train):  # and it can still be read back
        names = {kind.__name__: kind for kind in (DataConfig, MixerSpec, ModelConfig, MQARConfig, TrainConfig)}
        assert eval(repr(part), names) == part


def test_a_notebook_shows_the_same_as_a_table():
    cells = Cells(CONFIG._repr_html_())
    assert cells.open == [] and cells.cells[0] == f"run {CONFIG.run_id}: ramnet, s at demo"
    shown = dict(zip(cells.cells[1::2], cells.cells[2::2], strict=True))
    assert shown == dict(CONFIG.facts())
    assert shown["model.d_model"] == "32" and "train.batch_size" not in shown and "sweep" not in shown


def test_what_a_name_holds_is_text():
    evil = "<script>alert('&')</script>"
    config = RunConfig(mixer=evil, model=ModelConfig(mixers=(MixerSpec(name="gla", options={"note": evil}),)))
    html = config._repr_html_()
    assert "<script" not in html
    cells = Cells(html)
    assert evil in cells.cells[0] and f"gla(note={evil})" in cells.cells
