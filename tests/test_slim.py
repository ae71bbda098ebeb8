"""What is taken out of the package's sources before they are compiled says the same on a board."""

import ast

from attn8_host import slim
from attn8_host.slim import TEXTS
from tests.compiled import compiled

SOURCE = b'''
A, B = range(2, 4)
_C = (1 << 4) + B
KEPT = 5
changed = 6
def f(x):
    if x is None:
        raise ValueError("expected %s as x, got nothing" % A)
    if x > _C:
        raise TypeError("short")
    if x > KEPT:
        raise MemoryError("too much")
    return "a text that is no error's", A * B + KEPT, changed
'''


def test_texts_and_numbers():
    slimmed = slim.slim({"a.py": SOURCE, "b.py": b"from .a import KEPT\n"})
    assert slimmed.texts == b"expected %s as x, got nothing\n"
    called = slimmed.names
    assert slimmed.sources["b.py"] == f"from .a import {called['KEPT']}\n".encode()
    names = {node.id for node in ast.walk(ast.parse(slimmed.sources["a.py"]))
             if isinstance(node, ast.Name)}
    assert {called["KEPT"], called["changed"]} <= names and not called.keys() & {"A", "B", "_C"}
    space: dict = {}
    exec(slimmed.sources["a.py"].replace(b'__import__("attn8").said', b"str"), space)
    assert space[called.get("f", "f")](4) == ("a text that is no error's", 2 * 3 + 5, 6)


def test_each_text_of_the_package_is_a_line(board):
    lines = slim.package().texts.decode().splitlines()
    assert len(lines) == len(set(lines)) > 100
    board.enter_repl()
    said = board.execute(compiled(f"""
import attn8
for line in (0, {len(lines) // 2}, {len(lines) - 1}):
    print(attn8.said(line))
try:
    attn8.load("/nosuch")
except ValueError as error:
    print(error)
""")).splitlines()
    assert said == [lines[0], lines[len(lines) // 2], lines[-1], "/nosuch: no such file"]
    assert TEXTS == "said.txt"
