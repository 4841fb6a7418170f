//! Moving in and out: the directory of a redis-server is imported, `--export-rdb` writes what
//! redis-server loads, and `redis-cli --rdb` takes a snapshot over a connection.
use crate::Ctx;
use crate::start_stop::free_port;
use ringdove_rig::{Conn, Options, Scratch, Server, Value, eventually};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

crate::cases!(run:
    a_log_of_several_files_is_imported,
    a_base_of_commands_is_imported,
    a_single_file_is_imported,
    what_is_cut_short_is_left_out,
    what_is_no_log_stops_the_start,
    a_log_of_ours_goes_on_from_there,
    a_snapshot_is_taken_where_there_is_no_log,
    an_export_is_loaded_by_redis,
    redis_cli_gets_a_snapshot,
    redis_cli_gets_functions,
    replicas_are_refused,
);

const FUNCTION: &str = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";

fn redis(folder: &Path, more: &str) -> Server {
    let dir = folder.display();
    Server::start(&Options::redis().with(&format!("--dir {dir} {more}")))
}

fn ours(ctx: &Ctx, folder: &Path, more: &str) -> Server {
    ctx.start_with(&format!("--dir {} {more}", folder.display()))
}

fn digest(conn: &mut Conn) -> String {
    conn.run("DEBUG DIGEST").text()
}

/// What Redis's log has as it was given, on keys of many slots.
fn write(conn: &mut Conn, round: &str) {
    let key = |name: &str, n: usize| format!("{round}:{name}:{n}");
    for n in 0..40 {
        let text = n.to_string();
        conn.call(&["SET", &key("string", n), &text]);
        conn.call(&["RPUSH", &key("list", n % 7), &text, "b", "c"]);
        conn.call(&["SADD", &key("set", n % 5), &text, "x"]);
        conn.call(&["ZADD", &key("zset", n % 3), &text, &text]);
        conn.call(&["HSET", &key("hash", n % 4), &text, "value"]);
        conn.call(&["XADD", &key("stream", n % 4), "*", "f", "v"]);
        conn.call(&[
            "MSET",
            &key("a", n),
            "1",
            &key("b", n),
            "2",
            &key("c", n),
            "3",
        ]);
        conn.call(&["RENAME", &key("a", n), &key("renamed", n)]);
        conn.call(&["COPY", &key("b", n), &key("copied", n), "DB", "3"]);
        conn.call(&["DEL", &key("b", n), &key("c", n), "missing"]);
    }
    for n in 0..3 {
        conn.call(&["MOVE", &key("string", n), "5"]);
        conn.call(&[
            "SUNIONSTORE",
            &key("union", n),
            &key("set", 0),
            &key("set", 1),
        ]);
        conn.call(&[
            "ZUNIONSTORE",
            &key("zunion", n),
            "2",
            &key("zset", 0),
            &key("zset", 1),
        ]);
        conn.call(&["LMOVE", &key("list", 0), &key("list", 1), "LEFT", "RIGHT"]);
        conn.call(&["SMOVE", &key("set", 0), &key("set", 3), "x"]);
        conn.call(&[
            "BITOP",
            "XOR",
            &key("bits", n),
            &key("string", 8),
            &key("string", 9),
        ]);
        conn.call(&["PFADD", &key("hll", n), &n.to_string(), "a"]);
        conn.call(&["PFMERGE", &key("merged", n), &key("hll", 0), &key("hll", 1)]);
        conn.call(&["SET", &format!("{round}:weight:{n}"), &(9 - n).to_string()]);
        conn.call(&["RPUSH", &format!("{round}:sorted"), &n.to_string()]);
    }
    let weights = format!("{round}:weight:*");
    let (from, to) = (format!("{round}:sorted"), format!("{round}:by weight"));
    conn.call(&["SORT", &from, "BY", &weights, "GET", &weights, "STORE", &to]);
    conn.call(&["SPOP", &key("set", 2), "3"]);
    conn.call(&["EXPIRE", &key("string", 10), "1000"]);
    conn.call(&["SET", &key("string", 11), "x", "EX", "1000"]);
    let dump = match conn.call(&["DUMP", &key("list", 2)]) {
        Value::Bulk(bytes) => bytes,
        other => panic!("a payload, not {other:?}"),
    };
    conn.call(&[
        &b"RESTORE"[..],
        key("restored", 0).as_bytes(),
        b"100000",
        &dump,
    ]);
    conn.run_ok("MULTI");
    conn.call(&["SET", &key("multi", 1), "1"]);
    conn.call(&["SET", &key("multi", 2), "2"]);
    conn.run("EXEC");
    conn.run_ok("SELECT 7");
    conn.call(&["SET", &key("elsewhere", 1), "1"]);
    conn.run_ok("SWAPDB 7 8");
    conn.call(&["SET", &key("elsewhere", 2), "1"]);
    conn.run_ok("FLUSHDB");
    conn.run_ok("SELECT 0");
    conn.call(&["XGROUP", "CREATE", &key("stream", 0), "g", "0"]);
    conn.call(&[
        "XREADGROUP",
        "GROUP",
        "g",
        "c",
        "COUNT",
        "2",
        "STREAMS",
        &key("stream", 0),
        ">",
    ]);
}

