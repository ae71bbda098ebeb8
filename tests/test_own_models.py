"""Models that commands put onto a board for themselves lie apart from the user's.

So a user's /models/digits.safetensors, or iris, tune, verify and so on, is never replaced by them.
"""

import pytest

from attn8_host import deploy
from attn8_host.cli import main
from attn8_host.errors import Attn8Error, BoardError
from attn8_host.paths import MODELS
from attn8_host.proof import generate, mask, run, soak, verify
from attn8_host.train import session, tune

COMMANDS = [
    ["demo"], ["demo", "speakers"], ["demo", "stories"], ["train", "iris"], ["train", "digits"],
    ["verify", "--core", "micro"], ["mask", "causal"], ["soak"],
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_what_a_command_puts_onto_a_board_for_itself_lies_apart(
    capsys, monkeypatch, tmp_path, command
):
    def push(board, path, data, progress=None):
        raise Attn8Error(path)

    monkeypatch.chdir(tmp_path)  # pictures
    monkeypatch.setattr(deploy, "deploy", lambda *_, **__: None)
    for module in (generate, mask, run, soak, verify, session, tune):
        monkeypatch.setattr(module, "push", push)
        for name in ("deploy", "needed"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, lambda *_, **__: None)
    assert main([*command, "--board", "virtual"]) == 2
    assert capsys.readouterr().err.startswith("attn8: /models/attn8/")


def test_a_file_that_a_user_names_goes_where_users_models_are(tmp_path):
    assert deploy.place(tmp_path / "digits.safetensors") == "/models/digits.safetensors"
    assert deploy.place(MODELS / "digits.safetensors") == "/models/attn8/digits.safetensors"


def test_a_name_that_no_request_carries_is_refused_before_anything_is_sent(tmp_path):
    assert len(deploy.place(tmp_path / ("x" * 66))) == 74
    for name, most in (("x" * 67, 1), ("ü" * 40, 14)):
        with pytest.raises(BoardError, match=f"^{name}: expected a name that is {most} bytes"):
            deploy.place(tmp_path / name)
