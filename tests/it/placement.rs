//! Where slots have moved to is found again by the next start, whatever ended the one before; and a start
//! that does not find it says why, and serves the same dataset.
use crate::Ctx;
use crate::slots::slot_of;
use ringdove_rig::{Conn, Options, Scratch, Server, Value, eventually, free_ports};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

const SIGTERM: i32 = 15;
const FILE: &str = "ringdove.slots";

crate::cases!(run:
    moves_and_balances_survive,
    clusters_look_the_same,
    of_another_number_of_shards,
    damaged_files_are_named_and_replaced,
    what_cannot_be_written_is_said,
    snapshots_are_loaded_to_where_slots_are,
    the_file_is_in_dir,
    a_disk_that_hangs_holds_up_nobody_else,
);

/// A server in a folder that outlives it.
fn start(ctx: &Ctx, folder: &Scratch, more: &str) -> Server {
    start_with(ctx.shards, folder, more)
}

fn start_with(shards: usize, folder: &Scratch, more: &str) -> Server {
    let dir = folder.path().display();
    let options = Options::new(env!("CARGO_BIN_EXE_ringdove"), shards);
    Server::start(&options.with(&format!("--dir {dir} {more}")))
}

fn file(folder: &Scratch) -> PathBuf {
    folder.path().join(FILE)
}

/// Ends a server in order.
fn end(mut server: Server) {
    server.signal(SIGTERM);
    assert!(server.await_end().success(), "{}", server.log());
}

fn map(conn: &mut Conn) -> Vec<[i64; 3]> {
    let map = conn.run("RINGDOVE SLOTS");
    let numbers = |range: &Value| [0, 1, 2].map(|at| range.items()[at].int());
    map.items().iter().map(numbers).collect()
}

#[track_caller]
fn move_slots(conn: &mut Conn, slots: &str, to: usize) -> i64 {
    let reply = conn.run(&format!("RINGDOVE SLOTS MOVE {slots} TO {to}"));
    reply.int()
}

fn fill(conn: &mut Conn) {
    for n in 0..400 {
        conn.send(&["SET", &format!("k{n}"), &n.to_string()]);
    }
    (0..400).for_each(|_| assert_eq!(conn.receive(), Value::ok()));
}

#[track_caller]
fn check(conn: &mut Conn) {
    assert_eq!(conn.run("DBSIZE"), Value::Int(400));
    for n in 0..400 {
        conn.send(&["GET", &format!("k{n}")]);
    }
    (0..400).for_each(|n| assert_eq!(conn.receive(), Value::bulk(n.to_string())));
}

fn moves_and_balances_survive(ctx: &Ctx) {
    if ctx.is_redis() {
        return;
    }
    for log in ["--appendonly no", "--appendonly yes --appendfsync always"] {
        let folder = Scratch::new();
        let mut server = start(ctx, &folder, log);
        let mut conn = server.connect();
        assert_eq!(map(&mut conn).len(), ctx.shards);
        conn.run("RINGDOVE SLOTS MOVE 0-5000 TO 0");
        conn.run("RINGDOVE SLOTS BALANCE BY KEYS");
        assert!(!file(&folder).exists(), "nothing has moved yet");
        fill(&mut conn);
        let kept = log.contains("yes");
        for round in 0..6 {
            let mut conn = server.connect();
            if !kept {
                fill(&mut conn);
            }
            let last = ctx.shards - 1;
            match round {
                0 => _ = move_slots(&mut conn, "100-4000", last),
                1 => _ = move_slots(&mut conn, "4001-16383", 0),
                2 => {
                    conn.run("RINGDOVE SLOTS BALANCE BY KEYS TOLERANCE 3");
                }
                3 => conn.run_ok("FLUSHALL"),
                4 => {
                    conn.run("RINGDOVE SLOTS MOVE 0-16383 TO 0");
                    fill(&mut conn);
                }
                _ => _ = conn.run("RINGDOVE SLOTS BALANCE BY KEYS TOLERANCE 1"),
            }
            if round == 3 {
                fill(&mut conn);
            }
            let before = map(&mut conn);
            assert_eq!(before.len() > 1, ctx.shards > 1 && round != 4, "{before:?}");
            match round % 2 {
                0 => drop(server), // kills it
                _ => end(server),
            }
            server = start(ctx, &folder, log);
            let mut conn = server.connect();
            assert_eq!(map(&mut conn), before, "{log}, {round}: {}", server.log());
            match kept {
                true => check(&mut conn),
                false => assert_eq!(conn.run("DBSIZE"), Value::Int(0)),
            }
        }
        assert_eq!(file(&folder).exists(), ctx.shards > 1);
    }
}

