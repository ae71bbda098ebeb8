"""Names that a chip's package has in place of its own: each scope finds what it found, and nothing
that others ask for has another name."""

import ast
import io
import re
import tokenize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attn8_host import forms, rename, slim
from attn8_host.bundle import HOME
from attn8_host.isa import compiler, mpy
from attn8_host.paths import DEVICE, PACKAGE

ROOT = PACKAGE.parent.parent


DEVICE_SOURCES = {path.relative_to(DEVICE / "attn8").as_posix(): path.read_bytes()
                  for path in sorted((DEVICE / "attn8").rglob("*.py"))}


@pytest.fixture(scope="module")
def package():
    """Sources by path before and after."""
    slimmed = slim.package()
    assert len(slimmed.names) > 700
    return slimmed


@pytest.fixture(scope="module")
def before(package):
    """Sources by path, all but renamed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rename, "renamed", lambda data, names: data)
        return slim.slim(DEVICE_SOURCES).sources


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
import asyncio.core, asyncio.stream, asyncio.funcs, asyncio.event, builtins, mip
module, kind, seen = type(mip), type(type), []
def walk(found):
    if found not in seen:
        seen.append(found)
        print(*dir(found))
        for name in dir(found):
            value = getattr(found, name, None)
            if type(value) in (module, kind):
                walk(value)
walk(builtins)
walk(asyncio)
walk(mip)
for name in ("array", "binascii", "collections", "cryptolib", "deflate", "errno", "framebuf", "gc",
             "hashlib", "heapq", "io", "json", "machine", "math", "micropython", "os", "platform",
             "random", "re", "select", "socket", "ssl", "struct", "sys", "time", "uctypes", "vfs"):
    walk(__import__(name))
""").split()
    assert {*rename.FIRMWARE, *rename.STROKES} <= {*found}


def test_what_the_compiler_looks_for_is_not_free():
    special = {"super", "const", "micropython", "self", "int", "bool", "len", "range", "type",
               "object", "print"}  # fmt: skip
    assert not (special - {"print"}) & set(rename.FREE)


def test_what_users_look_into_hides_what_is_private(package):
    """attn8., a model and a stream: TAB leaves out what begins with a stroke."""
    for path in ("__init__.py", "public.py", "run.py", "stream.py", "train/samples.py"):
        before = {name for name in names(DEVICE_SOURCES[path].decode()) if name[0] == "_"}
        assert before, path
        called = {package.names.get(name, name) for name in before}
        assert {name[0] for name in called} == {"_"}, path
        assert called <= names(package.sources[path].decode()), path


def test_objects_that_users_look_into_have_all_else_by_its_own_name(package):
    for path in ("run.py", "stream.py", "train/samples.py"):
        for node in ast.walk(ast.parse(DEVICE_SOURCES[path])):
            if isinstance(node, ast.ClassDef):
                has = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
                has |= {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)
                        and ast.unparse(each.value) == "self"}
                assert not {name for name in has if name[0] != "_"} & package.names.keys(), path


def test_different_names_stay_different(package, before):
    """In every file one token becomes one token, and no two of them the same."""
    called = package.names
    for path, data in before.items():
        had, has = names(data.decode()), names(package.sources[path].decode())
        assert len(had) == len(has), path
        assert has == {called.get(name, name) for name in had}, path


def test_what_an_object_has_stays_different(package, before):
    """Attributes, methods and those of bases: all that a class and its ancestors say of `self`."""
    own, bases = {}, {}  # by file and class
    for path, data in before.items():
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


def test_the_package_asks_for_no_free_name_that_it_gives(package, before):
    """None of them is what values of MicroPython's own types are asked for."""
    given = set(package.names.values())
    for data in before.values():
        for node in ast.walk(ast.parse(data)):
            if isinstance(node, ast.Attribute):
                assert node.attr not in given, node.attr
            elif isinstance(node, ast.keyword):
                assert node.arg not in given, node.arg


def asked(text):
    """Names that a program, or a text with programs in it, asks of attn8's modules and objects."""
    found = set(re.findall(r"\bfrom attn8(?:\.\w+)* import (\w+)", text))
    for name in re.findall(r"\battn8((?:\.\w+)+)", text):
        found |= set(name.split("."))
    return found


