"""What a user finds at the REPL by looking: dir, TAB (which looks as dir does) and help."""

import ast

import pytest

from attn8_host import masks
from attn8_host.errors import RemoteError
from attn8_host.paths import DEVICE

FIRST_LOOK = """
import attn8
give([name for name in dir(attn8) if name[0] != "_"])
give([name for name in dir(attn8.masks) if name[0] != "_"])
"""
LOOK = """
import gc
import sys
import attn8
from attn8 import masks
count = len(sys.modules)
give([name for name in dir(attn8) if name[0] != "_"])
give(len(sys.modules) - count)
masks.build
count = len(sys.modules)
give([name for name in dir(masks) if name[0] != "_"])
give(len(sys.modules) - count)
"""


@pytest.fixture
def names():
    """The public names of attn8: those of names.py."""
    call = ast.parse((DEVICE / "attn8/names.py").read_text()).body[0].value
    return {keyword.arg for keyword in call.keywords}


@pytest.mark.board("virtual")
def test_dir_lists_the_public_names_and_imports_nothing(remote, names):
    listed, imported, listed_masks, imported_masks = remote(LOOK)
    assert names - set(listed) == set()
    assert {*masks.BUILDERS, "Mask", "build"} - set(listed_masks) == set()
    assert imported == imported_masks == 0


@pytest.mark.board("virtual")
def test_the_first_dir_lists_them(board, remote, names):
    board.enter_repl(soft_reset=True)  # the interpreter knows none of the words
    listed, listed_masks = remote(FIRST_LOOK)
    assert names - set(listed) == {*masks.BUILDERS, "Mask"} - set(listed_masks) == set()


@pytest.mark.board("virtual")
def test_looking_takes_no_memory_for_good(board, remote):
    def look():
        board.execute("for _ in range(5): dir(attn8)")
        board.execute("for i in range(200):\n  try:\n    getattr(attn8, 'absent')\n"
                      "  except AttributeError: pass")

    remote("import attn8\ndir(attn8)\ngive(0)")
    look()  # words of this program are interned, once
    before = board.used_heap()
    look()
    assert board.used_heap() - before < 100


@pytest.mark.board("virtual")
def test_help_lists_the_public_names(board, remote, names):
    for looked in ("", "dir(attn8)"):
        remote(f"import attn8\n{looked}\ngive(0)")
        said = board.execute("help(attn8)")
        assert [name for name in names if name not in said] == []


@pytest.mark.board("virtual")
def test_help_of_what_is_not_imported_says_where_more_is(board, remote):
    remote("import sys\nimport attn8\ngive(0)")
    said = board.execute("help(attn8.Exact)\nprint('attn8.cores.exact' in sys.modules)")
    assert "attn8.help('Exact') says what it is" in said and said.split()[-1] == "False"
    assert "Exact.from_scales(" in board.execute("attn8.help('Exact')")


HELP = """
import sys
import attn8
attn8.help({what})
"""


@pytest.mark.board("virtual")
def test_help_has_a_line_for_each_public_name(board, remote, names):
    remote("give(0)")
    said = board.execute(HELP.format(what="")).splitlines()
    heads = {line.partition("(")[0] for line in said if line[0] != " "}
    assert names | {"masks.Mask"} | {f"masks.{name}" for name in masks.BUILDERS} <= heads
    for at, line in enumerate(said):
        if line.partition("(")[0] in names:  # what it is follows how it is made
            rest = [other for other in said[at + 1 :] if "." not in other.partition("(")[0]]
            assert rest[0].startswith("    ") and len(rest[0]) > 12


@pytest.mark.board("virtual")
@pytest.mark.parametrize("what", ["attn8.ReLU", "'ReLU'", "attn8.ReLU(2)"])
def test_help_with_one_name(board, remote, what):
    remote("give(0)")
    assert board.execute(HELP.format(what=what)).splitlines() == [
        "ReLU(size, format='int8')", "    max(x, 0) over `size` int8 or int16 values"]


