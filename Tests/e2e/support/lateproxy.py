#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Passes HTTP requests on, and some swaps of etcd 1 to 8 seconds late.

    lateproxy.py PORT UPSTREAM-ADDRESS UPSTREAM-PORT PART SEED

A late request arrives also if its sender has given up and closed the connection.
"""
import contextlib
import random
import socket
import sys
import threading
import time


def request(file):
    """One request, whole; b"" at the end."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = file.readline()
        if not line:
            return b""
        head += line
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return head + file.read(length)


def relay(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def serve(client, upstream, part, chance):
    file = client.makefile("rb")
    server = socket.create_connection(upstream)
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=relay, args=(server, client), daemon=True).start()
    with contextlib.suppress(OSError):
        while data := request(file):
            if b"/v3/kv/txn" in data[:64] and chance.random() < part:
                # Nothing that comes behind it on this connection overtakes it.
                time.sleep(chance.uniform(1, 8))
            server.sendall(data)
    # What it answers to a late request is nobody's any more.
    time.sleep(2)
    server.close()
    client.close()


def main():
    port, address, upstream, part, seed = sys.argv[1:6]
    listener = socket.create_server(("127.0.0.1", int(port)))
    chance = random.Random(int(seed))
    while True:
        client, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(
            target=serve, args=(client, (address, int(upstream)), float(part), chance),
            daemon=True).start()


if __name__ == "__main__":
    main()
