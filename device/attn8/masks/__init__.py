# ruff: noqa: F401
# Sparse attention masks: which keys each query may attend to. The builders here, those that follow
# a graph in `hnsw` and those that follow its cuts in `mincut`, each give a Mask.
from .mask import Mask
from .patterns import (
    block_diagonal,
    causal,
    full,
    global_indices,
    local_global,
    local_window,
    strided,
)
from .random import random
