#!/usr/bin/env python3
"""Memory of small values, against redis-server: `memory_small.py BINARY [KIND:NUMBER ...]`.

Starts redis-server and the server with one shard, one after the other and anew for each case, and fills
them until redis-server takes about 150 MB, with keys of 16 bytes. A case is a kind and a number of
elements, or of bytes for a string; without any all are measured, in half an hour:

    hash      fields like f7, values of 8 bytes
    hash12    fields of 9 bytes, values of 12
    hash16    fields of 9 bytes, values of 16
    list, set elements of 16 bytes
    set16, set32, set64  sets of integers of so many bits
    zset      members of 16 bytes, random scores
    stream    entries of two fields, 24 bytes of values
    string    the letter v

It prints what a key takes in bytes, as resident memory (VmRSS) and as INFO's used_memory, from before
the load to two seconds after it, and how both compare with redis-server's.
"""

import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time

LOAD_BYTES = 150e6
BATCH_BYTES = 64 * 1024
SETTLE_S = 2
COUNTS = (5, 10, 50, 100)


def hashes(field, value):
    return lambda rng, n, i: [(b"HSET", *(part for j in range(n) for part in (field % j, value % (i + j))))]


def members(name, member):
    return lambda rng, n, i: [(name, *(member % j for j in range(n)))]


def integers(least, most):
    return lambda rng, n, i: [(b"SADD", *(b"%d" % rng.randrange(least, most) for _ in range(n)))]


def scored(rng, n, i):
    pairs = ((repr(rng.random() * 1e6).encode(), b"member:%09d" % j) for j in range(n))
    return [(b"ZADD", *(part for pair in pairs for part in pair))]


def entries(rng, n, i):
    return [(b"XADD", b"%d-0" % (j + 1), b"field1", b"v" * 16, b"field2", b"%08d" % j) for j in range(n)]


# For each kind: what fills a key, and about the bytes that redis-server takes for so many elements.
KINDS = {
    "hash": (hashes(b"f%d", b"%08d"), lambda n: 110 + 16 * n),
    "hash12": (hashes(b"field:%03d", b"value:%06d"), lambda n: 130 + 26 * n),
    "hash16": (hashes(b"field:%03d", b"value:%010d"), lambda n: 130 + 30 * n),
    "list": (members(b"RPUSH", b"item:%011d"), lambda n: 210 + 21 * n),
    "set": (members(b"SADD", b"member:%09d"), lambda n: 170 + 83 * n),
    "set16": (integers(-30_000, 30_000), lambda n: 110 + 2 * n),
    "set32": (integers(1 << 20, (1 << 31) - 1), lambda n: 110 + 4 * n),
    "set64": (integers(1 << 32, 1 << 62), lambda n: 110 + 9 * n),
    "zset": (scored, lambda n: 110 + 42 * n),
    "stream": (entries, lambda n: 4500),
    "string": (lambda rng, n, i: [(b"SET", b"v" * n)], lambda n: 105 + n),
}
CASES = [(kind, n) for kind in KINDS if kind != "string" for n in COUNTS]
CASES += [("string", n) for n in (3, 16, 100, 1000)]


def encode(*args):
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in args)


class Server:
    def __init__(self, command):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder = tempfile.TemporaryDirectory()
        usual = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder.name]
        usual += ["--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen([*command, *usual], stdout=subprocess.DEVNULL)
        for _ in range(500):
            try:
                self.conn = socket.create_connection(("127.0.0.1", self.port), timeout=60)
                break
            except OSError:
                time.sleep(0.02)
        self.replies = self.conn.makefile("rb")
        assert self.ask(b"PING") == b"+PONG"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()

    def ask(self, *args):
        self.conn.sendall(encode(*args))
        return self.reply()

    def reply(self):
        line = self.replies.readline()[:-2]
        assert line[:1] != b"-", line
        return self.replies.read(int(line[1:]) + 2)[:-2] if line[:1] == b"$" else line

    def send(self, commands):
        self.conn.sendall(b"".join(commands))
        for _ in commands:
            self.reply()

    def memory(self):
        with open(f"/proc/{self.process.pid}/status") as f:
            rss = int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) * 1024
        used = re.search(rb"used_memory:(\d+)", self.ask(b"INFO", b"memory"))
        return rss, int(used.group(1))


def measure(command, kind, count):
    make, size = KINDS[kind]
    keys = int(LOAD_BYTES / size(count))
    rng = random.Random(count)
    with Server(command) as server:
        before = server.memory()
        batch, waiting = [], 0
        for i in range(keys):
            for name, *rest in make(rng, count, i):
                batch.append(encode(name, b"key:%012d" % i, *rest))
                waiting += len(batch[-1])
            if waiting > BATCH_BYTES:
                server.send(batch)
                batch, waiting = [], 0
        server.send(batch)
        time.sleep(SETTLE_S)
        return keys, [(b - a) / keys for a, b in zip(before, server.memory())]


def main():
    cases = [case.split(":") for case in sys.argv[2:]]
    print("case          keys       rss      used   redis: rss      used   ratio: rss   used")
    for kind, count in cases or CASES:
        count = int(count)
        keys, ours = measure([sys.argv[1], "--shards", "1"], kind, count)
        _, theirs = measure(["redis-server"], kind, count)
        ratios = [a / b for a, b in zip(ours, theirs)]
        print(f"{kind + ' ' + str(count):12} {keys:7} {ours[0]:9.1f} {ours[1]:9.1f} {theirs[0]:12.1f} "
              f"{theirs[1]:9.1f} {ratios[0]:12.3f} {ratios[1]:6.3f}", flush=True)


main()