/// What cluster clients are told, but for the times of the last pings.
fn views(port: u16) -> Vec<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut conn = Conn::tcp(address).expect("the node accepts");
    let mut views = ["CLUSTER SLOTS", "CLUSTER SHARDS", "CLUSTER MYID"]
        .map(|line| format!("{:?}", conn.run(line)))
        .to_vec();
    let nodes = conn.run("CLUSTER NODES").text();
    views.extend(nodes.lines().map(|line| {
        let mut words: Vec<&str> = line.split(' ').collect();
        words.drain(4..6);
        words.join(" ")
    }));
    views
}

fn clusters_look_the_same(ctx: &Ctx) {
    if ctx.is_redis() {
        return;
    }
    let folder = Scratch::new();
    let base = free_ports(ctx.shards as u16);
    let more = format!("--core-direct yes --core-direct-port-base {base} --appendonly yes");
    let all = || -> Vec<_> { (0..ctx.shards).map(|at| views(base + at as u16)).collect() };
    let server = start(ctx, &folder, &more);
    let fresh = all();
    let mut conn = server.connect();
    for (slots, to) in [("0-99", ctx.shards - 1), ("16000-16383", 0), ("8000", 0)] {
        move_slots(&mut conn, slots, to);
    }
    let before = all();
    assert_eq!(before != fresh, ctx.shards > 1);
    drop(server); // kills it
    let server = start(ctx, &folder, &more);
    assert_eq!(all(), before);
    end(server);
    let server = start(ctx, &folder, &more);
    assert_eq!(all(), before);
    let strict = server.connect().run("CONFIG SET core-direct-strict yes");
    assert_eq!(strict, Value::ok());
    // A key of a slot that has moved is where clients are told, and nowhere else.
    let name = (0..).map(|n| format!("n{n}"));
    let key = name.into_iter().find(|key| slot_of(key) < 100);
    let key = key.expect("some key");
    for shard in 0..ctx.shards {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, base + shard as u16));
        let mut node = Conn::tcp(address).expect("the node accepts");
        let reply = node.run(&format!("SET {key} v"));
        assert_eq!(reply.is_error(), shard != ctx.shards - 1, "{reply:?}");
    }
}

fn of_another_number_of_shards(ctx: &Ctx) {
    if ctx.is_redis() {
        return;
    }
    for log in ["--appendonly no --save 3600 1", "--appendonly yes"] {
        let folder = Scratch::new();
        let server = start_with(3, &folder, log);
        let mut conn = server.connect();
        fill(&mut conn);
        move_slots(&mut conn, "0-9000", 2);
        let before = map(&mut conn);
        end(server);
        for shards in [ctx.shards + 1, 5, 1] {
            if shards == 3 {
                continue;
            }
            let server = start_with(shards, &folder, log);
            let said = format!("places the slots on 3 shards, and there are {shards}");
            assert!(server.log().contains(&said), "{}", server.log());
            let mut conn = server.connect();
            assert_eq!(map(&mut conn).len(), shards, "they are dealt evenly");
            check(&mut conn);
            end(server);
        }
        // As long as nothing has moved meanwhile.
        let server = start_with(3, &folder, log);
        let mut conn = server.connect();
        assert_eq!(map(&mut conn), before);
        check(&mut conn);
        end(server);
        let server = start_with(2, &folder, log);
        let mut conn = server.connect();
        move_slots(&mut conn, "0", 1);
        let moved = map(&mut conn);
        check(&mut conn);
        end(server);
        let server = start_with(2, &folder, log);
        assert_eq!(map(&mut server.connect()), moved);
        check(&mut server.connect());
        end(server);
        let server = start_with(3, &folder, log);
        let mut conn = server.connect();
        assert_eq!(map(&mut conn).len(), 3);
        check(&mut conn);
    }
}

