# SPDX-License-Identifier: Apache-2.0
"""One gRPC call with one answer, for what an engine's own client has no verb for.

curl speaks HTTP/2 over a Unix socket, and a protobuf message is a list of numbered fields: in both
directions the numbers in the service's .proto file are all that one has to know.
"""
import collections
import os
import subprocess
import urllib.parse

Answer = collections.namedtuple("Answer", "status error fields")
OK = 0


def _varint(number):
    data = b""
    number &= (1 << 64) - 1
    while number > 127:
        data += bytes([number & 127 | 128])
        number >>= 7
    return data + bytes([number])


def encode(fields):
    """Pairs of number and value: an int, text, bytes, or a list of pairs for a message."""
    data = b""
    for number, value in fields:
        if isinstance(value, int):
            data += _varint(number << 3) + _varint(value)
            continue
        value = encode(value) if isinstance(value, list) else os.fsencode(value)
        data += _varint(number << 3 | 2) + _varint(len(value)) + value
    return data


def decode(data):
    """Pairs of number and value, int or bytes; what is inside of bytes the caller knows."""
    fields, offset = [], 0

    def varint():
        nonlocal offset
        number = shift = 0
        while True:
            byte = data[offset]
            offset, number, shift = offset + 1, number | (byte & 127) << shift, shift + 7
            if byte < 128:
                return number

    while offset < len(data):
        key = varint()
        if key & 7 == 0:
            fields.append((key >> 3, varint()))
            continue
        length = {1: 8, 5: 4}.get(key & 7) or varint()
        fields.append((key >> 3, data[offset:offset + length]))
        offset += length
    return fields


def entries(number, dictionary):
    """A map of texts, which is a repeated message of key and value."""
    return [(number, [(1, key), (2, value)]) for key, value in dictionary.items()]


def call(socket, method, fields, *headers, timeout=30):
    """Calls "package.Service/Method"; headers are lines such as "name: value"."""
    message = encode(fields)
    command = ["curl", "-sS", "--http2-prior-knowledge", "--unix-socket", socket]
    for header in ("content-type: application/grpc", "te: trailers", *headers):
        command += ["-H", header]
    # Headers and trailers to stderr, where nothing else comes from a curl that succeeds.
    command += ["-D", "/dev/stderr", "--data-binary", "@-", f"http://localhost/{method}"]
    done = subprocess.run(
        command, input=b"\0" + len(message).to_bytes(4, "big") + message, capture_output=True,
        timeout=timeout)
    assert done.returncode == 0, done.stderr
    heads = dict(
        line.split(": ", 1) for line in done.stderr.decode().splitlines() if ": " in line)
    return Answer(
        int(heads["grpc-status"]), urllib.parse.unquote(heads.get("grpc-message", "")),
        decode(done.stdout[5:]))
