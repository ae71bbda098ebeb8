"""MicroPython firmware files.

A firmware file for an ESP32 is an image of the flash from the chip's bootloader offset on: the
bootloader, the partition table (at 0x8000 of the flash) and MicroPython. Its header names the chip
that it is for (docs.espressif.com/projects/esptool, "Firmware Image Format").
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from esptool.targets import ROM_LIST

from ..errors import FirmwareError

LARGEST = 32 << 20  # bytes of the largest flash
IMAGE_MAGIC = 0xE9
CHIP_ID = struct.Struct("<12xH")  # in the image's extended header
PARTITION_TABLE = 0x8000  # its place in the flash
PARTITION_MAGIC = b"\xaa\x50"

CHIPS = {rom.IMAGE_CHIP_ID: rom for rom in ROM_LIST if rom.IMAGE_CHIP_ID is not None}


@dataclass
class Firmware:
    """A firmware file: its content, the chip it is for, where in the flash it goes."""

    path: Path
    image: bytes
    chip: str  # Espressif's name, such as "ESP32-C3"
    offset: int  # of the chip's bootloader in the flash, bytes

    @classmethod
    def read(cls, path: Path) -> "Firmware":
        """Reads a firmware file.

        Raises:
            FirmwareError: it cannot be read or is no whole firmware of an ESP32.
        """
        try:
            with path.open("rb") as file:
                image = file.read(LARGEST + 1)
        except OSError as error:
            raise FirmwareError(f"cannot read {path}: {error.strerror}") from None
        if not CHIP_ID.size <= len(image) <= LARGEST or image[0] != IMAGE_MAGIC:
            raise FirmwareError(
                f"{path} is no ESP32 firmware image; take a .bin from micropython.org/download"
            )
        (chip_id,) = CHIP_ID.unpack_from(image)
        if chip_id not in CHIPS:
            raise FirmwareError(f"{path} is for an unknown chip (its header says {chip_id})")
        rom = CHIPS[chip_id]
        if not image.startswith(PARTITION_MAGIC, PARTITION_TABLE - rom.BOOTLOADER_FLASH_OFFSET):
            raise FirmwareError(
                f"{path} has no partition table: it holds only a part of a firmware (an .app-bin?)"
                "; take the .bin from micropython.org/download"
            )
        return cls(path, image, rom.CHIP_NAME, rom.BOOTLOADER_FLASH_OFFSET)
