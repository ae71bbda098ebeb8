"""Deployment sends what differs and nothing else, and is never seen half done."""

import ast
import hashlib
import re
import shutil
from pathlib import Path

import pytest
from mpremote.transport import TransportError

from attn8_host import deploy as package
from attn8_host.boards import Board, open_board
from attn8_host.boards.virtual import VirtualBoard
from attn8_host.cli import main
from attn8_host.deploy import (
    LIB,
    apply,
    compile_device,
    deploy,
    install_boot,
    plan,
    push,
    undeploy,
)
from attn8_host.errors import BoardError, LinkError, RemoteError
from attn8_host.link import Client
from attn8_host.paths import BOOT, DEVICE
from attn8_host.proof.bench.count import NAIVE_LAYER
from tests.blocks import BLOCKS
from tools import device_files


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The file system of the board."""
    return tmp_path_factory.mktemp("board")


@pytest.fixture(scope="module")
def virtual(root):
    virtual = VirtualBoard(root=root)
    yield virtual
    virtual.stop()


@pytest.fixture
def fresh(virtual, root):
    """A board with nothing on it."""
    clear(root)
    with Board(virtual.port, kind="virtual") as board:
        yield board


def clear(folder: Path) -> None:
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def tree(folder: Path) -> dict[str, bytes]:
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*")
             if p.suffix in (".py", ".mpy", ".txt")}
    return dict(sorted(files.items()))


def test_only_changes_are_sent(fresh, root):
    first = deploy(fresh)
    assert first.sent == first.files > 10
    assert deploy(fresh).sent == 0
    package = root / LIB[1:]
    (package / "run.mpy").unlink()
    assert deploy(fresh).sent == 1
    assert tree(package) == compile_device(fresh.info.arch)
    source = deploy(fresh, source=True)
    assert source.sent == source.files
    assert tree(package) == compile_device(None)
    used = fresh.execute("from attn8 import ReLU\nprint(list(ReLU(2)(b'\\xff\\x05')))")
    assert used == "[0, 5]\n"


def test_the_sums_on_the_board_are_those_of_its_files(fresh, root):
    deploy(fresh)
    package = root / LIB[1:]
    lines = (package / "SHA256SUMS").read_text().splitlines()
    sums = {path: digest for digest, path in (line.split("  ") for line in lines)}
    files = tree(package)
    assert sums == {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}


def test_a_dry_run_changes_nothing(virtual, fresh, capsys, root):
    fresh.close()
    arguments = ["deploy", "--board", virtual.port]
    assert main([*arguments, "--dry-run"]) == 0
    assert "send /lib/attn8/forms/viper/matmul.mpy (" in capsys.readouterr().out
    assert not list(root.iterdir())
    assert main(arguments) == 0
    assert "boot.py is attn8's" in capsys.readouterr().out
    assert main([*arguments, "--dry-run"]) == 0
    assert "0 files to send, 0 to remove" in capsys.readouterr().out


def test_a_package_that_comes_first_is_named(fresh, root):
    deploy(fresh)
    (root / "rom/attn8").mkdir(parents=True)
    fresh.execute("import sys; sys.path.insert(0, '/rom')")
    said = "/lib/attn8 is there, and the board imports /rom/attn8, which comes first"
    with pytest.raises(BoardError, match=said):
        deploy(fresh)
    (root / "rom/attn8").rename(root / "rom/attn8.mpy")
    with pytest.raises(BoardError, match=r"/rom/attn8\.mpy"):
        deploy(fresh)
    (root / "rom/attn8.mpy").rmdir()
    assert deploy(fresh).sent == 0


def test_a_boot_py_that_is_there_stays_unless_asked(fresh, root):
    (root / "boot.py").write_text("mine = 1\n")
    assert not install_boot(fresh)
    assert (root / "boot.py").read_text() == "mine = 1\n"
    assert install_boot(fresh, replace=True)
    assert (root / "boot.py").read_bytes() == BOOT.read_bytes()


def test_undeploy_removes_what_deploy_put_there(virtual, fresh, capsys, root):
    deploy(fresh)
    install_boot(fresh)
    push(fresh, "/models/mine.safetensors", b"mine")
    (root / "lib" / "other.py").touch()
    fresh.close()
    assert main(["undeploy", "--board", virtual.port]) == 0
    assert tree(root) == {"lib/other.py": b""}
    assert (root / "models/mine.safetensors").read_bytes() == b"mine"
    (root / "boot.py").write_text("mine = 1\n")
    with Board(virtual.port) as board:
        undeploy(board)
    assert (root / "boot.py").exists()


# Two versions of a package: one file stays, one changes, one goes, one comes

SAME = {"same.py": b"y = 1\n"}
OLD = {"__init__.py": b"v = 1\n", "gone.py": b"z = 1\n", "part/x.py": b"v = 1\n", **SAME}
NEW = {"__init__.py": b"v = 2\n", "part/x.py": b"v = 2\n", **SAME, "sub/new.py": b""}

# Resets the board at its n-th change of the file system from now on
FUSE = """
import builtins, machine, os
class Fuse:
    left = {n}
