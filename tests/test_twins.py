"""What viper makes each kernel say again, as it can call nothing at no cost, is said the same way.

Of each block there are a few wordings; wherever a piece of it is found, the whole of one is.
"""

import ast
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from attn8_host import forms

SOURCES = [*sorted((forms.ROOT / "kernels").glob("*.py")),
           *sorted((forms.ROOT / "forms" / forms.VIPER).glob("*.py"))]  # fmt: skip

# {block: (a piece, the wordings)}. A name of one letter stands for any expression, and for the same
# one in all of a wording.
BLOCKS = {
    # A product of 31 and 15 bits, 15 of them dropped
    "product": ("a & 32767", [
        "(a >> 15) * m + (((a & 32767) * m) >> 15)",
        "(a >> 15) * m + (((a & 32767) * m + r) >> 15)",  # rounded, as training does
    ]),
    # A sum as int8 or int16, 16 bits more dropped at least
    "requantize": ("a = (a >> 15) * m + (((a & 32767) * m) >> 15)", [
        # or int32, for who narrows it later
        """
a = (a >> 15) * m + (((a & 32767) * m) >> 15)
out[j] = (a + (1 << s)) >> (s + 1)
""",
        """
a = (a >> 15) * m + (((a & 32767) * m) >> 15)
a = (a + (1 << s)) >> (s + 1)
if a > l:
    a = l
elif a < -l:
    a = -l
""",
        """
a = (a >> 15) * m + (((a & 32767) * m) >> 15)
a = (a + (1 << s)) >> (s + 1)
if a > l:
    a = l
elif a < 0 - l:
    a = 0 - l
""",
        """
a = (a >> 15) * m + (((a & 32767) * m) >> 15)
a = (a + h) >> s
if a > l:
    a = l
elif a < -l:
    a = -l
""",
    ]),
    "clamp": ("a > 127", ["""
if a > 127:
    a = 127
elif a < -127:
    a = -127
"""]),
    # One division a row: m = n / t in 16 bits, t's bits beyond these in p
    "reciprocal": ("(t >> p) >= 65536", [
        """
p = 0
while (t >> p) >= 65536:
    p += 1
m = (t + ((1 << p) >> 1)) >> p
if m:
    m = (n + (m >> 1)) // m
""",
        """
p = 0
while (t >> p) >= 65536:
    p += 1
m = (t + ((1 << p) >> 1)) >> p
m = (n + (m >> 1)) // m
""",
    ]),
    # A power of two from a table of one octave
    "look-up": ("t[x & 255]", [
        "((t[x & 255] >> (x >> 8)) + 1) >> 1",
        "((t[x & 255] >> k) + 1) >> 1",
    ]),
    # and from the line between two of its entries, as attention of int16 has it
    "line": ("((y - z) * (x & 63)) >> 6", ["""
i = (x >> 6) & 255
y = t[i]
z = 32768
if i < 255:
    z = t[i + 1]
x = (((y - (((y - z) * (x & 63)) >> 6)) >> (x >> 14)) + 1) >> 1
""", """
i = (x >> 6) & 255
y = t[i]
z = t[i + 1]
x = (((y - (((y - z) * (x & 63)) >> 6)) >> (x >> 14)) + 1) >> 1
"""]),
    # Its numerators, brought to about 32256 in all
    "weights": ("p += 15", ["""
total = 0
p += 15
half = (1 << p) >> 1
j = 0
while j < n:
    x = (s[j] * m + half) >> p
    s[j] = x
    total += x
    j += 1
"""]),
    # One division a row of linear attention: m = num / total in 15 bits, and what is shifted
    "division": ("total << (0 - n)", ["""
left = 0
right = 0
m = 0
if total:
    n = 0
    while (total >> n) > 1:
        n += 1
    n -= 15
    if n > 0:
        m = total >> n
    else:
        m = total << (0 - n)
    m = (num + (m >> 1)) // m
    n -= p
    if n > 0:
        right = n
    else:
        left = 0 - n
"""]),
    # A word of training's fixed point, of whose saturations count[0] is the number
    "saturation": ("a < 0 - limit", ["""
if mean > limit:
    mean = limit
elif mean < 0 - limit:
    mean = 0 - limit
""", """
if a > limit:
    a = limit
    count[0] = count[0] + 1
elif a < 0 - limit:
    a = 0 - limit
    count[0] = count[0] + 1
"""]),
    # A product of two such words, whose parts of 15 bits are in p, t and low
    "wide product": ("((t & 32767) << 15) + (low & 32767)", ["""
t += low >> 15
p += t >> 15
if p > most:
    acc = limit
    count[0] = count[0] + 1
elif p < -1 - most:
    acc = 0 - limit
    count[0] = count[0] + 1
else:
    low = ((t & 32767) << 15) + (low & 32767)
    acc = (p << left) + ((low + half) >> frac)
"""]),
    # What rounds a product with mult / 2**shift
    "half": ("if s == 0:\n    l = 16384", ["""
s -= 15
h = (1 << s) >> 1
l = 0
if s == 0:
    l = 16384
"""]),
    "peak": ("a ^= a >> 31", ["""
a = (x ^ sign) - sign
a ^= a >> 31
if a > p:
    p = a
"""]),
    # The exponent of mantissas of 15 bits
    "exponent": ("(p >> e) > 16382", ["""
e = 0
while (p >> e) > 16382:
    e += 1
"""]),
    # Of sums in two parts, neither of them negative
    "mean": ("((h << b) + l + (n >> 1)) // n", ["""
h += l >> b
l &= m
a = h // n
h -= a * n
a = ((a - o) << b) + ((h << b) + l + (n >> 1)) // n
"""]),
    "square root": ("b >>= 2", ["""
b = 1
b <<= 30
while b:
    if x >= r + b:
        x -= r + b
        r = (r >> 1) + b
    else:
        r >>= 1
    b >>= 2
"""]),
    # The line between two entries of the table, as training has it
    "finer line": ("(y - z) * (x & 127)", ["""
i = (x >> 7) & 255
y = t[i]
z = 32768
if i < 255:
    z = t[i + 1]
x = (((y << 7) - (y - z) * (x & 127)) >> (7 + (x >> 15))) + 1
x >>= 1
""", """
i = (x >> 7) & 255
y = t[i]
z = 32768
if i < 255:
    z = t[i + 1]
x = ((((y << 7) - (y - z) * (x & 127)) >> (7 + (x >> 15))) + 1) >> 1
"""]),
    # Where an object's words begin, of one of MicroPython's or of two: a small integer of 31 bits
    # may have taken on a sign
    "address": ("word <<= 16", ["""
word = 1 << 16
word <<= 16
if word:
    at = 8
else:
    at = 4
    if a < 0:
        word = 1
        a ^= word << 31
""", """
word = 1 << 16
word <<= 16
if word:
    at = 2
else:
    at = 1
    if a < 0:
        word = 1
        a ^= word << 31
""", """
target = int(id(x))
source = int(id(y))
word = 1 << 16
word <<= 16
if word:
    at = 2
else:
    at = 1
    word = 1
    if target < 0:
        target ^= word << 31
    if source < 0:
        source ^= word << 31
to = ptr32(target)
found = ptr32(source)
"""]),
    # The sine and cosine of a phase, in 2**-32 turns, on lines between 512 steps of a turn
    "rotary": ("(p >> 23) & 511", ["""
sine = 0
cosine = 0
ends = 0
while ends < 2:
    i = (p >> 23) & 511
    n = i & 255
    if n > 128:
        n = 256 - n
    cosine = sines[n]
    if i & 256:
        cosine = 0 - cosine
    i = (i + 1) & 511
    n = i & 255
    if n > 128:
        n = 256 - n
    n = sines[n]
    if i & 256:
        n = 0 - n
    cosine = cosine + (((n - cosine) * ((p >> 11) & 4095) + 2048) >> 12)
    if ends == 0:
        sine = cosine
    p += quarter
    ends += 1
"""]),
    # and k, where it may be beyond the bits of a word
    "octaves": ("k > 30", ["""
k = x >> 8
if k > 30:
    k = 30
"""]),
}
# Where a piece is of something else
OTHERS = {
    ("fixed_optimizers", "requantize"): "Adam's moments: no int8 comes out",
    ("exact16", "requantize"): "octaves of a softmax: no int8 comes out",
    ("decode8", "requantize"): "the same",
    ("decode16", "requantize"): "the same",
    ("fixed", "reciprocal"): "the normalization of a logarithm",
    ("fixed_norm", "product"): "words in two parts, summed or multiplied whole",
    ("fixed_pointwise", "product"): "the same",
    ("qformat", "saturation"): "products of 64 bits",
    ("wide", "finer line"): "a line of a table of int16",
    ("refine", "look-up"): "a look-up with as many bits more as a row allows",
}