/// The files under a folder, with what is in them.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.append(&mut contents(&path));
        } else {
            let bytes = fs::read(&path).expect("a file");
            found.insert(path, bytes);
        }
    }
    found
}

fn log_of(folder: &Path, kind: &str) -> PathBuf {
    let files = contents(&folder.join("appendonlydir"));
    let mut names = files.into_keys();
    let found = names.find(|path| path.to_string_lossy().contains(kind));
    found.expect("Redis has made it")
}

/// A directory that a redis-server has left, and the digest of its dataset.
fn left_by_redis(folder: &Path, more: &str, rewrite: bool) -> String {
    let mut theirs = redis(folder, &format!("--appendonly yes {more}"));
    let mut conn = theirs.connect();
    conn.call(&["FUNCTION", "LOAD", FUNCTION]);
    write(&mut conn, "first");
    if rewrite {
        conn.run("BGREWRITEAOF");
        let done = || (theirs.info("aof_rewrite_in_progress") == "0").then_some(());
        eventually("it is rewritten", 20, done);
        write(&mut conn, "second");
    }
    let wanted = digest(&mut conn);
    end(&mut theirs);
    wanted
}

fn end(server: &mut Server) {
    const SIGTERM: i32 = 15;
    server.signal(SIGTERM);
    assert!(server.await_end().success());
}

fn imported_as(ctx: &Ctx, folder: &Path, wanted: &str) {
    let before = contents(folder);
    let server = ours(ctx, folder, "--appendonly yes");
    assert_eq!(digest(&mut server.connect()), wanted);
    assert!(server.connect().run("PTTL first:string:10").int() > 0);
    assert_eq!(of_redis(folder), before, "what is imported stays as it is");
    drop(server);
    let export = Scratch::new();
    let done = exported(ctx, folder, &export.path().join("dump.rdb"));
    assert!(done.status.success(), "{done:?}");
    let theirs = redis(export.path(), "");
    assert_eq!(digest(&mut theirs.connect()), wanted, "of our own log");
}

/// Whether a file is one of ours.
fn is_ours(path: &Path) -> bool {
    let name = path.file_name().expect("a file").to_string_lossy();
    let ends = [".log", ".base.rdb", ".spare", ".new"];
    let has_end = ends.iter().any(|end| name.ends_with(end));
    name.starts_with("ringdove") || has_end && !name.starts_with("appendonly")
}

/// What Redis has left in a folder.
fn of_redis(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = contents(folder);
    files.retain(|path, _| !is_ours(path));
    files
}

/// Makes it a folder again that only Redis has used.
fn remove_ours(folder: &Path) {
    for path in contents(folder).keys().filter(|path| is_ours(path)) {
        fs::remove_file(path).expect("it can be removed");
    }
}

fn a_log_of_several_files_is_imported(ctx: &Ctx) {
    let folder = Scratch::new();
    let wanted = left_by_redis(folder.path(), "--aof-timestamp-enabled yes", true);
    imported_as(ctx, folder.path(), &wanted);
}

fn a_base_of_commands_is_imported(ctx: &Ctx) {
    let folder = Scratch::new();
    let wanted = left_by_redis(folder.path(), "--aof-use-rdb-preamble no", true);
    imported_as(ctx, folder.path(), &wanted);
}

/// Before 7.0 the log was one file, which might begin with a snapshot.
fn a_single_file_is_imported(ctx: &Ctx) {
    for preamble in ["yes", "no"] {
        let (folder, old) = (Scratch::new(), Scratch::new());
        let option = format!("--aof-use-rdb-preamble {preamble}");
        let wanted = left_by_redis(folder.path(), &option, true);
        let base = log_of(folder.path(), "base");
        let mut bytes = fs::read(base).expect("a base");
        bytes.extend(fs::read(log_of(folder.path(), "incr")).expect("a log"));
        fs::write(old.path().join("appendonly.aof"), bytes).expect("a file");
        imported_as(ctx, old.path(), &wanted);
    }
}

