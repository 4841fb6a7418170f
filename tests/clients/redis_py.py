"""redis-py against a server: `redis_py.py PORT PROTOCOL`. Exits non-zero where anything is wrong."""

import asyncio
import sys
import threading
import time

import redis
import redis.asyncio
from redis.cache import CacheConfig

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


def collections(r):
    assert r.hset("h", mapping={"a": 1, "b": 2}) == 2 and r.hgetall("h") == {b"a": b"1", b"b": b"2"}
    assert r.hincrby("h", "a", 5) == 6 and r.hmget("h", "a", "no") == [b"6", None]
    assert r.rpush("l", *range(1000)) == 1000 and r.lrange("l", 0, 2) == [b"0", b"1", b"2"]
    assert r.lpop("l", 2) == [b"0", b"1"] and r.lmove("l", "l2", "LEFT", "RIGHT") == b"2"
    assert r.sadd("s1", *range(200)) == 200 and r.sadd("s2", *range(100, 300)) == 200
    assert len(r.sinter("s1", "s2")) == 100 and r.sinterstore("s3", "s1", "s2") == 100
    assert r.zadd("z", {f"m{i}": i for i in range(1000)}) == 1000
    assert r.zrange("z", 0, 1) == [b"m0", b"m1"] and r.zrevrank("z", "m999") == 0
    assert r.zunionstore("z2", {"z": 2}) == 1000 and r.zscore("z2", "m7") == 14.0
    assert len(list(r.zscan_iter("z", match="m99?"))) == 10
    first = r.xadd("x", {"f": "v"})
    assert r.xgroup_create("x", "g", id="0") and r.xlen("x") == 1
    assert r.xreadgroup("g", "c", {"x": ">"}) and r.xack("x", "g", first) == 1
    assert r.geoadd("geo", (13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania")) == 2
    assert round(r.geodist("geo", "Palermo", "Catania", "km")) == 166
    assert r.pfadd("hll", *range(1000)) == 1 and 950 < r.pfcount("hll") < 1050
    assert r.sort("s3", start=0, num=2) == [b"100", b"101"]


def messages(r):
    """Publish and subscribe, keyspace notifications, and a queue that blocks."""
    heard = []
    with r.pubsub(ignore_subscribe_messages=True) as p:
        p.subscribe(**{"news": lambda m: heard.append(m["data"])})
        p.psubscribe(**{"n?ws": lambda m: heard.append(m["pattern"])})
        while r.pubsub_numsub("news") != [(b"news", 1)] or r.pubsub_numpat() != 1:
            p.get_message(timeout=0.01)
        assert r.publish("news", "hello") == 2
        while len(heard) < 2:
            p.get_message(timeout=1)
        assert sorted(heard) == [b"hello", b"n?ws"]
    queue = redis.Redis(port=PORT, protocol=PROTO)
    taken = []
    worker = threading.Thread(target=lambda: taken.append(queue.blpop(["q1", "q2", "q3"], timeout=20)))
    worker.start()
    r.rpush("q2", "job")
    worker.join()
    assert [list(t) for t in taken] == [[b"q2", b"job"]]
    assert r.blpop("q1", timeout=0.01) is None


def transfers(r):
    r.mset({"from": 100, "to": 0})

    def move(p):
        left = int(p.get("from")) - 10
        p.multi()
        p.set("from", left)
        p.incrby("to", 10)

    for _ in range(10):
        r.transaction(move, "from", "to")
    assert r.mget("from", "to") == [b"0", b"100"]


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


def cached():
    """Client-side caching: what another connection changes is not read from the cache."""
    cacher = redis.Redis(port=PORT, protocol=3, cache_config=CacheConfig())
    cache = cacher.get_cache()
    other = redis.Redis(port=PORT, protocol=PROTO)
    for i in range(50):
        other.set(f"cached{i}", i)
        assert cacher.get(f"cached{i}") == str(i).encode()
    assert cacher.mget("cached1", "cached2", "cached3") == [b"1", b"2", b"3"]
    assert cache.size == 51
    before = other.info("commandstats")["cmdstat_get"]["calls"]
    for i in range(50):
        assert cacher.get(f"cached{i}") == str(i).encode()
    assert other.info("commandstats")["cmdstat_get"]["calls"] == before
    for i in range(50):
        other.incr(f"cached{i}")
    # The news is read before the cache, but it may still be under way.
    for i in range(50):
        await_value(lambda i=i: cacher.get(f"cached{i}") == str(i + 1).encode())
    await_value(lambda: cacher.mget("cached1", "cached2", "cached3") == [b"2", b"3", b"4"])
    assert other.info("clients")["tracking_clients"] >= 1
    other.flushall()
    await_value(lambda: cacher.get("cached7") is None)
    cacher.close()


def await_value(right):
    end = time.monotonic() + 5
    while not right():
        assert time.monotonic() < end, "the cache hears of what has changed"


async def asynchronous():
    r = redis.asyncio.Redis(port=PORT, protocol=PROTO)
    await asyncio.gather(*(r.set(f"a{i}", i) for i in range(50)))
    values = await asyncio.gather(*(r.get(f"a{i}") for i in range(50)))
    assert values == [str(i).encode() for i in range(50)]
    await r.aclose()


client = redis.Redis(port=PORT, protocol=PROTO)
for part in (strings, bits, keys, collections, messages, transfers, pipelines, server):
    part(client)
    print(f"{part.__name__}: ok")
threads()
cached()
asyncio.run(asynchronous())
decoded = redis.Redis(port=PORT, protocol=PROTO, decode_responses=True, client_name="named", db=2)
assert decoded.set("é", "ü") and decoded.get("é") == "ü" and decoded.client_info()["db"] == 2
print("redis-py", redis.__version__, "RESP", PROTO, "is served")
