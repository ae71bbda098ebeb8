"""The package stands on its own: a wheel of it needs nothing of the checkout."""

import ast
import re
from pathlib import PurePath

from attn8_host.paths import PACKAGE
from attn8_host.watch.server import FILES, PAGE

SOURCES = {path.relative_to(PACKAGE).as_posix(): path.read_text()
           for path in sorted(PACKAGE.rglob("*.py"))}  # fmt: skip


def imported(text):
    """The modules that a source imports from elsewhere."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module)


def test_nothing_looks_up_into_the_tools_or_tests():
    assert len(SOURCES) > 100
    for path, text in SOURCES.items():
        above = {name.partition(".")[0] for name in imported(text)} & {"tools", "tests", "examples"}
        assert not above, path
        assert not re.search(r"\btools/", text), path


def test_only_paths_knows_where_the_checkout_is():
    for path, text in SOURCES.items():
        if path != "paths.py":
            assert "_device" not in re.findall(r'"([^"]*)"', text), path
            assert not re.search(r"\.parent\.parent|\.parents\[", text), path


def test_the_wheel_has_all_that_lies_in_the_package():
    """The page of `attn8 watch` as well: hatch takes whole folders, but for what git ignores."""
    project = (PACKAGE.parent.parent / "pyproject.toml").read_text()
    wheel = project.partition("[tool.hatch.build.targets.wheel]")[2].partition("[")[0]
    assert wheel.split() == ["packages", "="]
    assert project.count('packages = ["host/attn8_host"]') == 1
    assert {path.name for path in PAGE.iterdir()} == {name for name, _ in FILES.values()}
    ignored = (PACKAGE.parent.parent / ".gitignore").read_text().split()
    assert not any(PurePath(name).match(each) for name, _ in FILES.values() for each in ignored)
