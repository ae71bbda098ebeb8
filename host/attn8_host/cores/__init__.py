"""Attention cores: int8 q, k, v of one head, [seq_len, head_dim], into out of the same shape.

A core is called with q, k, v and returns out; `outputs` then holds its intermediates by name, those
that the device core of the same name keeps with need_weights. `max_seq_len` is its limit.
"""

from typing import Any

from .decode import Decode
from .exact import Exact
from .flash import Flash
from .linear import Linear
from .local_global import LocalGlobal
from .micro import Micro
from .performer import Performer
from .sliding import Sliding
from .sparse import Sparse

CORES: dict[str, Any] = {
    "decode": Decode,
    "exact": Exact,
    "flash": Flash,
    "linear": Linear,
    "local_global": LocalGlobal,
    "micro": Micro,
    "performer": Performer,
    "sliding": Sliding,
    "sparse": Sparse,
}