fn damaged_files_are_named_and_replaced(ctx: &Ctx) {
    if ctx.is_redis() || ctx.shards == 1 {
        return;
    }
    let folder = Scratch::new();
    let log = "--appendonly yes --appendfsync always";
    let server = start(ctx, &folder, log);
    let mut conn = server.connect();
    fill(&mut conn);
    move_slots(&mut conn, "0-9000", 2);
    let before = map(&mut conn);
    drop(server); // kills it
    let whole = fs::read(file(&folder)).expect("it is there");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    let path = file(&folder);
    for damage in 0..6 {
        fs::remove_file(&path).expect("it is there");
        let wanted = match damage {
            0 => {
                fs::write(&path, b"").expect("writable");
                "is damaged: its end is missing"
            }
            1 => {
                fs::write(&path, &whole[..whole.len() - 30]).expect("writable");
                "is damaged"
            }
            2 => {
                fs::write(&path, &flipped).expect("writable");
                "is damaged: the checksum is wrong"
            }
            3 => {
                let junk: Vec<u8> = (0..3_000_000u32).map(|n| (n * 7 % 251) as u8).collect();
                fs::write(&path, junk).expect("writable");
                "is damaged: it is not text"
            }
            4 => {
                symlink(&path, &path).expect("a link to itself");
                "Cannot read"
            }
            _ => {
                fs::create_dir(&path).expect("a folder");
                "Cannot read"
            }
        };
        let server = start(ctx, &folder, log);
        let said = server.log();
        assert!(
            said.contains(wanted) && said.contains(FILE),
            "{damage}: {said}"
        );
        let mut conn = server.connect();
        assert_eq!(map(&mut conn).len(), ctx.shards, "they are dealt evenly");
        check(&mut conn);
        if damage == 5 {
            let reply = conn.run("RINGDOVE SLOTS MOVE 0-9000 TO 2");
            assert!(reply.text().contains("Is a directory"), "{reply:?}");
            fs::remove_dir(&path).expect("it is empty");
        }
        move_slots(&mut conn, "0-9000", 2);
        assert_eq!(map(&mut conn), before);
        check(&mut conn);
        assert_eq!(fs::read(&path).expect("it is there"), whole);
        drop(server); // kills it
        let server = start(ctx, &folder, log);
        assert_eq!(map(&mut server.connect()), before);
        assert!(!server.log().contains("damaged"), "{}", server.log());
        drop(server);
    }
}

fn what_cannot_be_written_is_said(ctx: &Ctx) {
    if ctx.is_redis() || ctx.shards == 1 {
        return;
    }
    for log in ["--appendonly no --save 3600 1", "--appendonly yes"] {
        let folder = Scratch::new();
        let new = folder.path().join(format!("{FILE}.new"));
        let server = start(ctx, &folder, log);
        let mut conn = server.connect();
        fill(&mut conn);
        // A disk that is full, and then has room again.
        symlink("/dev/full", &new).expect("a link");
        let reply = conn.run("RINGDOVE SLOTS MOVE 0-9000 TO 2");
        let wanted = "ERR the slots have moved, but a restart would not find them there: writing \
                      ringdove.slots: No space left on device";
        assert_eq!(reply, Value::Error(wanted.into()));
        assert!(server.log().contains("was not kept"), "{}", server.log());
        assert_eq!(map(&mut conn)[0], [0, 9000, 2], "but they have moved");
        check(&mut conn);
        assert!(!file(&folder).exists());
        assert_eq!(move_slots(&mut conn, "0-9000", 2), 0, "tried again");
        assert!(file(&folder).exists());
        // Who balances hears of it, too; who only asks does not.
        symlink("/dev/full", &new).expect("a link");
        let reply = conn.run("RINGDOVE SLOTS BALANCE BY KEYS DRYRUN");
        assert!(!reply.is_error(), "{reply:?}");
        let reply = conn.run("RINGDOVE SLOTS BALANCE BY KEYS");
        assert!(reply.text().contains("No space left"), "{reply:?}");
        fs::create_dir(&new).expect("a folder in the way");
        let reply = conn.run("RINGDOVE SLOTS MOVE 5 TO 1");
        assert!(reply.text().contains("Is a directory"), "{reply:?}");
        let reply = conn.run("RINGDOVE SLOTS BALANCE BY KEYS DRYRUN");
        assert!(!reply.is_error(), "{reply:?}");
        // The end is the last attempt.
        let before = map(&mut conn);
        fs::remove_dir(&new).expect("it is empty");
        end(server);
        let server = start(ctx, &folder, log);
        let mut conn = server.connect();
        assert_eq!(map(&mut conn), before);
        check(&mut conn);
        // It may fail, too, which the log says.
        fs::create_dir(&new).expect("a folder in the way");
        let reply = conn.run("RINGDOVE SLOTS MOVE 0-9999 TO 0");
        assert!(reply.is_error(), "{reply:?}");
        let mut server = server;
        server.signal(SIGTERM);
        assert!(server.await_end().success(), "{}", server.log());
        assert_eq!(server.log().matches("was not kept").count(), 2);
        let server = start(ctx, &folder, log);
        let mut conn = server.connect();
        assert_eq!(map(&mut conn), before, "as it was written last");
        check(&mut conn);
    }
}