@pytest.mark.board("virtual")
def test_help_knows_modules_functions_and_how_to_make_from_scales(board, remote):
    remote("give(0)")
    for what in ("attn8.masks.causal", "'masks.causal'", "attn8.masks.patterns.causal"):
        assert board.execute(HELP.format(what=what)).splitlines() == [
            "masks.causal(seq_len)", "    Each query sees itself and the keys before it"]
    assert board.execute(HELP.format(what="attn8.masks")).startswith("masks\n")
    for what in ("attn8.train.fit", "'train.fit'"):
        assert board.execute(HELP.format(what=what)).startswith("train.fit(path, samples, epochs")
    said = board.execute(HELP.format(what="attn8.Sliding"))
    assert "Sliding.from_scales(slots, head_dim, scale_q, scale_k, scale_v, scale_out" in said


@pytest.mark.board("virtual")
def test_help_leaves_nothing_behind(board, remote):
    board.execute(HELP.format(what="'ReLU'"))
    before = board.used_heap()
    for what in ("", "attn8.Exact", "'Sparse'"):
        board.execute(HELP.format(what=what))
    assert board.used_heap() - before < 100


def test_help_of_what_is_unknown(remote):
    assert remote.refused("attn8.help('Attention')", "import attn8") == (
        "help: attn8 has no Attention; attn8.help() lists what it has")


def test_a_star_says_to_name_what_is_used(board):
    with pytest.raises(RemoteError, match=r"\* takes too much memory: name what"):
        board.execute("from attn8 import *")


def test_an_unknown_name_is_an_attribute_error(remote):
    code = """
import attn8
from attn8 import masks
for module in (attn8, attn8.masks, masks.mincut):
    try:
        module.absent
    except AttributeError as error:
        give("AttributeError")
"""
    assert remote(code) == ["AttributeError"] * 3


def test_a_name_is_the_class_itself_once_there_are_objects_of_it(remote):
    code = """
from attn8 import ReLU
layer = ReLU(2)
import attn8
give(str(isinstance(layer, attn8.ReLU)))
give(str(attn8.masks.causal(4).num_positions))
"""
    assert remote(code) == ["True", "10"]


@pytest.mark.board("virtual")
def test_a_name_is_a_base_before_its_module_is_there(board, remote):
    board.enter_repl(soft_reset=True)
    code = """
import attn8
from attn8 import Sliding
class Named(attn8.ReLU):
    def __call__(self, x):
        return "mine", list(super().__call__(x))
class Mine(Sliding):
    pass
give(str(Named(2)(b"\\xff\\x05")))
give(str(isinstance(Named(2), attn8.ReLU)))
give(str(Mine.from_scales(2, 4, 1, 1, 1, 1).step is not None))
"""
    assert remote(code) == ["('mine', [0, 5])", "True", "True"]


@pytest.mark.board("virtual")
@pytest.mark.parametrize(("call", "where"), [
    ("attn8.Add()", "Add"), ("attn8.Add(4, name=5)", "Add"), ("attn8.ReLU(4, absent=5)", "ReLU"),
    ("attn8.Exact.from_scales(3, 4)", "Exact.from_scales"), ("attn8.load()", "load"),
    ("attn8.load('/models/digits.safetensors', absent=1)", "load"),
    ("attn8.generate()", "generate"), ("attn8.masks.causal(4, 5)", "causal"),
    ("attn8.train.fit()", "train.fit"), ("attn8.Stream(5)", "Stream"),
])  # fmt: skip
def test_arguments_that_nobody_knows_are_refused_with_where_to_look(board, remote, call, where):
    """As often as they come, where a function is meant, and where a class is not there yet."""
    prints = f"""
try:
    {call}
except TypeError as error:
    print(error)
"""
    board.enter_repl(soft_reset=True)
    board.execute("import attn8")
    times = 2 if where in ("load", "generate") else 1
    for said in [board.execute(prints) for _ in range(times)]:
        assert said.startswith(f"{where}: ") and said.count("\n") == 1
        assert said.endswith(f"; attn8.help('{where}') says what it takes\n")
    assert f"{where}(" in board.execute(f"attn8.help('{where}')")


@pytest.mark.parametrize(("options", "message"), [
    ("count='a'", "count: expected a whole number, got str"),
    ("count=0", "count: expected 1 to 6, got 0"), ("count=7", "count: expected 1 to 6, got 7"),
    ("advance=5", "advance: expected a function, got int"),
])  # fmt: skip
def test_what_load_is_asked_for_is_checked(remote, options, message):
    path = "/models/digits.safetensors"
    said = remote.refused(f"attn8.load('{path}', {options})", "import attn8")
    assert said == f"{path}: {message}"
