"""Names that a chip's package has in place of its own: each scope finds what it found, and nothing
that others ask for has another name."""

import ast
import io
import re
import tokenize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attn8_host import rename, slim
from attn8_host.bundle import bundled
from attn8_host.deploy import package_sources
from attn8_host.isa import compiler
from attn8_host.paths import DEVICE, PACKAGE

ROOT = PACKAGE.parent.parent


@pytest.fixture(scope="module")
def package():
    """Sources by path before and after."""
    slimmed = slim.slim(package_sources())
    assert len(slimmed.names) > 300
    return slimmed


def tokens(source):
    return [token for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type not in (tokenize.COMMENT, tokenize.NL)]


def names(source):
    return {token.string for token in tokens(source) if token.type == tokenize.NAME}


def test_firmware_has_the_free_names():
    assert set(compiler.static_names(" ".join(rename.FREE)).values()) == (
        set(rename.FREE) - set(rename.FIRMWARE))
    assert len(set(rename.FREE)) == len(rename.FREE)


def test_modules_of_the_firmware_have_those_that_are_said_whole(board):
    board.enter_repl()
    found = board.execute("""
import binascii, collections, heapq, machine, math, os, random, socket, struct, time
for module in (binascii, collections, heapq, machine, math, os, random, socket, struct, time):
    print(*dir(module))
print(*dir(socket.socket), *dir(collections.deque))
""").split()
    assert set(rename.FIRMWARE) <= {*found}


def test_what_the_compiler_looks_for_is_not_free():
    special = {"super", "const", "micropython", "self", "int", "bool", "len", "range", "type",
               "object", "print"}  # fmt: skip
    assert not (special - {"print"}) & set(rename.FREE)


def test_what_users_look_into_hides_what_is_private(package):
    """attn8., a model and a stream: TAB leaves out what begins with a stroke."""
    for path in ("__init__.py", "public.py", "run.py", "stream.py", "train/samples.py"):
        before = {name for name in names(package_sources()[path].decode()) if name[0] == "_"}
        assert before and before <= names(package.sources[path].decode()), path


def test_different_names_stay_different(package):
    """In every file one token becomes one token, and no two of them the same."""
    called = package.names
    for path, data in bundled(package_sources()).items():
        before, after = names(data.decode()), names(package.sources[path].decode())
        said = {called.get(name, name) for name in before}
        assert len(said) == len(before), path
        assert after <= said | {"__import__", "said", "pass"}, path


def test_what_an_object_has_stays_different(package):
    """Attributes, methods and those of bases: all that a class and its ancestors say of `self`."""
    own, bases = {}, {}  # by file and class
    for path, data in bundled(package_sources()).items():
        for node in ast.walk(ast.parse(data)):
            if isinstance(node, ast.ClassDef):
                kind = path, node.name
                bases[kind] = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
                own[kind] = {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)
                             and ast.unparse(each.value) == "self"}
                own[kind] |= {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
    families = 0
    for kind in own:
        family, waiting = set(), {kind}
        while waiting:
            family |= waiting
            waiting = {other for each in waiting for other in own
                       if other[1] in bases[each]} - family
        has = set().union(*(own[each] for each in family))
        assert len({package.names.get(name, name) for name in has}) == len(has), kind
        families += len(family) > 1
    assert len(own) > 80 and families > 10


def test_the_package_asks_for_no_free_name_that_it_gives(package):
    """None of them is what values of MicroPython's own types are asked for."""
    given = set(package.names.values())
    for data in bundled(package_sources()).values():
        for node in ast.walk(ast.parse(data)):
            if isinstance(node, ast.Attribute):
                assert node.attr not in given, node.attr
            elif isinstance(node, ast.keyword):
                assert node.arg not in given | package.names.keys(), node.arg


def asked(text):
    """Names that a program, or a text with programs in it, asks of attn8's modules and objects."""
    found = set(re.findall(r"\bfrom attn8[\w.]* import (\w+)", text))
    for name in re.findall(r"\battn8((?:\.\w+)+)", text):
        found |= set(name.split("."))
    return found


def test_users_find_what_the_documentation_names(package):
    paths = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.py")]
    found = set().union(*(asked(path.read_text()) for path in paths))
    assert {"load", "MultiHeadAttention", "choose", "fit"} <= found
    assert not {name for name in found if name[:1] != "_"} & package.names.keys()
    public = package_sources()["names.py"].decode()
    assert not set(re.findall(r"\w+", public)) & package.names.keys()


def test_the_host_asks_for_no_name_that_has_become_another(package):
    """What it runs on a board, with the package compiled or not."""
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                program = re.sub(r"\{[^{}]*\}", "0", node.value)
                if "attn8" in program or "\n" in program:
                    found |= asked(program) | said(program)
    assert "Unload" in found and "load" in found
    assert not found & package.names.keys()


def said(program):
    """Attributes in what is a program."""
    try:
        tree = ast.parse(program)
    except (SyntaxError, ValueError):
        return set()
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_machine_code_and_its_answers_have_their_names(package):
    for path in sorted((DEVICE / "attn8").rglob("*.py")):
        if path.parent.name in ("known", "rv32", "simd", "xtensa", "s2"):
            assert not names(path.read_text()) & package.names.keys(), path


WORDS = st.sampled_from(["_a", "_b", "_c", "alpha", "beta", "len", "x", "append", "EOFError"])
MODULE = """
class Kind:
    def __init__(self, values):
        self.{first}, self.{second} = values

def _of({first}, {second}):
    return {first} * 3 - {second}

def give({second}):
    {first} = 5
    kind = Kind([{second}, {first}])
    return kind.{first}, kind.{second}, _of(kind.{first}, {second}), (lambda {first}: {first})(7)
"""


@given(st.lists(st.tuples(WORDS, WORDS).filter(lambda pair: pair[0] != pair[1]), min_size=1,
                max_size=5))
def test_any_names_of_modules_keep_their_scopes(modules):
    sources = {f"m{number}.py": MODULE.format(first=first, second=second).encode()
               for number, (first, second) in enumerate(modules)}
    called = rename.table(sources)
    assert called.keys() >= {"_of", "Kind", "give"} and set(called.values()) <= set(rename.FREE)
    for data in sources.values():
        before, after = {}, {}
        exec(data, before)
        exec(rename.renamed(data, called), after)
        assert before["give"](2) == after[called["give"]](2) == (2, 5, 4, 7)
