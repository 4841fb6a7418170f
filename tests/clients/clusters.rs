//! Cluster clients against the shards' own ports.
use super::{finish, installed, source};
use redis::{Commands, RedisResult};
use ringdove_rig::{Conn, Options, Server, Value, free_ports};
use std::process::Command;

const STRICT: [&str; 2] = ["no", "yes"];

/// A server whose shards listen on the ports from the second value on.
fn server(shards: u16, strict: &str) -> (Server, u16) {
    let base = free_ports(shards);
    let args =
        format!("--core-direct yes --core-direct-port-base {base} --core-direct-strict {strict}");
    let options = Options::new(env!("CARGO_BIN_EXE_ringdove"), usize::from(shards));
    (Server::start(&options.with(&args)), base)
}

#[test]
fn redis_py_cluster() {
    for (shards, proto, strict) in [
        (1, "2", "no"),
        (3, "2", "no"),
        (3, "3", "no"),
        (3, "2", "yes"),
    ] {
        let (_server, base) = server(shards, strict);
        let mut command = Command::new(installed().join("venv/bin/python"));
        command.arg(source("redis_py_cluster.py"));
        finish(command.args([&base.to_string(), proto, &shards.to_string(), strict]));
    }
}

#[test]
fn ioredis_cluster() {
    for strict in STRICT {
        let (_server, base) = server(3, strict);
        let mut command = Command::new("node");
        command.env("NODE_PATH", installed().join("node/node_modules"));
        command.arg(source("ioredis_cluster.js"));
        finish(command.args([&base.to_string(), "3", strict]));
    }
}

#[test]
fn redis_crate_cluster() {
    for strict in STRICT {
        for proto in ["", "?protocol=resp3"] {
            let (server, base) = server(3, strict);
            let url = format!("redis://127.0.0.1:{base}{proto}");
            use_cluster_client(&url).unwrap_or_else(|e| panic!("{url}: {e}"));
            assert_eq!(
                server.info_number("total_error_replies"),
                0,
                "no redirections"
            );
        }
    }
}

fn use_cluster_client(url: &str) -> RedisResult<()> {
    let mut conn = redis::cluster::ClusterClient::new([url])?.get_connection()?;
    for i in 0..300 {
        let () = conn.set(format!("k{i}"), i)?;
    }
    for i in 0..300 {
        assert_eq!(conn.get::<_, i64>(format!("k{i}"))?, i);
    }
    assert_eq!(redis::cmd("DBSIZE").query::<i64>(&mut conn)?, 300);
    let keys: Vec<String> = conn.keys("k*")?;
    assert_eq!(keys.len(), 300);
    // Over several slots: the client asks each node for its own.
    let values: Vec<Option<i64>> = conn.mget(&["k3", "none", "k1", "k2"])?;
    assert_eq!(values, [Some(3), None, Some(1), Some(2)]);
    let mut pipe = redis::cluster::cluster_pipe();
    for i in 0..1000 {
        pipe.incr(format!("n{}", i % 17), 1).ignore();
    }
    let () = pipe.query(&mut conn)?;
    assert_eq!(conn.get::<_, i64>("n1")?, 59);
    let () = redis::cmd("FLUSHALL").query(&mut conn)?;
    assert_eq!(redis::cmd("DBSIZE").query::<i64>(&mut conn)?, 0);
    Ok(())
}

#[test]
fn redis_cli_follows() {
    for strict in STRICT {
        let (_server, base) = server(3, strict);
        let cli = |args: &[&str]| {
            let mut command = Command::new("redis-cli");
            finish(command.args(["-c", "-p", &base.to_string()]).args(args))
        };
        for i in 0..60 {
            assert_eq!(cli(&["SET", &format!("k{i}"), "v"]), "OK\n");
        }
        assert_eq!(cli(&["GET", "k7"]), "v\n");
        let check = cli(&["--cluster", "check", &format!("127.0.0.1:{base}")]);
        assert!(check.contains("All 16384 slots covered"), "{check}");
        assert!(check.contains("60 keys in 3 masters"), "{check}");
        let sizes = cli(&["--cluster", "call", &format!("127.0.0.1:{base}"), "DBSIZE"]);
        assert_eq!(
            sizes
                .lines()
                .filter(|line| line.contains("127.0.0.1:"))
                .count(),
            3
        );
    }
}

#[test]
fn redis_benchmark_cluster() {
    for strict in STRICT {
        let (server, base) = server(3, strict);
        for pipeline in ["1", "16"] {
            let mut command = Command::new("redis-benchmark");
            command.args(["--cluster", "-q", "-n", "20000", "-r", "1000", "-c", "9"]);
            command.args(["-t", "set,get,incr,lpush,sadd,zadd", "-P", pipeline]);
            let text = finish(command.args(["-p", &base.to_string()])).replace('\r', "\n");
            assert!(text.contains("Cluster has 3 master nodes"), "{text}");
            let done = text.lines().filter(|l| l.contains("requests per second"));
            assert!(done.count() >= 6, "{text}");
        }
        assert_eq!(
            server.info_number("total_error_replies"),
            0,
            "no redirections"
        );
    }
}

#[test]
fn ringdove_load_cluster() {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "ringdove-load"]);
    build.args(["--message-format", "json-render-diagnostics"]);
    let told = finish(build.current_dir(env!("CARGO_MANIFEST_DIR")));
    let binary = told
        .split('"')
        .find(|word| word.ends_with("/ringdove-load"))
        .expect("cargo says where the binary is");
    for strict in STRICT {
        let (server, base) = server(3, strict);
        let mut command = Command::new(binary);
        command.args(["-s", "127.0.0.1", "-p", &base.to_string(), "--cluster-mode"]);
        command.args([
            "-t",
            "1",
            "-c",
            "3",
            "-n",
            "2000",
            "--pipeline",
            "8",
            "--ratio",
            "1:1",
        ]);
        finish(command.args(["--key-maximum", "3000", "--verify"]));
        assert_eq!(
            server.info_number("total_error_replies"),
            0,
            "no redirections"
        );
        let node = std::net::SocketAddr::from(([127, 0, 0, 1], base + 2));
        let mut conn = Conn::tcp(node).expect("the node accepts");
        assert!(matches!(conn.run("DBSIZE"), Value::Int(100..)));
    }
}