fn snapshots_are_loaded_to_where_slots_are(ctx: &Ctx) {
    if ctx.is_redis() {
        return;
    }
    let folder = Scratch::new();
    let dir = folder.path().display();
    let redis = Server::start(&Options::redis().with(&format!("--dir {dir}")));
    fill(&mut redis.connect());
    redis.connect().run_ok("SAVE");
    drop(redis);
    let server = start(ctx, &folder, "--appendonly no");
    let mut conn = server.connect();
    check(&mut conn);
    move_slots(&mut conn, "3000-16383", 0);
    move_slots(&mut conn, "4000-5000", ctx.shards - 1);
    let before = map(&mut conn);
    drop(server);
    // Without a log; into the base of a log; and from that.
    for log in ["no", "yes", "yes"] {
        let server = start(ctx, &folder, &format!("--appendonly {log}"));
        let mut conn = server.connect();
        assert_eq!(map(&mut conn), before);
        check(&mut conn);
        let moved = |conn: &mut Conn| move_slots(conn, "0-16383", 0);
        assert!(moved(&mut conn) >= i64::from(ctx.shards > 1));
        check(&mut conn);
        for [first, last, to] in &before {
            move_slots(&mut conn, &format!("{first}-{last}"), *to as usize);
        }
        assert_eq!(map(&mut conn), before);
        check(&mut conn);
        drop(server); // kills it
    }
}

fn the_file_is_in_dir(ctx: &Ctx) {
    if ctx.is_redis() || ctx.shards == 1 {
        return;
    }
    let (folder, other) = (Scratch::new(), Scratch::new());
    let server = start(
        ctx,
        &folder,
        "--slot-placement-file where --enable-protected-configs yes",
    );
    let mut conn = server.connect();
    let shown = conn.run("CONFIG GET slot-placement-file").pairs();
    assert_eq!(
        shown,
        [("slot-placement-file".into(), Value::bulk("where"))]
    );
    assert!(conn.run("CONFIG SET slot-placement-file x").is_error());
    move_slots(&mut conn, "0", 1);
    let there = |folder: &Scratch, name: &str| folder.path().join(name).exists();
    assert!(there(&folder, "where") && !there(&folder, FILE));
    // It follows `dir`, as snapshots do.
    conn.run_ok(&format!("CONFIG SET dir {}", other.path().display()));
    assert!(!there(&other, "where"));
    move_slots(&mut conn, "0", 1);
    assert!(there(&other, "where"), "nothing moves, but it is elsewhere");
    for wrong in ["a/b", ""] {
        let options = Options::new(env!("CARGO_BIN_EXE_ringdove"), ctx.shards);
        let options = options.with("--slot-placement-file").with_arg(wrong);
        let (status, _) = options.run_to_end(free_ports(1));
        assert!(!status.success(), "{wrong:?}");
    }
}

fn a_disk_that_hangs_holds_up_nobody_else(ctx: &Ctx) {
    if ctx.is_redis() || ctx.shards == 1 {
        return;
    }
    let folder = Scratch::new();
    let mut server = start(ctx, &folder, "--shutdown-timeout 1");
    let (mut conn, mut other) = (server.connect(), server.connect());
    // Opening it waits for somebody who reads.
    let new = folder.path().join(format!("{FILE}.new"));
    let made = Command::new("mkfifo").arg(&new).status();
    assert!(made.expect("mkfifo").success());
    conn.send(&["RINGDOVE", "SLOTS", "MOVE", "0-2000", "TO", "2"]);
    eventually("all of them have", 20, || {
        (map(&mut other)[0] == [0, 2000, 2]).then_some(())
    });
    let reply = other.run("RINGDOVE SLOTS MOVE 9 TO 1");
    assert_eq!(reply.text(), "ERR slots are being moved already");
    fill(&mut other);
    check(&mut other);
    assert!(other.run("BGSAVE").text().contains("Slots are being moved"));
    server.signal(SIGTERM);
    assert!(server.await_end().success(), "{}", server.log());
    let said = server.log();
    assert!(said.contains("it is still being written"), "{said}");
    let server = start(ctx, &folder, "");
    assert_eq!(map(&mut server.connect()).len(), ctx.shards);
}
