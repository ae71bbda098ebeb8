"""NumPy implementations of what the device computes, bit for bit, module for module.

Integers are computed in int64 and every intermediate is asserted to fit int32: a value that a chip
could not hold is an error here, not a difference there. Nothing here imports or reads device code.
"""

from .attention import MultiHeadAttention
from .cores.decode import Decode
from .cores.exact import Exact
from .cores.flash import Flash
from .cores.linear import Linear
from .cores.local_global import LocalGlobal
from .cores.micro import Micro
from .cores.performer import Performer
from .cores.sliding import Sliding
from .cores.sparse import Sparse
from .layers.activation import ReLU
from .layers.conv1d import Conv1D, QConv1D
from .layers.convert import Convert
from .layers.dense import Dense
from .layers.pooling import MeanPool
from .layers.selfattention1d import SelfAttention1D
from .model import Model, load

__all__ = [
    "Conv1D",
    "Convert",
    "Decode",
    "Dense",
    "Exact",
    "Flash",
    "Linear",
    "LocalGlobal",
    "MeanPool",
    "Micro",
    "Model",
    "MultiHeadAttention",
    "Performer",
    "QConv1D",
    "ReLU",
    "SelfAttention1D",
    "Sliding",
    "Sparse",
    "load",
]
