//! Start and stop: configuration files and their errors, where it listens, and an orderly end.
use crate::Ctx;
use ringdove_rig::{Conn, Scratch, Server, Value, encode, end_process, eventually, is_alive};
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

crate::cases!(run:
    says_what_test_frameworks_wait_for,
    sigterm_and_sigint_end_it_in_order,
    shutdown_ends_it,
    shutdown_under_load_cuts_no_reply,
    pidfile_and_socket_are_removed,
    unix_socket,
    ipv6,
    several_addresses,
    port_zero_listens_nowhere,
    port_taken,
    configuration_file,
    configuration_errors_name_the_line,
    includes,
    arguments_override_the_file,
    logfile,
    daemonize,
    rename_command,
    debug_command_can_be_refused,
    protected_configs,
    protected_mode,
    version_and_help,
    idle_server_uses_no_processor,
);

fn says_what_test_frameworks_wait_for(ctx: &Ctx) {
    let server = ctx.start();
    let log = server.log();
    assert!(log.contains("Ready to accept connections"), "{log}");
    if !ctx.is_redis() {
        assert!(log.contains(&format!("PID: {}", server.pid())), "{log}");
        assert!(log.contains(&server.port().to_string()), "{log}");
    }
    assert_eq!(server.info_number("process_id"), u64::from(server.pid()));
}

fn sigterm_and_sigint_end_it_in_order(ctx: &Ctx) {
    for signal in [SIGTERM, SIGINT] {
        let mut server = ctx.start();
        let mut idle = server.connect();
        assert_eq!(idle.run("SET a 1"), Value::ok());
        server.signal(signal);
        let status = server.await_end();
        assert_eq!(status.code(), Some(0), "signal {signal}: {}", server.log());
        assert!(idle.is_closed());
        assert!(
            server.log().to_lowercase().contains("bye"),
            "{}",
            server.log()
        );
    }
}

fn shutdown_ends_it(ctx: &Ctx) {
    for line in [
        "SHUTDOWN",
        "SHUTDOWN NOSAVE",
        "SHUTDOWN NOW",
        "SHUTDOWN FORCE",
    ] {
        let mut server = ctx.start();
        let mut conn = server.connect();
        conn.send(&ringdove_rig::inline_args(line));
        assert_eq!(server.await_end().code(), Some(0), "{line}");
        assert_eq!(conn.read_to_end(), b"", "{line} has no reply");
    }
    let server = ctx.start();
    let mut conn = server.connect();
    let syntax = Value::error("ERR syntax error");
    assert_eq!(conn.run("SHUTDOWN nosuch"), syntax);
    assert_eq!(conn.run("SHUTDOWN SAVE NOSAVE"), syntax);
    assert_eq!(conn.run("SHUTDOWN ABORT NOW"), syntax);
    assert_eq!(
        conn.run("SHUTDOWN ABORT"),
        Value::error("ERR No shutdown in progress.")
    );
}

/// Clients that pipeline while the server is told to stop get whole replies, and then the end.
fn shutdown_under_load_cuts_no_reply(ctx: &Ctx) {
    let mut server = ctx.start();
    let value = "v".repeat(1000);
    let load = 4;
    let mut conns: Vec<Conn> = (0..load).map(|_| server.connect()).collect();
    std::thread::scope(|scope| {
        for (i, conn) in conns.iter_mut().enumerate() {
            let value = &value;
            scope.spawn(move || {
                let key = format!("key:{i}");
                let mut batch = encode(&["SET", &key, value]);
                for _ in 0..50 {
                    batch.extend(encode(&["GET", &key]));
                }
                while conn.try_send_bytes(&batch).is_ok() {
                    for _ in 0..51 {
                        match conn.try_receive() {
                            Ok(reply) => assert!(!reply.is_error(), "{reply:?}"),
                            Err(e) => {
                                let rest = conn.read_to_end();
                                assert!(rest.is_empty(), "{e}: cut in {} bytes", rest.len());
                                return;
                            }
                        }
                    }
                }
            });
        }
        let mut watch = server.connect();
        eventually("the load is running", 10, || {
            let text = watch.run("INFO stats").text();
            let line = text
                .lines()
                .find_map(|l| l.strip_prefix("total_commands_processed:"))?;
            (line.parse::<u64>().ok()? > 20_000).then_some(())
        });
        server.signal(SIGTERM);
    });
    assert_eq!(server.await_end().code(), Some(0));
}