def fused(function):
    def call(*arguments):
        Fuse.left -= 1
        if Fuse.left < 0:
            plain_open("/blown", "w").close()
            machine.reset()
        return function(*arguments)
    return call
os.mkdir, os.rename, os.remove, os.rmdir = [
    fused(f) for f in (os.mkdir, os.rename, os.remove, os.rmdir)
]
plain_open = open
opened_to_write = fused(plain_open)
def either(path, mode="r"):
    return (opened_to_write if "w" in mode else plain_open)(path, mode)
builtins.open = either
"""


def found(root: Path) -> dict[str, bytes]:
    """The package that `import attn8` finds: MicroPython's path has / before /lib."""
    return tree(root / "attn8" if (root / "attn8").exists() else root / LIB[1:])


def test_a_board_that_resets_at_any_step_has_the_old_version_or_the_new(fresh, root, monkeypatch):
    exec_raw = fresh.transport.exec_raw

    def until_blown(command, *arguments, **options):
        answer = exec_raw(command, *arguments, **options)
        if (root / "blown").exists():
            raise TransportError("reset")  # spares the host's waiting for a board that is gone
        return answer

    monkeypatch.setattr(fresh.transport, "exec_raw", until_blown)
    seen = []
    n = 0
    while True:
        clear(root)
        apply(fresh, plan(fresh, OLD))
        fresh.execute(FUSE.format(n=n))
        try:
            apply(fresh, plan(fresh, NEW))
            break
        except BoardError:
            (root / "blown").unlink()
            fresh.transport.read_until(1, b">>> ", timeout=60)
            fresh.enter_repl()
        except LinkError as error:  # while it took files
            assert "the board has started again" in str(error)
            (root / "blown").unlink()
            fresh.enter_repl()
        version = found(root)
        assert version in (OLD, NEW), f"reset at step {n}"
        seen.append(version == NEW)
        asked = "from attn8 import v\nfrom attn8.part import x\nprint((v, x.v))"
        assert fresh.evaluate_tuple(asked) == ((2, 2) if version == NEW else (1, 1))
        # The next deployment finishes it and leaves nothing behind
        apply(fresh, plan(fresh, NEW))
        assert tree(root) == {f"{LIB[1:]}/{path}": data for path, data in NEW.items()}
        assert [p.name for p in (root / "lib").iterdir()] == ["attn8"]
        n += 1
    assert seen == sorted(seen)  # first the old one, then the new one
    assert seen.count(False) > 8
    assert seen.count(True) > 4


