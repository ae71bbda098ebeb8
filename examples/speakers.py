"""Trains a transformer encoder in PyTorch, and writes it as a float model file.

Who of nine speakers says two vowels, from 12 LPC coefficients over at most 32 frames: M. Kudo,
J. Toyama, M. Shimbo, "Japanese Vowels", UCI, doi 10.24432/C5NS47 (CC BY 4.0), as
japanese_vowels.npz: arrays `train` and `test`, float32 [utterances, 32, 12] with zeros behind the
end, and `_lengths` and `_labels` of both. Each channel is taken over its spread.

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


class Encoder(nn.Module):
    """[batch, 32, 12], padding bool [batch, 32] -> [batch, 9]: a pre-LN encoder with GELU, which
    sees the frames before each length alone, and their mean."""

    norm_first = True

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(CHANNELS, WIDTH)
        self.position = nn.Parameter(torch.randn(1, FRAMES, WIDTH) * 0.02)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, 0.2, "gelu", batch_first=True,
                                           norm_first=self.norm_first)
        self.encoder = nn.TransformerEncoder(layer, LAYERS, nn.LayerNorm(WIDTH),
                                             enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, SPEAKERS)

    def forward(self, x, padding):
        # padding: true behind the end
        x = self.encoder(self.embed(x) + self.position, src_key_padding_mask=padding)
        return self.head(mean(x, padding))


class ClassToken(Encoder):
    """A post-LN encoder, and what it makes of a token of its own."""

    norm_first = False

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH) * 0.02)

    def forward(self, x, padding):
        x = torch.cat([self.token.expand(len(x), 1, WIDTH), self.embed(x) + self.position], 1)
        padding = torch.cat([torch.zeros_like(padding[:, :1]), padding], 1)
        return self.head(self.encoder(x, src_key_padding_mask=padding)[:, 0])


class Convolution(Encoder):
    """A convolution of five frames in front of the encoder."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv1d(CHANNELS, WIDTH, 5, padding=2)

    def forward(self, x, padding):
        x = self.embed(x.transpose(1, 2)).transpose(1, 2) + self.position
        return self.head(mean(self.encoder(x, src_key_padding_mask=padding), padding))


class Attention(nn.Module):
    """Attention alone: nn.MultiheadAttention between two linear layers."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(CHANNELS, WIDTH), nn.Linear(WIDTH, SPEAKERS)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x, padding):
        x = self.embed(x)
        x = self.attention(x, x, x, key_padding_mask=padding, need_weights=False)[0]
        return self.head(mean(x, padding))


FORMS = {"encoder": Encoder, "class_token": ClassToken, "convolution": Convolution,
         "attention": Attention}


def mean(x, padding):
    """[batch, width]: of the frames before each end."""
    heard = (~padding).unsqueeze(-1).float()
    return (x * heard).sum(dim=1) / heard.sum(dim=1)


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


def train(form, windows, lengths, speakers):
    torch.manual_seed(SEED)
    model = FORMS[form]()
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
    parser.add_argument("--form", choices=FORMS, default="encoder",
                        help="a pre-LN encoder (the default); a post-LN one with a class token; a "
                        "convolution before the encoder; or attention alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = read(arguments.data)
    model = train(arguments.form, *data["train"])
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
