# An MPU6050 at an I2C bus: acceleration x, y, z (16384 is 1 g) and rotation x, y, z (131 is one
# degree a second), its ranges after a reset. Registers: InvenSense's register map, revision 4.2.
from machine import I2C, Pin

ADDRESS = 0x68
PWR_MGMT_1 = 0x6B
ACCEL_XOUT_H = 0x3B  # 14 bytes from here on: acceleration, temperature, rotation


class Sensor:
    channels = 6

    def __init__(self, scl=22, sda=21):
        self._bus = I2C(0, scl=Pin(scl), sda=Pin(sda), freq=400_000)
        self._bus.writeto_mem(ADDRESS, PWR_MGMT_1, b"\x00")  # it sleeps after a reset
        self._data = bytearray(14)

    def read(self, sample):
        # sample: array('i') of a value for each channel
        data = self._data
        self._bus.readfrom_mem_into(ADDRESS, ACCEL_XOUT_H, data)
        for i in range(6):
            at = 2 * i if i < 3 else 2 * i + 2  # past the temperature
            value = data[at] << 8 | data[at + 1]
            sample[i] = value - 65536 if value & 32768 else value
        return True
