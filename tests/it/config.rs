//! CONFIG: every directive of redis.conf is there, what is set is seen, REWRITE writes it down.
use crate::Ctx;
use ringdove_rig::{Conn, Server, Value};
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

crate::cases!(run:
    every_directive_is_reported,
    set_is_seen_by_every_connection,
    set_many_is_all_or_nothing,
    spellings,
    errors,
    rewrite,
    resetstat,
    listening_anew,
);

fn get(conn: &mut Conn, name: &str) -> String {
    let pairs = conn.run(&format!("CONFIG GET {name}")).pairs();
    let found = pairs.into_iter().find(|(k, _)| k == name);
    found
        .unwrap_or_else(|| panic!("no directive {name}"))
        .1
        .text()
}

/// What a real redis-server reports, but for what is its own.
fn every_directive_is_reported(ctx: &Ctx) {
    let ours = ctx.start().connect().run("CONFIG GET *").pairs();
    let reference = Server::start(&ringdove_rig::Options::redis());
    let theirs = reference.connect().run("CONFIG GET *").pairs();
    let missing: Vec<&String> = theirs
        .iter()
        .map(|(name, _)| name)
        .filter(|name| !ours.iter().any(|(n, _)| n == *name))
        .collect();
    assert!(missing.is_empty(), "CONFIG GET * lacks {missing:?}");
    let own = [
        "port",
        "dir",
        "logfile",
        "pidfile",
        "unixsocket",
        "oom-score-adj-values",
    ];
    let differ: Vec<String> = theirs
        .iter()
        .filter(|(name, _)| !own.contains(&name.as_str()))
        .filter_map(|(name, value)| {
            let (_, mine) = ours.iter().find(|(n, _)| n == name)?;
            (mine != value).then(|| format!("{name}: redis {value:?}, ours {mine:?}"))
        })
        // Defaults of later versions and of what serves on every core.
        .filter(|line| {
            let later = [
                "io-threads",
                "maxclients",
                "bind",
                "protected-mode",
                "save",
                "appendonly",
                "enable-debug-command",
                "server_cpulist",
                "stop-writes-on-bgsave-error",
            ];
            !later.iter().any(|name| line.starts_with(name))
        })
        .collect();
    assert!(
        differ.is_empty(),
        "defaults that differ:\n{}",
        differ.join("\n")
    );
}

fn set_is_seen_by_every_connection(ctx: &Ctx) {
    let server = ctx.start();
    let mut conns: Vec<Conn> = (0..7).map(|_| server.connect()).collect();
    let settings = [
        ("maxmemory", "100mb", "104857600"),
        ("maxmemory-policy", "allkeys-lru", "allkeys-lru"),
        ("timeout", "300", "300"),
        ("slowlog-log-slower-than", "-1", "-1"),
        ("hash-max-listpack-entries", "64", "64"),
        ("hll-sparse-max-bytes", "2000", "2000"),
        ("stream-node-max-bytes", "1kb", "1024"),
        ("latency-monitor-threshold", "10", "10"),
        ("busy-reply-threshold", "6000", "6000"),
        ("save", "900 1 300 10", "900 1 300 10"),
        ("notify-keyspace-events", "KEA", "AKE"),
        ("lazyfree-lazy-user-del", "yes", "yes"),
        ("tcp-keepalive", "60", "60"),
        ("loglevel", "warning", "warning"),
    ];
    for (i, (name, value, shown)) in settings.into_iter().enumerate() {
        let reply = conns[i % 7].call(&["CONFIG", "SET", name, value]);
        assert_eq!(reply, Value::ok(), "{name}");
        for conn in &mut conns {
            assert_eq!(get(conn, name), shown, "{name}");
        }
    }
}

fn set_many_is_all_or_nothing(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    conn.run_ok("CONFIG SET timeout 10 maxmemory 1mb");
    assert_eq!(get(&mut conn, "timeout"), "10");
    let reply = conn.run("CONFIG SET timeout 20 maxmemory nonsense");
    assert!(reply.is_error(), "{reply:?}");
    assert_eq!(get(&mut conn, "timeout"), "10", "nothing was set");
    let twice = conn.run("CONFIG SET timeout 1 timeout 2").text();
    assert!(twice.contains("duplicate parameter"), "{twice}");
    let pairs = conn.run("CONFIG GET timeout maxmem* timeout").pairs();
    let count = pairs.iter().filter(|(name, _)| name == "timeout").count();
    assert_eq!(count, 1, "{pairs:?}");
}

/// The older names of the encoding limits stand for the newer ones, both ways.
fn spellings(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    for (old, new) in [
        ("hash-max-ziplist-entries", "hash-max-listpack-entries"),
        ("hash-max-ziplist-value", "hash-max-listpack-value"),
        ("zset-max-ziplist-entries", "zset-max-listpack-entries"),
        ("list-max-ziplist-size", "list-max-listpack-size"),
    ] {
        conn.run_ok(&format!("CONFIG SET {old} 33"));
        assert_eq!(get(&mut conn, new), "33");
        conn.run_ok(&format!("CONFIG SET {new} 34"));
        assert_eq!(get(&mut conn, old), "34");
    }
    conn.run_ok("CONFIG SET MaxMemory 5");
    assert_eq!(get(&mut conn, "maxmemory"), "5");
    conn.run_ok("CONFIG SET lua-time-limit 777");
    assert_eq!(get(&mut conn, "busy-reply-threshold"), "777");
}

