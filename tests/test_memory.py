"""What the cores hold is what docs/mechanisms.md says, by the board's own heap figures.

Sizes are such that every array fills whole blocks of the heap: differences are exact.
"""


import pytest

from attn8_host import cores
from attn8_host.cores.performer import random_features
from attn8_host.isa.device import Device

SCALES = (0.02, 0.02, 0.02, 0.02)


@pytest.fixture
def held(board, remote):
    """From a core's name, seq_len, head_dim and options to the bytes of heap that it takes.

    The heap is measured while no program runs: a collector keeps what its stack may point to.
    """

    def measure(name, seq_len, head_dim, **options):
        features = {}
        constants = cores.get(name.lower()).make_constants(head_dim, *SCALES, **options)
        if name == "Performer":
            features = {"features": constants.pop("features").ravel()}
            options = {}
        keywords = constants | options
        call = f"attn8.{name}({seq_len}, {head_dim}, {'features, ' if features else ''}**keywords)"
        # The first one imports what it needs
        remote(
            f"import attn8\ncore = None\ncore = {call}\ncore = None\ngive(0)",
            keywords=keywords, **features,
        )
        before = board.used_heap()
        board.execute(f"core = {call}")
        return board.used_heap() - before

    return measure


def test_exact_grows_with_keys_values_and_nine_rows_of_scores(held, board):
    d = 16
    more = held("Exact", 192, d) - held("Exact", 64, d)
    backend = board.execute("print(attn8.backend())").strip()
    # turbo keeps keys, values and a row of weights as int16
    packed = {"viper": 2 * d + 4, "turbo": 4 * d + 2}[backend]
    assert more == 128 * (packed + 9 * (4 + 2))


def test_flash_holds_the_scores_of_one_tile(held):
    d = 16
    tile = 300  # at most: views of its keys and sums
    longer = held("Flash", 512, d, block_size=64) - held("Flash", 256, d, block_size=64)
    assert 0 < longer - 256 * (2 * d + 4 + 8) < 4 * tile
    wider = held("Flash", 512, d, block_size=128) - held("Flash", 512, d, block_size=64)
    assert 0 < 64 * (8 * 4 + 2) - wider < 4 * tile


@pytest.mark.parametrize("name, option", [("Decode", "cache_len"), ("Sliding", "window")])
def test_a_cache_holds_2_d_and_10_bytes_a_token(held, name, option):
    d = 16
    more = held(name, 1, d, **{option: 192}) - held(name, 1, d, **{option: 64})
    assert more == 128 * (2 * d + 10)


def test_sliding_holds_the_same_whatever_the_length(held):
    assert held("Sliding", 4096, 16, window=32) == held("Sliding", 32, 16, window=32)


def test_linear_holds_its_state_however_many_tokens(held, board):
    assert held("Linear", 512, 16) == held("Linear", 64, 16)
    # The state and kv; z, a row of values or features, and 8 rows of features
    wider = held("Linear", 64, 64) - held("Linear", 64, 32)
    row = {"viper": 1, "turbo": 2}[board.execute("print(attn8.backend())").strip()]
    assert wider == 8 * (64**2 - 32**2) + 32 * (4 + row + 16)


def test_performer_holds_its_state_however_many_tokens(held):
    d = 16
    features = {m: random_features(1, m, d, seed=1)[0] for m in (32, 64)}
    few = held("Performer", 64, d, features=features[32])
    assert held("Performer", 512, d, features=features[32]) == few
    # Per feature 8 rows of features and logarithms, its packed vector, and five words
    more = held("Performer", 64, d, features=features[64]) - few
    assert more == 32 * (8 * d + 8 * (2 + 4) + d + 5 * 4)


def test_known_answers_give_their_memory_back():
    device = Device("rv32imc", "turbo")
    assert device.attn8.backend() == "turbo"
    assert "attn8.forms.rv32.matmul" in device.modules
    assert not [name for name in device.modules if name.startswith("attn8.known")]
    assert "known" not in vars(device.attn8)