def test_a_host_that_vanishes_at_any_step_leaves_a_whole_version(fresh, monkeypatch, root):
    steps = 0
    for kind, name in ((Board, "execute"), (Client, "_exchange")):
        method = getattr(kind, name)

        def cut(self, *arguments, method=method, **options):
            nonlocal steps
            steps -= 1
            if steps < 0:
                raise KeyboardInterrupt
            return method(self, *arguments, **options)

        monkeypatch.setattr(kind, name, cut)
    for n in range(100):
        steps = 1000
        undeploy(fresh)
        apply(fresh, plan(fresh, OLD))
        steps = n
        try:
            apply(fresh, plan(fresh, NEW))
            break
        except KeyboardInterrupt:
            assert found(root) in (OLD, NEW)
    assert n > 8
    assert found(root) == NEW


def test_what_arrives_damaged_is_noticed(fresh, monkeypatch, root):
    apply(fresh, plan(fresh, OLD))
    send = package.send
    monkeypatch.setattr(
        package, "send", lambda board, files, progress=None: send(
            board, {path: data.replace(b"2", b"3") for path, data in files.items()}, progress
        ),
    )  # fmt: skip
    with pytest.raises(BoardError, match="differs from what was sent"):
        apply(fresh, plan(fresh, NEW))
    assert found(root) == OLD


# A littlefs in memory, in place of /lib
SMALL = """
blocks = Blocks(memory({blocks}))
vfs.VfsLfs2.mkfs(blocks)
os.mkdir("/lib")
vfs.mount(blocks, "/lib")
"""


def test_a_full_file_system_is_one_line_and_leaves_the_old_version(fresh):
    fresh.execute(BLOCKS + SMALL.format(blocks=32))
    apply(fresh, plan(fresh, OLD))
    big = NEW | {"big.py": bytes(20_000)}
    with pytest.raises(RemoteError, match=r"the board says: /lib/\.attn8.*new/.*: No space left"):
        apply(fresh, plan(fresh, big))
    assert fresh.execute("print(os.listdir('/lib'))") == "['attn8']\n"
    for path, data in OLD.items():
        assert fresh.read_file(f"{LIB}/{path}") == data
    with pytest.raises(RemoteError, match=r"the board says: /lib/model\..*new: No space left"):
        push(fresh, "/lib/model", bytes(20_000))
    assert fresh.execute("print(os.listdir('/lib'))") == "['attn8']\n"


def test_sizes_come_with_the_names_where_a_file_system_has_them(fresh):
    """On littlefs each path that is asked for reads all folders above it."""
    fresh.execute(BLOCKS + SMALL.format(blocks=64))
    apply(fresh, plan(fresh, OLD))
    fresh.execute(package.HELPERS)
    fresh.execute("import sys\nasked = []\nclass Files:\n    ilistdir = os.ilistdir\n"
                  "    @staticmethod\n    def stat(path):\n        asked.append(path)\nos = Files")
    sizes, asked = fresh.evaluate("print(repr((list(walk(LIB)), asked)))", ([(str, int)], [str]))
    assert {f"{LIB}/{path}": len(data) for path, data in OLD.items()}.items() <= dict(sizes).items()
    assert asked == []


def test_work_on_a_file_system_may_take_as_long_as_the_board_is_given(fresh):
    fresh.flash_seconds = 0.2
    with pytest.raises(BoardError, match="does not answer"):
        package._execute(fresh, "import time\ntime.sleep(1)")
    fresh.flash_seconds = 60
    fresh.enter_repl()
    assert package._execute(fresh, "import time\ntime.sleep(1)\nprint(1)") == "1\n"


def test_a_folder_that_is_a_file_is_named(fresh):
    fresh.write_file("/models", b"")
    with pytest.raises(BoardError, match=r"^/models on the board is a file, where /models/a is to"):
        push(fresh, "/models/a", b"data")
    fresh.execute("import os; os.remove('/models'); os.mkdir('/models'); os.mkdir('/models/a')")
    with pytest.raises(BoardError, match=r"^/models/a on the board is a folder, where /models/a"):
        push(fresh, "/models/a", b"data")


