# SPDX-License-Identifier: Apache-2.0
"""Traces that nobody recorded: the file's form is that of Sources/Control/History."""
import struct

STEP = 25_000_000
MASK = (1 << 64) - 1
# Units of half a millisecond for each quarter of a period, again and again.
PATTERNS = {
    "30 ms each second": [50, 10] + [0] * 38,
    "200 ms each 5 s": [50] * 8 + [0] * 192,
    "6 ms each 10 ms": [30],
}


def _token(number):
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _block(payload, start):
    words = [0x52545345 | 1 << 32 | len(payload) << 48, start, STEP, 0]
    total = 0xCBF29CE484222325
    for word in [*words, *payload]:
        total = (total ^ word) * 0x100000001B3 & MASK
    return struct.pack("<5Q", *words, total) + payload


def write(path, pattern, seconds):
    """Repeats a pattern for so many seconds."""
    steps = int(seconds * 1e9) // STEP
    payload, first, idle, step = b"", 0, 0, 0
    with open(path, "wb") as file:
        while step < steps:
            use = pattern[step % len(pattern)]
            step += 1
            if not use:
                idle += 1
                continue
            if idle:
                payload += _token(idle << 1 | 1)
                idle = 0
            payload += _token(use << 1)
            if len(payload) > 900:
                file.write(_block(payload, first * STEP))
                payload, first = b"", step
        if payload:
            file.write(_block(payload, first * STEP))
