//! `core-direct`: the shards as nodes of a cluster, each on a port of its own. What a node answers is
//! compared with a real Redis Cluster of as many nodes.
use crate::Ctx;
use ringdove_rig::{Conn, Options, Server, Value, encode, eventually, free_ports};
use std::net::{Ipv4Addr, SocketAddr};

crate::cases!(run:
    the_common_port_has_no_cluster,
    nodes_describe_themselves_as_redis_s,
    a_strict_node_answers_as_redis_s,
    strictness_changes_while_it_runs,
    keys_of_other_shards_are_served,
    each_node_speaks_for_its_own_keys,
    slots_tell_what_they_cost,
    ids_and_addresses,
    connections_stay_where_they_came,
    ports_follow_bind,
    a_start_without_room_for_ports_fails,
);

/// A server with a port for each shard, which the ports from `base` on are.
struct Cores {
    server: Server,
    base: u16,
}

impl Cores {
    fn start(ctx: &Ctx, more: &str) -> Self {
        let base = free_ports(ctx.shards as u16);
        let args = format!("--core-direct yes --core-direct-port-base {base} {more}");
        Self {
            server: ctx.start_with(&args),
            base,
        }
    }

    fn connect(&self, shard: usize) -> Conn {
        connect(self.base + shard as u16)
    }
}

fn connect(port: u16) -> Conn {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Conn::tcp(address).expect("the node accepts")
}

/// A key of each shard's own, first to last.
fn keys(shards: usize) -> Vec<String> {
    let of = |shard: usize| {
        let mut names = (0..).map(|i| format!("k{i}"));
        names.find(|name| owner(name, shards) == shard)
    };
    (0..shards).map(|s| of(s).expect("some key")).collect()
}

/// The shard of a key without a tag: CRC16/XMODEM bit by bit, and slots dealt evenly in order.
fn owner(key: &str, shards: usize) -> usize {
    let slot = key.bytes().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 }
        })
    }) % 16384;
    usize::from(slot) * shards / 16384
}

fn the_common_port_has_no_cluster(ctx: &Ctx) {
    let reference = Server::start(&Options::redis());
    for cores in [
        Cores::start(ctx, ""),
        Cores::start(ctx, "--core-direct-strict yes"),
    ] {
        let mut pair = [cores.server.connect(), reference.connect()];
        for line in [
            "CLUSTER SLOTS",
            "CLUSTER SHARDS",
            "CLUSTER HELP",
            "CLUSTER KEYSLOT a",
            "CLUSTER COUNTKEYSINSLOT 1",
            "CLUSTER GETKEYSINSLOT 1 1",
            "CLUSTER RESET",
            "CLUSTER NOSUCH",
            "CLUSTER",
            "CLUSTER SLOTS x",
            "READONLY",
            "READWRITE",
            "ASKING",
            "INFO cluster",
            "SELECT 1",
            "MSET a 1 b 2 c 3",
            "MULTI",
            "READONLY",
            "CLUSTER INFO",
            "EXEC",
        ] {
            let [ours, theirs] = pair.each_mut().map(|conn| conn.run(line));
            assert_eq!(ours, theirs, "{line}");
        }
        assert!(
            pair[0]
                .run("INFO server")
                .text()
                .contains("redis_mode:standalone")
        );
    }
}

/// A Redis Cluster of as many nodes, with the same slots.
struct Reference {
    nodes: Vec<Server>,
}

