// ioredis Cluster against the shards' own ports: `node ioredis_cluster.js PORT NODES STRICT`. Exits
// non-zero where anything is wrong.
const assert = require("node:assert/strict");
const { Cluster } = require("ioredis");

async function main() {
  const [port, nodes, strict] = [Number(process.argv[2]), Number(process.argv[3]), process.argv[4] === "yes"];
  const r = new Cluster([{ host: "127.0.0.1", port }]);
  await new Promise((resolve) => r.once("ready", resolve));
  assert.equal(r.nodes("master").length, nodes);
  for (let i = 0; i < 300; i++) assert.equal(await r.set(`k${i}`, i), "OK");
  for (let i = 0; i < 300; i++) assert.equal(await r.get(`k${i}`), String(i));
  const sizes = await Promise.all(r.nodes("master").map((n) => n.dbsize()));
  assert.equal(sizes.reduce((a, b) => a + b), 300);
  assert.ok(sizes.every((n) => n > 0));
  assert.equal(await r.mset("{t}a", 1, "{t}b", 2), "OK");
  assert.deepEqual(await r.mget("{t}a", "{t}b"), ["1", "2"]);
  const block = await r.multi().incr("{t}a").incr("{t}b").exec();
  assert.deepEqual(block, [[null, 2], [null, 3]]);
  const pipeline = r.pipeline();
  for (let i = 0; i < 200; i++) pipeline.incr(`{t}n${i % 7}`);
  assert.ok((await pipeline.exec()).every(([error]) => error === null));
  if (strict && nodes > 1) {
    await assert.rejects(r.mget("k1", "k2", "k3"), /CROSSSLOT/);
  } else {
    assert.deepEqual(await r.mget("k1", "k2", "k3"), ["1", "2", "3"]);
  }
  const seen = new Set();
  for (const node of r.nodes("master")) {
    for await (const keys of node.scanStream({ match: "k*", count: 50 })) {
      for (const key of keys) { assert.ok(!seen.has(key)); seen.add(key); }
    }
  }
  assert.equal(seen.size, 300);
  const sub = new Cluster([{ host: "127.0.0.1", port }]);
  await sub.subscribe("news");
  const heard = new Promise((resolve) => sub.on("message", (channel, text) => resolve([channel, text])));
  await r.publish("news", "hello");
  assert.deepEqual(await heard, ["news", "hello"]);
  sub.disconnect();
  const auto = new Cluster([{ host: "127.0.0.1", port }], { enableAutoPipelining: true });
  const values = await Promise.all(Array.from({ length: 300 }, (_, i) => auto.get(`k${i}`)));
  assert.deepEqual(values, Array.from({ length: 300 }, (_, i) => String(i)));
  auto.disconnect();
  await Promise.all(r.nodes("master").map((n) => n.flushall()));
  assert.equal(await r.get("k1"), null);
  r.disconnect();
  console.log("ioredis Cluster is served");
}
main().catch((e) => { console.error(e); process.exit(1); });