fn what_is_cut_short_is_left_out(ctx: &Ctx) {
    let folder = Scratch::new();
    left_by_redis(folder.path(), "", false);
    let log = log_of(folder.path(), "incr");
    let bytes = fs::read(&log).expect("a log");
    let exec = bytes
        .windows(4)
        .rposition(|word| word.eq_ignore_ascii_case(b"exec"));
    // In a command, behind one, and in a block.
    for cut in [
        bytes.len() - 3,
        bytes.len() - 30,
        exec.expect("a block") + 2,
    ] {
        fs::write(&log, &bytes[..cut]).expect("a shorter log");
        let refused = ctx.options().with(&format!(
            "--dir {} --appendonly yes --aof-load-truncated no",
            folder.path().display()
        ));
        let (status, text) = refused.run_to_end(free_port());
        assert!(
            !status.success() && text.contains("Unexpected end of file"),
            "{text}"
        );
        let server = ours(ctx, folder.path(), "--appendonly yes");
        let found = digest(&mut server.connect());
        drop(server);
        remove_ours(folder.path());
        assert_eq!(fs::read(&log).expect("a log").len(), cut);
        let theirs = redis(folder.path(), "--appendonly yes");
        assert_eq!(found, digest(&mut theirs.connect()), "cut at {cut}");
    }
}

fn what_is_no_log_stops_the_start(ctx: &Ctx) {
    let options = |folder: &Path| {
        let dir = folder.display();
        ctx.options().with(&format!("--dir {dir} --appendonly yes"))
    };
    for (log, wanted) in [
        (
            &b"*1\r\n$x\r\n"[..],
            "Bad file format reading the append only file",
        ),
        (
            b"*2\r\n$7\r\nnothing\r\n$1\r\nk\r\n",
            "Unknown command 'nothing'",
        ),
        (b"*2\r\n$6\r\nSELECT\r\n$2\r\n99\r\n", "selects database 99"),
        (
            b"*3\r\n$5\r\nBLPOP\r\n$1\r\nk\r\n$1\r\n0\r\n",
            "cannot be run",
        ),
        (b"REDIS0011\xff", "Loading"),
    ] {
        let folder = Scratch::new();
        fs::write(folder.path().join("appendonly.aof"), log).expect("a file");
        let (status, text) = options(folder.path()).run_to_end(free_port());
        assert!(!status.success() && text.contains(wanted), "{text}");
    }
    let folder = Scratch::new();
    let logs = folder.path().join("appendonlydir");
    fs::create_dir(&logs).expect("a folder");
    let manifest = logs.join("appendonly.aof.manifest");
    fs::write(manifest, "file missing.aof seq 1 type i\n").expect("a file");
    let (status, text) = options(folder.path()).run_to_end(free_port());
    assert!(!status.success() && text.contains("missing.aof"), "{text}");
}

fn a_log_of_ours_goes_on_from_there(ctx: &Ctx) {
    let folder = Scratch::new();
    left_by_redis(folder.path(), "", true);
    let before = of_redis(folder.path());
    let options = "--appendonly yes --appendfsync always";
    let first = ours(ctx, folder.path(), options);
    first.connect().run_ok("SET after import");
    first.connect().run("DEL first:string:10");
    let wanted = digest(&mut first.connect());
    drop(first);
    let second = ours(ctx, folder.path(), options);
    assert_eq!(digest(&mut second.connect()), wanted);
    assert_eq!(second.connect().run("GET after"), Value::bulk("import"));
    drop(second);
    assert_eq!(of_redis(folder.path()), before);
    // What Redis does there later is Redis's.
    let mut theirs = redis(folder.path(), "--appendonly yes");
    assert_eq!(theirs.connect().run("EXISTS after"), Value::Int(0));
    theirs.connect().run_ok("SET theirs x");
    end(&mut theirs);
    let third = ours(ctx, folder.path(), options);
    assert_eq!(digest(&mut third.connect()), wanted);
}

fn a_snapshot_is_taken_where_there_is_no_log(ctx: &Ctx) {
    let folder = Scratch::new();
    let mut theirs = redis(folder.path(), "");
    write(&mut theirs.connect(), "first");
    let wanted = digest(&mut theirs.connect());
    theirs.connect().run_ok("SAVE");
    end(&mut theirs);
    for more in ["--appendonly no", "--appendonly yes"] {
        let server = ours(ctx, folder.path(), more);
        assert_eq!(digest(&mut server.connect()), wanted, "{more}");
    }
    // A log counts only where it is asked for.
    fs::write(folder.path().join("appendonly.aof"), b"").expect("a file");
    let server = ours(ctx, folder.path(), "--appendonly no");
    assert_eq!(digest(&mut server.connect()), wanted);
    drop(server);
    remove_ours(folder.path());
    let server = ours(ctx, folder.path(), "--appendonly yes");
    assert_eq!(server.connect().run("DBSIZE"), Value::Int(0));
}

