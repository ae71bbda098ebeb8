"""HNSW-guided attention: how many of dense attention's top keys does a graph over the tokens find?

    pip install 'attn8[graph]'
    python examples/hnsw_attention.py --board auto

Tokens are images of digits. faiss indexes them; a window and the edges of its graph are the mask,
which goes to the board as bits. More links give a denser mask and find more of the top keys.
"""

import argparse

from rich.console import Console
from rich.progress import track
from rich.table import Table

from attn8_host import masks
from attn8_host.boards import open_board
from attn8_host.deploy import deploy
from attn8_host.proof import mask

LINKS = (2, 3, 4, 6, 8, 12)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--board", help="as for `attn8 demo`")
    parser.add_argument("--seq-len", type=int, default=48)
    arguments = parser.parse_args()
    table = Table("links", "density", "recall of the top 8", "a random mask's", "on the board")
    with open_board(arguments.board) as board:
        deploy(board)
        for links in track(LINKS, "masks on the board"):
            made = mask.make("hnsw", arguments.seq_len, [1, links])
            found, _ = mask.run(board, made, f"hnsw 1 {links}")
            drawn = masks.random(arguments.seq_len, made.density, 1)
            chance, _ = mask.run(board, drawn, "random")
            equal = found.bit_exact and chance.bit_exact
            table.add_row(
                str(links), f"{found.density:.1%}", f"{found.recall:.1%}", f"{chance.recall:.1%}",
                "every bit equal" if equal else "NOT EQUAL",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