fn errors(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    let failed = |name: &str, why: &str| {
        format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")
    };
    let cases = [
        (
            "CONFIG SET nosuch 1",
            "ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'".to_owned(),
        ),
        (
            "CONFIG SET timeout",
            "ERR wrong number of arguments for 'config|set' command".to_owned(),
        ),
        (
            "CONFIG SET timeout 1 maxmemory",
            "ERR syntax error".to_owned(),
        ),
        (
            "CONFIG SET timeout x",
            failed("timeout", "argument couldn't be parsed into an integer"),
        ),
        (
            "CONFIG SET port 70000",
            failed("port", "argument must be between 0 and 65535 inclusive"),
        ),
        (
            "CONFIG SET daemonize yes",
            failed("daemonize", "can't set immutable config"),
        ),
        (
            "CONFIG SET appendfsync x",
            failed(
                "appendfsync",
                "argument(s) must be one of the following: everysec, always, no",
            ),
        ),
        (
            "CONFIG REWRITE",
            "ERR The server is running without a config file".to_owned(),
        ),
        (
            "CONFIG nosuch",
            "ERR unknown subcommand 'nosuch'. Try CONFIG HELP.".to_owned(),
        ),
    ];
    for (line, text) in cases {
        assert_eq!(conn.run(line), Value::error(&text), "{line}");
    }
}

fn rewrite(ctx: &Ctx) {
    let options = ctx
        .options()
        .with_line("# a comment that stays")
        .with_line("timeout 3")
        .with_line("maxclients 123");
    let server = Server::start(&options);
    let mut conn = server.connect();
    conn.run_ok("CONFIG SET timeout 44 maxmemory 2mb");
    conn.run_ok("CONFIG REWRITE");
    let text = fs::read_to_string(server.dir().join("test.conf")).expect("the file");
    for line in [
        "# a comment that stays",
        "timeout 44",
        "maxclients 123",
        "maxmemory 2mb",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}:\n{text}");
    }
    assert!(!text.contains("timeout 3\n"), "{text}");
}

fn resetstat(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    for i in 0..100 {
        conn.run(&format!("GET none{i}"));
    }
    assert!(server.info_number("keyspace_misses") >= 100);
    conn.run_ok("CONFIG RESETSTAT");
    assert_eq!(server.info_number("keyspace_misses"), 0);
    assert!(server.info_number("total_commands_processed") < 20);
}

/// Whether a server answers at this address.
fn serves(address: SocketAddr) -> bool {
    Conn::tcp(address).is_ok_and(|mut conn| {
        conn.try_send_bytes(b"PING\r\n").is_ok() && conn.try_receive().is_ok()
    })
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    let holder = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
    holder.local_addr().expect("an address").port()
}

/// CONFIG SET port and bind: new sockets, old connections; all as it was where it fails.
fn listening_anew(ctx: &Ctx) {
    let server = ctx.start();
    let mut conns: Vec<Conn> = (0..3).map(|_| server.connect()).collect();
    let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let at6 = |port: u16| SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    let (first, second) = (server.port(), free_port());
    conns[0].run_ok(&format!("CONFIG SET bind 127.0.0.1 port {second}"));
    assert!(serves(at(second)) && !serves(at(first)));
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let failed = "ERR CONFIG SET failed (possibly related to argument ";
    let text = format!("{failed}'port') - Unable to listen on this port. Check server logs.");
    let reply = conns[1].run(&format!("CONFIG SET port {port} timeout 77"));
    assert_eq!(reply, Value::error(&text));
    assert!(serves(at(second)), "the old socket is back");
    assert_eq!(get(&mut conns[2], "port"), second.to_string());
    assert_eq!(get(&mut conns[2], "timeout"), "0", "nothing was set");
    let text = format!("{failed}'bind') - Failed to bind to specified addresses.");
    let reply = conns[1].call(&["CONFIG", "SET", "bind", "127.0.0.1 192.0.2.1"]);
    assert_eq!(reply, Value::error(&text));
    assert_eq!(get(&mut conns[2], "bind"), "127.0.0.1");
    let reply = conns[2].call(&["CONFIG", "SET", "bind", "* -::*"]);
    assert_eq!(reply, Value::ok());
    assert!(serves(at(second)) && serves(at6(second)));
    conns[2].run_ok("CONFIG SET bind 127.0.0.1");
    assert!(serves(at(second)) && !serves(at6(second)));
    conns[0].run_ok("CONFIG SET port 0");
    assert!(!serves(at(second)));
    for conn in &mut conns {
        conn.run_ok(&format!("CONFIG SET port {first}"));
        assert!(serves(at(first)));
    }
    assert_eq!(server.info("tcp_port"), first.to_string());
}
