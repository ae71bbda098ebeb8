"""A simulated chip, for what talks to a bootloader: an ESP's ROM loader with a flash behind it.

It answers at an rfc2217:// address, which carries the reset lines: RTS holds the chip in reset, and
DTR at its release chooses the ROM's download mode over the flash. The loader speaks SLIP and the
commands of docs.espressif.com/projects/esptool ("Serial Protocol"), also those of esptool's stub
flasher once one was loaded and started; its flash is NOR: a write only clears bits, an erase sets
them. What starts from the flash is the virtual board, if the flash holds
an image for this chip where this chip's ROM looks for one.
"""

import contextlib
import functools
import hashlib
import operator
import os
import socket
import struct
import threading
import zlib

import serial
from esptool.targets import CHIP_DEFS
from serial.rfc2217 import PortManager

from attn8_host.boards.virtual import VirtualBoard

END, ESCAPE = b"\xc0", b"\xdb"
SYNC_ANSWERS = 8
INVALID = b"\x01\x05"  # status: failed, the message is invalid
OK = b"\x00\x00"

FLASH_BEGIN, FLASH_DATA, FLASH_END = 0x02, 0x03, 0x04
MEM_BEGIN, MEM_END, MEM_DATA = 0x05, 0x06, 0x07
DEFLATE_BEGIN, DEFLATE_DATA, DEFLATE_END, ERASE_FLASH = 0x10, 0x11, 0x12, 0xD0
SYNC, WRITE_REG, READ_REG = 0x08, 0x09, 0x0A
SPI_SET_PARAMS, SPI_ATTACH, CHANGE_BAUD, FLASH_MD5, SECURITY_INFO = 0x0B, 0x0D, 0x0F, 0x13, 0x14

SPI_USR = 1 << 18  # of the SPI controller's command register
READ_ID, READ_SFDP = 0x9F, 0x5A


