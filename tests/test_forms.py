"""The door of the forms: at each bound of each form its kernels are exact, beyond it others are
taken. The device's own code runs under CPython, its kernels in emulators of the chips.
"""

import ast
import shutil
from array import array
from binascii import crc32
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from attn8_host import forms, isa
from attn8_host.boards import BoardInfo
from attn8_host.cores.exact import Exact
from attn8_host.cores.linear import Linear, shrink
from attn8_host.cores.linear import attend as linear_attend
from attn8_host.cores.sparse import Sparse
from attn8_host.forms.table import put_into, table
from attn8_host.isa import device as device_in_cpython
from attn8_host.isa import importer
from attn8_host.isa.device import Device
from attn8_host.isa.importer import module
from attn8_host.layers.add import Add
from attn8_host.layers.convert import Requantize
from attn8_host.layers.dense import Dense
from attn8_host.layers.layer_norm import LayerNorm
from attn8_host.masks import Mask
from attn8_host.numerics.integers import requant
from attn8_host.train import arithmetic as formats
from tests.test_decode8 import attended
from tests.test_decode16 import grouped, of_int16
from tools import forms_table

FORMS = forms.machine_forms()
FAMILIES = [(form, family) for form in FORMS for family in forms.families(form)]
CHIPS = [("xtensawin", "viper"), ("xtensawin", "turbo"), ("xtensawin", "simd"),
         ("rv32imc", "viper"), ("rv32imc", "turbo"), ("esp32s2", "turbo")]  # fmt: skip
OUT = {"out_num": 1 << 29, "out_shift": 29}
SCORES = {"score_mult": 20000, "score_shift": 19, "score_limit": 100000}


def device_of(form):
    """A device that finds a form and those below it."""
    return Device(forms.target(form).ISA, forms.declared(form, "BACKEND"))


def int8(*values):
    return np.array(values, np.int8)


def matmul(device, inputs):
    """-> the form that is taken; int32 sums of the largest products, and what they are to be."""
    weight, x = np.full((3, inputs), -128, np.int8), np.full((1, inputs), -128, np.int8)
    weight[1] = 127
    bias = np.array([0, 5, -7], np.int32)
    dense = device.load("attn8.layers.dense")
    linear = dense.Linear("linear", inputs, 3, array("b", weight.tobytes()),
                          array("i", bias.tobytes()))
    found = np.array(dense.Dense(linear)(array("b", x.tobytes())))
    return linear.form, found, Dense(weight, bias)(x).ravel()


def sparse(device, q, k, v, seen, **constants):
    """-> the form that is taken; results of a head under a mask, and what they are to be."""
    constants = SCORES | OUT | constants
    mask = Mask.from_dense(np.array(seen, bool))
    seq_len, head_dim = q.shape
    bits = bytearray(mask.to_bits().tobytes())
    core = device.attn8.Sparse(seq_len, head_dim, mask=bits, **constants)
    return core.buffers.form, run(core, q, k, v), Sparse(**constants, mask=mask)(q, k, v)


def run(core, q, k, v):
    out = array("b", bytes(q.size))
    core(*(array("b", x.tobytes()) for x in (q, k, v)), out)
    return np.array(out, np.int8).reshape(q.shape)


def wide_head(device, head_dim):
    """Scores as far from each other as this many dimensions allow."""
    q = np.full((3, head_dim), -128, np.int8)
    k = np.stack([np.full(head_dim, value, np.int8) for value in (127, -128, 0)])
    v = np.stack([np.full(head_dim, value, np.int8) for value in (-100, 100, 3)])
    return sparse(device, q, k, v, [[1, 1, 0], [1, 1, 0], [0, 1, 1]])


