"""`attn8 mask` and the graphs over the tokens that masks can follow."""

import json

import numpy as np
import pytest

from attn8_host.cli import main
from attn8_host.masks import cut, hnsw
from attn8_host.proof import mask


def run(tmp_path, *arguments):
    """(exit status, results) of one `attn8 mask` on the virtual board."""
    png, results = tmp_path / "mask.png", tmp_path / "mask.json"
    status = main(["mask", "--board", "virtual", *arguments, "--seq-len", "24", "--png", str(png),
                   "--json", str(results)])  # fmt: skip
    assert png.read_bytes().startswith(b"\x89PNG")
    return status, json.loads(results.read_text())


def test_a_full_mask_is_dense_attention(tmp_path):
    status, result = run(tmp_path, "full")
    assert status == 0 and result["bit_exact"] and result["compared"] > 10_000
    assert result["density"] == result["recall"] == 1
    assert result["mean_difference"] == 0


def test_a_window(tmp_path, capsys):
    status, result = run(tmp_path, "local_window", "2")
    assert status == 0 and result["bit_exact"]
    assert result["num_positions"] == 24 * 5 - 6
    assert result["recall"] < 1 and result["mean_difference"] > 0
    said = capsys.readouterr().out
    assert "███·················\n" in said and "every bit equal" in said


def test_one_index_needs_no_comma():
    assert (mask.make("global_indices", 24, [3]).dense.sum(axis=0) > 0).tolist() == [
        key == 3 for key in range(24)
    ]


def test_hnsw(tmp_path):
    pytest.importorskip("faiss")
    status, result = run(tmp_path, "hnsw", "0", "4")
    assert status == 0 and result["bit_exact"]
    assert result["recall"] > 1.5 * result["density"]  # chance would find as much as it sees


def test_mincut(tmp_path):
    pytest.importorskip("networkx")
    status, result = run(tmp_path, "mincut", "3")
    assert status == 0 and result["bit_exact"] and result["density"] < 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nosuch"], "no such mask: nosuch; expected one of block_diagonal"),
        (["local_window"], "mask local_window: expected window, got nothing"),
        (["local_window", "2.5"], "mask local_window: window: expected a whole number, got 2.5"),
        (["full", "3"], "mask full: expected no arguments, got 3"),
        (["full", "--seq-len", "1"], "seq-len: expected 2 to 360, got 1"),
        (["global_indices", "3,1"], "mask global_indices: keys: expected each once, rising"),
    ],
)
def test_bad_input_is_one_line(capsys, arguments, message):
    assert main(["mask", "--board", "virtual", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"attn8: {message}") and len(said.splitlines()) == 1


def test_the_graph_of_a_real_index():
    pytest.importorskip("faiss")
    from attn8_host.graph.hnsw import build

    x = mask.tokens(100)
    graph = build(x, links=4)
    assert build(x, links=4) == graph
    assert graph.layers[0] == list(range(100))
    for lower, upper in zip(graph.layers, graph.layers[1:], strict=False):
        assert set(upper) < set(lower)
    assert len(hnsw.global_indices(graph.layers)) == len(graph.layers[1])
    degree = np.bincount(np.array(graph.edges).ravel(), minlength=100)
    assert (degree > 0).all()
    # The nearest neighbour is one edge away for nearly every token
    distance = np.linalg.norm(x[:, None] - x[None], axis=-1) + np.eye(100) * 1e9
    nearest = distance.argmin(axis=1)
    seen = hnsw.from_hnsw_edges(100, graph.edges).dense
    assert seen[np.arange(100), nearest].mean() > 0.9


def test_partitions_by_networkx_cut_as_little_as_the_board_does():
    pytest.importorskip("networkx")
    from attn8_host.graph.mincut import minimum_cut, partition
    from attn8_host.graph.similarity import similarity

    weights = similarity(mask.tokens(40), 3)
    assert (weights == weights.T).all() and ((weights > 0).sum(axis=1) >= 3).all()
    value, side = minimum_cut(weights)
    assert value == cut.minimum_cut(weights)[0]
    assert weights[np.ix_(side, np.setdiff1d(np.arange(40), side))].sum() == value
    labels = partition(weights, 4)
    assert len(labels) == 40 and set(labels) == set(range(4))
