"""Where the files are that come with the package."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
MODELS = PACKAGE / "models"

# In a checkout the board's half lies beside host/; a wheel carries a copy
_checkout = PACKAGE.parent.parent
DEVICE = _checkout / "device" if (_checkout / "device/attn8").is_dir() else PACKAGE / "_device"
BOOT = (DEVICE.parent if DEVICE.name == "device" else DEVICE) / "boot.py"
