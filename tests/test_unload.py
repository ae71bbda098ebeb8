"""What only loads a model is forgotten once it has, and what runs does without."""

import ast

import pytest

from attn8_host import bundle, modelfile
from attn8_host.deploy import compile_device, push
from attn8_host.isa import mpy
from attn8_host.model import Model
from attn8_host.paths import DEVICE, MODELS
from attn8_host.train import tune
from attn8_host.train.session import pack
from tests.compiled import compiled

PACKAGE = DEVICE / "attn8"
PATH, TRAINING = "/models/unload.safetensors", "/models/unload_train.safetensors"
MAKERS = [*PACKAGE.glob("layers/*.py"), *PACKAGE.glob("cores/*.py"),
          *PACKAGE.glob("train/layers/*.py"), *PACKAGE.glob("train/cores/[!_]*.py"),
          PACKAGE / "dense16.py", PACKAGE / "lookup.py"]  # fmt: skip


def words(name, path="unload.py"):
    """A tuple of words that a module of the device has under a name."""
    tree = ast.parse((PACKAGE / path).read_text())
    found = [node.value for node in tree.body if isinstance(node, ast.Assign)
             and ast.unparse(node.targets[0]) == name]
    return ast.literal_eval(found[0])


def functions(body):
    return [node for node in body if isinstance(node, ast.FunctionDef)
            and "micropython.viper" not in map(ast.unparse, node.decorator_list)]


def _is_core(path, kind):
    # Its call is forgotten as well: layers call `run`
    methods = {method.name for method in functions(kind.body)}
    return path.parent == PACKAGE / "cores" and "run" in methods


@pytest.mark.parametrize("path", MAKERS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_what_runs_calls_no_function_that_is_forgotten(path):
    module = ast.parse(path.read_text())
    forgotten = {function.name for function in functions(module.body)}
    for imported in (node for node in module.body if isinstance(node, ast.ImportFrom)):
        if not imported.level:
            continue
        named = path.parents[imported.level - 1].joinpath(*(imported.module or "").split("."))
        source = named / "__init__.py" if named.is_dir() else named.with_suffix(".py")
        if source in MAKERS:
            names = {function.name for function in functions(ast.parse(source.read_text()).body)}
            forgotten |= {name.name for name in imported.names} & names
    making = set(words("MAKING"))
    for kind in (node for node in module.body if isinstance(node, ast.ClassDef)):
        for method in functions(kind.body):
            if method.name in making or (method.name == "__call__" and _is_core(path, kind)):
                continue
            used = {node.id for node in ast.walk(method) if isinstance(node, ast.Name)}
            called = {node.attr for node in ast.walk(method) if isinstance(node, ast.Attribute)
                      and ast.unparse(node.value) == "self"}
            assert not used & forgotten, f"{kind.name}.{method.name}"
            assert not called & (making - {"__new__"}), f"{kind.name}.{method.name}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "train").rglob("*.py")),
                         ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_step_calls_what_is_forgotten_of_training(path):
    """Only what is forgotten itself does, and what is called before that."""
    forgotten = set(words("UNCALLED", "train/layers/__init__.py"))
    assert not [name for name in forgotten if name[0] == "_" != name[1]]
    if path.stem in ("graph", "lifetimes", "requantize", "__init__"):
        return
    for kind in (node for node in ast.parse(path.read_text()).body
                 if isinstance(node, ast.ClassDef)):
        for method in functions(kind.body):
            called = {node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
                      for node in ast.walk(method) if isinstance(node, ast.Call)
                      and isinstance(node.func, (ast.Attribute, ast.Name))}
            assert method.name in forgotten or not called & forgotten, f"{kind.name}.{method.name}"


def test_a_loaded_model_leaves_what_runs(board):
    push(board, PATH, (MODELS / "digits.safetensors").read_bytes())
    board.enter_repl()
    said = board.execute(f"""
import sys
import attn8
from attn8.layers.dense import Dense
whole = Dense.__init__
first = attn8.load({PATH!r})
second = attn8.load({PATH!r})
there = sorted(name for name in sys.modules if name.startswith("attn8"))
print([name for name in there if "layers" in name or "cores" in name])
print([name for name in {list(words("LOADERS"))!r} if "attn8." + name in there])
print(Dense.__init__ is whole, type(first.layers[-1]) is Dense)
x = first.input
for i in range(len(x)):
    x[i] = i % 100
print(bytes(first(x)) == bytes(second(x)))
attention = [type(layer) for layer in first.layers if hasattr(layer, "cores")][0]
print(attention.__init__, attn8.MultiHeadAttention.__init__ is not None)
""").splitlines()
    # What was imported before stays as it was; what was not is whole to whoever imports it
    assert said[0] == "['attn8.layers', 'attn8.layers.dense']" and said[1] == "[]"
    assert said[2:] == ["True True", "True", "None True"]


AGAIN = compiled("""
import builtins, os, sys
import attn8
from array import array
from attn8 import train

imported = []
there = set(sys.modules)
real = __import__

def follow(name, *rest):
    there.intersection_update(sys.modules)  # without what was forgotten
    found = real(name, *rest)
    for path in sys.modules:
        if path not in there:
            there.add(path)
            imported.append(path)
    return found

builtins.__import__ = follow
for _ in range(2):
    attn8.load(model)
    train.fit(training, [(array("b", range(64)), i) for i in range(10)], epochs=1,
              validation=0)
builtins.__import__ = real
give(imported)
""")


def test_no_machine_code_is_imported_again(roomy):
    """A chip would keep that of each time, until no more is to be had."""
    base = Model(*modelfile.read(MODELS / "digits.safetensors"))
    config, tensors, _ = tune.prepare(base, "head", PATH, 1, "sgd")
    push(roomy.board, PATH, (MODELS / "digits.safetensors").read_bytes())
    push(roomy.board, TRAINING, pack(config, tensors))
    imported = roomy(AGAIN, model=PATH, training=TRAINING)
    files = {bundle.home(name): mpy.read(data) for path, data in compile_device("xtensawin").items()
             if path.endswith(".mpy")
             for name in [path[:-4].removesuffix("__init__").rstrip("/").replace("/", ".")]}
    again = {name.removeprefix("attn8.") for name in imported if imported.count(name) > 1}
    assert "loading" in again and not {
        name for name in again & files.keys()
        if any(code.kind != mpy.Kind.BYTECODE for code in files[name].root.children)}
