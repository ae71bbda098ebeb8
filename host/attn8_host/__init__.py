"""The host half of attn8: deploys to a board, streams inputs over serial, proves every output."""

__version__ = "0.1.0"