impl Reference {
    fn start(count: usize) -> Self {
        let options = Options::redis().with("--cluster-enabled yes --cluster-node-timeout 2000");
        let start = |at: usize| {
            // The bus has a port of its own: port + 10000 need not be free.
            let bus = format!("--cluster-port {}", free_ports(1));
            let server = Server::spawn(&options.clone().with(&bus), free_ports(1));
            eventually("the node answers", 20, || Conn::tcp(server.address()).ok());
            let mut slots = (0..16384).filter(|slot| slot * count / 16384 == at);
            let (first, last) = (slots.next(), slots.next_back());
            let (first, last) = first.zip(last).expect("some slots");
            let mut conn = server.connect();
            conn.run_ok(&format!("CLUSTER ADDSLOTSRANGE {first} {last}"));
            conn.run_ok(&format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1));
            server
        };
        let nodes: Vec<Server> = (0..count).map(start).collect();
        let bus = |server: &Server| -> String {
            let text = server.connect().run("CONFIG GET cluster-port");
            text.items()[1].text()
        };
        for other in &nodes[1..] {
            let meet = format!("CLUSTER MEET 127.0.0.1 {} {}", other.port(), bus(other));
            nodes[0].connect().run_ok(&meet);
        }
        for node in &nodes {
            eventually("the cluster stands", 30, || {
                let info = node.connect().run("CLUSTER INFO").text();
                let stands = info.contains("cluster_state:ok")
                    && info.contains("cluster_slots_assigned:16384")
                    && info.contains(&format!("cluster_known_nodes:{count}"));
                stands.then_some(())
            });
        }
        Self { nodes }
    }
}

/// Replaces what differs between two clusters: ids and ports of nodes, by their number.
struct Names {
    names: Vec<(String, String)>,
}

impl Names {
    fn of(conns: &mut [Conn], ports: &[u16]) -> Self {
        let mut names = Vec::new();
        for (at, (conn, port)) in conns.iter_mut().zip(ports).enumerate() {
            names.push((conn.run("CLUSTER MYID").text(), format!("ID{at}")));
            names.push((format!(":{port}"), format!(":PORT{at}")));
        }
        Self { names }
    }

    fn text(&self, bytes: &[u8]) -> Vec<u8> {
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        for (from, to) in &self.names {
            text = text.replace(from, to);
        }
        text.into_bytes()
    }

    fn value(&self, value: Value) -> Value {
        let all = |values: Vec<Value>| values.into_iter().map(|v| self.value(v)).collect();
        match value {
            Value::Error(text) => Value::Error(self.text(&text)),
            Value::Bulk(text) => Value::Bulk(self.text(&text)),
            Value::Int(number) => {
                let name = self.text(format!(":{number}").as_bytes());
                match name.starts_with(b":PORT") {
                    true => Value::Bulk(name),
                    false => Value::Int(number),
                }
            }
            Value::Array(values) => Value::Array(all(values)),
            Value::Map(pairs) => Value::Map(
                pairs
                    .into_iter()
                    .map(|(name, value)| (self.value(name), self.value(value)))
                    .collect(),
            ),
            other => other,
        }
    }
}

/// A node of ours beside one of the reference, for each shard.
struct Duel {
    ours: Vec<Conn>,
    theirs: Vec<Conn>,
    names: [Names; 2],
    _servers: (Cores, Reference),
}

impl Duel {
    fn start(ctx: &Ctx, more: &str) -> Self {
        let (cores, reference) = (Cores::start(ctx, more), Reference::start(ctx.shards));
        let mut ours: Vec<Conn> = (0..ctx.shards).map(|at| cores.connect(at)).collect();
        let mut theirs: Vec<Conn> = reference.nodes.iter().map(Server::connect).collect();
        let ports: Vec<u16> = (0..ctx.shards as u16).map(|at| cores.base + at).collect();
        let their_ports: Vec<u16> = reference.nodes.iter().map(Server::port).collect();
        let names = [
            Names::of(&mut ours, &ports),
            Names::of(&mut theirs, &their_ports),
        ];
        Self {
            ours,
            theirs,
            names,
            _servers: (cores, reference),
        }
    }

    /// What both answer, with names in place of ids and ports.
    fn ask(&mut self, node: usize, line: &str) -> [Value; 2] {
        let (ours, theirs) = (self.ours[node].run(line), self.theirs[node].run(line));
        [self.names[0].value(ours), self.names[1].value(theirs)]
    }