fn pidfile_and_socket_are_removed(ctx: &Ctx) {
    let place = Scratch::new();
    let (pid, socket) = (place.path().join("a.pid"), place.path().join("a.sock"));
    let options = ctx
        .options()
        .with_line(format!("pidfile \"{}\"", pid.display()))
        .with_line(format!("unixsocket {}", socket.display()));
    let mut server = Server::start(&options);
    let text = fs::read_to_string(&pid).expect("the pid file");
    assert_eq!(text.trim(), server.pid().to_string());
    assert!(socket.exists());
    server.signal(SIGTERM);
    assert_eq!(server.await_end().code(), Some(0));
    assert!(!pid.exists(), "the pid file is removed");
    assert!(!socket.exists(), "the socket is removed");
}

fn unix_socket(ctx: &Ctx) {
    let place = Scratch::new();
    let path = place.path().join("server.sock");
    // A socket that a killed server left behind is no hindrance.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    let options = ctx
        .options()
        .with("--unixsocketperm 700 --unixsocket")
        .with_arg(&path);
    let server = Server::start(&options);
    let mode = fs::metadata(&path)
        .expect("the socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    let mut conns: Vec<Conn> = (0..5)
        .map(|_| Conn::unix(&path).expect("the server accepts"))
        .collect();
    for (i, conn) in conns.iter_mut().enumerate() {
        for key in 0..20 {
            let key = format!("k{i}:{key}");
            assert_eq!(conn.call(&["SET", &key, "v"]), Value::ok());
            assert_eq!(conn.call(&["GET", &key]), Value::bulk("v"));
        }
    }
    assert_eq!(server.connect().run("DBSIZE"), Value::Int(100));
    let own = conns[0].run("CLIENT INFO").text();
    assert!(own.contains(&format!("addr={}:0", path.display())), "{own}");
    assert!(own.contains("flags=U"), "{own}");
}

fn ipv6(ctx: &Ctx) {
    let options = ctx
        .options()
        .without_defaults()
        .with("--bind 127.0.0.1 ::1 --save")
        .with_arg("");
    let server = Server::start(&options);
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, server.port()));
    let mut conn = Conn::tcp(address).expect("IPv6 loopback");
    conn.run_ok("SET six 6");
    assert_eq!(server.connect().run("GET six"), Value::bulk("6"));
    let own = conn.run("CLIENT INFO").text();
    assert!(own.contains(" addr=[::1]:"), "{own}");
    let killed = format!("CLIENT KILL ADDR {}", conn.local_address());
    assert_eq!(server.connect().run(&killed), Value::Int(1));
}

fn several_addresses(ctx: &Ctx) {
    let options = ctx
        .options()
        .without_defaults()
        // A minus sign in front: no matter whether this address can be had (it is a documentation
        // address, and nothing is sent to it).
        .with("--bind 127.0.0.1 127.0.0.2 -198.51.100.7 --save")
        .with_arg("");
    let server = Server::start(&options);
    let second = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), server.port()));
    let mut conn = Conn::tcp(second).expect("the second address");
    assert_eq!(conn.run("PING"), Value::simple("PONG"));
    assert_eq!(
        conn.run("CONFIG GET bind"),
        Value::Array(vec![
            Value::bulk("bind"),
            Value::bulk("127.0.0.1 127.0.0.2 -198.51.100.7")
        ])
    );
}

fn port_zero_listens_nowhere(ctx: &Ctx) {
    let place = Scratch::new();
    let path = place.path().join("only.sock");
    let options = ctx.options().with("--unixsocket").with_arg(&path);
    let server = Server::spawn(&options, 0);
    let mut conn = eventually("the socket answers", 20, || Conn::unix(&path).ok());
    assert_eq!(conn.run("PING"), Value::simple("PONG"));
    drop(server);
}

fn port_taken(ctx: &Ctx) {
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = holder.local_addr().expect("bound").port();
    let (status, text) = ctx.options().run_to_end(port);
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains(&port.to_string()), "{text}");
    assert!(text.to_lowercase().contains("in use"), "{text}");
}

fn configuration_file(ctx: &Ctx) {
    let options = ctx
        .options()
        .with_line("# a comment")
        .with_line("")
        .with_line("  maxclients 77  ")
        .with_line("MaxMemory 100mb")
        .with_line("requirepass \"with \\\"blank\\\" \\x41\"")
        .with_line("client-output-buffer-limit pubsub 1mb 2mb 3")
        .with_line("save 900 1");
    let server = Server::start(&options);
    let mut conn = server.connect();
    let auth = conn.call(&["AUTH", "with \"blank\" A"]);
    assert_eq!(auth, Value::ok());
    let get =
        |conn: &mut Conn, name: &str| conn.run(&format!("CONFIG GET {name}")).items()[1].text();
    assert_eq!(get(&mut conn, "maxclients"), "77");
    assert_eq!(get(&mut conn, "maxmemory"), "104857600");
    let limits = get(&mut conn, "client-output-buffer-limit");
    assert!(limits.contains("pubsub 1048576 2097152 3"), "{limits}");
}

