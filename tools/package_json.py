"""Writes package.json, from which `mpremote mip install` copies the device package to a board.

    python -m tools.package_json

Run it when a file of device/attn8 comes or goes; a test compares.
"""

import json

from attn8_host import __version__
from attn8_host.deploy import package_sources
from attn8_host.paths import DEVICE

PATH = DEVICE.parent / "package.json"


def text() -> str:
    """The content: each file's place on the board, below /lib, and in this repository."""
    urls = [[f"attn8/{name}", f"device/attn8/{name}"] for name in package_sources()]
    return json.dumps({"urls": urls, "deps": [], "version": __version__}, indent=2) + "\n"


if __name__ == "__main__":
    PATH.write_text(text())
