"""Train the "digits" model of attn8; write it in float32 and in int8, with its data.

The model: 64 pixels -> Dense -> ReLU -> 8 tokens -> multi-head attention -> mean -> Dense -> 10.
There is no residual connection and no layer norm: all that the head sees has gone through the
attention. The model is quantized to int8 after training, so the second half of the training
rounds weights and activations to int8 (straight-through gradients). Several seeds are trained; the
one kept is chosen on a validation part of the training split. The test split is only measured.

Data: "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, UCI Machine Learning
Repository (https://doi.org/10.24432/C50P49, CC BY 4.0), the 1797 digits shipped with scikit-learn.

Everything is seeded and runs on one thread. Another version of torch, or another processor, may
round differently and so give slightly different weights.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from safetensors.numpy import load_file, save
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from attn8_host import modelfile
from attn8_host.quantize.model import quantize_model

MODELS = Path(__file__).resolve().parents[1] / "host" / "attn8_host" / "models"
S, E, H = 8, 16, 2  # tokens, embedding width, heads
INPUT_SCALE = 1 / 112  # int8 input = 7 * pixel, so pixel / 16 = int8 input / 112
SEEDS, EPOCHS, BATCH = (0, 1, 2, 3, 4), 300, 64
TEST_PER_CLASS, VALIDATION, CALIBRATION = 36, 237, 300
SOURCE = {
    "source": "E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine"
    " Learning Repository, https://doi.org/10.24432/C50P49, as in scikit-learn's load_digits()",
    "licence": "CC BY 4.0",
    "changes": "split into test and training digits; pixels stored as uint8, 0..16",
}


def load_split():
    """Return {"test", "validation", "fit"}: (images uint8 [n, 64], labels uint8 [n])."""
    digits = load_digits()
    images, labels = digits.data.astype(np.uint8), digits.target.astype(np.uint8)
    rng = np.random.default_rng(2024)
    shuffled = [rng.permutation(np.flatnonzero(labels == digit)) for digit in range(10)]
    test = rng.permutation(np.concatenate([i[:TEST_PER_CLASS] for i in shuffled]))
    rest = rng.permutation(np.concatenate([i[TEST_PER_CLASS:] for i in shuffled]))
    parts = {"test": test, "validation": rest[:VALIDATION], "fit": rest[VALIDATION:]}
    return {name: (images[index], labels[index]) for name, index in parts.items()}


def to_tensors(images, labels):
    """Images as float32 in 0..1 and labels as int64."""
    return torch.from_numpy(images).float() / 16, torch.from_numpy(labels).long()


def round8(x, dim=None):
    """Round x to symmetric int8 steps (scale: max-abs); the gradient passes straight through."""
    peak = x.detach().abs()
    peak = peak.amax() if dim is None else peak.amax(dim, keepdim=True)
    scale = peak.clamp_min(1e-8) / 127
    return x + (torch.round(x / scale) * scale - x).detach()


class Digits(nn.Module):
    """The model; with int8=True weights and activations are rounded as int8 inference would."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(64, S * E), nn.Linear(E, 10)
        self.attn = nn.ModuleDict({name: nn.Linear(E, E) for name in ("q", "k", "v", "out")})
        with torch.no_grad():  # start with sharper attention maps than the usual initial weights
            self.attn["q"].weight.mul_(2)
            self.attn["k"].weight.mul_(2)

    def forward(self, x, int8=False):
        """Return the logits [n, 10] and the attention maps [n, H, S, S]."""

        act = round8 if int8 else lambda t, dim=None: t

        def dense(layer, t):
            return F.linear(t, act(layer.weight, 1), layer.bias)

        def heads(t):
            return act(t).unflatten(-1, (H, E // H)).transpose(1, 2)

        hidden = F.dropout(F.relu(dense(self.embed, x)), 0.1, self.training)
        tokens = act(hidden).unflatten(-1, (S, E))
        q, k, v = (heads(dense(self.attn[name], tokens)) for name in "qkv")
        maps = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(E // H), -1)
        mixed = act((maps @ v).transpose(1, 2).flatten(2))
        pooled = act(act(dense(self.attn["out"], mixed)).mean(1))
        return dense(self.head, pooled), maps


def augment(x, rng):
    """Turn, scale, shear and move each picture a little and add a little noise."""
    n = len(x)
    limits = torch.tensor([0.2, 0.1, 0.1, 0.1, 0.15, 0.15])[:, None]
    angle, shear, wider, taller, dx, dy = (torch.rand(6, n, generator=rng) * 2 - 1) * limits
    cos, sin = angle.cos(), angle.sin()
    matrix = torch.stack([(1 + wider) * cos, shear - sin, dx, sin, (1 + taller) * cos, dy], 1)
    grid = F.affine_grid(matrix.view(n, 2, 3), [n, 1, 8, 8], align_corners=False)
    moved = F.grid_sample(x.view(n, 1, 8, 8), grid, align_corners=False).view(n, 64)
    return moved + 0.1 * torch.randn(n, 64, generator=rng)


def train(seed, part):
    """Train one model; rounding to int8 is switched on for the second half."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    images, labels = to_tensors(*part)
    model, batches = Digits(), len(images) // BATCH
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.01)
    steps = EPOCHS * batches
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, steps, pct_start=0.1)
    for epoch in track(range(EPOCHS), f"seed {seed}"):
        order = torch.randperm(len(images), generator=rng)[: batches * BATCH]
        for index in order.split(BATCH):
            logits, _ = model(augment(images[index], rng), int8=epoch >= EPOCHS // 2)
            loss = F.cross_entropy(logits, labels[index], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def measure(model, part):
    """Float and rounded accuracy, digits they disagree on, loss, attention entropy per head."""
    images, labels = to_tensors(*part)
    (logits, maps), (rounded, _) = model(images), model(images, int8=True)
    return {
        "accuracy": (logits.argmax(1) == labels).double().mean().item(),
        "rounded": (rounded.argmax(1) == labels).double().mean().item(),
        "differing": (logits.argmax(1) != rounded.argmax(1)).sum().item(),
        "loss": F.cross_entropy(logits, labels).item(),
        "entropy": torch.special.entr(maps).sum(-1).mean((0, 2)).tolist(),
    }


def show(title, m):
    """Print one line of what measure() returned."""
    entropy = ", ".join(f"{value:.2f}" for value in m["entropy"])
    print(f"{title}: accuracy {m['accuracy']:.2%}, rounded to int8 {m['rounded']:.2%}", end=" ")
    print(f"({m['differing']} differ), loss {m['loss']:.4f}", end=", ")
    print(f"attention entropy per head {entropy} (uniform: {math.log(S):.2f})")


def float_model(path, split):
    """Train, choose the seed on the validation part, and write the float model to path."""
    trained = []
    for seed in SEEDS:
        model = train(seed, split["fit"])
        m = measure(model, split["validation"])
        show(f"seed {seed}, validation", m)
        trained.append(((m["differing"], -m["rounded"], m["loss"], seed), model))
    (*_, seed), model = min(trained, key=lambda item: item[0])
    show(f"seed {seed} chosen, test", measure(model, split["test"]))
    attention = {"seq_len": S, "embed_dim": E, "num_heads": H, "core": "exact", "causal": False}
    layers = [
        {"type": "dense", "name": "embed", "in_features": 64, "out_features": S * E},
        {"type": "relu", "name": "relu"},
        {"type": "reshape", "name": "tokens", "shape": [S, E]},
        {"type": "attention", "name": "attn", **attention},
        {"type": "mean_pool", "name": "pool", "seq_len": S, "embed_dim": E},
        {"type": "dense", "name": "head", "in_features": E, "out_features": 10, "output": "int32"},
    ]
    config = {"format": "attn8", "version": 1, "name": "digits"}
    config |= {"input": {"shape": [64], "scale": INPUT_SCALE}, "layers": layers}
    tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    path.write_bytes(save(tensors, {"config": json.dumps(config)}))


def write_data(path, split):
    """Write the test digits, and calibration digits from the training split, to path."""
    images, labels = split["test"]
    tensors = {"test.images": images, "test.labels": labels}
    for name, values in zip(("images", "labels"), split["fit"], strict=True):
        tensors[f"calibration.{name}"] = values[:CALIBRATION]
    path.write_bytes(save(tensors, {"data": json.dumps(SOURCE)}))  # one key: a fixed order


def quantized_model(out):
    """Quantize the float model on the calibration digits and write the int8 model."""
    config, tensors = modelfile.read(out / "digits_float.safetensors")
    images = load_file(out / "digits_data.safetensors")["calibration.images"]
    config, tensors = quantize_model(config, tensors, images.reshape(-1, 64) / 16)
    modelfile.write(out / "digits.safetensors", config, tensors)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=MODELS, help="output directory")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    args.out.mkdir(parents=True, exist_ok=True)
    split = load_split()
    write_data(args.out / "digits_data.safetensors", split)
    float_model(args.out / "digits_float.safetensors", split)
    quantized_model(args.out)


if __name__ == "__main__":
    main()