@pytest.mark.parametrize("sums", [b"garbage\n", bytes(range(256))])
def test_damaged_sums_stand_for_nothing(fresh, root, sums):
    apply(fresh, plan(fresh, OLD))
    (root / LIB[1:] / "SHA256SUMS").write_bytes(sums)
    assert apply(fresh, plan(fresh, OLD)).files == len(OLD)
    assert plan(fresh, OLD).changed == []


# What a user may have where attn8 goes, by the path that a refusal names: the files of a board
USERS = {
    "/attn8/notes.txt": {"attn8/notes.txt": b"mine"},
    "/attn8": {"attn8": b"mine"},
    "/attn8.py": {"attn8.py": b"mine = 1"},
    "/lib": {"lib": b"mine"},
    "/lib/attn8": {"lib/attn8": b"mine"},
    "/lib/attn8/mine.py": {"lib/attn8/mine.py": b"mine = 1"},
    "/lib/attn8/part/mine.py": {"lib/attn8/part/mine.py": b"mine = 1"},
    "/lib/attn8/__init__.py": {"lib/attn8/__init__.py": b"v = 3\n"},  # edited on the board
    "/lib/.attn8-deploy-new": {"lib/.attn8-deploy-new": b"mine"},
    "/lib/.attn8-deploy-old": {"lib/.attn8-deploy-old": b"mine"},
}


def everything(root: Path) -> dict[str, bytes | None]:
    """All files and folders of a board."""
    return {p.relative_to(root).as_posix(): p.read_bytes() if p.is_file() else None
            for p in sorted(root.rglob("*"))}


