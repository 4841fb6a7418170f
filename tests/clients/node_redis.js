// node-redis against a server: `node node_redis.js PORT PROTOCOL`. Exits non-zero where anything is wrong.
const assert = require("node:assert/strict");
const { createClient } = require("redis");

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
  await r.close();
  console.log("node-redis is served, RESP", RESP);
}
main().catch((e) => { console.error(e); process.exit(1); });
