# From a sensor to labels, on a board. Whatever the sensor is (adc.py, mpu6050.py, recorded.py), it
# has `channels` and read(sample), so that only the driver differs:
#
#     from live import from_timer
#     from mpu6050 import Sensor
#     from_timer(Sensor(), attn8.Stream(model, 10, lambda stream: print(stream.label)), 20)
import time
from array import array


def from_loop(sensor, stream):
    # As fast as the sensor gives samples, until there are none
    sample = array("i", [0] * sensor.channels)
    while sensor.read(sample):
        stream(sample)


def from_timer(sensor, stream, period, seconds=None):
    # A timer reads the sensor every `period` ms while the model computes. -> how often a sample
    # came two periods late or more: a chip forgets a tick where its queue is full, and what was
    # recorded with a gap is no window
    from machine import Timer

    sample = array("i", [0] * sensor.channels)
    state = array("i", [0, 0, 0])  # when the last sample came, in ms; gaps; whether one is new
    start = state[0] = time.ticks_ms()

    def tick(_):
        now = time.ticks_ms()
        if time.ticks_diff(now, state[0]) > 2 * period:
            state[1] += 1
            state[2] = 1
        state[0] = now
        if sensor.read(sample) and not state[2]:
            stream.put(sample)

    timer = Timer(0)
    timer.init(period=period, mode=Timer.PERIODIC, callback=tick)
    try:
        while seconds is None or time.ticks_diff(time.ticks_ms(), start) < 1000 * seconds:
            if state[2]:
                stream.reset()
                state[2] = 0
            if not stream.poll():
                time.sleep_ms(1)
    finally:
        timer.deinit()
    return state[1]


async def from_asyncio(sensor, stream, period):
    # As a task beside others, a sample every `period` ms until there are none
    import asyncio

    results = asyncio.create_task(stream.run())
    sample = array("i", [0] * sensor.channels)
    while sensor.read(sample):
        stream.put(sample)
        await asyncio.sleep_ms(period)
    results.cancel()
