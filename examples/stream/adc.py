# Analog pins of a chip, one channel each: values of 0 to 65535, as machine.ADC gives them.
from machine import ADC, Pin


class Sensor:
    def __init__(self, pins=(34,)):
        self.channels = len(pins)
        self._inputs = [ADC(Pin(pin)) for pin in pins]

    def read(self, sample):
        # sample: array('i') of a value for each channel
        for i in range(self.channels):
            sample[i] = self._inputs[i].read_u16()
        return True
