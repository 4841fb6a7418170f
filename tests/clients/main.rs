//! Real clients against the server: redis-py, ioredis, node-redis, the `redis` crate, redis-cli and
//! redis-benchmark; and the cluster clients among them. `install` puts the pinned Python and
//! JavaScript clients into `target/clients`.
mod clusters;

use redis::{Commands, RedisResult};
use ringdove_rig::{Options, Server, Value};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

fn server(shards: usize) -> Server {
    Server::start(&Options::new(env!("CARGO_BIN_EXE_ringdove"), shards))
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name)
}

/// Where the clients are installed, which happens once.
fn installed() -> &'static Path {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
        let mut command = Command::new(source("install"));
        finish(command.arg(&place));
        place
    })
}

/// Runs a command that must succeed; gives what it printed.
#[track_caller]
fn finish(command: &mut Command) -> String {
    let output = match command.output() {
        Ok(output) => output,
        Err(e) => panic!("{command:?} cannot be started: {e}"),
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{text}{errors}",
        output.status
    );
    text
}

#[test]
fn redis_py() {
    for (shards, proto) in [(1, "2"), (1, "3"), (3, "2"), (3, "3")] {
        let server = server(shards);
        let mut command = Command::new(installed().join("venv/bin/python"));
        command.arg(source("redis_py.py"));
        finish(command.arg(server.port().to_string()).arg(proto));
    }
}

/// Runs a script that finds its modules in the folder of the installation.
fn node(script: &str, shards: usize, args: &[&str]) {
    let server = server(shards);
    let mut command = Command::new("node");
    command.env("NODE_PATH", installed().join("node/node_modules"));
    command.arg(source(script)).arg(server.port().to_string());
    finish(command.args(args));
}

#[test]
fn ioredis() {
    node("ioredis.js", 1, &[]);
    node("ioredis.js", 3, &[]);
}

#[test]
fn node_redis() {
    for shards in [1, 3] {
        node("node_redis.js", shards, &["2"]);
        node("node_redis.js", shards, &["3"]);
    }
}

#[test]
fn redis_crate() {
    for shards in [1, 3] {
        for proto in ["", "?protocol=resp3"] {
            let server = server(shards);
            let url = format!("redis://127.0.0.1:{}/1{proto}", server.port());
            use_redis_crate(&url).unwrap_or_else(|e| panic!("{url}: {e}"));
        }
    }
}

fn use_redis_crate(url: &str) -> RedisResult<()> {
    let mut conn = redis::Client::open(url)?.get_connection()?;
    let () = conn.set("k", "v")?;
    assert_eq!(conn.get::<_, String>("k")?, "v");
    assert_eq!(conn.get::<_, Option<String>>("none")?, None);
    let () = conn.mset(&[("a", 1), ("b", 2), ("c", 3)])?;
    let values: Vec<Option<i64>> = conn.mget(&["c", "none", "a"])?;
    assert_eq!(values, [Some(3), None, Some(1)]);
    assert_eq!(conn.incr::<_, _, i64>("n", 5)?, 5);
    assert!(conn.expire::<_, bool>("k", 100)?);
    assert!((90..=100).contains(&conn.ttl::<_, i64>("k")?));
    let mut pipe = redis::pipe();
    for i in 0..3000 {
        pipe.set(format!("p{i}"), i).ignore().get(format!("p{i}"));
    }
    let values: Vec<i64> = pipe.query(&mut conn)?;
    assert!(values.into_iter().eq(0..3000));
    let seen: std::collections::HashSet<String> = conn.scan_match("p*")?.collect();
    assert_eq!(seen.len(), 3000);
    let binary: Vec<u8> = (0..=255).collect();
    let () = conn.set("bin", &binary)?;
    assert_eq!(conn.get::<_, Vec<u8>>("bin")?, binary);
    assert_eq!(conn.del::<_, i64>(&["a", "b", "none"])?, 2);
    let failed: RedisResult<i64> = conn.incr("k", 1);
    assert!(failed.is_err_and(|e| e.to_string().contains("not an integer")));
    let () = redis::cmd("FLUSHDB").query(&mut conn)?;
    assert_eq!(redis::cmd("DBSIZE").query::<i64>(&mut conn)?, 0);
    Ok(())
}