    #[track_caller]
    fn same(&mut self, node: usize, line: &str) {
        let [ours, theirs] = self.ask(node, line);
        assert_eq!(ours, theirs, "node {node}: {line}");
    }
}

fn sorted_shards(value: Value) -> Value {
    match value {
        Value::Array(mut shards) => {
            shards.sort();
            Value::Array(shards)
        }
        other => other,
    }
}

/// A line of CLUSTER NODES without the times of pings and without the port of the bus.
fn node_line(line: &str) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    words[1] = words[1].split('@').next().unwrap_or_default();
    words.drain(4..6);
    words.join(" ")
}

fn nodes_describe_themselves_as_redis_s(ctx: &Ctx) {
    let mut duel = Duel::start(ctx, "");
    // A node without others never learns its own address.
    let alone = ctx.shards == 1;
    for hello in ["HELLO 2", "HELLO 3"] {
        for node in 0..ctx.shards {
            duel.ask(node, hello);
            if !alone {
                duel.same(node, "CLUSTER SLOTS");
                let shards = duel.ask(node, "CLUSTER SHARDS").map(sorted_shards);
                assert_eq!(shards[0], shards[1], "CLUSTER SHARDS");
            }
            // On a busy machine the nodes of a real cluster may lose touch for a moment.
            let texts = eventually("all nodes are in touch", 30, || {
                let texts = duel.ask(node, "CLUSTER NODES");
                let apart = texts[1].clone().text().contains(" disconnected");
                (!apart).then_some(texts)
            });
            let lines = texts.each_ref().zip_names(&duel.names);
            if !alone {
                assert_eq!(lines[0], lines[1]);
            }
            assert_eq!(lines[0].len(), ctx.shards);
            let infos = duel.ask(node, "CLUSTER INFO").map(|info| {
                let text = info.text();
                let lines = text.lines().filter(|line| !line.contains("messages"));
                lines.map(str::to_owned).collect::<Vec<_>>()
            });
            assert_eq!(infos[0], infos[1], "CLUSTER INFO");
            for line in [
                "CLUSTER MYID",
                "CLUSTER KEYSLOT foo",
                "CLUSTER KEYSLOT {a}b",
                "CLUSTER COUNTKEYSINSLOT 1",
                "CLUSTER COUNTKEYSINSLOT 16384",
                "CLUSTER COUNTKEYSINSLOT abc",
                "CLUSTER COUNTKEYSINSLOT -1",
                "CLUSTER GETKEYSINSLOT 1 10",
                "CLUSTER GETKEYSINSLOT 1 -1",
                "CLUSTER GETKEYSINSLOT 16384 1",
                "CLUSTER GETKEYSINSLOT 1 x",
                "CLUSTER COUNT-FAILURE-REPORTS abc",
                "CLUSTER REPLICAS abc",
                "CLUSTER SLAVES abc",
                "CLUSTER NOSUCH",
                "CLUSTER SLOTS x",
                "READONLY",
                "READWRITE",
                "ASKING",
                "INFO cluster",
            ] {
                duel.same(node, line);
            }
            let id = duel.ours[node].run("CLUSTER MYID").text();
            let ours = &mut duel.ours[node];
            let none = ours.call(&["CLUSTER", "COUNT-FAILURE-REPORTS", &id]);
            assert_eq!(none, Value::Int(0));
            assert_eq!(
                ours.call(&["CLUSTER", "REPLICAS", &id]),
                Value::Array(vec![])
            );
            assert_eq!(ours.run("CLUSTER MYSHARDID"), Value::bulk(&id));
            assert_eq!(ours.run("CLUSTER LINKS"), Value::Array(vec![]));
            assert!(ours.run("CLUSTER HELP").items().len() > 10);
            for line in [
                "RESET",
                "MEET 127.0.0.1 1",
                "ADDSLOTS 1",
                "FORGET x",
                "FAILOVER",
            ] {
                let refused = ours.run(&format!("CLUSTER {line}"));
                assert!(refused.is_error(), "{line}: {refused:?}");
            }
            assert!(
                ours.run("INFO server")
                    .text()
                    .contains("redis_mode:cluster")
            );
        }
    }
    let hello = duel.ours[0].run("HELLO");
    let mode = hello.pairs().into_iter().find(|(name, _)| name == "mode");
    assert_eq!(mode.map(|(_, mode)| mode), Some(Value::bulk("cluster")));
}

