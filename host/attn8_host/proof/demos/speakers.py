"""Nine speakers by their voices: 12 coefficients over at most 32 frames, a transformer encoder.

M. Kudo, J. Toyama, M. Shimbo, "Japanese Vowels", UCI, https://doi.org/10.24432/C5NS47 (CC BY 4.0):
20 test utterances of each speaker. Frames behind an utterance's end are padding, which its length
hides. The model is trained by the example of the same name in the repository.
"""

import numpy as np
from safetensors.numpy import load_file

from ...paths import MODELS
from ..demo import Data, Demo


def read() -> Data:
    """Utterances, [n, 32, 12], zero behind their ends: the file has their frames in one row."""
    found = load_file(MODELS / "speakers_data.safetensors")
    lengths = found["test.lengths"]
    x = np.zeros((len(lengths), 32, found["test.frames"].shape[1]), np.float32)
    x[np.arange(32) < lengths[:, None]] = found["test.frames"]
    return Data(x, found["test.labels"], [int(n) for n in lengths])


DEMO = Demo(
    title="utterances of nine speakers",
    says="the board hears speaker {}",
    read=read,
    answers=tuple("123456789"),
    need_weights=False,
)
