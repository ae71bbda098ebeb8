"""MicroPython firmware files.

A firmware file for an ESP32 is an image of the flash from the chip's bootloader offset on: the
bootloader, the partition table (at 0x8000 of the flash) and MicroPython. Its header names the chip
that it is for (docs.espressif.com/projects/esptool, "Firmware Image Format").
"""

import hashlib
import struct
from dataclasses import dataclass, replace
from pathlib import Path

from esptool.targets import ROM_LIST

from ..errors import FirmwareError
from ..paths import require_file

LARGEST = 32 << 20  # bytes of the largest flash
IMAGE_MAGIC = 0xE9
CHIP_ID = struct.Struct("<12xH")  # in the image's extended header
PARTITION_TABLE = 0x8000  # its place in the flash
PARTITION_MAGIC = b"\xaa\x50"
# An entry of it: magic, type, subtype, place, bytes, name, flags; behind all an MD5 sum of them
# (docs.espressif.com/projects/esp-idf, "Partition Tables")
ENTRY = struct.Struct("<2sBBII16sI")
SUM_MAGIC = b"\xeb\xeb".ljust(16, b"\xff")
TABLE_SIZE = 0xC00
DATA, UNDEFINED = 1, 6  # type and subtype
SECTOR = 4096  # bytes, of which places and sizes are multiples

CHIPS = {rom.IMAGE_CHIP_ID: rom for rom in ROM_LIST if rom.IMAGE_CHIP_ID is not None}


@dataclass
class Firmware:
    """A firmware file: its content, the chip it is for, where in the flash it goes."""

    path: Path
    image: bytes
    chip: str  # Espressif's name, such as "ESP32-C3"
    offset: int  # of the chip's bootloader in the flash, bytes
    end: int = 0  # of the partition that was added to it

    @classmethod
    def read(cls, path: Path) -> "Firmware":
        """Reads a firmware file.

        Raises:
            FirmwareError: it cannot be read or is no whole firmware of an ESP32.
        """
        require_file(path, FirmwareError)
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

    def with_data(self, label: str, size: int) -> "Firmware":
        """The same with one more data partition behind all others, of `size` bytes or some more.

        MicroPython makes its file system at its first start, of the flash behind the partitions.

        Raises:
            FirmwareError: there is one of this name, no room for its entry, or the table is not
                what its checksum says.
        """
        start = PARTITION_TABLE - self.offset
        table = self.image[start : start + TABLE_SIZE]
        entries, at = [], 0
        while table[at : at + ENTRY.size].startswith(PARTITION_MAGIC):
            entries.append(ENTRY.unpack_from(table, at))
            at += ENTRY.size
        after = table[at : at + ENTRY.size]
        summed = after.startswith(SUM_MAGIC)
        if summed and after[16:] != hashlib.md5(table[:at]).digest():
            raise FirmwareError(f"{self.path}: its partition table is damaged")
        name = label.encode()
        if any(entry[5].rstrip(b"\0") == name for entry in entries):
            raise FirmwareError(f"{self.path} has a partition {label} already")
        if at + 3 * ENTRY.size > TABLE_SIZE:
            raise FirmwareError(f"{self.path}: its partition table is full")
        end = max(entry[3] + entry[4] for entry in entries)
        place, size = (-(-n // SECTOR) * SECTOR for n in (end, size))
        table = table[:at] + ENTRY.pack(PARTITION_MAGIC, DATA, UNDEFINED, place, size, name, 0)
        if summed:
            table += SUM_MAGIC + hashlib.md5(table).digest()
        image = self.image[:start] + table + self.image[start + len(table) :]
        return replace(self, image=image, end=place + size)