fn run(command: &mut Command) -> Output {
    command.output().expect("it can be started")
}

fn exported(ctx: &Ctx, dir: &Path, file: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringdove"));
    command.arg("--export-rdb").arg(file).arg("--dir").arg(dir);
    run(command.args(["--appendonly", "yes", "--shards", &ctx.shards.to_string()]))
}

fn an_export_is_loaded_by_redis(ctx: &Ctx) {
    let (folder, out) = (Scratch::new(), Scratch::new());
    let wanted = left_by_redis(folder.path(), "", true);
    let before = contents(folder.path());
    let done = exported(ctx, folder.path(), &out.path().join("dump.rdb"));
    assert!(done.status.success(), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stdout).contains("keys were written to"));
    assert_eq!(contents(folder.path()), before);
    let theirs = redis(out.path(), "");
    assert_eq!(digest(&mut theirs.connect()), wanted);
    let functions = theirs.connect().run("FUNCTION LIST");
    assert_eq!(functions.items().len(), 1);
    let nothing = Scratch::new();
    let failed = exported(ctx, nothing.path(), &nothing.path().join("dump.rdb"));
    assert!(!failed.status.success());
    assert!(String::from_utf8_lossy(&failed.stderr).contains("There is no dataset in"));
    assert_eq!(contents(nothing.path()).len(), 0);
}

fn redis_cli(server: &Server, args: &[&str], file: &Path) -> Output {
    let mut command = Command::new("timeout");
    command.args(["30", "redis-cli", "-p", &server.port().to_string()]);
    run(command.args(args).arg(file))
}

fn redis_cli_gets_a_snapshot(ctx: &Ctx) {
    let (folder, out) = (Scratch::new(), Scratch::new());
    let server = ours(ctx, folder.path(), "");
    write(&mut server.connect(), "first");
    server.connect().run_ok("DEBUG POPULATE 50000 filler 200");
    let wanted = digest(&mut server.connect());
    let file = out.path().join("dump.rdb");
    for _ in 0..2 {
        let done = redis_cli(&server, &["--rdb"], &file);
        assert!(done.status.success(), "{done:?}");
    }
    assert_eq!(
        server.info("rdb_changes_since_last_save") == "0",
        ctx.is_redis()
    );
    let theirs = redis(out.path(), "");
    assert_eq!(digest(&mut theirs.connect()), wanted);
    let left = contents(folder.path());
    let temporary = |path: &PathBuf| path.to_string_lossy().contains("temp-");
    assert!(!left.keys().any(temporary), "{:?}", left.keys());
    // The old form, without a word before it; and the connection ends then.
    let mut conn = server.connect();
    conn.send_bytes(b"PING\r\nSYNC\r\nGET unanswered\r\n");
    assert_eq!(conn.receive(), Value::simple("PONG"));
    let rest = conn.read_to_end();
    let head = rest.split(|byte| *byte == b'\n').next().expect("a line");
    let digits = String::from_utf8_lossy(&head[1..head.len() - 1]).into_owned();
    let length: usize = digits.parse().expect("a length");
    assert_eq!(rest.len(), head.len() + 1 + length);
    assert!(rest[head.len() + 1..].starts_with(b"REDIS00"));
}

fn redis_cli_gets_functions(ctx: &Ctx) {
    let (folder, out) = (Scratch::new(), Scratch::new());
    left_by_redis(folder.path(), "", false);
    let server = ours(ctx, folder.path(), "--appendonly yes");
    let file = out.path().join("dump.rdb");
    let done = redis_cli(&server, &["--functions-rdb"], &file);
    assert!(done.status.success(), "{done:?}");
    let theirs = redis(out.path(), "");
    assert_eq!(theirs.connect().run("DBSIZE"), Value::Int(0));
    assert_eq!(theirs.connect().run("FUNCTION LIST").items().len(), 1);
}

fn replicas_are_refused(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    conn.run_ok("REPLCONF listening-port 7000");
    conn.run_ok("REPLCONF capa eof capa psync2");
    for line in ["PSYNC ? -1", "SYNC"] {
        let reply = conn.run(line);
        assert!(
            reply.text().contains("replication is not supported yet"),
            "{reply:?}"
        );
    }
    let mut conn = server.connect();
    assert_eq!(conn.run("REPLCONF capa"), Value::error("ERR syntax error"));
    assert!(conn.run("REPLCONF what 1").is_error());
    assert!(conn.run("REPLCONF rdb-filter-only keys").is_error());
    assert!(conn.run("MULTI").text() == "OK" && conn.run("SYNC").is_error());
}
