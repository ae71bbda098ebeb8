"""The model of the cores' pipelines: what waits, what a taken branch loses, and what does not."""

import numpy as np
import pytest

from attn8_host import isa
from attn8_host.forms.pie import Pie
from attn8_host.forms.rv32 import A0, A1, A2, ZERO, Rv32
from attn8_host.isa.pipeline import C3, LX6, LX7


def xtensa(pipeline, *instructions):
    """(instructions, cycles) of a function of these: (name, operands ...), or a label's name."""
    a = Pie()
    a.entry(1, 32)
    a.l32i(6, 5, 0)
    for _ in range(4):
        a.nop()
    for each in instructions:
        if isinstance(each, str):
            a.label(each)
        else:
            name, *operands = each
            getattr(a, name)(*operands)
    a.retw()
    machine = isa.MACHINES["xtensawin"]({"f": a.code()}, [])
    machine.pipeline = pipeline
    machine.call("f", machine.buffer(np.arange(64, dtype=np.int32)))
    return machine.instructions, machine.cycles


NOTHING = {pipeline: xtensa(pipeline) for pipeline in (LX6, LX7)}


@pytest.mark.parametrize("pipeline, waits", [(LX6, 2), (LX7, 1)])
def test_xtensa_waits_for_a_load(pipeline, waits):
    def added(*instructions):
        n, cycles = xtensa(pipeline, *instructions)
        assert n - NOTHING[pipeline][0] == len(instructions)
        return cycles - NOTHING[pipeline][1] - len(instructions)

    load, use, other = ("l32i", 7, 6, 4), ("add", 8, 7, 7), ("addi", 9, 6, 1)
    assert added(load, use) == waits
    assert added(load, other, use) == waits - 1
    assert added(load, other, other, use) == 0
    assert added(load, ("addi", 6, 6, 4), other, use) == 0  # nor for the pointer
    assert added(("mull", 7, 6, 6), use) == 1
    assert added(("ldinc", 0, 6), ("addi", 9, 6, 1)) == 0
    assert added(("ldinc", 0, 6), ("mula_da", 0, 0, 6)) == waits
    assert added(("mula_dd_ldinc", 0, 1, 6, 0, 2), ("mula_dd_ldinc", 3, 1, 6, 0, 2)) == 0


@pytest.mark.parametrize("pipeline", [LX6, LX7])
def test_a_loop_loses_nothing_and_a_branch_does(pipeline):
    body = [("addi", 9, 9, 1)] * 3
    _, loop = xtensa(pipeline, ("movi", 8, 10), ("loopnez", 8, "end"), *body, "end")
    _, branch = xtensa(pipeline, ("movi", 8, 10), "again", *body, ("addi", 8, 8, -1),
                       ("bnez", 8, "again"))
    assert loop - NOTHING[pipeline][1] == 2 + 30
    assert branch - NOTHING[pipeline][1] == 1 + 50 + 9 * pipeline.taken


def test_what_a_loop_leaves_under_way_its_next_round_waits_for():
    body = [("add", 9, 7, 7), ("l32i", 7, 6, 4)]
    _, cycles = xtensa(LX6, ("movi", 8, 10), ("loopnez", 8, "end"), *body, "end")
    assert cycles - NOTHING[LX6][1] == 2 + 20 + 9 * 2


def test_rv32_waits_for_loads_and_quotients_in_both_sizes():
    def run(build):
        a = Rv32()
        build(a)
        a.ret()
        machine = isa.MACHINES["rv32imc"]({"f": a.code()}, [])
        machine.call("f", 0, 0)
        return machine.instructions, machine.cycles

    n, nothing = run(lambda a: None)

    def waits(build):
        instructions, cycles = run(build)
        return cycles - nothing - (instructions - n)

    # A3 is the address of the arguments; a load from it may be compressed or not
    for offset in (0, 1):
        load = (lambda a: a.lw(A0, 0, A2 + 1)) if offset == 0 else (lambda a: a.lb(A0, 1, A2 + 1))
        assert waits(lambda a, load=load: (load(a), a.add(A0, A0, A1))) == C3.load - 1
        assert waits(lambda a, load=load: (load(a), a.mv(A1, A2), a.add(A0, A0, A1))) == 0
    assert waits(lambda a: (a.mul(A0, A1, A2), a.add(A0, A0, A1))) == 0
    assert waits(lambda a: (a.li(A1, 3), a.beq(A1, ZERO, "no"), a.li(A1, 4), a.label("no"))) == 0
    assert waits(lambda a: (a.li(A1, 3), a.bne(A1, ZERO, "yes"), a.li(A1, 4), a.label("yes"))
                 ) == C3.taken
