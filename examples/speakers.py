"""Trains a transformer encoder in PyTorch, and writes it as a float model file.

Who of nine speakers says two vowels, from 12 LPC coefficients over at most 32 frames: M. Kudo,
J. Toyama, M. Shimbo, "Japanese Vowels", UCI, doi 10.24432/C5NS47 (CC BY 4.0), as
japanese_vowels.npz. Each channel is taken over its spread; frames behind the end are 0.

    python examples/speakers.py japanese_vowels.npz speakers_float.safetensors
    attn8 quantize speakers_float.safetensors --calibration speakers_train.npy \\
        --lengths speakers_train_lengths.npy --output speakers.safetensors
    attn8 run speakers.safetensors speakers_test.npy --lengths speakers_test_lengths.npy

It writes the training windows and the test windows beside the model, for these commands, with their
lengths and labels. `attn8 quantize --activation-bits 16` is nearer to float, and slower. All is
seeded and runs on one thread; another version of torch may give slightly different weights.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn

import attn8_host
from attn8_host import modelfile

FRAMES, CHANNELS, SPEAKERS = 32, 12, 9
WIDTH, HEADS, HIDDEN, LAYERS = 24, 4, 48, 2
EPOCHS, BATCH, SEED = 120, 32, 0


class Speakers(nn.Module):
    """[batch, 32, 12], lengths [batch] -> [batch, 9]: a pre-LN encoder with GELU, which sees the
    frames before each length alone, and their mean."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(CHANNELS, WIDTH)
        self.position = nn.Parameter(torch.randn(1, FRAMES, WIDTH) * 0.02)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, 0.2, "gelu", batch_first=True,
                                           norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, LAYERS, nn.LayerNorm(WIDTH),
                                             enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, SPEAKERS)

    def forward(self, x, padding):
        # padding: bool [batch, 32], true behind the end
        x = self.encoder(self.embed(x) + self.position, src_key_padding_mask=padding)
        heard = (~padding).unsqueeze(-1).float()
        return self.head((x * heard).sum(dim=1) / heard.sum(dim=1))


def read(path):
    """{"train", "test"}: (windows float32 [n, 32, 12], lengths and speakers int64 [n])."""
    with np.load(path) as data:
        parts = dict(data)
    spread = parts["train"].std(axis=(0, 1))
    return {part: (torch.from_numpy(parts[part] / spread),
                   torch.from_numpy(parts[f"{part}_lengths"].astype(np.int64)),
                   torch.from_numpy(parts[f"{part}_labels"].astype(np.int64)))
            for part in ("train", "test")}


def padding(lengths):
    """bool [batch, 32], true behind each window's end."""
    return torch.arange(FRAMES) >= lengths[:, None]


def train(windows, lengths, speakers):
    torch.manual_seed(SEED)
    model = Speakers()
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 2e-3, epochs=EPOCHS, steps_per_epoch=-(-len(windows) // BATCH))
    for _ in range(EPOCHS):
        for part in torch.randperm(len(windows)).split(BATCH):
            noisy = windows[part] + 0.1 * torch.randn_like(windows[part])
            loss = nn.functional.cross_entropy(model(noisy, padding(lengths[part])),
                                               speakers[part], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="japanese_vowels.npz")
    parser.add_argument("output", type=Path, help="the float model file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = read(arguments.data)
    model = train(*data["train"])
    windows, lengths, speakers = data["test"]
    with torch.no_grad():
        right = (model(windows, padding(lengths)).argmax(dim=1) == speakers).float().mean().item()
    print(f"float: {right:.2%} of {len(windows)} test windows")
    example = windows[:1], padding(torch.tensor([FRAMES]))  # the mask becomes a length an input
    modelfile.write(arguments.output, *attn8_host.from_torch(model, example, name="speakers"))
    for part, (windows, lengths, speakers) in data.items():
        for what, values in (("", windows), ("_lengths", lengths), ("_labels", speakers)):
            np.save(arguments.output.with_name(f"speakers_{part}{what}.npy"), values.numpy())


if __name__ == "__main__":
    main()
