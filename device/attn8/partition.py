# What lies in a data partition of the flash, as a file that can be read: "partition:attn8".
from .kernels.objects import typecode
from .signals import ITEMSIZES

BLOCK = 4096


class File:
    def __init__(self, path):
        label = path[10:]
        try:
            from esp32 import Partition

            found = Partition.find(Partition.TYPE_DATA, label=label)
        except ImportError:  # on a board that is no ESP32
            found = None
        if not found:
            raise ValueError("%s: there is no such partition; make it with attn8 flash --data 1M"
                             % path)
        self._partition = found[0]
        self._size = self._partition.ioctl(4, 0) * BLOCK
        self._at = 0

    def __len__(self):
        return self._size

    def seek(self, at):
        self._at = at

    def readinto(self, out):
        # OSError beyond the partition's end
        at = self._at
        self._partition.readblocks(at // BLOCK, out, at % BLOCK)
        n = len(out) * ITEMSIZES[chr(typecode(out) & 127)]
        self._at = at + n
        return n

    def read(self, n):
        out = bytearray(n)
        self.readinto(out)
        return out

    def close(self):
        pass
