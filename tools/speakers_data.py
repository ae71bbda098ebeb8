"""Writes the files of `attn8 demo speakers` from what examples/speakers.py wrote.

    python -m tools.speakers_data FOLDER

FOLDER has speakers_float.safetensors and the .npy files beside it. The demo gets the float model,
its int8 form, and 20 test utterances of each speaker, without the padding behind their ends.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from attn8_host.cli import main as attn8

MODELS = Path(__file__).resolve().parents[1] / "host" / "attn8_host" / "models"
EACH, FLOAT, INT8 = 20, "speakers_float.safetensors", "speakers.safetensors"
SOURCE = {
    "source": "M. Kudo, J. Toyama, M. Shimbo, Japanese Vowels, UCI Machine Learning Repository,"
    " https://doi.org/10.24432/C5NS47",
    "licence": "CC BY 4.0",
    "changes": "20 test utterances of each speaker; coefficients over their spread, float16",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    windows, lengths, labels = (np.load(folder / f"speakers_test{part}.npy")
                                for part in ("", "_lengths", "_labels"))
    kept = np.concatenate([np.flatnonzero(labels == speaker)[:EACH] for speaker in range(9)])
    heard = np.arange(windows.shape[1]) < lengths[kept, None]
    save_file({"test.frames": windows[kept][heard].astype(np.float16),
               "test.lengths": lengths[kept].astype("u1"),
               "test.labels": labels[kept].astype("u1")},
              MODELS / "speakers_data.safetensors", SOURCE)
    shutil.copy(folder / FLOAT, MODELS / FLOAT)
    attn8(["quantize", str(MODELS / FLOAT), "--calibration", str(folder / "speakers_train.npy"),
           "--lengths", str(folder / "speakers_train_lengths.npy"), "--output", str(MODELS / INT8)])


if __name__ == "__main__":
    main()
