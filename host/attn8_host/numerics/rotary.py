"""Rotary positions: sines of angles in 2**-32 turns, and pairs of adjacent values that turn."""

import numpy as np

STEPS = 9  # bits of the steps that the sine's table has in a turn
SINE = np.floor(np.sin(np.arange(129) * np.pi / 256) * 16384 + 0.5).astype(np.int64)


def sine(phase: np.ndarray) -> np.ndarray:
    """Of an angle in 2**-32 turns, in steps of 2**-14, on the line between two of SINE."""
    phase = phase & 0xFFFFFFFF
    i, rest = phase >> (32 - STEPS), phase >> (32 - STEPS - 12) & 4095
    ends = []
    for step in (i, i + 1):
        within = step & 255
        value = SINE[np.minimum(within, 256 - within)]
        ends.append(np.where(step & 256, -value, value))
    result: np.ndarray = ends[0] + ((ends[1] - ends[0]) * rest + 2048 >> 12)
    return result


def phases(turns: np.ndarray, first: int, tokens: int) -> np.ndarray:
    """Angles [tokens, head_dim / 2] of the positions from `first` on, in 2**-32 turns."""
    result: np.ndarray = np.arange(first, first + tokens)[:, None] * turns.astype(np.int64)
    return result


def turned(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """x [..., head_dim], whose pairs of adjacent values turn; cos and sin [..., head_dim / 2]."""
    a, b = x[..., ::2], x[..., 1::2]
    result: np.ndarray = np.stack([a * cos - b * sin, a * sin + b * cos], -1).reshape(x.shape)
    return result