fn configuration_errors_name_the_line(ctx: &Ctx) {
    let cases = [
        (
            "nosuch-directive yes",
            "Bad directive or wrong number of arguments",
        ),
        ("maxclients", "wrong number of arguments"),
        (
            "maxclients x",
            "argument couldn't be parsed into an integer",
        ),
        ("maxclients 0", "argument must be between 1 and"),
        (
            "appendfsync never",
            "argument(s) must be one of the following",
        ),
        ("protected-mode perhaps", "argument must be 'yes' or 'no'"),
        (
            "requirepass \"open",
            "Unbalanced quotes in configuration line",
        ),
        ("include /nonexistent/file.conf", "/nonexistent/file.conf"),
        ("maxmemory 10zb", "argument must be a memory value"),
        (
            "client-output-buffer-limit normal x 0 0",
            "Error in hard, soft or soft_seconds setting",
        ),
        ("loglevel loud", "argument(s) must be one of the following"),
    ];
    for (line, wanted) in cases {
        let options = ctx
            .options()
            .with_line("# first")
            .with_line("timeout 0")
            .with_line(line);
        let (status, text) = options.run_to_end(1);
        assert_eq!(status.code(), Some(1), "{line}: {text}");
        let lower = text.to_lowercase();
        assert!(lower.contains(&wanted.to_lowercase()), "{line}: {text}");
        if !line.starts_with("include") {
            assert!(text.contains("line 3"), "{line}: {text}");
            assert!(text.contains(line), "{line}: {text}");
        }
    }
    let (status, text) = ctx.options().with("--nosuch 1").run_to_end(1);
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("nosuch"), "{text}");
}

fn includes(ctx: &Ctx) {
    let place = Scratch::new();
    let (one, two) = (place.path().join("one.conf"), place.path().join("two.conf"));
    fs::write(&two, "timeout 17\nmaxclients 55\n").expect("a file");
    let text = format!("include {}\nmaxclients 56\n", two.display());
    fs::write(&one, text).expect("a file");
    let options = ctx
        .options()
        .with_line("timeout 1")
        .with_line(format!("include {}", one.display()));
    let server = Server::start(&options);
    let reply = server.connect().run("CONFIG GET timeout maxclients");
    let mut pairs = reply.pairs();
    pairs.sort();
    let wanted = [("maxclients", "56"), ("timeout", "17")];
    let wanted = wanted.map(|(k, v)| (k.to_owned(), Value::bulk(v)));
    assert_eq!(pairs, wanted);
}

fn arguments_override_the_file(ctx: &Ctx) {
    let options = ctx
        .options()
        .with_line("maxclients 70")
        .with_line("timeout 5")
        .with("--maxclients 71");
    let server = Server::start(&options);
    let mut conn = server.connect();
    assert_eq!(
        conn.run("CONFIG GET maxclients").items()[1],
        Value::bulk("71")
    );
    assert_eq!(conn.run("CONFIG GET timeout").items()[1], Value::bulk("5"));
}

fn logfile(ctx: &Ctx) {
    let place = Scratch::new();
    let file = place.path().join("server.log");
    let options = ctx.options().with("--logfile").with_arg(&file);
    let server = Server::spawn(&options, free_port());
    eventually("the log file has the line", 20, || {
        let text = fs::read_to_string(&file).ok()?;
        text.contains("Ready to accept connections").then_some(())
    });
    assert_eq!(server.log().matches("Ready to accept").count(), 0);
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("bound").port()
}

fn daemonize(ctx: &Ctx) {
    let place = Scratch::new();
    let (pid, log) = (place.path().join("d.pid"), place.path().join("d.log"));
    let port = free_port();
    let options = ctx
        .options()
        .with("--daemonize yes --pidfile")
        .with_arg(&pid)
        .with("--logfile")
        .with_arg(&log);
    let (status, text) = options.run_to_end(port);
    assert_eq!(status.code(), Some(0), "{text}");
    let number = eventually("the pid file", 20, || {
        fs::read_to_string(&pid).ok()?.trim().parse::<u32>().ok()
    });
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let conn = eventually("the daemon answers or has ended", 20, || {
        Conn::tcp(address)
            .ok()
            .map(Some)
            .or_else(|| (!is_alive(number)).then_some(None))
    });
    let Some(mut conn) = conn else {
        panic!(
            "the daemon ended: {}",
            fs::read_to_string(&log).unwrap_or_default()
        );
    };
    let reply = conn.run("PING");
    conn.send(&["SHUTDOWN", "NOSAVE"]);
    let closed = conn.is_closed();
    if !closed {
        end_process(number);
    }
    assert_eq!(reply, Value::simple("PONG"));
    assert!(closed, "SHUTDOWN closes");
    eventually("the daemon ends", 10, || (!is_alive(number)).then_some(()));
    eventually("its pid file is removed", 5, || {
        (!pid.exists()).then_some(())
    });
}

