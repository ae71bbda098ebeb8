"""The table of docs/forms.md: which operator has which form, from what is there."""

import ast

from . import ROOT, STUBS, VIPER, families, machine_forms, signatures, source, target

START = "<!-- forms: generated -->"
END = "<!-- end of forms -->"


def table() -> str:
    """A row for each family of kernels and for the viper kernels that have no other form, in
    Markdown; a column for each form, with what it needs of shapes and constants.
    """
    forms = machine_forms()
    head = ["family", "operators", f"{VIPER}, all chips"]
    for form in forms:
        runs = target(form)
        note = ", experimental" if runs.EXPERIMENTAL else ""
        head.append(f"{form}{note}: {runs.ARCH}, {runs.NEEDS}")
    rows = [head, ["---"] * len(head)]
    for family in families(VIPER):
        operators = _operators(VIPER, family) or _operators(STUBS, family)
        rows.append([family, ", ".join(operators), "yes", *(_cell(form, family) for form in forms)])
    for path in sorted((ROOT / "kernels").glob("[a-z]*.py")):
        operators = list(signatures(path))
        if operators:
            rows.append([path.stem, ", ".join(operators), "yes", *("" for _ in forms)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _operators(form: str, family: str) -> list[str]:
    return [name for name in signatures(source(form, family)) if name[0] != "_"]


def _cell(form: str, family: str) -> str:
    """When a form of a family is taken."""
    if family not in families(form):
        return ""
    for node in ast.parse(source(form, family).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == "fits":
            returned = node.body[-1]
            assert isinstance(returned, ast.Return) and returned.value is not None
            return f"where `{ast.unparse(returned.value)}`"
    return "yes"


def put_into(text: str) -> str:
    """A document with the table of today between START and END.

    Raises:
        ValueError: the document lacks one of them.
    """
    before, _, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the document lacks {START} or {END}")
    return f"{before}{START}\n\n{table()}\n\n{END}{after}"
