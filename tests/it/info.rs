//! INFO, SLOWLOG, LATENCY, COMMAND and MEMORY speak for the whole server.
use crate::Ctx;
use ringdove_rig::{Conn, Server, Value, eventually, rss_bytes};
use std::time::Duration;

crate::cases!(run:
    sections,
    fields_that_clients_read,
    counters_count_every_shard,
    keyspace_line,
    slowlog,
    commandstats_and_errorstats,
    memory_follows_the_data,
    memory_is_given_back,
    a_long_reply_is_in_memory_once,
    every_command_is_described,
);

fn sections(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    let text = conn.run("INFO").text();
    for name in [
        "Server",
        "Clients",
        "Memory",
        "Persistence",
        "Stats",
        "Replication",
        "CPU",
        "Modules",
        "Errorstats",
        "Cluster",
        "Keyspace",
    ] {
        assert!(text.contains(&format!("# {name}\r\n")), "{name}:\n{text}");
    }
    assert!(!text.contains("# Commandstats"), "only when asked for");
    let some = conn.run("INFO server clients").text();
    assert!(some.contains("# Server") && some.contains("# Clients"));
    assert!(!some.contains("# Memory"), "{some}");
    assert!(
        conn.run("INFO everything")
            .text()
            .contains("# Commandstats")
    );
    assert_eq!(conn.run("INFO nosuch"), Value::bulk(""));
    assert!(matches!(
        server.connect_resp3().run("INFO"),
        Value::Verbatim(_)
    ));
}

fn fields_that_clients_read(ctx: &Ctx) {
    let server = ctx.start();
    let reference = Server::start(&ringdove_rig::Options::redis());
    let names = |server: &Server| -> Vec<String> {
        let text = server.connect().run("INFO").text();
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        fields.map(|(name, _)| name.to_owned()).collect()
    };
    let ours = names(&server);
    // Internals of Redis's allocator and threads that nothing reads.
    let own = [
        "mem_cluster_links",
        "monotonic_clock",
        "redis_build_id",
        "redis_git",
        "gcc_version",
        "configured_hz",
        "atomicvar_api",
        "lua_",
        "active_defrag",
        "io_thread",
        "dump_payload",
    ];
    let missing: Vec<String> = names(&reference)
        .into_iter()
        .filter(|name| !ours.contains(name) && !own.iter().any(|o| name.starts_with(o)))
        .collect();
    assert!(missing.is_empty(), "INFO lacks {missing:?}");
    assert_eq!(server.info_number("tcp_port"), u64::from(server.port()));
    assert_eq!(server.info("redis_mode"), "standalone");
    assert_eq!(server.info("arch_bits"), "64");
    assert_eq!(server.info("run_id").len(), 40);
    assert_eq!(server.info("role"), "master");
    if !ctx.is_redis() {
        assert_eq!(server.info("redis_version"), "7.4.0");
        assert_eq!(server.info("ringdove_version"), env!("CARGO_PKG_VERSION"));
    }
}

fn counters_count_every_shard(ctx: &Ctx) {
    let server = ctx.start();
    let mut conns: Vec<Conn> = (0..9).map(|_| server.connect()).collect();
    for (i, conn) in conns.iter_mut().enumerate() {
        for k in 0..10 {
            conn.run_ok(&format!("SET k{i}:{k} v"));
            assert_eq!(conn.run(&format!("GET k{i}:{k}")), Value::bulk("v"));
            assert_eq!(conn.run(&format!("GET none{i}:{k}")), Value::NilBulk);
        }
    }
    assert_eq!(server.info_number("keyspace_hits"), 90);
    assert_eq!(server.info_number("keyspace_misses"), 90);
    assert!(server.info_number("total_commands_processed") >= 270);
    assert!(server.info_number("total_connections_received") >= 9);
    assert!(server.info_number("total_net_input_bytes") > 5000);
    server.await_info("connected_clients", 10);
}

