"""redis-py's RedisCluster against the shards' own ports: `redis_py_cluster.py PORT PROTOCOL NODES
STRICT`. Exits non-zero where anything is wrong."""

import asyncio
import sys

import redis
import redis.asyncio

PORT, PROTO, NODES = (int(n) for n in sys.argv[1:4])
STRICT = sys.argv[4] == "yes"


def everywhere(r, command):
    """What each node answers. Without a node redis-py 8.1 asks one alone, of any cluster."""
    return [r.execute_command(command, target_nodes=node) for node in r.get_primaries()]


def commands(r):
    assert len(r.get_primaries()) == NODES
    for i in range(300):
        assert r.set(f"k{i}", i)
    assert all(r.get(f"k{i}") == str(i).encode() for i in range(300))
    assert sum(everywhere(r, "DBSIZE")) == 300
    keys = [key for node in r.get_primaries() for key in r.keys("k*", target_nodes=node)]
    assert len(keys) == 300 and len(set(keys)) == 300
    found = list(r.scan_iter("k*", count=20))
    assert len(found) == 300 and len(set(found)) == 300
    assert r.randomkey() is not None
    assert r.mset({"{t}a": 1, "{t}b": 2}) and r.mget("{t}a", "{t}b") == [b"1", b"2"]
    assert r.mset_nonatomic({f"m{i}": i for i in range(50)})
    assert r.mget_nonatomic([f"m{i}" for i in range(50)]) == [str(i).encode() for i in range(50)]
    assert r.delete(*[f"m{i}" for i in range(50)]) == 50
    with r.pipeline() as pipe:
        for i in range(200):
            pipe.incr(f"n{i % 13}")
        assert len(pipe.execute()) == 200
    assert r.cluster_keyslot("foo") == 12182
    slot = r.cluster_keyslot("k1")
    assert r.cluster_countkeysinslot(slot) >= 1
    assert b"k1" in [k if isinstance(k, bytes) else k.encode() for k in r.cluster_get_keys_in_slot(slot, 100)]
    assert r.cluster_info(target_nodes=r.get_random_node())["cluster_state"] == "ok"
    assert r.ping(target_nodes=redis.RedisCluster.ALL_NODES)
    node = r.get_node_from_key("k1")
    assert r.info("cluster", target_nodes=node)["cluster_enabled"] == 1
    try:
        both = r.execute_command("MGET", "k1", "k2", "k3", target_nodes=node)
        assert not (STRICT and NODES > 1), both
        assert both == [b"1", b"2", b"3"]
    except redis.exceptions.ClusterCrossSlotError:
        assert STRICT
    assert r.publish("news", "nobody") == 0
    assert all(everywhere(r, "FLUSHALL")) and sum(everywhere(r, "DBSIZE")) == 0


async def asynchronous():
    r = redis.asyncio.RedisCluster(host="127.0.0.1", port=PORT, protocol=PROTO)
    await r.initialize()
    assert all(await asyncio.gather(*[r.set(f"k{i}", i) for i in range(60)]))
    assert await r.get("k7") == b"7"
    sizes = [await r.execute_command("DBSIZE", target_nodes=node) for node in r.get_primaries()]
    assert sum(sizes) == 60
    await r.aclose()


r = redis.RedisCluster(host="127.0.0.1", port=PORT, protocol=PROTO)
commands(r)
r.close()
asyncio.run(asynchronous())
print("RedisCluster is served")
