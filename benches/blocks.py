#!/usr/bin/env python3
"""Commands and blocks over several keys, against redis-server: `blocks.py BINARY [SECONDS [ROUNDS]]`.

Starts redis-server and the server with one shard and with two, and sends over 16 connections, one
batch of the pipeline's depth at a time, with 16-byte keys taken from 10,000 and values of 64 bytes:

    mset    MSET of 10 keys
    mget    MGET of 10 keys
    exec    MULTI, SET, GET, SET, GET, EXEC

It prints the server's CPU time for each command or block (user and system, all threads, from /proc),
its range, the throughput and how the CPU time compares with redis-server's: medians of the rounds, in
which the servers take turns. Server CPU does not depend on this program's own speed, unlike the
throughput of one thread of Python.
"""

import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time

CONNECTIONS = 16
KEYS = [b"key:%012d" % i for i in range(10_000)]
VALUE = b"v" * 64
BATCHES = 50
HZ = os.sysconf("SC_CLK_TCK")


def encode(*args):
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in args)


def some(rng, count):
    return [rng.choice(KEYS) for _ in range(count)]


def mset(rng):
    pairs = [part for key in some(rng, 10) for part in (key, VALUE)]
    return encode(b"MSET", *pairs), len(b"+OK\r\n")


def mget(rng):
    value = len(b"$64\r\n") + len(VALUE) + 2
    return encode(b"MGET", *some(rng, 10)), len(b"*10\r\n") + 10 * value


def block(rng):
    a, b, c, d = some(rng, 4)
    parts = [(b"MULTI",), (b"SET", a, VALUE), (b"GET", b), (b"SET", c, VALUE), (b"GET", d), (b"EXEC",)]
    value = len(b"$64\r\n") + len(VALUE) + 2
    answer = len(b"+OK\r\n") + 4 * len(b"+QUEUED\r\n") + len(b"*4\r\n") + 2 * len(b"+OK\r\n") + 2 * value
    return b"".join(encode(*part) for part in parts), answer


MODES = {"mset": mset, "mget": mget, "exec": block}


class Server:
    def __init__(self, command, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        os.mkdir(folder)
        usual = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
        usual += ["--appendonly", "no"]
        self.process = subprocess.Popen([*command, *usual], stdout=subprocess.DEVNULL)
        for _ in range(500):
            try:
                conn = self.connect()
                break
            except OSError:
                time.sleep(0.02)
        for key in KEYS:  # everything that is read is there
            conn.sendall(encode(b"SET", key, VALUE))
            conn.recv(5, socket.MSG_WAITALL)
        conn.close()

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.port))
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / HZ


def measure(server, make, depth, seconds):
    rng = random.Random(depth)
    conns = []
    for _ in range(CONNECTIONS):
        batches = [[make(rng) for _ in range(depth)] for _ in range(BATCHES)]
        need = sum(length for _, length in batches[0])
        conns.append((server.connect(), [b"".join(sent for sent, _ in batch) for batch in batches]))
    cpu, began, turns = server.cpu(), time.monotonic(), 0
    while time.monotonic() - began < seconds:
        for s, batches in conns:
            s.sendall(batches[turns % BATCHES])
        for s, _ in conns:
            got = 0
            while got < need:
                got += len(s.recv(1 << 18))
            assert got == need, "another answer than expected"
        turns += 1
    cpu, took = server.cpu() - cpu, time.monotonic() - began
    for s, _ in conns:
        s.close()
    requests = turns * depth * CONNECTIONS
    return cpu / requests * 1e6, requests / took


def main():
    binary = sys.argv[1]
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 1
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    commands = {
        "redis": ["redis-server"],
        "1 shard": [binary, "--shards", "1"],
        "2 shards": [binary, "--shards", "2"],
    }
    with tempfile.TemporaryDirectory() as folder:
        servers = {}
        try:
            for name, command in commands.items():
                servers[name] = Server(command, os.path.join(folder, name.replace(" ", "-")))
            for mode, make in MODES.items():
                for depth in (1, 16):
                    seen = {name: [] for name in servers}
                    for _ in range(rounds):
                        for name, server in servers.items():
                            seen[name].append(measure(server, make, depth, seconds))
                    middle = {name: statistics.median(c for c, _ in s) for name, s in seen.items()}
                    for name, results in seen.items():
                        cpu = sorted(c for c, _ in results)
                        rate = statistics.median(r for _, r in results)
                        ratio = middle[name] / middle["redis"]
                        print(f"{mode} pipeline {depth:2} {name:8} {middle[name]:7.2f} us CPU "
                              f"({cpu[0]:.2f} to {cpu[-1]:.2f}), {rate:7.0f} a second, "
                              f"{ratio:.2f} of redis-server", flush=True)
        finally:
            for server in servers.values():
                server.process.kill()
                server.process.wait()


main()