/// The lines of two texts, made comparable.
trait Lines {
    fn zip_names(self, names: &[Names; 2]) -> [Vec<String>; 2];
}

impl Lines for [&Value; 2] {
    fn zip_names(self, names: &[Names; 2]) -> [Vec<String>; 2] {
        let lines = |value: &Value, names: &Names| {
            let text = names.text(value.text().as_bytes());
            let text = String::from_utf8_lossy(&text).into_owned();
            let mut lines: Vec<String> = text.lines().map(node_line).collect();
            lines.sort();
            lines
        };
        [lines(self[0], &names[0]), lines(self[1], &names[1])]
    }
}

fn a_strict_node_answers_as_redis_s(ctx: &Ctx) {
    let mut duel = Duel::start(ctx, "--core-direct-strict yes");
    let keys = keys(ctx.shards);
    let own = keys[0].as_str();
    let other = keys[ctx.shards - 1].as_str();
    // Another slot of the first shard.
    let near = (0..)
        .map(|i| format!("n{i}"))
        .find(|name| owner(name, ctx.shards) == 0)
        .expect("some key");
    let script = format!(
        "SELECT 0|SELECT 1|SELECT x|SET {own} 1|SET {other} 1|GET {other}|MGET {own} {near}|\
         MGET {own} {other}|MSET {{{own}}}1 a {{{own}}}2 b|DEL {{{own}}}1 {{{own}}}2|\
         MULTI|SET {own} 1|SET {other} 1|EXEC|\
         MULTI|SET {own} 1|INCR {own}|EXEC|\
         MULTI|SET {own} 1|SET {near} 1|EXEC|GET {own}|GET {near}|\
         MULTI|SELECT 1|MOVE {own} 1|SWAPDB 0 1|EXEC|\
         WATCH {own}|UNWATCH|WATCH {other}|WATCH {own} {near}|MULTI|WATCH {other}|PING|EXEC|\
         MOVE {own} 1|MOVE {other} 1|SWAPDB 0 1|SWAPDB 0 0|COPY {own} {{{own}}}3 DB 1|\
         COPY {own} {{{own}}}3|COPY {own} {near}|\
         DEL l|RPUSH {{{own}}}l 3 1 2|SORT {{{own}}}l|SORT {{{own}}}l BY x*|\
         SORT {{{own}}}l GET x*|SORT {{{own}}}l GET #|SORT {{{own}}}l BY nosort|\
         RENAME {own} {near}|SUNIONSTORE {own} {near} {other}|\
         BLPOP {other} 1|BLPOP {own} {near} 1|XREAD STREAMS {own} {near} 0 0|\
         SPUBLISH {own} m|SPUBLISH {other} m|PUBLISH {other} m|\
         SSUBSCRIBE {own} {near}|SSUBSCRIBE {other}|SUNSUBSCRIBE {own} {near}|SUNSUBSCRIBE {own}|\
         FLUSHALL|DBSIZE|SET {own}|NOSUCH {other}|\
         CLIENT REPLY SKIP|SET {other} 2|PING"
    );
    let silent = format!("SET {other} 2");
    for hello in ["HELLO 2", "HELLO 3"] {
        duel.ask(0, hello);
        for line in script.split('|') {
            if line == "CLIENT REPLY SKIP" || line == silent {
                duel.ours[0].send(&line.split(' ').collect::<Vec<_>>());
                duel.theirs[0].send(&line.split(' ').collect::<Vec<_>>());
                continue;
            }
            duel.same(0, line);
        }
    }
}

