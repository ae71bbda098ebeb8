"""What the pages show at the REPL is what a board answers."""

import ast
import doctest
import re

import pytest

from attn8_host.paths import DEVICE

PAGES = sorted((DEVICE.parent / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_examples(remote, page):
    parser = doctest.DocTestParser()
    blocks = re.findall(r"^```\n(.*?)^```$", page.read_text(), re.M | re.S)
    for example in (example for block in blocks for example in parser.get_examples(block)):
        assert remote.board.execute(shown(example.source)) == example.want, example.source


def shown(source: str) -> str:
    """Code that prints the value of an expression as a REPL does."""
    try:
        ast.parse(source, mode="eval")
    except SyntaxError:
        return source
    return f"_ = {source}\nif _ is not None: print(repr(_))"