def put(root: Path, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        if (root / path).is_dir():
            shutil.rmtree(root / path)
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


@pytest.mark.parametrize("deployed", [False, True])
@pytest.mark.parametrize("path", USERS)
def test_what_is_the_users_is_named_and_stays(fresh, root, path, deployed):
    if deployed:
        apply(fresh, plan(fresh, OLD))
    put(root, USERS[path])
    before = everything(root)
    named = path if deployed or path.count("/") < 3 else LIB  # a folder of nothing but his files
    named = "/attn8" if path == "/attn8/notes.txt" else named
    for act in (lambda: apply(fresh, plan(fresh, NEW)), lambda: undeploy(fresh)):
        with pytest.raises(BoardError, match=f"^{re.escape(named)} on the board is ") as refusal:
            act()
        assert "nothing was changed" in str(refusal.value)
        assert everything(root) == before
        if path == "/attn8.py":  # it hinders what is deployed, and no removal
            break


def test_what_is_the_users_beside_the_package_stays(fresh, root):
    mine = {f"lib/attn8.{end}/mine.py": b"mine = 1" for end in ("old", "new")}
    mine |= {"models/a.new": b"mine", "boot.py.new": b"mine", "lib/other/attn8.py": b"mine = 1"}
    put(root, mine)
    apply(fresh, plan(fresh, OLD))
    apply(fresh, plan(fresh, NEW))
    push(fresh, "/models/a", b"data")
    install_boot(fresh)
    undeploy(fresh)
    kept = {path: data for path, data in everything(root).items() if data is not None}
    assert kept == mine | {"models/a": b"data"}


def test_where_nothing_is_to_change_a_users_file_is_no_hindrance(fresh, root):
    apply(fresh, plan(fresh, OLD))
    put(root, {"lib/attn8/mine.py": b"mine = 1"})
    assert apply(fresh, plan(fresh, OLD)).sent == 0
    assert (root / "lib/attn8/mine.py").exists()


def test_a_copy_of_the_sources_is_attn8s_own(fresh, root):
    for folder in ("attn8", "lib/attn8"):
        shutil.copytree(DEVICE / "attn8", root / folder, ignore=shutil.ignore_patterns("*.pyc"))
    deploy(fresh)
    assert tree(root) == {f"{LIB[1:]}/{path}": data
                          for path, data in compile_device(fresh.info.arch).items()}


def test_a_dry_run_names_true_paths(virtual, fresh, root, capsys):
    apply(fresh, plan(fresh, OLD))
    (root / LIB[1:]).rename(root / "attn8")  # a switch that was interrupted
    fresh.close()
    before = everything(root)
    assert main(["deploy", "--board", virtual.port, "--dry-run"]) == 0
    said = capsys.readouterr().out.splitlines()
    removed = {line.removeprefix("remove /") for line in said if line.startswith("remove")}
    assert removed == {f"attn8/{path}" for path in OLD if path != "__init__.py"} | {
        "attn8/__init__.py"}
    assert everything(root) == before


def test_it_compiles_for_the_chips():
    for arch in ("xtensawin", "rv32imc", "x64"):
        files = compile_device(arch)
        assert files["forms/viper/matmul.mpy"][:2] == b"M\x06"


def test_a_board_that_compiles_with_an_old_compiler_is_told_of(
    virtual, fresh, capsys, monkeypatch
):
    fresh.close()
    command = ["deploy", "--board", virtual.port, "--dry-run"]
    assert main([*command, "--source"]) == 0
    assert "warning" not in capsys.readouterr().out  # of this board's compiler there is none
    monkeypatch.setattr(package, "COMPILER", (9, 0))
    assert main(command) == 0
    assert "warning" not in capsys.readouterr().out
    assert main([*command, "--source"]) == 0
    assert (
        "warning: the board compiles these .py files itself, with MicroPython "
        f"{fresh.info.version}; they are proven with 9.0 or newer: flash that, or go without "
        "--source\n"
    ) in capsys.readouterr().out


def viper_sources():
    """What viper compiles on a board: the package's kernels, and the layer that bench times."""
    sources = {path: text.decode() for path, text in compile_device(None).items()}
    sources["layer_naive.upy"] = NAIVE_LAYER.read_text()
    return sources


def test_no_viper_function_has_what_older_compilers_get_wrong():
    functions = [
        (path, node)
        for path, text in viper_sources().items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
        and any("viper" in ast.unparse(each) for each in node.decorator_list)
    ]
    assert len(functions) > 60
    wrong = [
        f"{path}: {node.name}: {ast.unparse(each)}"
        for path, node in functions
        for each in ast.walk(node)
        if isinstance(each, ast.UnaryOp) and isinstance(each.op, (ast.USub, ast.Invert))
        and not isinstance(each.operand, ast.Constant)
    ]
    assert not wrong, "before 1.29 -x and ~x change x; write 0 - x, and x ^ -1"


def test_what_lists_the_package_is_what_the_tool_writes():
    assert device_files.PACKAGE.read_text() == device_files.package()
    assert device_files.NAMES.read_text() == device_files.names()
    assert device_files.LINES.read_text() == device_files.lines()



# A chip's pin and clock, which the virtual board lacks: the button is held down or not
MACHINE = """
import sys
class Machine:
    frequency = None
    class Pin:
        IN, PULL_UP = 0, 1
        def __init__(self, number, mode, pull):
            self.number = number
        def value(self):
            return {value}
    def freq(self, value):
        self.frequency = value
machine = sys.modules["machine"] = Machine()
before = set(globals())
"""


@pytest.mark.parametrize("released", [0, 1])
def test_boot_py_sets_the_speed_unless_the_button_is_held(fresh, released):
    fresh.execute(MACHINE.format(value=released))
    assert fresh.execute(BOOT.read_text()) == ""
    left = "set(globals()) - before - {'before'}, machine.frequency"
    assert fresh.evaluate_tuple(f"print(({left}))") == (set(), 240_000_000 if released else None)


def test_boot_py_is_quiet_and_the_prompt_comes(fresh):
    with open_board("virtual") as board:
        install_boot(board)
        board.enter_repl()
        assert board.execute("print('here')") == "here\n"