fn strictness_changes_while_it_runs(ctx: &Ctx) {
    let cores = Cores::start(ctx, "");
    let keys = keys(ctx.shards);
    let far = keys.last().expect("a shard");
    let mut conn = cores.connect(0);
    conn.run_ok(&format!("SET {far} 1"));
    cores
        .server
        .connect()
        .run_ok("CONFIG SET core-direct-strict yes");
    let reply = conn.run(&format!("GET {far}"));
    assert_eq!(reply.is_error(), ctx.shards > 1, "{reply:?}");
    let new = cores.connect(0).run(&format!("GET {far}"));
    assert_eq!(new, reply);
    cores
        .server
        .connect()
        .run_ok("CONFIG SET core-direct-strict no");
    assert_eq!(conn.run(&format!("GET {far}")), Value::bulk("1"));
}

fn keys_of_other_shards_are_served(ctx: &Ctx) {
    let cores = Cores::start(ctx, "");
    let keys = keys(ctx.shards);
    let mut conn = cores.connect(0);
    for (at, key) in keys.iter().enumerate() {
        conn.run_ok(&format!("SET {key} {at}"));
    }
    let mut line = vec!["MGET"];
    line.extend(keys.iter().map(String::as_str));
    let wanted = (0..ctx.shards).map(|at| Value::bulk(at.to_string()));
    let wanted = Value::Array(wanted.collect());
    for node in 0..ctx.shards {
        assert_eq!(cores.connect(node).call(&line), wanted);
    }
    conn.run_ok("MULTI");
    for key in &keys {
        conn.run(&format!("INCR {key}"));
    }
    assert_eq!(conn.run("EXEC").items().len(), ctx.shards);
    conn.run_ok("SELECT 1");
    assert_eq!(conn.call(&line).items()[0], Value::NilBulk);
}

fn each_node_speaks_for_its_own_keys(ctx: &Ctx) {
    let cores = Cores::start(ctx, "");
    let mut common = cores.server.connect();
    let total = 500;
    for i in 0..total {
        common.run_ok(&format!("SET k{i} v"));
    }
    let mut seen = Vec::new();
    let (mut sum, mut in_blocks) = (0, 0);
    for node in 0..ctx.shards {
        let mut conn = cores.connect(node);
        sum += conn.run("DBSIZE").int();
        let mut found = Vec::new();
        let mut cursor = "0".to_owned();
        loop {
            let page = conn.run(&format!("SCAN {cursor} COUNT 7"));
            found.extend(page.items()[1].items().iter().map(Value::text));
            cursor = page.items()[0].text();
            if cursor == "0" {
                break;
            }
        }
        assert!(found.iter().all(|key| owner(key, ctx.shards) == node));
        let mut all: Vec<String> = conn.run("KEYS *").items().iter().map(Value::text).collect();
        all.sort();
        let mut sorted = found.clone();
        sorted.sort();
        assert_eq!(all, sorted, "KEYS and SCAN");
        assert_eq!(owner(&conn.run("RANDOMKEY").text(), ctx.shards), node);
        let info = conn.run("INFO keyspace").text();
        assert!(
            info.contains(&format!("db0:keys={},", found.len())),
            "{info}"
        );
        conn.run_ok("MULTI");
        conn.run("DBSIZE");
        conn.run("SCAN 0 COUNT 10000");
        let block = conn.run("EXEC");
        in_blocks += block.items()[0].int();
        assert_eq!(block.items()[1].items()[1].items().len(), found.len());
        let slot = conn.run(&format!("CLUSTER KEYSLOT {}", found[0])).int();
        let count = conn.run(&format!("CLUSTER COUNTKEYSINSLOT {slot}")).int();
        let inside = conn.run(&format!("CLUSTER GETKEYSINSLOT {slot} 100"));
        assert_eq!(inside.items().len() as i64, count);
        assert!(inside.items().contains(&Value::bulk(&found[0])));
        seen.extend(found);
    }
    seen.sort();
    seen.dedup();
    assert_eq!(
        (seen.len(), sum, in_blocks),
        (total, total as i64, total as i64)
    );
    assert_eq!(common.run("DBSIZE"), Value::Int(total as i64));
    cores.connect(0).run_ok("FLUSHALL");
    let left = seen
        .iter()
        .filter(|key| owner(key, ctx.shards) != 0)
        .count();
    assert_eq!(common.run("DBSIZE"), Value::Int(left as i64));
    cores.connect(ctx.shards - 1).run_ok("FLUSHDB");
    let gone = |key: &&String| [0, ctx.shards - 1].contains(&owner(key, ctx.shards));
    let left = seen.iter().filter(|key| !gone(key)).count();
    assert_eq!(common.run("DBSIZE"), Value::Int(left as i64));
}

