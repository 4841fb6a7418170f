// ioredis against a server: `node ioredis.js PORT`. Exits non-zero where anything is wrong.
const assert = require("node:assert/strict");
const module_ = require("ioredis");
const Redis = module_.default ?? module_;

async function main() {
  const r = new Redis({ port: Number(process.argv[2]), connectionName: "node" });
  await r.flushall();
  assert.equal(await r.set("k", "v", "EX", 100), "OK");
  assert.equal(await r.get("k"), "v");
  assert.ok((await r.ttl("k")) > 90);
  assert.equal(await r.set("k", "w", "NX"), null);
  assert.equal(await r.incrby("n", 5), 5);
  assert.equal(await r.mset("a", 1, "b", 2, "c", 3), "OK");
  assert.deepEqual(await r.mget("a", "b", "none", "c"), ["1", "2", null, "3"]);
  const binary = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
  await r.set("bin", binary);
  assert.deepEqual(await r.getBuffer("bin"), binary);
  const pipeline = r.pipeline();
  for (let i = 0; i < 2000; i++) pipeline.set(`p${i}`, i).get(`p${i}`);
  const replies = await pipeline.exec();
  assert.equal(replies.length, 4000);
  replies.forEach(([e, v], i) => { assert.equal(e, null); assert.equal(v, i % 2 ? String(i >> 1) : "OK"); });
  const many = await Promise.all(Array.from({ length: 1000 }, (_, i) => r.incr(`i${i % 10}`)));
  assert.equal(many.length, 1000);
  assert.equal(await r.get("i3"), "100");
  const seen = new Set();
  for await (const keys of r.scanStream({ match: "p*", count: 100 })) keys.forEach((k) => seen.add(k));
  assert.equal(seen.size, 2000);
  assert.equal(await r.del("a", "b", "none"), 2);
  await assert.rejects(r.call("NOSUCH"), /unknown command/);
  await assert.rejects(r.incr("k"), /not an integer/);
  assert.equal(await r.client("GETNAME"), "node");
  assert.match(await r.info("server"), /redis_version:/);
  const auto = new Redis({ port: Number(process.argv[2]), enableAutoPipelining: true });
  const values = await Promise.all(Array.from({ length: 500 }, (_, i) => auto.get(`p${i}`)));
  assert.deepEqual(values, Array.from({ length: 500 }, (_, i) => String(i)));
  auto.disconnect();
  assert.equal(await r.quit(), "OK");
  console.log("ioredis is served");
}
main().catch((e) => { console.error(e); process.exit(1); });
