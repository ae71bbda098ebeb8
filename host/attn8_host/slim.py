"""What a board need not keep in memory of the device package's sources, before they are compiled.

A board holds each string and each name of a module from its import on. So what errors say goes to a
file, `said.txt`, a line each, which the package's `said(line)` reads where one is raised; whole
numbers that have a name stand where the name stood, and the name is kept where something else asks
for it. A word behind a dot is said as the word alone. What is internal gets names that the firmware
has (rename.py).
"""

import ast
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from . import bundle, rename
from .edits import edited, place
from .paths import DEVICE

TEXTS = "said.txt"
APART = ("lines.py", "refuse.py")  # imported only to say something
MOST = 1 << 30  # whole numbers from here on are objects


@dataclass
class Slim:
    """What a board gets of the package: its sources by path, as they are compiled, the file of
    texts, and what internal names are called in them."""

    sources: dict[str, bytes]
    texts: bytes
    names: dict[str, str]


@cache
def package() -> Slim:
    """The device package, with what serves machine code."""
    root = DEVICE / bundle.PACKAGE
    return slim({path.relative_to(root).as_posix(): path.read_bytes()
                 for path in sorted(root.rglob("*.py"))})


def slim(sources: Mapping[str, bytes]) -> Slim:
    """The sources of the package, by path, as a board gets them."""
    texts: dict[str, int] = {}  # with their lines
    trees = {path: ast.parse(data) for path, data in sources.items()}
    wanted = Counter(name for tree in trees.values() for name in set(_asked(tree)))
    slimmed = {}
    for path, tree in trees.items():
        numbers = _numbers(tree)
        edits = _Edits(texts if path not in APART else None, numbers,
                       numbers.keys() - wanted.keys())
        edits.visit(tree)
        slimmed[path] = edits.applied(sources[path])
    slimmed = bundle.bundled(slimmed)
    names = rename.table(slimmed)
    slimmed = {path: rename.renamed(data, names) for path, data in slimmed.items()}
    return Slim(slimmed, "".join(f"{text}\n" for text in texts).encode(), names)


class _Edits(ast.NodeVisitor):
    """Puts a call in the place of each longer string that is raised, and numbers for their names.

    What is not edited stays as it is: MicroPython's compiler makes no tuple of `a, b = c, d`, but
    one of the same in parentheses.

    Args:
        texts: lines by what they say; None where strings are left.
        numbers: names and what stands for them.
        gone: those of them that nothing else asks for.
    """

    def __init__(self, texts: dict[str, int] | None, numbers: Mapping[str, int], gone: set[str]):
        self.texts = texts
        self.numbers = numbers
        self.gone = gone
        self.raised = False
        self.edits: list[tuple[ast.expr | ast.stmt, str]] = []

    def applied(self, source: bytes) -> bytes:
        """A source with all edits."""
        return edited(source, [(place(node), text) for node, text in self.edits])

    def visit_Raise(self, node: ast.Raise) -> None:
        self.raised = self.texts is not None and isinstance(node.exc, ast.Call)
        self.generic_visit(node)
        self.raised = False

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if self.texts is None or not self.raised or not isinstance(value, str):
            return
        if len(value) > rename.SHORT:
            assert value.isprintable() and value.isascii(), value
            line = self.texts.setdefault(value, len(self.texts))
            self.edits.append((node, f'__import__("attn8").said({line})'))

    def visit_BinOp(self, node: ast.BinOp) -> None:
        # `name + ".size"` would be a name more than `name + "." + "size"`, as firmware has a dot
        if (isinstance(node.op, ast.Add) and isinstance(node.right, ast.Constant)
                and isinstance(node.right.value, str)
                and re.fullmatch(r"\.[a-z_]+", node.right.value) and not self.raised
                and node.right.value not in rename.HAD):
            word = node.right.value[1:]
            self.edits.append((node.right, f'"." + "{word}"'))
            self.visit(node.left)
        else:
            self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        names = {name.id for target in node.targets for name in ast.walk(target)
                 if isinstance(name, ast.Name)}
        if names <= self.gone:
            self.edits.append((node, "pass"))
        else:
            self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load) and node.id in self.numbers:
            self.edits.append((node, f"({self.numbers[node.id]})"))


def _numbers(tree: ast.Module) -> dict[str, int]:
    """Names in capitals that stand for one whole number in all of a module."""
    stored = Counter(node.id for node in ast.walk(tree)
                     if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    found: dict[str, int] = {}
    for node in tree.body:
        if not isinstance(node, ast.Assign) or len(node.targets) != 1:
            continue
        target = node.targets[0]
        names = target.elts if isinstance(target, ast.Tuple) else [target]
        values = _value(node.value, found)
        if isinstance(target, ast.Name):
            values = [values]
        if not isinstance(values, (list, range, tuple)) or len(values) != len(names):
            continue
        for name, value in zip(names, values, strict=True):
            if (isinstance(name, ast.Name) and name.id.isupper() and stored[name.id] == 1
                    and type(value) is int and abs(value) < MOST):
                found[name.id] = value
    return found


def _value(node: ast.expr, known: Mapping[str, int]) -> object:
    """What an expression of numbers, known names and `range` gives; None of any other."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and part.id not in {*known, "range"}:
            return None
        if isinstance(part, (ast.Attribute, ast.Subscript, ast.comprehension, ast.Lambda)):
            return None
        if isinstance(part, ast.Call) and ast.unparse(part.func) != "range":
            return None
    expression = ast.fix_missing_locations(ast.Expression(node))
    return eval(compile(expression, "", "eval"), {"range": range, **known})


def _asked(tree: ast.Module) -> list[str]:
    """Names that a module takes from another, or looks up."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names.append(node.attr)
        elif isinstance(node, ast.ImportFrom):
            names += [name.name for name in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.append(node.value)
    return names