/// The slots and numbers that CLUSTER SLOT-STATS tells, by name.
fn slot_stats(conn: &mut Conn, query: &str) -> Vec<(i64, Vec<(String, i64)>)> {
    let reply = conn.run(&format!("CLUSTER SLOT-STATS {query}"));
    let numbers = |map: &Value| {
        let numbers = map.pairs().into_iter();
        numbers.map(|(name, n)| (name, n.int())).collect()
    };
    let slots = reply.items().iter();
    slots
        .map(|slot| (slot.items()[0].int(), numbers(&slot.items()[1])))
        .collect()
}

fn slots_tell_what_they_cost(ctx: &Ctx) {
    let cores = Cores::start(ctx, "");
    let keys = keys(ctx.shards);
    let mut conns: Vec<Conn> = (0..ctx.shards).map(|at| cores.connect(at)).collect();
    for (at, conn) in conns.iter_mut().enumerate() {
        conn.run("HELLO 3");
        for n in 0..=at {
            conn.run_ok(&format!("SET {{{}}}{n} v", keys[at]));
        }
        let slot = conn.run(&format!("CLUSTER KEYSLOT {}", keys[at])).int();
        let here = slot_stats(conn, &format!("SLOTSRANGE {slot} {slot}"));
        let wanted = vec![(slot, vec![("key-count".to_owned(), at as i64 + 1)])];
        assert_eq!(here, wanted, "without counters the keys alone");
        let most = slot_stats(conn, "ORDERBY KEY-COUNT LIMIT 1");
        assert_eq!(most, wanted);
        let least = slot_stats(conn, "ORDERBY KEY-COUNT ASC");
        assert_eq!(least.last(), wanted.last());
        assert!(
            least
                .windows(2)
                .all(|w| w[0].1[0].1 < w[1].1[0].1 || w[0].0 < w[1].0)
        );
        for wrong in [
            "ORDERBY cpu-usec",
            "ORDERBY x",
            "SLOTSRANGE 0 16384",
            "SLOTSRANGE 1",
        ] {
            assert!(conn.run(&format!("CLUSTER SLOT-STATS {wrong}")).is_error());
        }
        // Each node tells of its own slots, and all together of all.
        let count = slot_stats(conn, "SLOTSRANGE 0 16383").len();
        assert!((16384 / ctx.shards..=16384 / ctx.shards + 1).contains(&count));
    }
    let mut common = cores.server.connect();
    let disabled = common.run("CLUSTER SLOT-STATS ORDERBY key-count");
    assert_eq!(disabled, common.run("CLUSTER INFO"), "no cluster there");
    common.run_ok("CONFIG SET cluster-slot-stats-enabled yes");
    let key = keys.last().expect("a shard");
    let conn = conns.last_mut().expect("a shard");
    let slot = conn.run(&format!("CLUSTER KEYSLOT {key}")).int();
    let get = encode(&["GET", &format!("{{{key}}}0")]).len() as i64;
    // Wherever a client is, by whatever way its commands come.
    for asker in [&mut common, conn] {
        for _ in 0..10 {
            asker.run(&format!("GET {{{key}}}0"));
        }
        asker.run(&format!("MGET {{{key}}}0 {{{key}}}1"));
        asker.run(&format!("MGET {} {key}", keys[0]));
    }
    let mget = encode(&["MGET", &format!("{{{key}}}0"), &format!("{{{key}}}1")]).len() as i64;
    let of_several = match ctx.shards {
        1 => encode(&["MGET", &keys[0], key]).len() as i64,
        _ => 0, // of no slot alone
    };
    let conn = conns.last_mut().expect("a shard");
    let told = slot_stats(conn, "ORDERBY network-bytes-in LIMIT 1");
    let [(told, numbers)] = &told[..] else {
        panic!("one slot was asked for: {told:?}");
    };
    let number = |wanted: &str| {
        let named = numbers.iter().find(|(name, _)| name == wanted);
        named.expect("a metric").1
    };
    assert_eq!(*told, slot);
    assert_eq!(numbers.len(), 4);
    assert_eq!(
        number("network-bytes-in"),
        2 * (10 * get + mget + of_several)
    );
    let long = ctx.shards > 1;
    let (value, null) = ("$1\r\nv\r\n".len(), "$-1\r\n".len());
    let (second, null3) = (
        if long { value } else { null },
        if long { value } else { 3 },
    );
    let several = if long { 0 } else { 4 + null + null + 4 + 3 + 3 };
    let wanted = 20 * value + 2 * (4 + value) + second + null3 + several;
    assert_eq!(number("network-bytes-out"), wanted as i64);
    assert!((0..1_000_000).contains(&number("cpu-usec")));
    common.run_ok("CONFIG RESETSTAT");
    let told = slot_stats(conn, &format!("SLOTSRANGE {slot} {slot}"));
    assert!(told[0].1[1..].iter().all(|(_, n)| *n == 0), "{told:?}");
    // The counters of a slot that moves go on.
    conn.run(&format!("GET {{{key}}}0"));
    common.run(&format!("RINGDOVE SLOTS MOVE {slot} TO 0"));
    conns[0].run(&format!("GET {{{key}}}0"));
    let told = slot_stats(&mut conns[0], &format!("SLOTSRANGE {slot} {slot}"));
    assert_eq!(told[0].1[2].1, 2 * get);
}

