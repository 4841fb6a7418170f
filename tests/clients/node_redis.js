// node-redis against a server: `node node_redis.js PORT PROTOCOL`. Exits non-zero where anything is wrong.
const assert = require("node:assert/strict");
const { createClient, BasicClientSideCache } = require("redis");

// Client-side caching: what another client changes is not read from the cache.
async function cached(port, other) {
  const clientSideCache = new BasicClientSideCache({ ttl: 0, maxEntries: 0, evictPolicy: "LRU" });
  const r = createClient({ socket: { port }, RESP: 3, clientSideCache });
  r.on("error", (e) => { console.error(e); process.exit(1); });
  await r.connect();
  const right = async (key, value) => {
    const end = Date.now() + 5000;
    while ((await r.get(key)) !== value) {
      assert.ok(Date.now() < end, `${key} is not ${value} in time`);
      // What is cached is given without a look at the socket, from which the word of the change comes.
      await new Promise(setImmediate);
    }
  };
  const keys = Array.from({ length: 50 }, (_, i) => `cached${i}`);
  for (const key of keys) await other.set(key, "1");
  for (const key of keys) assert.equal(await r.get(key), "1");
  const hits = clientSideCache.stats().hitCount;
  for (const key of keys) assert.equal(await r.get(key), "1");
  assert.equal(clientSideCache.stats().hitCount, hits + 50);
  for (const key of keys) await other.incr(key);
  for (const key of keys) await right(key, "2");
  await other.flushAll();
  for (const key of keys) await right(key, null);
  await r.close();
}

async function main() {
  const [port, RESP] = [Number(process.argv[2]), Number(process.argv[3])];
  const r = createClient({ socket: { port }, RESP, name: "node-redis" });
  r.on("error", (e) => { console.error(e); process.exit(1); });
  await r.connect();
  await r.flushAll();
  assert.equal(await r.set("k", "v"), "OK");
  assert.equal(await r.get("k"), "v");
  assert.equal(await r.get("none"), null);
  assert.equal(await r.incrBy("n", 7), 7);
  assert.equal(await r.mSet({ a: "1", b: "2" }), "OK");
  assert.deepEqual(await r.mGet(["a", "b", "none"]), ["1", "2", null]);
  const all = await Promise.all(Array.from({ length: 3000 }, (_, i) => r.set(`p${i}`, String(i))));
  assert.ok(all.every((reply) => reply === "OK"));
  const seen = new Set();
  for await (const keys of r.scanIterator({ MATCH: "p*", COUNT: 200 })) [keys].flat().forEach((k) => seen.add(k));
  assert.equal(seen.size, 3000);
  assert.equal(await r.expire("k", 100), 1);
  assert.ok((await r.ttl("k")) > 90);
  assert.equal(await r.setBit("bits", 7, 1), 0);
  assert.equal(await r.bitCount("bits"), 1);
  assert.equal(await r.del(["a", "b"]), 2);
  assert.equal(await r.clientGetName(), "node-redis");
  const config = await r.configGet("maxclients");
  assert.ok(Number(config.maxclients) > 0);
  await assert.rejects(r.incr("k"), /not an integer/);
  await cached(port, r);
  await r.close();
  console.log("node-redis is served, RESP", RESP);
}
main().catch((e) => { console.error(e); process.exit(1); });