fn cli(server: &Server) -> Command {
    let mut command = Command::new("redis-cli");
    command.args(["-p", &server.port().to_string()]);
    command
}

#[test]
fn redis_cli() {
    for shards in [1, 3] {
        let server = server(shards);
        assert_eq!(finish(cli(&server).args(["SET", "a", "1"])), "OK\n");
        assert_eq!(finish(cli(&server).args(["-3", "GET", "none"])), "\n");
        assert_eq!(
            finish(cli(&server).args(["-r", "5", "INCR", "a"])),
            "2\n3\n4\n5\n6\n"
        );
        assert_eq!(finish(cli(&server).args(["-n", "3", "DBSIZE"])), "0\n");
        let info = finish(cli(&server).args(["INFO", "server"]));
        assert!(info.contains("redis_version:"), "{info}");
        for i in 0..500 {
            server.connect().call(&["SET", &format!("s{i}"), "v"]);
        }
        let keys = finish(cli(&server).args(["--scan", "--pattern", "s*"]));
        assert_eq!(keys.lines().count(), 500);
        let big = finish(cli(&server).arg("--bigkeys"));
        assert!(big.contains("501 strings"), "{big}");
        let help = finish(cli(&server).args(["OBJECT", "HELP"]));
        assert!(help.contains("ENCODING"), "{help}");
        mass_insertion(&server);
    }
}

/// `redis-cli --pipe`, as the documentation of mass insertion has it.
fn mass_insertion(server: &Server) {
    let file = server.dir().join("mass.resp");
    let bytes: Vec<u8> = (0..20_000)
        .flat_map(|i| ringdove_rig::encode(&["SET", &format!("mass:{i}"), "v"]))
        .collect();
    std::fs::write(&file, bytes).expect("a file");
    let input = std::fs::File::open(&file).expect("the file");
    let text = finish(cli(server).arg("--pipe").stdin(input));
    assert!(text.contains("errors: 0, replies: 20000"), "{text}");
    assert_eq!(server.connect().run("GET mass:19999"), Value::bulk("v"));
}

/// The default run of redis-benchmark, of the commands that the server has.
#[test]
fn redis_benchmark() {
    let tests = [
        ("ping_inline", "PING"),
        ("ping_mbulk", "PING"),
        ("set", "SET"),
        ("get", "GET"),
        ("incr", "INCR"),
        ("lpush", "LPUSH"),
        ("rpush", "RPUSH"),
        ("lpop", "LPOP"),
        ("rpop", "RPOP"),
        ("sadd", "SADD"),
        ("hset", "HSET"),
        ("spop", "SPOP"),
        ("zadd", "ZADD"),
        ("zpopmin", "ZPOPMIN"),
        ("lrange", "LRANGE"),
        ("mset", "MSET"),
    ];
    for shards in [1, 3] {
        let server = server(shards);
        let mut conn = server.connect();
        let known: Vec<&str> = tests
            .iter()
            .filter(|(_, command)| {
                let info = conn.call(&["COMMAND", "INFO", command]);
                matches!(info.items(), [Value::Array(_)])
            })
            .map(|(test, _)| *test)
            .collect();
        assert!(known.len() >= 6, "{known:?}");
        for more in [&["-P", "1"][..], &["-P", "16"], &["-P", "16", "-3"]] {
            let mut command = Command::new("redis-benchmark");
            command.args([
                "-q",
                "-e",
                "-n",
                "10000",
                "-r",
                "1000",
                "-t",
                &known.join(","),
            ]);
            command.args(["-p", &server.port().to_string()]).args(more);
            let text = finish(&mut command).replace('\r', "\n");
            let done = text
                .lines()
                .filter(|l| l.contains("requests per second"))
                .count();
            assert!(done >= known.len(), "{text}");
            assert!(!text.contains("Error"), "{text}");
        }
    }
}
