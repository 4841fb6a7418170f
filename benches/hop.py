#!/usr/bin/env python3
"""What a hop between two shards costs, and what core-direct saves: `hop.py BINARY [SECONDS [ROUNDS]]`.

Starts the server with two shards and core-direct, and sends GETs of 16-byte keys over 16 connections,
one batch of the pipeline's depth at a time. It prints the server's CPU time for each request (user
and system, all threads, from /proc), the turns of the shards' loops for each request and the
throughput, at pipeline 1 and 16, of

    local    common port, each connection asks for keys of the shard that it is on
    remote   common port, each connection asks for keys of the other shard
    random   common port, keys of both
    direct   each shard's own port, keys of that shard

in turn, so that whatever else the machine does hits all alike; then the median of the rounds, what the
hop costs (remote less local) and how direct compares with local. Server CPU per request does not
depend on this program's own speed, unlike the throughput of one thread of Python, which is the
client's; for that, see benches/compare.

That one thread leaves the shards asleep between two batches, so that a hop wakes two of them. The last
lines are of shards that are kept busy, at pipeline 16: by one redis-benchmark for each shard, with 25
connections on its own port, which asks for keys of that shard (local) or of the other one (remote).
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time

CONNECTIONS = 16
KEYS = [b"key:%012d" % i for i in range(4000)]
HZ = os.sysconf("SC_CLK_TCK")


def slot(key):
    crc = 0
    for byte in key:
        crc ^= byte << 8
        for _ in range(8):
            crc = ((crc << 1) ^ 0x1021) & 0xFFFF if crc & 0x8000 else (crc << 1) & 0xFFFF
    return crc % 16384


TAGS = [next(t for t in (b"t%d" % i for i in range(1000)) if slot(t) * 2 // 16384 == shard) for shard in (0, 1)]
OWN = [[k for k in KEYS if slot(k) * 2 // 16384 == shard] for shard in (0, 1)]


def free_ports(count):
    held = [socket.socket() for _ in range(count)]
    try:
        for s in held:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in held]
    finally:
        for s in held:
            s.close()


def connect(port):
    s = socket.create_connection(("127.0.0.1", port))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def ask(s, line):
    s.sendall(line + b"\r\n")
    data = b""
    while not data.endswith(b"\r\n"):
        data += s.recv(65536)
    return data.decode()


class Server:
    def __init__(self, binary, folder):
        self.common = free_ports(1)[0]
        self.base = next(p for p in range(21000 + os.getpid() % 5000, 32000) if self.free(p) and self.free(p + 1))
        args = ["--shards", "2", "--bind", "127.0.0.1", "--port", str(self.common), "--dir", folder]
        args += ["--save", "", "--appendonly", "no"]
        args += ["--core-direct", "yes", "--core-direct-port-base", str(self.base)]
        self.process = subprocess.Popen([binary, *args], stdout=subprocess.DEVNULL)
        for _ in range(500):
            try:
                self.control = connect(self.common)
                break
            except OSError:
                time.sleep(0.02)

    @staticmethod
    def free(port):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return True
            except OSError:
                return False

    def counts(self, what="connections"):
        lines = ask(self.control, b"INFO shards").split("\r\n")
        return [int(l.split(what + "=")[1].split(",")[0]) for l in lines if l.startswith("shard")]

    def on_common(self):
        """A connection of the common port, and the shard that it was dealt to."""
        before = self.counts()
        s = connect(self.common)
        ask(s, b"PING")
        after = self.counts()
        return s, next(i for i in (0, 1) if after[i] > before[i])

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / HZ


def batches(keys, depth):
    """Fifty batches of a pipeline, which differ."""
    encode = lambda key: b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key)
    step = iter(range(0, 10**9, 7))
    return [b"".join(encode(keys[next(step) % len(keys)]) for _ in range(depth)) for _ in range(50)]


def measure(server, mode, depth, seconds):
    conns = []
    while sum(server.counts()) > 1:  # those of the round before end by and by
        time.sleep(0.01)
    for i in range(CONNECTIONS):
        s, home = (connect(server.base + i % 2), i % 2) if mode == "direct" else server.on_common()
        keys = KEYS if mode == "random" else OWN[1 - home if mode == "remote" else home]
        conns.append((s, batches(keys, depth)))
    need = depth * len(b"$-1\r\n")
    loops = sum(server.counts(",turns"))
    cpu, began, turns = server.cpu(), time.monotonic(), 0
    while time.monotonic() - began < seconds:
        for s, b in conns:
            s.sendall(b[turns % 50])
        for s, _ in conns:
            got = 0
            while got < need:
                got += len(s.recv(65536))
        turns += 1
    cpu, took = server.cpu() - cpu, time.monotonic() - began
    loops = sum(server.counts(",turns")) - loops
    for s, _ in conns:
        s.close()
    requests = turns * depth * CONNECTIONS
    return cpu / requests * 1e6, requests / took, loops / requests


def measure_busy(server, mode, requests):
    cpu, began = server.cpu(), time.monotonic()
    clients = []
    for shard in (0, 1):
        tag = TAGS[1 - shard if mode == "remote" else shard].decode()
        command = f"redis-benchmark -p {server.base + shard} -c 25 -P 16 -n {requests} -r 4000 -q"
        command = command.split() + ["get", "{%s}:__rand_int__" % tag]
        clients.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    if any([client.wait() for client in clients]):
        raise SystemExit("redis-benchmark has failed")
    cpu, took = server.cpu() - cpu, time.monotonic() - began
    return cpu / requests / 2 * 1e6, 2 * requests / took


def main():
    binary = sys.argv[1]
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 2
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    with tempfile.TemporaryDirectory() as folder:
        server = Server(binary, folder)
        try:
            for depth in (1, 16):
                seen = {mode: [] for mode in ("local", "remote", "random", "direct")}
                for _ in range(rounds):
                    for mode, results in seen.items():
                        results.append(measure(server, mode, depth, seconds))
                middle = {}
                for mode, results in seen.items():
                    cpu = sorted(c for c, _, _ in results)
                    middle[mode] = statistics.median(cpu)
                    rate = statistics.median(r for _, r, _ in results)
                    loops = statistics.median(l for _, _, l in results)
                    print(f"pipeline {depth:2} {mode:6} {middle[mode]:.3f} us CPU a request "
                          f"({cpu[0]:.3f} to {cpu[-1]:.3f}), {loops:.3f} turns, {rate:.0f} requests a second")
                hop, ratio = middle["remote"] - middle["local"], middle["direct"] / middle["local"]
                print(f"pipeline {depth:2} hop    {hop:.3f} us CPU; direct is {ratio:.3f} of local", flush=True)
            seen = {"local": [], "remote": []}
            for _ in range(rounds):
                for mode, results in seen.items():
                    results.append(measure_busy(server, mode, int(seconds * 500_000)))
            for mode, results in seen.items():
                cpu = sorted(c for c, _ in results)
                middle[mode] = statistics.median(cpu)
                rate = statistics.median(r for _, r in results)
                print(f"busy        {mode:6} {middle[mode]:.3f} us CPU a request "
                      f"({cpu[0]:.3f} to {cpu[-1]:.3f}), {rate:.0f} requests a second")
            print(f"busy        hop    {middle['remote'] - middle['local']:.3f} us CPU", flush=True)
        finally:
            server.process.kill()
            server.process.wait()


main()
