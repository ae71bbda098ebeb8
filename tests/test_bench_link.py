"""`attn8 bench link` on the virtual board behind a line of a given rate."""

import json

from attn8_host.bench import link
from attn8_host.cli import main


def test_the_link_uses_the_line_both_ways(tmp_path, monkeypatch):
    monkeypatch.setattr(link, "SECONDS", 0)
    path = tmp_path / "link.json"
    arguments = ["bench", "link", "--baud", "230400", "--bytes", "4096", "--json", str(path)]
    assert main(arguments) == 0
    results = json.loads(path.read_text())["results"]
    assert [result["direction"] for result in results] == ["to_board", "from_board"]
    for result in results:
        assert result["baud"] == 230400
        assert 0.8 <= result["line_rate_fraction"] <= 1
        assert result["bytes_per_s"] == result["line_rate_fraction"] * 23040
        assert result["bytes_per_s"] > 2 * result["mpremote_bytes_per_s"]
        assert result["frames_resent"] == 0
