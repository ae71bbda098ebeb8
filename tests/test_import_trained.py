"""A compact transformer for images that is trained, imported, quantized and run on a board."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
datasets = pytest.importorskip("sklearn.datasets")

from torch import nn  # noqa: E402

import attn8_host  # noqa: E402
from attn8_host import modelfile  # noqa: E402
from attn8_host.cli import main  # noqa: E402

WIDTH, TRAINED = 12, 1400
LAYERS = ["unfold", "dense", "activation", "max_pool", "max_pool", "position", "layer_norm",
          "attention", "add", "layer_norm", "dense", "gelu", "dense", "add", "max_pool", "dense"]


class Compact(nn.Module):
    """Tokens from a convolution and a pool, one layer of an encoder, their largest values."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, WIDTH, 3, padding=1, bias=False)
        self.act, self.pool = nn.LeakyReLU(0.1), nn.MaxPool2d(3, 2, 1)
        self.position = nn.Parameter(torch.randn(1, 16, WIDTH) * 0.1)
        self.layer = nn.TransformerEncoderLayer(WIDTH, 2, 2 * WIDTH, 0.0, "gelu",
                                                batch_first=True, norm_first=True)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x):
        x = self.pool(self.act(self.conv(x))).flatten(2).transpose(1, 2)
        return nn.functional.log_softmax(self.head(self.layer(x + self.position).amax(1)), -1)


@pytest.mark.board("virtual")
@pytest.mark.filterwarnings("ignore")  # of torch's own code
def test_a_compact_transformer(tmp_path):
    torch.manual_seed(0)
    images, labels = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order].astype(np.float32).reshape(-1, 1, 8, 8) / 16, labels[order]
    model, (x, y) = Compact(), map(torch.from_numpy, (images[:TRAINED], labels[:TRAINED]))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(8):
        for part in torch.randperm(TRAINED).split(64):
            optimizer.zero_grad()
            nn.functional.nll_loss(model(x[part]), y[part]).backward()
            optimizer.step()
    config, tensors = attn8_host.from_torch(model, x[:1], name="compact")
    assert [entry["type"] for entry in config["layers"]] == LAYERS
    floats, made, windows, kinds, report = (str(tmp_path / name) for name in (
        "float.safetensors", "int8.safetensors", "images.npy", "labels.npy", "report.json"))
    modelfile.write(tmp_path / "float.safetensors", config, tensors)
    np.save(windows, images[TRAINED:])
    np.save(kinds, labels[TRAINED:])
    np.save(tmp_path / "trained.npy", images[:TRAINED:5])
    assert main(["quantize", floats, "--calibration", str(tmp_path / "trained.npy"), "--output",
                 made]) == 0
    assert main(["run", made, windows, "--no-weights", "--board", "virtual", "--labels", kinds,
                 "--json", report]) == 0
    with torch.no_grad():
        found = model.eval()(torch.from_numpy(images[TRAINED:])).numpy().argmax(1)
    right, said = (found == labels[TRAINED:]).mean(), json.loads((tmp_path / "report.json")
                                                                  .read_text())
    assert right > 0.9 and said["mismatches"] == 0 and abs(said["accuracy"] - right) <= 0.01