class SimulatedChip:
    """One chip and the serial adapter that it hangs on.

    Args:
        name: esptool's name of it, such as "esp32c3".
        flash_size: bytes.

    Attributes:
        url: where esptool and mpremote reach it.
        flash: its flash memory.
        erased: bytes that were erased, over all erases.
    """

    timeout = 0.1
    bytesize, parity, stopbits = 8, serial.PARITY_NONE, 1
    xonxoff = rtscts = cts = dsr = ri = cd = False
    baudrate = 115200
    dtr = False

    def __init__(self, name: str, flash_size: int = 1 << 20):
        self.rom = CHIP_DEFS[name]
        self.flash = bytearray(b"\x00" * flash_size)  # as if full of something else
        self.erased = 0
        self.registers = {0x40001000: getattr(self.rom, "MAGIC_VALUE", None) or 0}
        self.registers[self.rom.UART_CLKDIV_REG] = 40_000_000 // 115_200
        self.board: VirtualBoard | None = None  # what runs from the flash
        self.download = False
        self.received = bytearray()
        self.lock = threading.Lock()
        self.client: socket.socket
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"rfc2217://127.0.0.1:{self.listener.getsockname()[1]}"
        self.held_in_reset = False
        self._rts = False
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self.listener.close()
        self._stop_board()

    # The adapter: what pyserial's PortManager sets when the client asks for it

    @property
    def rts(self) -> bool:
        return self._rts

    @rts.setter
    def rts(self, value: bool) -> None:
        # The two transistors of a development board: with RTS and DTR both on, nothing happens
        self._rts = value
        if value and not self.dtr:
            self.held_in_reset = True
            self._stop_board()
        elif not value and self.held_in_reset:
            self.held_in_reset = False
            self._reset()

    def write(self, data: bytes) -> None:  # PortManager's own bytes, to the client
        with self.lock:
            self.client.sendall(data)

    def reset_input_buffer(self) -> None:
        pass  # neither way is anything buffered here

    reset_output_buffer = reset_input_buffer

    def _send(self, data: bytes) -> None:
        self.write(data.replace(b"\xff", b"\xff\xff"))  # Telnet's escape

    def _serve(self) -> None:
        while True:
            try:
                self.client, _ = self.listener.accept()
            except OSError:
                return
            self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            telnet = PortManager(self, self)
            try:
                while data := self.client.recv(4096):
                    self._receive(b"".join(telnet.filter(data)))
            except OSError:
                pass
            self.client.close()

    # The chip

    def _reset(self) -> None:
        self.received.clear()
        self.stub = False
        self.download = self.dtr
        if self.download:
            self._send(b"rst:0x1 (POWERON_RESET),boot:0x3 (DOWNLOAD_BOOT)\r\n")
            return
        offset = self.rom.BOOTLOADER_FLASH_OFFSET
        magic, chip_id = struct.unpack_from("<B11xH", self.flash, offset)
        if magic != 0xE9 or chip_id != self.rom.IMAGE_CHIP_ID:
            self._send(b"invalid header: 0x%08x\r\n" % magic)
            return
        self.board = VirtualBoard()
        self.terminal = os.open(self.board.port, os.O_RDWR | os.O_NOCTTY)
        threading.Thread(target=self._pump, args=(self.terminal,), daemon=True).start()

    def _stop_board(self) -> None:
        if self.board:
            self.board.stop()
            os.close(self.terminal)
            self.board = None

    def _pump(self, terminal: int) -> None:
        with contextlib.suppress(OSError):  # the board was stopped
            while data := os.read(terminal, 4096):
                with contextlib.suppress(OSError):  # nobody listens
                    self._send(data)

    def _receive(self, data: bytes) -> None:
        if self.board:
            os.write(self.terminal, data)
        elif self.download:
            self.received += data
            *packets, rest = bytes(self.received).split(END)
            self.received[:] = rest
            for packet in filter(None, packets):
                packet = packet.replace(ESCAPE + b"\xdc", END).replace(ESCAPE + b"\xdd", ESCAPE)
                self._command(packet)

    # The ROM loader

    def _answer(self, command: int, value: int, data: bytes) -> None:
        packet = struct.pack("<BBHI", 1, command, len(data), value) + data
        packet = packet.replace(ESCAPE, ESCAPE + b"\xdd").replace(END, ESCAPE + b"\xdc")
        self._send(END + packet + END)

    def _command(self, packet: bytes) -> None:
        direction, command, size, checksum = struct.unpack_from("<BBHI", packet)
        data = packet[8:]
        if direction != 0 or size != len(data):
            return
        value, result, status = 0, b"", OK
        if command == SYNC:
            for _ in range(SYNC_ANSWERS - 1):
                self._answer(SYNC, 0x20120707, OK + bytes(2))
            value = 0x20120707
        elif command == READ_REG:
            value = self.registers.get(int.from_bytes(data, "little"), 0)
        elif command == WRITE_REG:
            address, word, _, _ = struct.unpack_from("<IIII", data)
            self._write_register(address, word)
        elif command == SECURITY_INFO and not self.rom.USES_MAGIC_VALUE:
            result = struct.pack("<I8xII", 0, self.rom.IMAGE_CHIP_ID, 0)
        elif command in (SPI_SET_PARAMS, SPI_ATTACH, CHANGE_BAUD, FLASH_END, DEFLATE_END):
            pass
        elif command in (MEM_BEGIN, MEM_DATA):
            status = self._intact(data, checksum) if command == MEM_DATA else OK
        elif command in (FLASH_BEGIN, DEFLATE_BEGIN):
            size, _, _, self.write_offset = struct.unpack_from("<IIII", data)
            self.inflate = zlib.decompressobj()
            self._erase(self.write_offset, size)
        elif command in (FLASH_DATA, DEFLATE_DATA):
            status = self._intact(data, checksum)
            if status == OK:
                block = data[16:]
                self._write(self.inflate.decompress(block) if command == DEFLATE_DATA else block)
        elif command == ERASE_FLASH and self.stub:
            self._erase(0, len(self.flash))
        elif command == FLASH_MD5:
            offset, size = struct.unpack_from("<II", data)
            md5 = hashlib.md5(self.flash[offset : offset + size])
            result = md5.digest() if self.stub else md5.hexdigest().encode()
        elif command != MEM_END:
            status = INVALID
        self._answer(command, value, result + status + (b"" if self.stub else bytes(2)))
        if command == MEM_END:
            self.stub = True
            self._send(END + b"OHAI" + END)

    def _erase(self, offset: int, size: int) -> None:
        assert offset % 4096 == 0
        size = -(-size // 4096) * 4096
        self.flash[offset : offset + size] = b"\xff" * size
        self.erased += size

    def _intact(self, data: bytes, checksum: int) -> bytes:
        """The status of a block: its length and checksum."""
        block = data[16:]
        expected = functools.reduce(operator.xor, block, 0xEF)
        same = int.from_bytes(data[:4], "little") == len(block) and checksum & 0xFF == expected
        return OK if same else INVALID

    def _write(self, block: bytes) -> None:
        for i, byte in enumerate(block, self.write_offset):
            self.flash[i] &= byte
        self.write_offset += len(block)

    def _write_register(self, address: int, word: int) -> None:
        self.registers[address] = word
        base = self.rom.SPI_REG_BASE
        if address == base and word & SPI_USR:  # the flash chip is asked something
            command = self.registers[base + self.rom.SPI_USR2_OFFS] & 0xFF
            size_id = (len(self.flash) - 1).bit_length()
            answer = {READ_ID: size_id << 16 | 0x40C8, READ_SFDP: 0x50444653}.get(command, 0)
            self.registers[base + self.rom.SPI_W0_OFFS] = answer
            self.registers[base] = 0  # done
