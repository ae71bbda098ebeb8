"""Changes in the text of a source, which leave all else of it as it is."""

import ast
from collections.abc import Iterable

Place = tuple[int, int, int, int]  # the first row and byte, and the row and byte behind the last


def place(node: ast.AST) -> Place:
    """Where an expression or a statement stands."""
    assert isinstance(node, (ast.expr, ast.stmt))
    assert node.end_lineno is not None and node.end_col_offset is not None
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset


def edited(source: bytes, edits: Iterable[tuple[Place, str]]) -> bytes:
    """A source with other texts in some places, which do not meet."""
    lines = source.split(b"\n")
    for (row, first, last, end), text in sorted(edits, reverse=True):
        lines[row - 1 : last] = [lines[row - 1][:first] + text.encode() + lines[last - 1][end:]]
    return b"\n".join(lines)
