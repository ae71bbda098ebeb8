"""The specification's arithmetic: the 32-bit steps equal the exact formulas."""

import ast
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from attn8_host.layers.dense import Dense
from attn8_host.numerics import integers as numerics
from attn8_host.numerics import scales as quantize
from attn8_host.paths import DEVICE
from tests.compiled import compiled

ratios = st.floats(2.0**-31, 0.499)


@given(
    a=st.integers(-(2**30) + 1, 2**30 - 1),
    mult=st.integers(1 << 13, 1 << 15),
    shift=st.integers(16, 45),
)
@example(a=2**30 - 1, mult=1 << 15, shift=16)
@example(a=-(2**30) + 1, mult=1 << 15, shift=45)
def test_requant_is_the_rounded_quotient(a, mult, shift):
    exact = math.floor(Fraction(a * mult, 2**shift) + Fraction(1, 2))
    assert numerics.requant(np.array([a]), mult, shift)[0] == max(-127, min(127, exact))


@given(t=st.integers(0, 8191))
def test_exp2_is_within_one_step(t):
    # The table rounds once and the shift once more
    assert abs(float(numerics.exp2(np.array([t]))[0]) - 2.0 ** (15 - t / 256)) <= 0.76


def test_exp2_of_zero_is_one_in_q15():
    assert numerics.exp2(np.array([0]))[0] == 32768


def test_int32_refuses_what_a_chip_cannot_hold():
    with pytest.raises(OverflowError, match="leaves int32"):
        numerics.int32(np.array([2**31]))


@given(ratio=ratios)
def test_requant_constants_are_as_close_as_15_bits_allow(ratio):
    mult, shift = quantize.requant_constants(ratio)
    assert 1 << 14 <= mult < 1 << 15
    assert abs(mult / 2**shift - ratio) <= 2.0 ** -(shift + 1)


@given(ratio=st.floats(2.0**-15, 2.0**13))
def test_output_constants_are_as_close_as_30_bits_allow(ratio):
    num, shift = quantize.output_constants(ratio)
    assert 1 << 29 <= num < 1 << 30
    assert abs(num / 2**shift - ratio) <= 2.0 ** -(shift + 1)


@given(scale=st.floats(1e-9, 2.7), head_dim=st.integers(1, 512))
def test_score_constants_stay_in_int32(scale, head_dim):
    mult, shift, limit = quantize.score_constants(scale, head_dim)
    half = 1 << (shift - 1)
    assert 1 <= mult < 1 << 30
    assert 1 <= shift <= 28
    assert limit * mult + half < 2**31
    # Beyond the limit nothing is lost: e would round to 0, or no score can differ by more
    beyond = ((limit + 1) * mult + half) >> shift
    assert limit >= 2 * 127**2 * head_dim or beyond >= 4095


@pytest.mark.parametrize("ratio", [0.5, 2.0**-33, 0.0])
def test_requant_constants_refuse_what_they_cannot_express(ratio):
    with pytest.raises(ValueError, match="ratio of scales"):
        quantize.requant_constants(ratio)


def test_the_board_has_the_same_table(remote):
    assert (remote("from attn8 import EXP2\ngive(EXP2)")
            == np.append(numerics.EXP2, 32768)).all()


def test_the_table_is_made_of_numbers_that_a_chip_has_no_object_for():
    """Larger ones leave some 38 kB for the collector, strewn with what a board keeps."""
    tree = ast.parse((DEVICE / "attn8" / "tables.py").read_text())

    class Counted(ast.NodeTransformer):
        def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
            self.generic_visit(node)
            known = all(isinstance(leaf, (ast.Constant, ast.operator, ast.BinOp))
                        for leaf in ast.walk(node))
            # what is constant is computed before it runs
            return node if known else ast.Call(ast.Name("small", ast.Load()), [node], [])

        def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
            assert isinstance(node.target, ast.Name)
            left = ast.Name(node.target.id, ast.Load())
            return ast.Assign([node.target], self.visit(ast.BinOp(left, node.op, node.value)))

    found = []

    def small(x: int) -> int:
        found.append(x)
        return x

    exec(compile(ast.fix_missing_locations(Counted().visit(tree)), "tables", "exec"),
         {"small": small})
    assert len(found) > 2570 and max(map(abs, found)) < 1 << 30


def test_the_board_finds_the_same_constants_from_scales(remote):
    # Its floats may be shorter: the constants must agree to 20 bits, and exactly where they are
    # doubles, as on the virtual board
    rng = np.random.default_rng(0)
    for ratio in np.exp(rng.uniform(np.log(1e-6), np.log(0.4), 20)).astype(np.float32).tolist():
        mult, shift = remote(
            compiled("from attn8.quantize import *\ngive(requant_constants(ratio))"), ratio=ratio
        )
        num, out_shift = remote(compiled("give(output_constants(ratio * 20))"), ratio=ratio)
        scores = remote(compiled("give(score_constants(ratio, 16))"), ratio=ratio)
        expected = quantize.requant_constants(ratio)
        assert abs(mult / 2**shift / (expected[0] / 2 ** expected[1]) - 1) < 2**-14
        expected = quantize.output_constants(ratio * 20)
        assert abs(num / 2**out_shift / (expected[0] / 2 ** expected[1]) - 1) < 2**-20
        expected = quantize.score_constants(ratio, 16)
        assert abs(scores[0] / 2 ** scores[1] / (expected[0] / 2 ** expected[1]) - 1) < 2**-20
        if remote.board.info.kind == "virtual":
            assert (mult, shift) == quantize.requant_constants(ratio)
            assert (num, out_shift) == quantize.output_constants(ratio * 20)
            assert scores == expected


def test_a_row_of_zeros_is_its_bias():
    bias = np.array([3.25, -0.5, 0.0])
    made = quantize.linear(np.zeros((3, 4)), bias, 0.03, 0.05)
    found = Dense(**{part: made[part] for part in ("weight", "bias", "mult", "shift")})(
        np.full((1, 4), 127, np.int8))
    assert found.tolist() == [[65, -10, 0]]
