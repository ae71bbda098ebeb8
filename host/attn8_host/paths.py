"""Where the files are that come with the package, and what may be read as a file."""

import stat
from pathlib import Path

from .errors import Attn8Error, ModelError

PACKAGE = Path(__file__).resolve().parent
MODELS = PACKAGE / "models"

# In a checkout the board's half lies beside host/; a wheel carries a copy
_checkout = PACKAGE.parent.parent
DEVICE = _checkout / "device" if (_checkout / "device/attn8").is_dir() else PACKAGE / "_device"
BOOT = (DEVICE.parent if DEVICE.name == "device" else DEVICE) / "boot.py"


def require_file(path: Path, error: type[Attn8Error] = ModelError) -> None:
    """Raises an error where a path leads to no file, such as a pipe, which would wait for ever.

    What is not there, and folders, are left to who reads them.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        what = "a pipe" if stat.S_ISFIFO(mode) else "a device or a socket"
        raise error(f"{path}: {what}; write what it gives to a file, and name that")
