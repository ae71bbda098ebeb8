"""Modules of the device package that a board always has together become one file.

A board keeps of each module that it imports three names, an object and a table, and two bytes of
each name that its file says, whether another says it or not. So those that are there in every
program, or in every session, are joined in their sources before they are compiled. So are those
with machine code that would else be imported again and again: a chip keeps that of each time until
its next soft reset. What a module
has is then called by a name that says the module, `checks.between` is `checks_between`, and whoever
imports the module gets that from the file in which it lies.
"""

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from .edits import edited, place
from .errors import Attn8Error
from .paths import DEVICE

# The module whose file a bundle takes the place of, "" being the package itself, and those that
# come before it there, each behind what it imports
BUNDLES = {
    "": ("memory", "kernels.objects", "kernels.grammar", "kernels.pointwise", "checks", "signals",
         "tables"),
    "loading": ("build",),
    "safetensors": ("grammar", "configuration"),
    "kernels.fixed": ("kernels.fixed_optimizers", "kernels.fixed_pointwise", "kernels.fixed_norm"),
    "link": ("link.frames", "link.server"),
    "train.trainer": ("train.schedule", "train.parameter", "train.arithmetic", "train.losses",
                      "train.model"),
}
HOME = {member: leader for leader, members in BUNDLES.items() for member in members}
PACKAGE = "attn8"
NAMES = "names"  # the module that says where public names are
# What others than the package ask for, or what unloads: it keeps its name
OWN = frozenset(("serve", "EXP2", "get", "root_ratio", "loss_of", "optimizer_of"))


def home(module: str) -> str:
    """The module whose file one lies in: itself, where it is in no bundle."""
    return HOME.get(module, module)


def name(module: str, own: str) -> str:
    """What a global of a module is called in the file that it lies in."""
    if module not in HOME or own in OWN or own.startswith("__"):
        return own
    return f"{module.replace('.', '_')}_{own}"


@cache
def found(module: str, asked: str) -> str:
    """What is called so that a module is asked for: its own, or what it imports of its bundle.

    Raises:
        ValueError: the module has nothing of this name that lies in its bundle.
    """
    path = DEVICE / PACKAGE / f"{module.replace('.', '/')}.py"
    if not path.is_file():
        return name(module, asked)
    scope = _Moved(path.relative_to(DEVICE / PACKAGE).as_posix(), ast.parse(path.read_bytes()))
    if asked in scope.top.taken:
        return scope.top.taken[asked]
    if asked not in scope.top.bound - scope.imported:
        raise ValueError(f"{module}.{asked}: the module has none of its own")
    return name(module, asked)


def bundled(sources: Mapping[str, bytes]) -> dict[str, bytes]:
    """The sources of the package, by path, with those of a bundle joined."""
    made = {_module(path): moved(path, data) for path, data in sources.items()}
    files = {}
    for path in sources:
        module = _module(path)
        if module not in HOME:
            parts = [made[member] for member in BUNDLES.get(module, ()) if member in made]
            files[path] = b"\n".join([*parts, made[module]])
    return files


def outside(program: str) -> str:
    """A program for a board that has bundles, with what it imports taken from where that lies."""
    return moved("__main__", program.encode()).decode()


@cache
def moved(path: str, source: bytes) -> bytes:
    """A source of the package as its bundle has it, or what is in none with what it asks of one."""
    return _Moved(path, ast.parse(source)).applied(source)


def _module(path: str) -> str:
    """The module of a source, within the package."""
    return path.removesuffix(".py").removesuffix("__init__").rstrip("/").replace("/", ".")


@dataclass(eq=False)
class _Scope:
    """What a module, class or function binds.

    Attributes:
        around: that of the module or function that it lies in.
        bound: the names.
        modules: those of them that stand for a bundled module, and for which.
        taken: those that are imported of a module of the same bundle, and what they are called.
        inner: whether functions within see it, which they do not see of a class.
    """

    around: "_Scope | None" = None
    bound: set[str] = field(default_factory=set)
    modules: dict[str, str] = field(default_factory=dict)
    taken: dict[str, str] = field(default_factory=dict)
    inner: bool = True