fn rename_command(ctx: &Ctx) {
    let options = ctx
        .options()
        .with_line("rename-command FLUSHALL \"\"")
        .with_line("rename-command GET fetch");
    let server = Server::start(&options);
    let mut conn = server.connect();
    conn.run_ok("SET a 1");
    assert_eq!(conn.run("FETCH a"), Value::bulk("1"));
    assert!(
        conn.run("GET a")
            .text()
            .starts_with("ERR unknown command 'GET'")
    );
    assert!(
        conn.run("FLUSHALL")
            .text()
            .starts_with("ERR unknown command")
    );
    let (status, text) = ctx
        .options()
        .with_line("rename-command NOSUCH x")
        .run_to_end(1);
    assert_eq!(status.code(), Some(1));
    assert!(text.contains("No such command in rename-command"), "{text}");
}

fn debug_command_can_be_refused(ctx: &Ctx) {
    let options = ctx.options().without_defaults().with("--bind 127.0.0.1");
    let server = Server::start(&options);
    let refused = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \
                   \"local\", you can run it from a local connection, otherwise you need to set \
                   this option in the configuration file, and then restart the server.";
    assert_eq!(server.connect().run("DEBUG JMAP"), Value::error(refused));
    let server = Server::start(&options.with("--enable-debug-command local"));
    server.connect().run_ok("DEBUG SET-ACTIVE-EXPIRE 1");
}

fn protected_configs(ctx: &Ctx) {
    let server = ctx.start();
    let refused = "ERR CONFIG SET failed (possibly related to argument 'dbfilename') - can't set \
                   protected config";
    let mut conn = server.connect();
    assert_eq!(
        conn.run("CONFIG SET dbfilename x.rdb"),
        Value::error(refused)
    );
    let server = ctx.start_with("--enable-protected-configs yes");
    server.connect().run_ok("CONFIG SET dbfilename x.rdb");
}

/// From loopback protected mode refuses nobody. For a client from elsewhere a network namespace
/// gets an address of its own, so that no packet leaves this machine.
fn protected_mode(ctx: &Ctx) {
    let options = ctx
        .options()
        .without_defaults()
        .with("--protected-mode yes --bind 127.0.0.1 10.9.9.9 --save")
        .with_arg("");
    let script = "
        set -e
        ip link set lo up
        ip addr add 10.9.9.9/32 dev lo
        \"$@\" &
        until redis-cli -h 127.0.0.1 -p 6399 PING 2>/dev/null | grep -q PONG; do sleep 0.05; done
        redis-cli -h 10.9.9.9 -p 6399 PING || true
        redis-cli -h 127.0.0.1 -p 6399 CONFIG SET protected-mode no
        redis-cli -h 10.9.9.9 -p 6399 ECHO welcome
        redis-cli -h 127.0.0.1 -p 6399 SHUTDOWN NOSAVE
        wait";
    let wrapper = [
        "unshare",
        "--map-root-user",
        "--net",
        "bash",
        "-c",
        script,
        "--",
    ];
    let (status, text) = options.inside(&wrapper).run_to_end(6399);
    assert_eq!(status.code(), Some(0), "{text}");
    let denied = "DENIED Redis is running in protected mode because protected mode is enabled";
    assert!(text.contains(denied), "{text}");
    assert!(text.contains("\nwelcome\n"), "{text}");
}

fn version_and_help(ctx: &Ctx) {
    if ctx.is_redis() {
        return;
    }
    for (flag, wanted) in [
        ("--version", env!("CARGO_PKG_VERSION")),
        ("--help", "--port"),
        ("--check-system", "io_uring"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_ringdove"))
            .arg(flag)
            .output()
            .expect("the binary starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(wanted), "{flag}: {text}");
        // The check's exit code tells about the machine, the others always succeed.
        assert!(
            output.status.success() || flag == "--check-system",
            "{flag}"
        );
    }
}

fn idle_server_uses_no_processor(ctx: &Ctx) {
    let server = ctx.start();
    let _idle: Vec<Conn> = (0..20).map(|_| server.connect()).collect();
    assert_eq!(server.connect().run("PING"), Value::simple("PONG"));
    let before = server.cpu();
    std::thread::sleep(Duration::from_secs(2));
    let used = server.cpu() - before;
    // Redis's own timer costs about 1 % of a core; the clock counts in 10 ms.
    let limit = Duration::from_millis(if ctx.is_redis() { 60 } else { 20 });
    assert!(used <= limit, "idle for 2 s, and used {used:?}");
}