def near_scores(device, **constants):
    """Scores that are half an octave apart, or as far as the largest score_limit allows."""
    mult, shift = constants["score_mult"], constants["score_shift"]
    most = min((1 << 31) - 1, (32 << shift + 8) - 1) - (1 << shift - 1)
    constants["score_limit"] = limit = min(1 << 28, most // mult)
    apart = max(1, min(42, limit // 3, (128 << shift) // mult))
    q, k, v = int8([1], [1], [1]), int8([0], [-apart], [-3 * apart]), int8([100], [-100], [50])
    return sparse(device, q, k, v, [[1, 1, 0], [1, 0, 1], [0, 1, 1]], **constants)


def scaled(device, **constants):
    """Results of one key alone, whose reciprocal is the largest that there is."""
    q = k = int8([1, 1], [1, 1], [1, 1])
    v = int8([1, -1], [127, -127], [64, 3])
    return sparse(device, q, k, v, np.eye(3), out_num=(1 << 30) - 1, **constants)


def norm(device, n):
    """-> the form that is taken; results of a row of the largest squares, and what is wanted."""
    x = np.full((1, n), -32768, np.int16)
    constants = {"weight": np.full(n, 1 << 27, np.int32), "bias": np.zeros(n, np.int32),
                 "shift": 16, "eps_mult": 0, "eps_shift": 0}
    layer = device.attn8.RMSNorm(1, **{key: array("i", value.tobytes()) if key in ("weight", "bias")
                                       else value for key, value in constants.items()})
    found = np.array(layer(array("h", x.tobytes())))
    return layer.form, found, LayerNorm(**constants, centred=False)(x).ravel()


def cached16(device, head_dim):
    """-> the form that is taken; what a query finds in three slots, and what that is to be."""
    form = device.attn8.forms.choose("decode16", head_dim)
    q = np.full(head_dim, 500, np.int16)
    k, v = np.full((2, 4, 1, head_dim), [[[1000]], [[-1000]], [[9]], [[0]]], np.int16)
    behind = bytes(range(64))  # is read and written where fours or eights are not whole
    found = array("h", q.tobytes() + behind)
    form.attend(found, 0, array("h", k.tobytes() + behind),
                array("h", grouped(v).tobytes() + behind), bytearray(*form.room(3)),
                device.load("attn8.tables").EXP2, 3, 1, 1, head_dim, 20000, 23, 1 << 29, 30)
    wanted = of_int16(q[None], k[:3], v[:3], 20000, 23, 1 << 29, 30)
    return form, np.array(found[:head_dim]), wanted.ravel()


def cached(device, head_dim):
    """-> the form that is taken; what a query finds in three slots, and what that is to be."""
    form = device.attn8.forms.choose("decode8", head_dim)
    q = np.full(head_dim, 500, np.int16)
    k, v = np.full((2, 3, head_dim), [[127], [-127], [1]], np.int8)
    steps = np.array([[1], [2], [3]], np.uint8)
    behind = bytes(16)  # what lies behind is read and written where eights are not whole
    found = array("h", q.tobytes() + behind)
    keys, values, key_steps, value_steps = (bytearray(x.tobytes() + behind)
                                            for x in (k, v, steps, steps))
    form.attend(found, 0, keys, key_steps, values, value_steps, bytearray(*form.room(3)),
                device.load("attn8.tables").EXP2, 3, 1, 1, head_dim, 20000, 24, 1 << 29, 30)
    wanted = attended(q[None], k[:, None], steps, v[:, None], steps, 20000, 24, 1 << 29, 30)
    return form, np.array(found[:head_dim]), wanted.ravel()


@dataclass(frozen=True)
class Bound:
    """The last value that a form takes, and the first that it does not, at a run that shows it."""

    form: str
    family: str
    name: str
    edge: object
    beyond: object
    run: object

    def __str__(self):
        return f"{self.form}-{self.name}-{self.edge}"


def shifted(shift):
    """The largest score_mult of a shift whose product's high word is what the kernel wants."""
    return (1 << shift + 7) - 1


BOUNDS = [
    Bound("xtensa", "decode16", "head_dim", 4, 6, cached16),
    Bound("rv32", "decode16", "head_dim", 8, 12, cached16),
    Bound("s2", "decode16", "head_dim", 8, 12, cached16),
    Bound("xtensa", "decode8", "head_dim", 8, 12, cached),
    Bound("rv32", "decode8", "head_dim", 8, 12, cached),
    Bound("xtensa", "norm", "n", 1023, 1024, norm),
    Bound("xtensa", "sparse", "head_dim", 257, 258, wide_head),
    Bound("xtensa", "sparse", "score_shift", 25, 26,
          lambda device, n: near_scores(device, score_mult=1 << 24, score_shift=n)),
]
BOUNDS += [
    Bound("xtensa", "sparse", f"score_mult, score_shift {shift}", shifted(shift),
          shifted(shift) + 1,
          lambda device, n, shift=shift: near_scores(device, score_mult=n, score_shift=shift))
    for shift in (1, 10, 22)
]
BOUNDS += [
    Bound(form, "sparse", "out_shift", edge, beyond,
          lambda device, n: scaled(device, out_shift=n))
    for form in ("xtensa", "rv32") for edge, beyond in ((18, 17), (33, 34))
]  # fmt: skip


def check(device, bound):
    """At the edge the form is taken and exact; beyond it another is, and exact."""
    for value, taken in ((bound.edge, True), (bound.beyond, False)):
        form, found, expected = bound.run(device, value)
        assert (found == expected).all(), f"{bound}: {value} is wrong"
        name = f"attn8.forms.{bound.form}.{bound.family}"
        assert (form.__name__ == name) == taken, f"{bound}: {value} is taken by {form.__name__}"


@pytest.mark.parametrize("bound", BOUNDS, ids=str)
def test_at_a_bound_a_form_is_exact_and_beyond_it_the_next_is_taken(bound):
    check(device_of(bound.form), bound)


@pytest.mark.parametrize("bound", BOUNDS, ids=str)
def test_beyond_a_bound_the_kernels_are_wrong(bound):
    # No bound is tighter than it has to be
    device = device_of(bound.form)
    mutate(device, bound.form, bound.family, "def fits(*sizes):\n    return True\n")
    form, found, expected = bound.run(device, bound.beyond)
    assert form.__name__ == f"attn8.forms.{bound.form}.{bound.family}"
    assert (found != expected).any()


def mutate(device, form, family, source):
    """Gives a form another `fits`."""
    made = device.attn8.forms._module(form, family)
    exec(compile(source, f"mutant of {form}.{family}", "exec"), vars(made))


def fits(form, family):
    """The source of a form's `fits`, "" of one that is right for all."""
    body = ast.parse(forms.source(form, family).read_text()).body
    return "".join(ast.unparse(node) for node in body if getattr(node, "name", None) == "fits")


def mutants():
    """(form, family, source): bounds as they once could be changed unseen, and each number of each
    `fits` one less and one more.
    """
    for form, family, old, new in (
        ("xtensa", "sparse", "257", "300"),
        ("xtensa", "sparse", "score_shift <= 25", "score_shift <= 28"),
        ("xtensa", "sparse", "score_mult >> score_shift + 7 == 0", "True"),
        ("xtensa", "sparse", "18 <= out_shift <= 33", "16 <= out_shift <= 45"),
        ("rv32", "sparse", "18 <= out_shift <= 33", "16 <= out_shift <= 45"),
    ):
        source = fits(form, family)
        assert source.count(old) == 1, (source, old)
        yield pytest.param(form, family, source.replace(old, new), id=f"{form}-{family}-{new}")
    for form, family in FAMILIES:
        for place in range(len(numbers(fits(form, family)))):
            for step in (-1, 1):
                tree = ast.parse(fits(form, family))
                number = numbers(tree)[place]
                was, number.value = number.value, number.value + step
                yield pytest.param(form, family, ast.unparse(tree),
                                   id=f"{form}-{family}-{place}-{was}{step:+}")


def numbers(tree):
    tree = ast.parse(tree) if isinstance(tree, str) else tree
    return [node for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and type(node.value) is int]


@pytest.mark.parametrize("form, family, source", [*mutants()])
def test_a_changed_bound_is_noticed(form, family, source):
    device = device_of(form)
    mutate(device, form, family, source)
    with pytest.raises(AssertionError, match=r"is wrong|is taken by"):
        for bound in BOUNDS:
            if (bound.form, bound.family) == (form, family):
                check(device, bound)


# Where a form has no bound, or viper is left, what public entries let in is what kernels can do


def dense_512_inputs_and_more(device):
    for inputs in (512, 4096):
        yield matmul(device, inputs)
    with pytest.raises(ValueError, match="in_features: expected 1 to 4096, got 4097"):
        matmul(device, 4097)


def exact(device, seq_len, head_dim, key_len=None, **options):
    rng = np.random.default_rng(0)
    q = rng.choice(int8(-128, 127), (seq_len, head_dim))
    k, v = (rng.choice(int8(-127, 127), (key_len or seq_len, head_dim)) for _ in range(2))
    constants = {"score_mult": 20000, "score_shift": 24, "score_limit": 100000} | OUT
    core = device.attn8.Exact(seq_len, head_dim, **constants, key_len=key_len, **options)
    return core.buffers.form, run(core, q, k, v), Exact(**constants, **options)(q, k, v)


def exact_of_516_keys(device):
    yield exact(device, 1, 4, 516)
    with pytest.raises(ValueError, match="key_len: expected 1 to 516, got 517"):
        exact(device, 1, 4, 517)


def exact_of_head_dim_4096(device):
    for precise in (False, True):
        yield exact(device, 3, 4096, precise=precise)
    with pytest.raises(ValueError, match="head_dim: expected 1 to 4096, got 4097"):
        exact(device, 3, 4097)


def sparse_of_head_dim_4096(device):
    yield wide_head(device, 4096)
    with pytest.raises(ValueError, match="head_dim: expected 1 to 4096, got 4097"):
        wide_head(device, 4097)


def sparse_of_all_constants(device):
    for shift in (1, 28):
        yield near_scores(device, score_mult=min((1 << 30) - 1, (1 << shift + 7) + 1),
                          score_shift=shift)
    for shift in (16, 45):
        yield scaled(device, out_shift=shift)
    with pytest.raises(ValueError, match="score_shift: expected 1 to 28, got 29"):
        near_scores(device, score_mult=1, score_shift=29)
    with pytest.raises(ValueError, match="out_shift: expected 16 to 45, got 46"):
        scaled(device, out_shift=46)


def linear_of_head_dim_1024(device):
    rng = np.random.default_rng(0)
    q, k, v = (rng.choice(int8(-128, 127), (2, 1024)) for _ in range(3))
    core = device.attn8.Linear(2, 1024, **OUT)
    yield core.buffers.form, run(core, q, k, v), Linear(**OUT)(q, k, v)
    with pytest.raises(ValueError, match="head_dim: expected 1 to 1024, got 1025"):
        device.attn8.Linear(2, 1025, **OUT)


ENTRIES = [dense_512_inputs_and_more, exact_of_516_keys, exact_of_head_dim_4096,
           sparse_of_head_dim_4096, sparse_of_all_constants, linear_of_head_dim_1024]  # fmt: skip


@pytest.mark.parametrize("arch, backend", CHIPS)
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.__name__)
def test_what_an_entry_lets_in_is_exact(arch, backend, entry):
    for form, found, expected in entry(Device(arch, backend)):
        assert (found == expected).all(), form.__name__


# One contract


def functions(path):
    """The functions of a module of the device: {name: (arguments, whether it returns)}."""
    return {
        node.name: (ast.unparse(node.args), node.returns is not None)
        for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)
    }


# Of some forms: bounds, a head in one call, int16 results of a product
OPTIONAL = {"fits", "attend", "attends", "attend_room", "int16_rows"}


@pytest.mark.parametrize("form, family", FAMILIES)
def test_a_function_has_one_signature_in_all_forms(form, family):
    viper = functions(forms.source("viper", family))
    found = functions(forms.source(form, family))
    public = {name for name in found if not name.startswith("_")} - OPTIONAL
    assert public and public <= viper.keys()
    for name in public:
        assert found[name] == viper[name], name
    for bounds in {"fits"} & found.keys():
        alike = [functions(forms.source(other, family)).get(bounds) for other, there in FAMILIES
                 if there == family]
        assert set(alike) <= {found[bounds], None}
    assert (forms.ROOT / "known" / f"{family}.py").exists()


@pytest.mark.parametrize("form, family", [(form, family) for form, family in FAMILIES
                                          if form != forms.STUBS])
def test_a_source_that_serves_other_forms_is_there_once(form, family):
    path, others = forms.source(form, family), forms.source(forms.STUBS, family)
    assert (f"attn8.forms.{form}.{family}" in forms.borrowed()) == (path == others)
    assert path == others or path.read_text() != others.read_text()


def test_forms_of_one_chip_have_a_rank_each():
    for name in isa.ISAS:
        ranks = [forms.declared(form, "RANK") for form in FORMS if name == forms.target(form).ISA]
        assert len(ranks) == len(set(ranks))


# Known answers


def test_known_answers_of_a_stream_are_those_of_the_reference(on_device):
    numbers = on_device("attn8.known").numbers

    def int16(n, step):
        return np.array(numbers("b", n, step), np.int16)

    n, j = 37, np.arange(11)
    wide = Requantize(26000, 23, "int16")(int16(n, 91))
    doubled = Add()(wide, wide)
    sums = int16(33, 53).reshape(3, 11).astype(np.int64) * 5000001
    settled = requant(sums, 20000 + j, 27 + j, "int16")
    out = [Add()(wide, 258 * int16(n, 37)), doubled, Requantize(20000, 25, "int8")(doubled),
           settled]  # fmt: skip
    assert all(len(np.unique(values)) > 9 for values in out)
    assert crc32(b"".join(map(bytes, out))) == on_device("attn8.known.stream").ANSWER


def test_known_answers_of_a_norm_are_those_of_the_reference(on_device):
    numbers, n = on_device("attn8.known").numbers, 37
    x = np.array([[(value << up) + 5 for value in numbers("b", n, 7 * up + 37)] for up in range(9)],
                 np.int16)
    weight = np.array(numbers("b", n, 53), np.int32) * 5000001
    bias = np.array(numbers("b", n, 91), np.int32) << 16
    out = LayerNorm(weight, bias, 20, 70000000 >> 7, 7)(x)
    wide = LayerNorm(weight, bias, 13, 3, 28, "int16", centred=False)(x[:1])
    words = LayerNorm(weight[:36], bias[:36], 20, 70000000 >> 7, 7)(x.ravel()[:72].reshape(2, 36))
    assert all(len(np.unique(values)) > 9 for values in (*out, wide, words))
    found = out.tobytes() + wide.tobytes() + words.tobytes()
    assert crc32(found) == on_device("attn8.known.norm").ANSWER


def test_known_answers_of_training_are_those_of_the_reference(on_device):
    numbers, n = on_device("attn8.known").numbers, 19
    x = np.array(numbers("i", 5 * n, 37), int).reshape(5, n) << 4 * np.arange(5)[:, None]
    y = np.array(numbers("i", 3 * n, 91), int).reshape(n, 3).T
    fine, coarse = formats.get("Q16.16"), formats.get("Q8.8")
    out = fine.product(x, y, None)
    onto = coarse.product(x, y, out)
    assert fine.overflows == 0 < coarse.overflows and len(np.unique(onto)) > 9
    found = np.array([*out.ravel(), *onto.ravel(), coarse.overflows], np.int32)
    assert crc32(found.tobytes()) == on_device("attn8.known.fixed_product").ANSWER


def test_known_answers_of_training_by_words_are_those_of_the_reference(on_device):
    numbers, n, f = on_device("attn8.known").numbers, 19, formats.get("Q16.16")
    x, y = (np.array(numbers("i", n, step), int) * 8000001 for step in (37, 91))
    out = [f.add(x, y), f.subtract(x, y), formats.multiply(x, 20000, 15),
           formats.multiply(x, 20000, 19), np.where(y > 0, x, 0)]  # fmt: skip
    sums = f.column_sums(x[:, None], np.array([7]))
    out += [f.column_sums(y[None], y.copy()), np.repeat(sums, n), sums]
    squares = ((out[2] >> 18) ** 2).sum()
    for momentum, grad, lr_shift in ((None, out[1], 15), ((20000, 15), out[2], 17),
                                     ((30000, 16), out[3], 16)):
        param = SimpleNamespace(value=x, grad=grad)
        y = f.sgd(param, y, momentum, (30000, lr_shift), formats.ONE)
        x = param.value
        out += [x, np.zeros(n, int), y]
    assert f.overflows > 9 and all(len(np.unique(values)) > 7 for values in (*out[:6], x, y))
    found = np.concatenate([*out, [squares, f.overflows]]).astype(np.int32).tobytes()
    assert crc32(found) == on_device("attn8.known.fixed_words").ANSWER


def test_known_answers_of_training_softmax_are_those_of_the_reference(on_device):
    numbers, n = on_device("attn8.known").numbers, 19
    found = []
    for name, limit, mult, shift in (("Q16.16", 800000, 23630, 15), ("Q24.8", 3000, 20000, 16)):
        f = formats.get(name)
        scores, d = (np.array(numbers("i", 2 * n, step), int).reshape(2, n) for step in (37, 91))
        scores <<= 12 - f.up
        constants = mult, shift, limit, (mult, shift)
        weights, total = f.softmax(scores, constants)
        back = f.softmax_backward(weights, d * 8000001, constants)
        assert 0 < (weights == 0).sum() < n and f.overflows and len(np.unique(back)) > 9
        found += [0, *weights.ravel(), *back.ravel(), f.overflows, total]
    found = np.array(found, np.int32).tobytes()
    assert crc32(found) == on_device("attn8.known.fixed_softmax").ANSWER


def test_known_answers_are_those_of_the_reference(on_device):
    known = {name: on_device(f"attn8.known.{name}") for name in ("matmul", "attention", "sparse",
                                                                 "linear")}

    def made(n, step, *shape):
        return np.array(known["matmul"].numbers("b", n, step), np.int8).reshape(shape)

    j = np.arange(9)
    for inputs, answer in known["matmul"].ANSWERS.items():
        bias = np.where(j < 8, 500 * j - 2000, 5000000)
        layer = Dense(made(9 * inputs, 91, 9, inputs), bias.astype(np.int32),
                      (20000 + j).astype(np.int16), (23 + j % 4).astype(np.int8))  # fmt: skip
        out = layer(made(5 * inputs, 37, 5, inputs))
        out[0] = out[4]
        assert len(np.unique(out)) > 9
        assert crc32(out.tobytes()) == answer
        if inputs == 36:
            sums = made(108, 37, 3, 36).astype(int) @ made(9 * 36, 91, 9, 36).T.astype(int) + bias
            out = requant(sums, 20000 + j, 18 + j % 4, "int16").astype(np.int16)
            assert crc32(out.tobytes()) == known["matmul"].INT16
    core = Exact(20000, 19, 100000, 1 << 29, 29, causal=True)
    mask = np.array([0, 0, 1, 0, 0, 0, 0, 0, 1], np.uint8)
    out = core(*(made(45, step, 9, 5) for step in (37, 91, 53)), mask)
    assert crc32(out.tobytes()) == known["attention"].ANSWER
    seen = np.zeros((22, 22), bool)
    seen[0, 0] = seen[1, :2] = seen[2, [0, 2]] = True  # in spans
    bits = np.frombuffer(known["sparse"].seen(), np.uint8).reshape(19, 4)
    seen[3:] = np.unpackbits(bits, axis=1, bitorder="little")[:, :22]
    core = Sparse(20000, 19, 72000, 1 << 29, 29, Mask.from_dense(seen))
    out = core(*(made(638, step, 22, 29) for step in (37, 91, 53)))
    assert crc32(out) == known["sparse"].ANSWER
    weights = np.zeros(seen.shape)
    weights[seen] = core.pairs[:, 1]
    weighty = np.count_nonzero(weights, axis=1)
    assert (weighty < seen.sum(axis=1)).any()
    for sizes in [0], [1], [2, 3], [4, 5], [6, 7], [8], [9], [10, 11], [12, 13], [14, 15], [17]:
        assert np.isin(sizes, weighty).any(), sizes
    q, k, v = (made(203, step, 7, 29).astype(np.int64) for step in (37, 91, 53))
    phi_q, phi_k = 20 * np.maximum(q, 0) + 1, 20 * np.maximum(k, 0) + 1
    z, kv = phi_k.sum(axis=0), phi_k.T @ v
    kv, p = shrink(kv, 10000)
    first = linear_attend(phi_q[:5], kv, z, p, 1 << 29, 29, 0)
    last = linear_attend(phi_q[5:], kv, z, -2, 1 << 29, 33, 1 << 16)
    out, sums = (np.concatenate(parts) for parts in zip(first, last, strict=True))
    assert crc32(out.tobytes() + sums.astype(np.int32).tobytes()) == known["linear"].ANSWER


@pytest.mark.parametrize("form, family", FAMILIES)
def test_known_answers_notice_each_kernel(form, family):
    device = device_of(form)
    found = device.attn8.forms._module(form, family)
    right = device.load(f"attn8.known.{family}").right
    assert right(found)
    for name in forms.signatures(forms.source(form, family)):
        kernel = getattr(found, name)
        setattr(found, name, lambda *arguments: 0)
        assert not right(found), name
        setattr(found, name, kernel)


@pytest.mark.parametrize("family", sorted({family for _, family in FAMILIES}))
def test_viper_gives_known_answers_too(family):
    device = Device("rv32imc")
    assert device.load(f"attn8.known.{family}").right(device.load(f"attn8.forms.viper.{family}"))


@pytest.mark.parametrize("form", FORMS)
def test_wrong_answers_leave_a_slower_form_with_one_warning(form, capsys):
    wrong = module("attn8.known.matmul", right=lambda module: module.__name__.split(".")[2] != form)
    chip, backend = forms.target(form).ISA, forms.declared(form, "BACKEND")
    attn8 = Device(chip, backend, {"attn8.known.matmul": wrong}).attn8
    slower = {"simd": "turbo"}.get(form, "viper")
    assert [attn8.backend(), attn8.backend()] == [slower, slower]
    assert capsys.readouterr().out == (
        f"attn8: forms/{form}/matmul gives wrong answers; a slower form is used. "
        "Run attn8 deploy.\n"
    )


@pytest.mark.parametrize("form, chips", [
    ("simd", {"ESP32S3"}), ("xtensa", {"ESP32", "ESP32S3"}), ("s2", {"ESP32S2"}),
])  # fmt: skip
def test_another_chip_is_noticed(form, chips, capsys):
    numbers = {"ESP32": 0xC2BCFFFE, "ESP32S2": 0xC2ECFAFE, "ESP32S3": 0xC2F0FFFE}
    for chip, number in numbers.items():
        device = device_of(form)
        device.load(f"attn8.forms.{form}").configid0 = lambda number=number: number
        taken = device.load("attn8.choice")._tried(form, None)
        said = f"attn8: forms/{form} is for another chip; a slower form is used"
        assert bool(taken) == (chip in chips)
        assert capsys.readouterr().out.partition(". ")[0] == ("" if taken else said)


def test_a_buffer_is_shared_by_one_form_alone():
    attn8 = Device("xtensawin", "turbo").attn8
    first = attn8.Exact(4, 4, **SCORES, **OUT)
    assert attn8.Exact(4, 4, **SCORES, **OUT, buffers=first.buffers).buffers is first.buffers
    with pytest.raises(ValueError, match="buffers: expected those of a core of the same kind"):
        attn8.Exact(4, 4, **SCORES, **OUT, buffers=first.buffers, precise=True)


def test_the_table_in_the_docs_is_that_of_today():
    text = forms_table.PATH.read_text(encoding="utf-8")
    assert put_into(text) == text


# A form and a family of its own: new files alone

NEW = {
    "device/attn8/forms/viper/double.py": '''
import micropython

@micropython.viper
def double(x: ptr8, n: int):
    while n:
        n -= 1
        x[n] = x[n] << 1
''',
    "device/attn8/forms/fast/__init__.py": '''
BACKEND = "fast"
RANK = 7
''',
    "device/attn8/forms/fast/double.py": '''
import micropython

def fits(n):
    return n <= 4

@micropython.viper
def double(x: ptr8, n: int):
    pass
''',
    "device/attn8/known/double.py": '''
def right(form):
    x = bytearray(b"\\3\\5")
    form.double(x, 2)
    return x == b"\\6\\x0a"
''',
    "targets/fast.py": '''
from attn8_host.forms.mpy import Rv32Function as FUNCTION

ARCH = ISA = "rv32imc"
NEEDS = "an ESP32-C3"
EXPERIMENTAL = False

def runs_on(info):
    return info.arch == ARCH
''',
    "kernels/double_fast.py": '''
from attn8_host.forms.rv32 import A0, A1, A2, ZERO

def double(a):
    a.arguments(x=A0, n=A1)
    a.label("byte")
    a.lbu(A2, 0, A0)
    a.slli(A2, A2, 1)
    a.sb(A2, 0, A0)
    a.addi(A0, A0, 1)
    a.addi(A1, A1, -1)
    a.bne(A1, ZERO, "byte")
''',
}


def test_a_new_form_and_family_are_found_by_their_files(tmp_path, monkeypatch):
    shutil.copytree(forms.ROOT, tmp_path / "device/attn8")
    for name, text in NEW.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(forms, "ROOT", tmp_path / "device/attn8")
    monkeypatch.setattr(importer, "DEVICE", tmp_path / "device")
    monkeypatch.setattr(device_in_cpython, "PACKAGE", tmp_path / "device/attn8")
    for package in (forms.targets, forms.kernels):
        folder = tmp_path / package.__name__.rpartition(".")[2]
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    device = Device("rv32imc", "fast")
    choose = device.attn8.forms.choose
    assert choose("matmul", 8).__name__ == "attn8.forms.rv32.matmul"
    for n, form in ((4, "fast"), (5, "viper")):
        x = bytearray(range(n))
        found = choose("double", n)
        found.double(x, n)
        assert found.__name__ == f"attn8.forms.{form}.double" and list(x) == [*range(0, 2 * n, 2)]
    assert "| double | double | yes | where `n <= 4` |" in table()
    sent = forms.files_for(BoardInfo("serial", "", "micropython", "1.29.0", "ESP32C3", "rv32imc",
                                     "6.3"), "fast")  # fmt: skip
    assert {"forms/fast/double.mpy", "forms/rv32/matmul.mpy", "known/double.mpy"} <= sent.keys()