fn keyspace_line(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    for i in 0..40 {
        conn.run_ok(&format!("SET k{i} v"));
    }
    for i in 0..10 {
        conn.run(&format!("EXPIRE k{i} 1000"));
    }
    conn.run_ok("SELECT 7");
    conn.run_ok("SET one 1");
    let text = conn.run("INFO keyspace").text();
    assert!(
        text.contains("\r\ndb0:keys=40,expires=10,avg_ttl="),
        "{text}"
    );
    assert!(
        text.contains("\r\ndb7:keys=1,expires=0,avg_ttl=0"),
        "{text}"
    );
    assert!(!text.contains("db1:"), "{text}");
}

fn slowlog(ctx: &Ctx) {
    let server = ctx.start();
    let mut conns: Vec<Conn> = (0..4).map(|_| server.connect()).collect();
    conns[0].run_ok("CONFIG SET slowlog-log-slower-than 0 slowlog-max-len 500");
    conns[0].run_ok("SLOWLOG RESET");
    for (i, conn) in conns.iter_mut().enumerate() {
        conn.run_ok(&format!("CLIENT SETNAME slow{i}"));
        for k in 0..5 {
            conn.run_ok(&format!("SET slow{i}:{k} v"));
        }
    }
    let entries = conns[3].run("SLOWLOG GET -1");
    let sets: Vec<&Value> = entries
        .items()
        .iter()
        .filter(|e| e.items()[3].items()[0] == Value::bulk("SET"))
        .collect();
    assert_eq!(sets.len(), 20);
    let newest = entries.items()[0].items();
    assert_eq!(newest.len(), 6);
    let ids: Vec<i64> = entries.items().iter().map(|e| e.items()[0].int()).collect();
    assert!(ids.is_sorted_by(|a, b| a > b), "newest first: {ids:?}");
    assert_eq!(conns[1].run("SLOWLOG GET 3").items().len(), 3);
    conns[2].run_ok("CONFIG SET slowlog-log-slower-than -1");
    conns[2].run_ok("SLOWLOG RESET");
    assert_eq!(conns[0].run("SLOWLOG LEN"), Value::Int(0));
}

fn commandstats_and_errorstats(ctx: &Ctx) {
    let server = ctx.start();
    let mut conns: Vec<Conn> = (0..5).map(|_| server.connect()).collect();
    for conn in &mut conns {
        conn.run_ok("SET text x");
        conn.run("INCR text");
        conn.run("NOSUCH");
        conn.run("SET only");
    }
    let text = conns[0].run("INFO everything").text();
    let set = text
        .lines()
        .find(|l| l.starts_with("cmdstat_set:"))
        .expect("SET's line");
    assert!(set.starts_with("cmdstat_set:calls=5,usec="), "{set}");
    assert!(set.ends_with("rejected_calls=5,failed_calls=0"), "{set}");
    let incr = text
        .lines()
        .find(|l| l.starts_with("cmdstat_incr:"))
        .expect("INCR's line");
    assert!(incr.ends_with("rejected_calls=0,failed_calls=5"), "{incr}");
    assert!(text.contains("errorstat_ERR:count=15\r\n"), "{text}");
    assert_eq!(server.info_number("total_error_replies"), 15);
}

fn memory_follows_the_data(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    let before = server.info_number("used_memory");
    let value = "x".repeat(10_000);
    for i in 0..2000 {
        assert_eq!(conn.call(&["SET", &format!("m{i}"), &value]), Value::ok());
    }
    let grown = server.info_number("used_memory") - before;
    assert!(
        (20_000_000..30_000_000).contains(&grown),
        "20 MB of values: {grown}"
    );
    let one = conn.run("MEMORY USAGE m7").int();
    assert!((10_000..14_000).contains(&one), "one key: {one}");
    conn.run_ok("FLUSHALL SYNC");
    let left = server.info_number("used_memory").saturating_sub(before);
    assert!(left < 2_000_000, "after FLUSHALL: {left}");
    assert!(server.info_number("used_memory_rss") > 1_000_000);
}

