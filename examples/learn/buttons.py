# A button for each label, between its pin and ground.
from machine import Pin


class Buttons:
    def __init__(self, *pins):
        self._pins = [Pin(pin, Pin.IN, Pin.PULL_UP) for pin in pins]
        self._held = False

    def __call__(self):
        # The label of a button as it goes down, once
        for label, pin in enumerate(self._pins):
            if not pin.value():
                label = None if self._held else label
                self._held = True
                return label
        self._held = False
        return None
