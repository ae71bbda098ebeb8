"""Handwritten digits: 64 pixels, one attention layer, ten answers."""

from safetensors.numpy import load_file

from ...paths import MODELS
from ..demo import Data, Demo


def read() -> Data:
    """Test images, [n, 64] from 0 to 1: a pixel of 0 to 16 stands for 7 steps of int8 each."""
    found = load_file(MODELS / "digits_data.safetensors")
    return Data(found["test.images"].astype("f4") / 16, found["test.labels"])


DEMO = Demo(
    title="handwritten digits",
    says="the board reads: {}",
    read=read,
    answers=tuple("0123456789"),
    picture=(8, 8),
)
