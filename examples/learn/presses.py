# Recorded presses in place of buttons: a file of a byte for each sample of the sensor, the label of
# the button that went down then, 255 where none did.


class Presses:
    def __init__(self, path):
        self._file = open(path, "rb")  # noqa: SIM115
        self._byte = bytearray(1)

    def __call__(self):
        self._file.readinto(self._byte)
        return None if self._byte[0] == 255 else self._byte[0]
