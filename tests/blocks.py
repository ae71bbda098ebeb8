"""A block device for a file system of a test's own on a board, small or one that fails."""

BLOCKS = """
import io, os, vfs
class Blocks:
    # Of 512 bytes each, in a file that is open
    def __init__(self, file):
        self.file = file
        self.count = file.seek(0, 2) // 512
    def readblocks(self, n, buffer, offset=0):
        self.file.seek(n * 512 + offset)
        self.file.readinto(buffer)
    def writeblocks(self, n, buffer, offset=0):
        self.file.seek(n * 512 + offset)
        self.file.write(buffer)
        self.file.flush()
    def ioctl(self, op, argument):
        return {4: self.count, 5: 512, 6: 0}.get(op)
def memory(blocks):
    # -> so many in memory
    return io.BytesIO(bytes(512 * blocks))
"""
