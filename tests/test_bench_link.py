"""`attn8 bench link` on the virtual board behind a line of a given rate."""

import pytest

from attn8_host.bench import link
from attn8_host.boards.board import Board
from attn8_host.boards.virtual import VirtualBoard

BAUD = 57600  # slow, so that a busy computer's delays count little


@pytest.fixture
def board(attn8_folder):
    virtual = VirtualBoard(root=attn8_folder, baud=BAUD)
    with Board(virtual.port, kind="virtual", close=virtual.stop) as board:
        yield board


def test_the_link_uses_the_line_both_ways(board, monkeypatch):
    monkeypatch.setattr(link, "SECONDS", 0)
    results = [result.as_dict() for result in link.bench_link(board, BAUD, 4096, lambda *_: None)]
    assert [result["direction"] for result in results] == ["to_board", "from_board"]
    for result in results:
        assert result["baud"] == BAUD
        assert 0.8 <= result["line_rate_fraction"] <= 1
        assert result["bytes_per_s"] == pytest.approx(result["line_rate_fraction"] * BAUD / 10)
        assert result["bytes_per_s"] > 2 * result["mpremote_bytes_per_s"]
        assert result["frames_resent"] == 0
