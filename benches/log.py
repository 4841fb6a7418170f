#!/usr/bin/env python3
"""What the append-only log costs: `log.py BINARY [SECONDS [ROUNDS]]`.

SETs of 64-byte values to a million keys from 50 connections, by redis-benchmark, at pipeline 1 and 16, to

    redis always      redis-server, appendfsync always
    always            BINARY, appendfsync always
    everysec          BINARY, appendfsync everysec
    none              BINARY, appendonly no

one after the other in each round, so that whatever else the machine does hits all alike, each in a
fresh directory under the one that TMPDIR names: on the disk that is to be measured. All get the same
number of requests, what `none` takes SECONDS for: the first writes of a key cost more than later ones,
so who gets less of them would look the dearer. Printed are the
medians of the rounds: requests per second, the server's CPU time for each request (user and system, all
threads, from /proc), the spread of both, and the ratios that the log is judged by.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HZ = os.sysconf("SC_CLK_TCK")
CLIENTS = 50
# Requests before what is measured, for each of pipeline's depth.
WARM = 5000
LOG = "--save '' --appendonly yes --auto-aof-rewrite-percentage 0 --appendfsync"


def servers(binary):
    return {
        "redis always": f"redis-server {LOG} always",
        "always": f"{binary} --shards 1 {LOG} always",
        "everysec": f"{binary} --shards 1 {LOG} everysec",
        "none": f"{binary} --shards 1 --save '' --appendonly no",
    }


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cpu(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / HZ


def answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as s:
            s.sendall(b"PING\r\n")
            return s.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def load(port, depth, count):
    """Sends so many requests; requests per second."""
    command = f"redis-benchmark -p {port} -c {CLIENTS} -P {depth} -n {count} -r 1000000 -d 64 -t set --csv"
    out = subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout
    return float(out.strip().splitlines()[-1].split('"')[3])


def measure(command, depth, count):
    """Requests per second, and microseconds of CPU for each."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = f"exec {command} --port {port} --bind 127.0.0.1 --dir {folder}"
        process = subprocess.Popen(["sh", "-c", command], stdout=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 30
            while not answers(port):
                if process.poll() is not None or time.monotonic() > until:
                    sys.exit(f"it does not start: {command}")
                time.sleep(0.02)
            # How fast it is, and what it prepares for its first requests, is not measured.
            load(port, depth, WARM * depth)
            before = cpu(process.pid)
            rate = load(port, depth, count)
            return rate, (cpu(process.pid) - before) / count * 1e6
        finally:
            process.kill()
            process.wait()


def main():
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    binary = os.path.abspath(sys.argv[1])
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 5
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    for depth in (1, 16):
        found = {name: [] for name in servers(binary)}
        rate, _ = measure(servers(binary)["none"], depth, 4 * WARM * depth)
        for _ in range(rounds):
            for name, command in servers(binary).items():
                found[name].append(measure(command, depth, int(rate * seconds)))
        rate = {name: statistics.median(r for r, _ in runs) for name, runs in found.items()}
        cost = {name: statistics.median(c for _, c in runs) for name, runs in found.items()}
        print(f"pipeline {depth}")
        for name, runs in found.items():
            rates, costs = zip(*runs)
            print(
                f"  {name:13} {rate[name]:9.0f}/s ({min(rates):.0f} to {max(rates):.0f})"
                f"  {cost[name]:6.2f} us ({min(costs):.2f} to {max(costs):.2f})"
            )
        print(f"  always / redis always {rate['always'] / rate['redis always']:.2f}")
        print(f"  always / none         {rate['always'] / rate['none']:.2f}")
        print(f"  everysec / none       {rate['everysec'] / rate['none']:.2f}, CPU {cost['everysec'] / cost['none']:.2f}")


main()