/// COMMAND's ways of telling agree with each other.
fn every_command_is_described(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    let all = conn.run("COMMAND");
    assert_eq!(
        conn.run("COMMAND COUNT"),
        Value::Int(all.items().len() as i64)
    );
    let list = conn.run("COMMAND LIST");
    let whole = |name: &&Value| !name.text().contains('|');
    assert_eq!(list.items().iter().filter(whole).count(), all.items().len());
    let docs = conn.run("COMMAND DOCS").pairs();
    assert_eq!(docs.len(), all.items().len());
    for row in all.items() {
        let name = row.items()[0].text();
        assert_eq!(row.items().len(), 10, "{name}");
        assert!(list.items().contains(&Value::bulk(&name)), "{name}");
        let doc = docs.iter().find(|(n, _)| *n == name);
        let (_, doc) = doc.unwrap_or_else(|| panic!("no docs of {name}"));
        let fields: Vec<String> = doc.pairs().into_iter().map(|(k, _)| k).collect();
        for field in ["summary", "since", "group"] {
            assert!(
                fields.iter().any(|f| f == field),
                "{name} lacks {field}: {fields:?}"
            );
        }
    }
}

/// What a large dataset and a command of very many arguments have taken is the system's again.
fn memory_is_given_back(ctx: &Ctx) {
    const MANY: usize = 400_000;
    let server = ctx.start();
    let mut conn = server.connect();
    conn.set_timeout(Duration::from_secs(60));
    let rss = || rss_bytes(server.pid()) as usize;
    let before = rss();
    let value = vec![7; 1 << 20];
    for n in 0..150 {
        let key = format!("big:{n}");
        assert_eq!(
            conn.call(&[b"SET", key.as_bytes(), &value[..]]),
            Value::ok()
        );
    }
    let full = rss();
    assert!(full > before + 140 * value.len(), "{before} {full}");
    let names: Vec<String> = (0..MANY).map(|n| format!("name:{n}")).collect();
    let mut words = vec!["DEL"];
    words.extend(names.iter().map(String::as_str));
    assert_eq!(conn.call(&words), Value::Int(0));
    conn.run_ok("FLUSHALL");
    eventually("the memory is given back", 30, || {
        (rss() < before + full / 2).then_some(())
    });
    conn.run_ok("MEMORY PURGE");
}

/// Who asks for a whole hash and does not read the reply costs the reply's bytes, once.
fn a_long_reply_is_in_memory_once(ctx: &Ctx) {
    const FIELDS: usize = 200_000;
    const BATCH: usize = 1000;
    let server = ctx.start();
    let mut conn = server.connect();
    let value = "v".repeat(100);
    for first in (0..FIELDS).step_by(BATCH) {
        let fields: Vec<String> = (first..first + BATCH).map(|n| format!("{n:06}")).collect();
        let mut words = vec!["HSET", "h"];
        words.extend(fields.iter().flat_map(|field| [field.as_str(), &value]));
        assert_eq!(conn.call(&words), Value::Int(BATCH as i64));
    }
    let reply = FIELDS * (6 + 6 + 2 + 100 + 8);
    let rss = || rss_bytes(server.pid()) as usize;
    let before = rss();
    let mut slow = server.connect();
    slow.set_timeout(Duration::from_secs(60));
    slow.send(&["HGETALL", "h"]);
    eventually("most of the reply waits", 30, || {
        (rss() > before + reply / 2).then_some(())
    });
    assert_eq!(conn.run("PING"), Value::simple("PONG"));
    let added = rss() - before;
    assert!(added < reply + reply / 3, "{added} for {reply}");
    assert_eq!(slow.receive().items().len(), 2 * FIELDS);
}
