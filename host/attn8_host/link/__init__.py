"""The binary link over the REPL's serial line: frames and the client of the board's server."""

from .client import Client, run_digest

__all__ = ["Client", "run_digest"]
