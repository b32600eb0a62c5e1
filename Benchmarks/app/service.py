# SPDX-License-Identifier: Apache-2.0
"""The service of the application that is measured: a page from a cache, a store and some work.

    service.py PORT REDIS_PORT MEMCACHED_PORT

Each page asks memcached for ten fragments, has redis make those that are missing, reads a list from
redis, sorts and writes JSON; a page holds a buffer as long as it is worked on, so that memory
follows the requests that are under way. One thread, as Python has it.
"""
import asyncio
import json
import sys

BUFFER = 384 << 10  # bytes that a page holds
FRAGMENTS, ITEMS = 10, 120
CONNECTIONS = 12  # to each of the others
KEPT = 128  # MiB in redis

MAKE = """
local made = {}
for i = 1, 10 do
  local sum = 0
  for k = 1, 200 do sum = (sum * 31 + k * i) % 65521 end
  made[i] = string.rep(tostring(sum) .. ' ', 80)
end
return made
"""
FILL = """
for i = 1, tonumber(ARGV[1]) do redis.call('SET', 'kept' .. i, string.rep('x', 4000)) end
for i = 1, 200 do redis.call('RPUSH', 'feed', 'entry ' .. i .. string.rep(' word', 12)) end
return 1
"""


def command(*words):
    """A command as redis reads it."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        word = str(word).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(parts)


async def reply(reader):
    line = await reader.readline()
    kind, rest = line[:1], line[1:].strip()
    if kind == b"$":
        return (await reader.readexactly(int(rest) + 2))[:-2] if int(rest) >= 0 else None
    if kind == b"*":
        return [await reply(reader) for _ in range(int(rest))]
    if not line or kind == b"-":
        raise ConnectionError(rest.decode())
    return rest


class Others:
    """Connections to one of the other services, made when they are needed."""

    def __init__(self, port):
        self.port, self.free = port, asyncio.LifoQueue()
        for _ in range(CONNECTIONS):
            self.free.put_nowait(None)

    async def ask(self, data, read):
        connection = await self.free.get()
        try:
            if connection is None:
                connection = await asyncio.open_connection("127.0.0.1", self.port)
            reader, writer = connection
            writer.write(data)
            return await read(reader)
        except BaseException:
            # What comes next by it would be somebody else's answer.
            if connection:
                connection[1].close()
            connection = None
            raise
        finally:
            self.free.put_nowait(connection)


async def values(reader):
    """What memcached has of what it was asked for."""
    found = {}
    while (line := await reader.readline()) != b"END\r\n":
        if not line.startswith(b"VALUE"):
            raise ConnectionError(repr(line))
        _, key, _, size = line.split()
        found[key] = (await reader.readexactly(int(size) + 2))[:-2]
    return found


async def nothing(reader):
    return None


class Service:
    def __init__(self, redis, memcached):
        self.redis, self.memcached = Others(redis), Others(memcached)

    async def fill(self):
        """The store, unless it is filled."""
        while True:
            try:
                if await self.redis.ask(command("EXISTS", "feed"), reply) == b"0":
                    await self.redis.ask(command("EVAL", FILL, 0, KEPT * 256), reply)
                return
            except OSError:
                await asyncio.sleep(0.05)

    async def page(self, number):
        buffer = b"." * BUFFER
        names = [b"page%d-%d" % (number, index) for index in range(FRAGMENTS)]
        found = await self.memcached.ask(b"get " + b" ".join(names) + b"\r\n", values)
        if len(found) < FRAGMENTS:
            made = await self.redis.ask(command("EVAL", MAKE, 0), reply)
            found = dict(zip(names, made))
            await self.memcached.ask(b"".join(
                b"set %s 0 2 %d noreply\r\n%s\r\n" % (name, len(value), value)
                for name, value in found.items()), nothing)
        feed = await self.redis.ask(command("LRANGE", "feed", 0, ITEMS - 1), reply)
        items = sorted(
            ({"rank": hash(entry) % 1000, "text": entry.decode(), "length": len(buffer)}
             for entry in feed), key=lambda item: item["rank"])
        fragments = [value.decode() for value in found.values()]
        return json.dumps({"page": number, "items": items, "fragments": fragments}).encode()

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                try:
                    number = int(head.split(b" ", 2)[1].rsplit(b"/", 1)[1]) % 97
                    status, body = b"200 OK", await self.page(number)
                except (OSError, ValueError, IndexError, asyncio.IncompleteReadError):
                    status, body = b"503 Service Unavailable", b""
                writer.write(
                    b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                    % (status, len(body)) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def main(port, redis, memcached):
    service = Service(redis, memcached)
    await service.fill()
    server = await asyncio.start_server(service.serve, "127.0.0.1", port, backlog=512)
    await server.serve_forever()


asyncio.run(main(*map(int, sys.argv[1:4])))