fn ids_and_addresses(ctx: &Ctx) {
    let ids = |cores: &Cores| -> Vec<String> {
        let ids = (0..ctx.shards).map(|at| cores.connect(at).run("CLUSTER MYID").text());
        ids.collect()
    };
    let mapped =
        "--core-direct-seed s --cluster-announce-ip 10.9.8.7 --core-direct-announce-ports 31000";
    let (one, two) = (
        Cores::start(ctx, mapped),
        Cores::start(ctx, "--core-direct-seed s"),
    );
    assert_eq!(ids(&one), ids(&two), "the seed alone makes them");
    assert_ne!(ids(&one), ids(&Cores::start(ctx, "")));
    let mut conn = one.connect(0);
    let slots = conn.run("CLUSTER SLOTS");
    let last = slots.items().last().expect("a range").items()[2].clone();
    let port = 31000 + ctx.shards as i64 - 1;
    assert_eq!(
        last.items()[..2],
        [Value::bulk("10.9.8.7"), Value::Int(port)]
    );
    conn.run_ok(
        "CONFIG SET cluster-preferred-endpoint-type hostname cluster-announce-hostname a.b",
    );
    let slots = conn.run("CLUSTER SLOTS");
    let first = slots.items()[0].items()[2].clone();
    assert_eq!(first.items()[0], Value::bulk("a.b"));
    let more = Value::Array(vec![Value::bulk("ip"), Value::bulk("10.9.8.7")]);
    assert_eq!(first.items()[3], more);
    conn.run_ok(
        "CONFIG SET cluster-preferred-endpoint-type unknown-endpoint core-direct-strict yes",
    );
    let slots = conn.run("CLUSTER SLOTS");
    assert_eq!(slots.items()[0].items()[2].items()[0], Value::NilBulk);
    if let [_, .., far] = &keys(ctx.shards)[..] {
        let slot = conn.run(&format!("CLUSTER KEYSLOT {far}")).int();
        let moved = Value::error(&format!("MOVED {slot} :{port}"));
        assert_eq!(conn.run(&format!("GET {far}")), moved);
    }
    for wrong in ["0", "70000", "a", "1,,2"] {
        let reply = conn.call(&["CONFIG", "SET", "core-direct-announce-ports", wrong]);
        assert!(reply.is_error(), "{wrong}: {reply:?}");
    }
    let breaks = conn.call(&["CONFIG", "SET", "cluster-announce-ip", "1\r\n2"]);
    assert!(breaks.is_error(), "{breaks:?}");
}

