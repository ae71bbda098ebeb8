"""Small models of PyTorch that a board trains in all of their layers: they end in an int8 model."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import attn8_host  # noqa: E402
from attn8_host import modelfile  # noqa: E402
from attn8_host.boards.virtual import VirtualBoard  # noqa: E402
from attn8_host.cli import main  # noqa: E402
from attn8_host.model import load  # noqa: E402

CLASSES, COUNT = 3, 60


def image():
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.LeakyReLU(0.1), nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(6, 8, 2, stride=2), nn.Hardswish(), nn.Flatten(), nn.Linear(32, CLASSES))


class Encoder(nn.Module):
    """A layer of an encoder, and the mean of its tokens."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, 0.0, "gelu", batch_first=True)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.head(self.layer(x).mean(1))


@pytest.fixture(scope="module")
def port():
    virtual = VirtualBoard(heap_size="1M")
    yield virtual.port
    virtual.stop()


@pytest.mark.filterwarnings("ignore")  # of torch's own code
@pytest.mark.parametrize("make, shape, kinds, options", [
    (image, (2, 8, 8), {"unfold", "max_pool", "activation"}, []),
    (Encoder, (5, 8), {"exact16"}, ["--activation-bits", "16"]),
], ids=["an image", "an encoder in int16"])
def test_a_model_of_pytorch_trains_on_a_board(tmp_path, port, make, shape, kinds, options):
    """Each class is a pattern of its own under noise."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    labels = np.arange(COUNT) % CLASSES
    x = (rng.normal(size=(CLASSES, *shape))[labels] + rng.normal(size=(COUNT, *shape)) / 2)
    x = x.astype(np.float32)
    floats, ints, data, made, results, some = (tmp_path / name for name in (
        "floats", "ints", "data.npz", "made", "results.json", "some.npy"))
    modelfile.write(floats, *attn8_host.from_torch(make().eval(), torch.from_numpy(x[:1]),
                                                   name="small"))
    np.savez(data, inputs=x, labels=labels)
    np.save(some, x)
    assert main(["quantize", str(floats), "--calibration", str(some), "--output", str(ints),
                 *options]) == 0
    assert kinds <= {entry[key] for entry in load(ints).config["layers"]
                     for key in ("type", "core") if key in entry}
    assert main(["train", str(ints), str(data), "--layers", "all", "--epochs", "6", "--lr", "0.05",
                 "--batch", "4", "--output", str(made), "--png", str(tmp_path / "curve.png"),
                 "--json", str(results), "--board", port]) == 0
    found, model = json.loads(results.read_text()), load(made)
    assert found["bit_exact"] is True and found["best_epoch"] > 0
    last = model.config["layers"][-1]["name"]
    right = [model(each)[last].argmax() == label
             for each, label in zip(model.feed(x).reshape(COUNT, -1), labels, strict=True)]
    assert np.mean(right) > 0.9