class _Moved(ast.NodeVisitor):
    """Finds what changes of a source.

    Args:
        path: of the source, within the package; "__main__" of a program outside of it.

    Raises:
        Attn8Error: a module of a bundle is held as a value, which has all modules of its file.
    """

    def __init__(self, path: str, tree: ast.Module):
        self.path = path
        self.module = module = _module(path)
        self.leader = home(module)
        self.package = _package(module)
        self.edits: list[tuple[ast.AST, str]] = []  # what each is to be
        # Definitions, and what they are called
        self.named: list[tuple[ast.FunctionDef | ast.ClassDef, str]] = []
        self.typed: set[ast.AST] = set()  # what is asked for its type alone
        self.top = self.scope = _Scope()
        self.imported = {(each.asname or each.name).split(".")[0] for statement in tree.body
                         if isinstance(statement, (ast.Import, ast.ImportFrom))
                         for each in statement.names}
        self._bind(tree.body)
        self.visit(tree)

    def applied(self, source: bytes) -> bytes:
        """The source with all edits."""
        lines = source.split(b"\n")
        found = [(place(node), text) for node, text in self.edits]
        for node, new in self.named:
            first = lines[node.lineno - 1].index(node.name.encode(), node.col_offset)
            found.append(((node.lineno, first, node.lineno, first + len(node.name)), new))
        return edited(source, found)

    def _bind(self, body: Iterable[ast.AST]) -> None:
        """Binds what statements of the scope bind."""
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                self.scope.bound.add(node.name)
                continue
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                self.scope.bound.add(node.id)
            elif isinstance(node, ast.ExceptHandler) and node.name:
                self.scope.bound.add(node.name)
            elif isinstance(node, ast.Import):
                self.scope.bound |= {(each.asname or each.name).split(".")[0]
                                     for each in node.names}
            elif isinstance(node, ast.ImportFrom):
                self._bind_imported(node)
            if not isinstance(node, (ast.Lambda, ast.GeneratorExp, ast.ListComp, ast.DictComp,
                                     ast.SetComp)):
                self._bind(ast.iter_child_nodes(node))

    def _bind_imported(self, node: ast.ImportFrom) -> None:
        path = self._path(node)
        for each in node.names:
            bound = each.asname or each.name
            self.scope.bound.add(bound)
            member = path is not None and f"{path}.{each.name}".lstrip(".")
            if member in HOME:
                self.scope.modules[bound] = str(member)
            elif path in HOME and home(path) == self.leader:
                self.scope.taken[bound] = found(path, each.name)

    def _path(self, node: ast.ImportFrom) -> str | None:
        """The module that an import is from; None of one that is not the package's."""
        if node.level:
            base = self.package[: len(self.package) - node.level + 1]
            return ".".join([*base, *(node.module or "").split(".")]).rstrip(".")
        parts = (node.module or "").split(".")
        return ".".join(parts[1:]) if parts[0] == PACKAGE else None

    def _of(self, said: str) -> _Scope | None:
        """The scope that binds a name which this one says."""
        scope: _Scope | None = self.scope
        while scope and not (said in scope.bound and (scope.inner or scope is self.scope)):
            scope = scope.around
        return scope

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        path = self._path(node)
        if path is None:
            return
        made: dict[str, list[str]] = {}
        for each in node.names:
            bound = each.asname or each.name
            of = self.scope.modules.get(bound)
            if bound in self.scope.taken or (of and home(of) == self.leader):
                continue
            where, what = path, each.name
            if of:
                where, _, what = home(of).rpartition(".")
                if not where:  # not from the package, whose __getattr__ knows public names alone
                    made[f"import {PACKAGE}{what and f'.{what} as {bound}'}"] = []
                    continue
            elif path in HOME:
                where, what = home(path), found(path, what)
            made.setdefault(f"from {self._said(where)} import ", []).append(
                what if what == bound else f"{what} as {bound}")
        text = "; ".join(first + ", ".join(names) for first, names in made.items())
        self.edits.append((node, text or "pass"))

    def _said(self, path: str) -> str:
        """A module of the package as the file says it that this source comes to lie in."""
        if self.module == "__main__":
            return f"{PACKAGE}.{path}".rstrip(".")
        package, parts = _package(self.leader), path.split(".") if path else []
        same = 0
        while parts[same : same + 1] == package[same : same + 1] != []:
            same += 1
        return "." * (len(package) - same + 1) + ".".join(parts[same:])

    def visit_Attribute(self, node: ast.Attribute) -> None:
        said = node.value.id if isinstance(node.value, ast.Name) else ""
        scope = self._of(said)
        if scope and said in scope.modules:
            of = scope.modules[said]
            own = found(of, node.attr)
            if home(of) != self.leader:
                own = f"{said if home(of) else PACKAGE}.{own}"
            self.edits.append((node, own))
        else:
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id == "type":
            self.typed.update(node.args)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if self.module == NAMES and node.value in HOME:
            self.edits.append((node, f'"{HOME[node.value]}"'))

    def visit_Name(self, node: ast.Name) -> None:
        scope = self._of(node.id)
        if not scope:
            return
        if node.id in scope.modules:
            of = home(scope.modules[node.id])
            if of == self.leader or node not in self.typed:
                raise Attn8Error(f"{self.path}:{node.lineno}: {node.id} shares a file with other "
                                 f"modules, and is no value; ask for {node.id}.NAME in its place")
            if not of:
                self.edits.append((node, PACKAGE))
        elif node.id in scope.taken:
            self.edits.append((node, scope.taken[node.id]))
        elif self._own(scope, node.id):
            self.edits.append((node, name(self.module, node.id)))

    def _own(self, scope: _Scope, said: str) -> bool:
        """Whether a scope's name is what the module has of its own, and called otherwise."""
        return (scope is self.top and said not in self.imported
                and name(self.module, said) != said)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._definition(node)
        for each in (*node.bases, *node.keywords, *node.decorator_list):
            self.visit(each)
        self._within(_Scope(self.scope, inner=False), node.body, node.body)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._definition(node)
        for each in (*node.decorator_list, *node.args.defaults):
            self.visit(each)
        bound = {each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)}
        self._within(_Scope(self.scope, bound), node.body, node.body)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        bound = {each.arg for each in node.args.args}
        self._within(_Scope(self.scope, bound), [], [node.body])

    def _comprehension(self, node: Any) -> None:
        scope = _Scope(self.scope)
        scope.bound = {each.id for part in node.generators for each in ast.walk(part.target)
                       if isinstance(each, ast.Name)}
        self._within(scope, [], list(ast.iter_child_nodes(node)))

    visit_GeneratorExp = visit_ListComp = visit_DictComp = visit_SetComp = _comprehension

    def _definition(self, node: ast.FunctionDef | ast.ClassDef) -> None:
        if self._own(self.scope, node.name):
            self.named.append((node, name(self.module, node.name)))

    def _within(self, scope: _Scope, binding: list[ast.stmt], visited: Iterable[ast.AST]) -> None:
        outer, self.scope = self.scope, scope
        self._bind(binding)
        for each in visited:
            self.visit(each)
        self.scope = outer


def _package(module: str) -> list[str]:
    """The parts of the package that a module says its imports from."""
    parts = module.split(".") if module else []
    return parts if DEVICE.joinpath(PACKAGE, *parts).is_dir() else parts[:-1]