fn connections_stay_where_they_came(ctx: &Ctx) {
    let cores = Cores::start(ctx, "");
    let node = ctx.shards - 1;
    let mut conns: Vec<Conn> = (0..9).map(|_| cores.connect(node)).collect();
    for conn in &mut conns {
        assert_eq!(conn.run("PING"), Value::simple("PONG"));
    }
    let info = conns[0].run("INFO shards").text();
    assert!(
        info.contains(&format!("shard{node}:connections=9,")),
        "{info}"
    );
    // Connections of the common port go to the shards that have fewer.
    let mut others: Vec<Conn> = (0..9 * node).map(|_| cores.server.connect()).collect();
    for conn in &mut others {
        assert_eq!(conn.run("PING"), Value::simple("PONG"));
    }
    let all = cores.server.connect().run("INFO shards").text();
    for shard in 0..ctx.shards {
        let even = [9, 10].map(|n| all.contains(&format!("shard{shard}:connections={n},")));
        assert!(even.contains(&true), "{all}");
    }
    drop(others);
    drop(conns);
    cores.server.await_info("connected_clients", 1);
}

fn ports_follow_bind(ctx: &Ctx) {
    let cores = Cores::start(ctx, "");
    let mut conn = cores.server.connect();
    conn.call(&["CONFIG", "SET", "bind", "127.0.0.2"]);
    for shard in 0..ctx.shards {
        let port = cores.base + shard as u16;
        let there = SocketAddr::from(([127, 0, 0, 2], port));
        let mut conn = eventually("the node listens there", 10, || Conn::tcp(there).ok());
        let slots = conn.run("CLUSTER SLOTS");
        let host = &slots.items()[0].items()[2].items()[0];
        assert_eq!(*host, Value::bulk("127.0.0.2"), "the address it came to");
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        assert!(Conn::tcp(here).is_err(), "and no more here");
    }
}

fn a_start_without_room_for_ports_fails(ctx: &Ctx) {
    let port = free_ports(1);
    for (args, why) in [
        (
            "--core-direct yes --core-direct-port-base 65535",
            ctx.shards > 1,
        ),
        ("--core-direct yes --port 0", true),
    ] {
        if !why {
            continue;
        }
        let (status, text) = ctx.options().with(args).run_to_end(port);
        assert!(!status.success() && text.contains("core-direct"), "{text}");
    }
    let base = format!("--core-direct yes --core-direct-port-base {port}");
    let (status, text) = ctx.options().with(&base).run_to_end(port);
    assert!(!status.success() && text.contains("common"), "{text}");
}
