"""`attn8 package`: what mip installs from a folder or a web server is what deploy puts there."""

import contextlib
import functools
import http.server
import shutil
import subprocess
import sys
import threading

import pytest

from attn8_host import forms, package
from attn8_host.boards import Board
from attn8_host.boards.virtual import VirtualBoard
from attn8_host.cli import main
from attn8_host.deploy import LIB, compile_device, deploy
from attn8_host.paths import MODELS

LOAD = "import attn8\nprint(len(attn8.load('/models/digits.safetensors')()))"


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}


@contextlib.contextmanager
def served(folder):
    """The address of a web server for a folder, on this machine alone."""
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/package.json"
        server.shutdown()


@pytest.mark.parametrize("web", [False, True])
def test_mip_installs_it(tmp_path, web):
    folder, root = tmp_path / "package", tmp_path / "board"
    root.mkdir()
    count = package.write(folder, "x64")
    (root / "models").mkdir()
    shutil.copy(MODELS / "digits.safetensors", root / "models")
    virtual = VirtualBoard(root=root)
    try:
        with contextlib.ExitStack() as stack:
            url = stack.enter_context(served(folder)) if web else str(folder / "package.json")
            done = subprocess.run(
                [sys.executable, "-m", "mpremote", "connect", virtual.port, "mip", "install",
                 "--target", "/lib", url], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        installed = tree(root / LIB[1:])
        assert installed == compile_device("x64") and len(installed) == count
        with Board(virtual.port) as board:
            assert board.execute(LOAD) == "10\n"
            # What mip put there is attn8's own, and right
            assert deploy(board).sent == count
    finally:
        virtual.stop()


@pytest.mark.parametrize(("arch", "form"), [("xtensawin", "xtensa"), ("rv32imc", "rv32")])
def test_it_has_the_machine_code_of_a_chip(tmp_path, capsys, arch, form):
    assert main(["package", "--arch", arch, "--output", str(tmp_path / "new")]) == 0
    assert " (MicroPython 1.23 and newer) in " in capsys.readouterr().out
    written = tree(tmp_path / "new/attn8")
    assert written == compile_device(arch) | forms.files_of(arch, "turbo")
    assert written[f"forms/{form}/matmul.mpy"][:2] == b"M\x06"


def test_a_firmware_freezes_the_sources(tmp_path):
    package.write(tmp_path / "new", "xtensawin")
    frozen = tmp_path / "new/freeze"
    called = []
    # As MicroPython's manifestfile.py runs it, in its folder
    exec((frozen / "manifest.py").read_text(), {"package": lambda *a, **k: called.append((a, k))})
    assert called == [(("attn8",), {"base_path": ".", "opt": 3})]
    assert tree(frozen / "attn8") == compile_device(None)


def test_what_is_there_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    assert main(["package", "--arch", "rv32imc", "--output", str(tmp_path / "mine")]) == 2
    assert "mine is not empty; name a new folder" in " ".join(capsys.readouterr().err.split())
    assert tree(tmp_path / "mine") == {"notes.txt": b"mine"}
