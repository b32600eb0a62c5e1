# SPDX-License-Identifier: Apache-2.0
"""A demand that grows as programs' do: a dictionary that is filled.

  dictionary.py DIRECTORY MEBIBYTES

Answers as grow.c does; a step is a thousand entries, and no write can fail.
"""
import array
import os
import signal
import struct
import sys
import time

directory, size = sys.argv[1], int(sys.argv[2])
os.chdir(directory)
with open("go", "rb") as go:
    start = struct.unpack("=q", go.read(8))[0]
statm = open("/proc/self/statm")
page = os.sysconf("SC_PAGESIZE")


def resident():
    statm.seek(0)
    return int(statm.read().split()[1]) * page


time.sleep(max(0, start - time.monotonic_ns()) / 1e9)
made, steps = {}, array.array("q")
start = before = time.monotonic_ns()
while resident() < size << 20:
    for _ in range(1000):
        made[len(made)] = str(len(made)) * 8
    after = time.monotonic_ns()
    steps.append(after - before)
    before = after
steps = sorted(steps)
numbers = [before - start, steps[-1], steps[-1 - len(steps) // 1000], 0]
with open("answer.part", "wb") as file:
    file.write(struct.pack("=4q", *numbers))
os.rename("answer.part", "answer")
signal.pause()
