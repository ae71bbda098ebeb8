# A board learns from whoever presses a button: what the sensor has just seen is labelled and kept.
# Whatever says so (buttons.py, presses.py) gives a label or None, and whatever the sensor is (those
# of ../stream) has `channels` and read(sample), so that only the drivers differ:
#
#     from attn8 import load, train
#     from attn8.train.samples import Samples
#     from buttons import Buttons
#     from mpu6050 import Sensor
#     from teach import collect
#     samples = Samples("/models/motion.samples", 150)
#     collect(load("/models/motion.safetensors"), Sensor(), Buttons(12, 13, 14), samples, 60, 20)
#     train.fit("/models/motion_train.safetensors", samples, report=print)
import time
from array import array


def collect(model, sensor, pressed, samples, count, period=0):
    # Reads the sensor every `period` ms; pressed() -> the label of the window that ends now, or
    # None. Until there are `count` of them, or the sensor has nothing more.
    sample = array("i", [0] * sensor.channels)
    window = array("i", [0] * len(model.input))
    n = sensor.channels
    left = len(window) // n  # until it is full
    while count and sensor.read(sample):
        for i in range(len(window) - n):
            window[i] = window[i + n]
        for i in range(n):
            window[i - n] = sample[i]
        left -= left > 0
        label = pressed()
        if label is not None and not left:
            samples.append(model.feed(window), label)
            count -= 1
        if period:
            time.sleep_ms(period)
