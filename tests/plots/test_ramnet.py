import mixers
from mixers import RAMNet
from plots import ramnet
from tests.plots.records import config, frame, record


def settings(*runs):
    return ramnet.settings(frame(*map(record, runs)))


def test_what_a_config_leaves_out_has_the_mixers_defaults():
    (row,) = settings(config("ramnet", order=3, anneal="fade"), config("attention")).to_dict("records")
    mixer = RAMNet(64, order=3)
    assert (row["slots"], row["top_k"], row["train_top_k"]) == (64, mixer.top_k, mixer.train_top_k)
    assert (row["head_v_dim"], row["gamma"], row["cape"]) == (mixer.head_v_dim, mixer.gamma, mixer.cape_heads)
    assert (row["order"], row["sub_dim"], row["proxy_gradient"]) == (3, mixer.sub_dim, mixer.proxy_gradient)
    defaults = {option.name: option.default for option in mixers.describe("ramnet")}
    assert row["alpha_init"] == defaults["alpha_init"]
    assert row["learnable_temperature"] == defaults["learnable_temperature"]
    assert (row["design"], row["below"]) == ("after a short convolution", "a short convolution")


def test_options_that_are_given_are_taken_also_where_other_runs_lack_them():
    given = {"order": 2, "sub_dim": 8, "top_k": 4, "train_top_k": 16, "head_v_dim": 5, "gamma": 0.0, "alpha_init": -1.0}
    switched = {"learnable_temperature": True, "proxy_gradient": False, "cape": 1}
    rows = settings(config("ramnet", **given, **switched), config("ramnet")).to_dict("records")
    assert {name: rows[0][name] for name in given | switched} == given | switched
    assert rows[0]["slots"] == 64 and rows[1]["slots"] == 256
    assert rows[1]["gamma"] == 1.0 and rows[1]["learnable_temperature"] is False and rows[1]["cape"] == 0


def test_annealing_is_on_the_way_never_or_over_at_once():
    given = ({}, {"anneal_start": 1.0, "anneal_end": 1.0}, {"train_top_k": 4}, {"top_k": 32})
    rows = settings(*(config("ramnet", **({"order": 3, "sub_dim": 4, "top_k": 4} | options)) for options in given))
    # 32 of 64 is what training starts with by default
    assert rows["annealing"].tolist() == ["faded to K", "never shrunk", "K throughout", "K throughout"]
    assert rows["train_top_k"].tolist() == [32, 32, 4, 32]


def test_annealing_by_name():
    given = ({"anneal": "fade"}, {"anneal": "shrink"}, {"anneal": "fade", "top_k": 32})
    rows = settings(*(config("ramnet", **({"order": 3, "sub_dim": 4, "top_k": 4} | options)) for options in given))
    assert rows["annealing"].tolist() == ["faded to K", "shrunk to K", "K throughout"]
    assert rows["train_top_k"].tolist() == [32, 32, 32]


def test_layers_below_are_described_with_their_cape():
    def below(**options):
        return {"name": "ramnet", "options": options}

    runs = [
        config("ramnet", below=below(cape=True), cape=False),
        config("ramnet", below=below(cape=1), cape=2),
        config("ramnet", below=below()),
        config("ramnet", below=None),
        config("ramnet", cape=True),
    ]
    rows = settings(*runs)
    assert rows["below"].tolist() == [
        "RAM-Net, CAPE in 2 heads",
        "RAM-Net, CAPE in 1 head",
        "RAM-Net without CAPE",
        "nothing",
        "a short convolution",
    ]
    assert rows["cape"].tolist() == [0, 2, 0, 0, 2]
    assert rows["design"].tolist() == [
        "in every layer, with CAPE",
        "in every layer, with CAPE",
        "in every layer",
        "in every layer",
        "after a short convolution, with CAPE",
    ]


def test_without_a_ramnet_there_are_no_rows_but_all_columns():
    rows = settings(config("attention"))
    assert rows.empty and set(ramnet.SETTINGS) <= set(rows.columns)
