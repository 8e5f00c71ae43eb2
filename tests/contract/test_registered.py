"""Every registered mixer keeps all of the contract."""

import pytest

from mqar_bench.contract.check import check_mixer
from mqar_bench.contract.subject import prepare
from tests.mixers.test_contract import CASES, D_MODEL

FIRST = {case.values[0]: case.id for case in reversed(CASES)}
#: With other options among the slow tests: tests/mixers/test_contract.py asks most of it of them, too.
BY_NAME = [
    case if FIRST[case.values[0]] == case.id else pytest.param(*case.values, id=case.id, marks=pytest.mark.slow)
    for case in CASES
]


@pytest.mark.parametrize("name, options", BY_NAME)
def test_all_properties(name, options):
    found = list(check_mixer(prepare(name, D_MODEL, options, longest=130)))
    assert {finding.mark for finding in found} == {"ok"}, [finding for finding in found if finding.mark != "ok"]
    inexact = [finding.name for finding in found if "within rounding: gradient" in finding.text]
    assert inexact == (["causal"] if name == "h3" else []), "only an FFT mixes the gradients of positions"
