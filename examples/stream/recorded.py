# A recorded signal in place of a sensor: a file of int32, little endian, sample by sample.


class Sensor:
    def __init__(self, path, channels):
        self.channels = channels
        self._file = open(path, "rb")  # noqa: SIM115

    def read(self, sample):
        # sample: array('i') of a value for each channel. -> whether there was one
        return self._file.readinto(sample) == 4 * self.channels
