"""The binary link over the REPL's serial line: frames and the client of the board's server."""

from .client import RESCUE, Client, run_digest

__all__ = ["RESCUE", "Client", "run_digest"]
