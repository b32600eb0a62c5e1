# SPDX-License-Identifier: Apache-2.0
"""An agent of a node that gives an application a share, from a file, until it is ended.

    fakeagent.py ROOM LIMIT MINIMUM VALIDITY    nanocores and seconds

Says again what it says every half second, and prints the answers.
"""
import select
import socket
import struct
import sys
import time

FRAME = struct.Struct("<4sBBBBQQQQ7q")


def frame(kind, number, *words):
    return FRAME.pack(b"ESAP", 3, 3, kind, 1, 0, 0, number, 0, *words, *[0] * (7 - len(words)))


def main(room, limit, minimum, validity):
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.connect(room + "/socket")
    peer.send(frame(9, 0))
    number, due = 0, 0
    while True:
        if time.monotonic() >= due:
            due, number = time.monotonic() + 0.5, number + 1
            deadline = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + int(validity * 1e9)
            peer.send(frame(8, number, limit, minimum, deadline))
        if select.select([peer], [], [], max(0, due - time.monotonic()))[0]:
            words = FRAME.unpack(peer.recv(96))
            print(words[3], words[8], *words[9:], flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:4]), float(sys.argv[4]))
