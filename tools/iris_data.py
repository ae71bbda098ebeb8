"""Write the iris data of `attn8 train iris`: 100 flowers to train with, 50 to test with.

Data: "Iris", R. A. Fisher, UCI Machine Learning Repository (https://doi.org/10.24432/C56C76, CC BY
4.0), as shipped with scikit-learn. Needs the `train` extra.
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save
from sklearn.datasets import load_iris

PATH = Path(__file__).resolve().parents[1] / "host/attn8_host/models/iris_data.safetensors"
TRAINING_PER_CLASS = {0: 33, 1: 33, 2: 34}
SOURCE = {
    "source": "R. A. Fisher, Iris, UCI Machine Learning Repository,"
    " https://doi.org/10.24432/C56C76, as in scikit-learn's load_iris()",
    "licence": "CC BY 4.0",
    "changes": "split into training and test flowers; float32 centimetres",
}


def main() -> None:
    iris = load_iris()
    rng = np.random.default_rng(2024)
    parts: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    for label, count in TRAINING_PER_CLASS.items():
        index = rng.permutation(np.flatnonzero(iris.target == label))
        parts["train"].append(index[:count])
        parts["test"].append(index[count:])
    tensors = {}
    for name, chosen in parts.items():
        order = rng.permutation(np.concatenate(chosen))
        tensors[f"{name}.x"] = iris.data[order].astype(np.float32)
        tensors[f"{name}.label"] = iris.target[order].astype(np.uint8)
    PATH.write_bytes(save(tensors, {"data": json.dumps(SOURCE)}))


if __name__ == "__main__":
    main()
