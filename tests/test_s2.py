"""The kernels of an ESP32-S2, in an emulator that has neither MAC16 nor loops: what other tests
show of two chips, shown of this one.
"""

# ruff: noqa: F401, F811

import numpy as np
import pytest

from attn8_host import forms, isa
from attn8_host.cli import main
from attn8_host.forms.mpy import XtensaFunction
from tests import test_turbo
from tests.conftest import machines_of
from tests.test_decode16 import test_a_row_of_the_cache, test_attention_to_a_cache
from tests.test_linear import of_all_sizes, run_kernels, test_machine_code_at_the_largest_sums
from tests.test_stream_kernels import (
    family,
    test_add,
    test_lookup,
    test_norm,
    test_settle,
    test_widen_and_narrow,
)
from tests.test_train_kernels import (
    by_words,
    products,
    softmaxes,
    test_eight_largest_mantissas_fit_a_word,
    test_product,
    test_scale,
    test_sgd,
    test_squares,
    test_sums,
)
from tests.test_train_kernels import test_softmax as test_softmax_of_fixed_point
from tests.test_turbo import (
    machine,
    test_attention,
    test_attention_at_the_longest_sequence,
    test_instructions_per_mac,
    test_matmul,
    test_matmul_to_int16,
    test_swap_axes,
)

FAMILIES = forms.families("s2")


@pytest.fixture(scope="session")
def machines():
    return machines_of("esp32s2")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_firmware_checks_number_and_type_of_all_arguments(machines, family, monkeypatch):
    test_turbo.check_arguments(machines(f"turbo.{family}"), "s2", family, monkeypatch)


@of_all_sizes
def test_linear(machines, seed, size, form, offset, fill):
    """Viper's code is that of any Xtensa."""
    run_kernels(machines("turbo.linear"), np.random.default_rng(seed), *size, form, offset, fill)


def traps(assemble):
    """Whether an ESP32-S2 has no such instruction, and an ESP32 has."""
    a = XtensaFunction(forms.mpy.Signature("f", {}))
    assemble(a)
    a.finish()
    found = []
    for arch in ("xtensawin", "esp32s2"):
        try:
            isa.MACHINES[arch]({"f": a.code()}, [forms.mpy.mpy.FUN_TABLE_OBJECT]).call("f")
            found.append(True)
        except isa.DecodeError as error:
            assert "an ESP32-S2 has no" in str(error)
            found.append(False)
    return found == [True, False]


def test_what_the_chip_lacks_traps():
    def loop(a):
        a.movi(2, 3)
        a.loopnez(2, "end")
        a.addi(3, 3, 1)
        a.label("end")

    assert traps(loop)
    assert traps(lambda a: a.mula_aa(0, 2, 3))
    assert traps(lambda a: a.wsr(2, 16))
    assert traps(lambda a: a.rsr(2, 33))
    assert not traps(lambda a: a.mulsh(2, 2, 3))


def test_plan_counts_this_chip(capsys):
    assert main(["plan", "--isa", "esp32s2", "--seq-len", "8", "--embed-dim", "8",
                 "--heads", "2"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "cycles by a model of the ESP32-S2's pipeline" in said
