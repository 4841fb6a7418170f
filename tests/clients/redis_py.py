"""redis-py against a server: `redis_py.py PORT PROTOCOL`. Exits non-zero where anything is wrong."""

import asyncio
import sys
import threading

import redis
import redis.asyncio

PORT, PROTO = int(sys.argv[1]), int(sys.argv[2])


def strings(r):
    assert r.set("k", "v") is True
    assert r.get("k") == b"v"
    assert r.set("k", "w", nx=True) is None
    assert r.set("k", "w", xx=True, get=True) == b"v"
    assert r.getdel("k") == b"w" and r.get("k") is None
    assert r.mset({f"m{i}": i for i in range(100)}) is True
    assert r.mget([f"m{i}" for i in range(100)]) == [str(i).encode() for i in range(100)]
    assert r.incr("n") == 1 and r.incrby("n", 41) == 42 and r.decr("n", 2) == 40
    assert r.incrbyfloat("f", 1.5) == 1.5
    assert r.append("s", "abc") == 3 and r.getrange("s", 1, -1) == b"bc"
    assert r.setrange("s", 5, "x") == 6 and r.strlen("s") == 6
    assert r.getex("s", ex=100) and 0 < r.ttl("s") <= 100
    assert r.msetnx({"m0": 1, "new": 1}) is False
    binary = bytes(range(256)) * 1000
    assert r.set("bin", binary) and r.get("bin") == binary


def bits(r):
    assert r.setbit("b", 7, 1) == 0 and r.getbit("b", 7) == 1
    assert r.bitcount("b") == 1 and r.bitpos("b", 1) == 7
    r.set("b1", b"\xf0")
    assert r.bitop("OR", "b2", "b", "b1") == 1 and r.get("b2") == b"\xf1"
    assert r.bitfield("bf").set("u8", 0, 255).incrby("u8", 0, 10).execute() == [0, 9]


def keys(r):
    r.flushall()
    for i in range(500):
        r.set(f"key:{i}", i)
    assert r.dbsize() == 500 and len(r.keys("key:*")) == 500
    assert {k for k in r.scan_iter("key:*", count=20)} == {f"key:{i}".encode() for i in range(500)}
    assert r.exists("key:1", "key:2", "no") == 2 and r.delete("key:1", "key:2") == 2
    assert r.rename("key:3", "moved") and r.get("moved") == b"3"
    assert r.copy("moved", "copied") is True and r.type("copied") == b"string"
    assert r.expire("copied", 100) and r.persist("copied") and r.ttl("copied") == -1
    assert r.object("encoding", "copied") in (b"int", "int")
    assert r.randomkey() is not None and r.unlink("copied") == 1
    assert r.touch("moved") == 1 and r.move("moved", 1) is True


def pipelines(r):
    with r.pipeline(transaction=False) as p:
        for i in range(5000):
            p.set(f"p{i}", i).get(f"p{i}")
        replies = p.execute()
    assert replies == [x for i in range(5000) for x in (True, str(i).encode())]
    with r.pipeline(transaction=False) as p:
        p.set("text", "x").incr("text").get("text")
        replies = p.execute(raise_on_error=False)
    assert isinstance(replies[1], redis.ResponseError) and replies[2] == b"x"


def server(r):
    info = r.info()
    assert info["redis_version"] and info["connected_clients"] >= 1
    assert r.config_get("maxclients")["maxclients"].isdigit()
    assert r.client_setname("py") is True and r.client_getname() in ("py", b"py")
    assert any(c["name"] == "py" for c in r.client_list())
    assert r.time()[0] > 1_600_000_000 and r.ping() is True and r.echo("x") == b"x"
    assert r.command_count() > 50 and r.slowlog_len() >= 0
    try:
        r.execute_command("NOSUCH")
        raise AssertionError("an unknown command is an error")
    except redis.ResponseError as e:
        assert "unknown command" in str(e)


def threads():
    pool = redis.ConnectionPool(port=PORT, protocol=PROTO, max_connections=64)
    shared = redis.Redis(connection_pool=pool)

    def work():
        for _ in range(200):
            shared.incr("together")

    workers = [threading.Thread(target=work) for _ in range(8)]
    [w.start() for w in workers]
    [w.join() for w in workers]
    assert shared.get("together") == b"1600"


async def asynchronous():
    r = redis.asyncio.Redis(port=PORT, protocol=PROTO)
    await asyncio.gather(*(r.set(f"a{i}", i) for i in range(50)))
    values = await asyncio.gather(*(r.get(f"a{i}") for i in range(50)))
    assert values == [str(i).encode() for i in range(50)]
    await r.aclose()


client = redis.Redis(port=PORT, protocol=PROTO)
for part in (strings, bits, keys, pipelines, server):
    part(client)
    print(f"{part.__name__}: ok")
threads()
asyncio.run(asynchronous())
decoded = redis.Redis(port=PORT, protocol=PROTO, decode_responses=True, client_name="named", db=2)
assert decoded.set("é", "ü") and decoded.get("é") == "ü" and decoded.client_info()["db"] == 2
print("redis-py", redis.__version__, "RESP", PROTO, "is served")