def sessions(text):
    """Programs of MicroPython, and what is typed at a board's REPL."""
    fenced = re.findall(r"```(?:python)?\n(.*?)```", text, re.S)
    rest = re.sub(r"```.*?```", "", text, flags=re.S)
    blocks = [*fenced, *re.findall(r"(?:^    .*\n)+", rest, re.M)]
    for block in blocks:
        typed = "\n".join(line.strip()[4:] for line in block.splitlines()
                          if line.strip()[:4] in (">>> ", "... "))
        if typed or ("attn8_host" not in block and re.search(r"\battn8\b", block)):
            yield typed or block


def called(program):
    """What objects are asked for, and what is said of parameters."""
    return {*re.findall(r"\w\.([A-Za-z_]\w*)", program),
            *re.findall(r"[(,]\s*([A-Za-z_]\w*)=[^=]", program)}


def test_users_find_what_the_documentation_names(package):
    paths = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.py")]
    found = set().union(*(asked(path.read_text()) for path in paths))
    for path in paths:
        if path.name not in ("architecture.md", "forms.md", "numerics.md"):  # of the sources
            text = path.read_text()
            found |= set().union(*map(called, sessions(text) if path.suffix == ".md" else [text]
                                      if "attn8_host" not in text else []))
    assert {"load", "MultiHeadAttention", "choose", "fit", "get_gradient", "need_weights",
            "mask"} <= found
    assert {name for name in found if name[:1] != "_"} & package.names.keys() == set()
    public = DEVICE_SOURCES["names.py"].decode()
    assert set(re.findall(r"(\w+)=", public)) & package.names.keys() == set()


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
    modules = {part for module in HOME for part in module.split(".")}  # which a source has alone
    assert (found - modules) & package.names.keys() == set()


def said(program):
    """Attributes in what is a program, but those that it gives."""
    try:
        tree = ast.parse(program)
    except (SyntaxError, ValueError):
        return set()
    asks = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return ({node.attr for node in asks}
            - {node.attr for node in asks if isinstance(node.ctx, ast.Store)})


@pytest.mark.parametrize("form", forms.machine_forms())
def test_machine_code_has_the_package_s_names(package, form):
    """Functions of its files are called as the package asks for them."""
    for path, data in forms.files([form]).items():
        source = path.replace(".mpy", ".py")
        if source not in DEVICE_SOURCES:  # that of xtensa says the same
            source = source.replace(f"/{form}/", "/xtensa/")
        had = [node.name for node in ast.parse(DEVICE_SOURCES[source]).body
               if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
        wanted = [package.names.get(name, name) for name in had]
        numbers = compiler.static_names(" ".join(wanted))
        has = [each.qstr for each in mpy.stored_functions(mpy.read(data))]
        assert [numbers.get(name, name) for name in has] == wanted, path


WORDS = ["_a", "_b", "_c", "alpha", "beta", "len", "x", "append", "EOFError"]
MODULE = """
class Kind:
    {first} = 11

    def __init__(self, values):
        self.{first}, self.{second} = values

    def {third}(self, {second}, {first}=3):
        return self.{second} * {first} - {second}

class Sub(Kind):
    def {fourth}(self):
        found = self.{third}({first}=2, {second}=5)
        return found, hasattr(self, "{absent}"), bool(getattr(self, "{fourth}", 0))

def _of({first}, {second}):
    return {first} * 3 - {second}

def give({second}):
    {first} = 5
    kind = Sub([{second}, {first}])
    return (kind.{first}, kind.{second}, _of(kind.{first}, {second}), (lambda {first}: {first})(7),
            kind.{third}(4), kind.{fourth}(), getattr(kind, "{second}"), Kind.{first})
"""


@given(st.lists(st.permutations(WORDS).map(lambda words: words[:5]), min_size=1, max_size=5))
def test_any_names_of_modules_keep_their_scopes(modules):
    keys = "first", "second", "third", "fourth", "absent"
    sources = {f"m{number}.py": MODULE.format(**dict(zip(keys, words, strict=True))).encode()
               for number, words in enumerate(modules)}
    called = rename.table(sources)
    assert called.keys() >= {"_of", "Kind", "Sub", "give", *{word for words in modules
                             for word in words[:4]} - {"len", "x", "append", "EOFError"}}
    assert set(called.values()) <= set(rename.FREE)
    for data in sources.values():
        before, after = {}, {}
        exec(data, before)
        exec(rename.renamed(data, called), after)
        assert before["give"](2) == after[called["give"]](2)