OPERATIONS = ast.BinOp, ast.Compare, ast.Subscript


class Match:
    """One attempt to read a wording in the place of some code."""

    def __init__(self) -> None:
        self.bound: dict[str, str] = {}

    def __call__(self, wording: object, code: object) -> bool:
        if isinstance(wording, ast.Name) and len(wording.id) == 1:
            return isinstance(code, ast.expr) and (
                self.bound.setdefault(wording.id, ast.unparse(code)) == ast.unparse(code))
        if isinstance(wording, list):
            return isinstance(code, list) and len(wording) == len(code) and all(
                self(*pair) for pair in zip(wording, code, strict=True))
        if isinstance(wording, ast.expr_context):
            return True
        if isinstance(wording, ast.AST):
            return type(wording) is type(code) and all(
                self(getattr(wording, field), getattr(code, field)) for field in wording._fields)
        return wording == code


@cache
def parsed(text: str) -> ast.expr | list[ast.stmt]:
    body = ast.parse(text).body
    return body[0].value if isinstance(body[0], ast.Expr) else body


@cache
def tree_of(path: Path) -> ast.AST:
    return ast.parse(path.read_text())


@cache
def operations(tree: ast.AST) -> list[ast.expr]:
    """All expressions that a wording may be."""
    return [node for node in ast.walk(tree) if isinstance(node, OPERATIONS)]


