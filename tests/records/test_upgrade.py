import json

import pytest

from mqar_bench.config import MixerSpec, RunConfig, content_id
from mqar_bench.records.store import Store
from tests.records.test_store import record


def of(**options) -> RunConfig:
    mixers = [
        {"name": "ramnet", "options": {"top_k": 4}},
        {"name": "attention"},
        {"name": "ramnet", "options": options},
    ]
    return RunConfig.model_validate({"model": {"mixers": mixers}, "sweep": "s", "scale": "demo"})


def read_back(tmp_path, config, version=1, **changes):
    """A record of ``config`` as a version wrote it, read today."""
    values = record(config=config, **changes).model_dump(mode="json") | {"schema_version": version}
    (tmp_path / "old.json").write_text(json.dumps(values))
    (result,), problems = Store(tmp_path).results()
    assert problems == []
    return result


def test_ramnets_of_version_1_name_what_was_the_default_then(tmp_path):
    result = read_back(tmp_path, of(order=3, top_k=2, anneal_start=1.0))
    first, attention, last = result.config.model.mixers
    assert attention == MixerSpec(name="attention")
    assert first.options == {
        "top_k": 4, "train_top_k": 64, "output_norm": "rmsnorm", "address_init_std": 0.1, "anneal": "shrink",
        "normalize_reads": False, "address_bias": False, "aligned_values": False,
        "tied_addresses": False, "output_gain": 0.02, "address_norm": None, "learnable_temperature": True,
    }  # fmt: skip
    assert last.options == first.options | {"order": 3, "top_k": 2, "train_top_k": 16, "anneal_start": 1.0}
    assert result.schema_version == 4 and result.accuracy == 0.5


LATER = {3: {"address_norm": None, "learnable_temperature": True}}
LATER[2] = {"tied_addresses": False, "output_gain": 0.02} | LATER[3]


@pytest.mark.parametrize("version", LATER)
def test_ramnets_of_later_versions_name_what_was_the_default_then(tmp_path, version):
    result = read_back(tmp_path, of(order=3), version)
    assert result.config.model.mixers[2].options == {"order": 3} | LATER[version]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_run_of_before_is_not_one_of_today(tmp_path, version):
    config = of(order=3)
    result = read_back(tmp_path, config, version)
    store = Store(tmp_path)
    assert result.run_id == content_id(result.config.model_dump(mode="json")) != config.run_id
    assert not store.is_done(config) and store.is_done(result.config)


def test_what_was_named_stays(tmp_path):
    given = {"train_top_k": 8, "output_norm": "identity", "address_init_std": 0.02}
    assert read_back(tmp_path, of(**given)).config.model.mixers[2].options.items() >= given.items()


@pytest.mark.parametrize("options", [{"order": "4"}, {"sub_dim": 10**9, "order": 10**9}, {"top_k": None}], ids=str)
def test_options_that_no_ramnet_takes_are_no_trouble(tmp_path, options):
    result = read_back(tmp_path, of(**options), status="failed", error="ValueError: no")
    assert "train_top_k" not in result.config.model.mixers[2].options


def test_other_runs_are_the_same_as_ever(tmp_path):
    config = RunConfig.model_validate({"model": {"mixers": [{"name": "gla"}]}, "sweep": "s", "scale": "demo"})
    assert read_back(tmp_path, config).run_id == config.run_id


def test_a_config_that_was_edited_is_still_refused(tmp_path):
    values = record(config=of()).model_dump(mode="json") | {"schema_version": 1}
    values["config"]["model"]["mixers"][2]["options"]["top_k"] = 16
    (tmp_path / "old.json").write_text(json.dumps(values))
    results, problems = Store(tmp_path).results()
    assert results == [] and "edited" in problems[0]