@cache
def suites(tree: ast.AST) -> list[list[ast.stmt]]:
    """All lists of statements."""
    return [suite for node in ast.walk(tree) for field in ("body", "orelse")
            if isinstance(suite := getattr(node, field, None), list) and suite]


def windows(tree: ast.AST, wording: ast.expr | list[ast.stmt]) -> list[Any]:
    """What a wording may be compared with."""
    if isinstance(wording, ast.expr):
        assert isinstance(wording, OPERATIONS)
        return operations(tree)
    n = len(wording)
    return [suite[i : i + n] for suite in suites(tree) for i in range(len(suite) - n + 1)]


def matches(tree: ast.AST, text: str) -> list[Any]:
    wording = parsed(text)
    return [code for code in windows(tree, wording) if Match()(wording, code)]


def pieces(tree: ast.AST, text: str) -> set[int]:
    """The lines of the pieces in some code."""
    found = matches(tree, text)
    return {(node[0] if isinstance(node, list) else node).lineno for node in found}


def differing(tree: ast.AST, block: str) -> set[int]:
    """The lines on which a piece of a block is, but no wording of it."""
    piece, wordings = BLOCKS[block]
    whole = set()
    for text in wordings:
        for code in matches(tree, text):
            module = ast.Module(code, []) if isinstance(code, list) else code
            whole |= pieces(module, piece)
    return pieces(tree, piece) - whole


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_block_is_worded_the_same_everywhere(path, block):
    found = differing(tree_of(path), block)
    assert bool(found) == ((path.stem, block) in OTHERS), found


@pytest.mark.parametrize("block, changed", [
    ("product", ("a >> 15", "a >> 14")), ("requantize", ("a = -l", "a = l")),
    ("clamp", ("a < -127", "a <= -127")), ("reciprocal", ("m >> 1", "m")),
    ("look-up", ("+ 1", "+ 0")), ("octaves", ("x >> 8", "x >> 7")),
    ("line", ("x >> 14", "x >> 15")), ("weights", ("half) >> p", "half) >> m")),
    ("division", ("n -= p", "n += p")), ("saturation", ("a = limit", "a = 0")),
    ("wide product", ("-1 - most", "0 - most")), ("half", ("(1 << s) >> 1", "1 << s")),
    ("peak", ("a > p", "a >= p")), ("exponent", ("e = 0", "e = 1")), ("mean", ("a - o", "a + o")),
    ("square root", ("r >> 1", "r")), ("finer line", ("+ 1) >> 1", ") >> 1")),
    ("address", ("<< 31", "<< 30")),
])  # fmt: skip
def test_another_wording_is_noticed(block, changed):
    _, wordings = BLOCKS[block]
    for text in wordings:
        text = text if "\n" in text else f"y = {text}"
        assert not differing(ast.parse(text), block)
    text = text if "\n" in text else f"y = {text}"
    assert differing(ast.parse(text.replace(*changed)), block), text


def test_keys_are_packed_by_one_function():
    names = [node.name for path in SOURCES for node in ast.parse(path.read_text()).body
             if isinstance(node, ast.FunctionDef)]
    assert names.count("pack_keys") == 1


def test_what_two_forms_share_is_the_same():
    # Functions of one name in several forms of machine code that are not kernels, and differ in
    # no constant of the chip
    for family, name in (("sparse", "attend"), ("linear", "room")):
        written = {
            ast.dump(node) for form in ("xtensa", "rv32")
            for node in ast.parse(forms.source(form, family).read_text()).body
            if isinstance(node, ast.FunctionDef) and node.name == name
        }
        assert len(written) == 1, (family, name)
