//! RESP2, RESP3 and inline requests; errors of the protocol and the close after them.
use crate::Ctx;
use ringdove_rig::{Conn, Rng, Server, Value, Watch, encode};
use std::time::Duration;

crate::cases!(run:
    every_split_gives_the_same,
    random_splits_of_a_pipeline,
    inline_requests,
    resp3_types,
    hello,
    hello_needs_the_password,
    protocol_errors_close,
    limits_before_auth,
    deep_pipeline,
    replies_before_an_error_arrive,
    command_errors_keep_the_connection,
    empty_requests_are_skipped,
    binary_safe,
    bulk_limit_is_configurable,
);
crate::cases!(run_alone: half_a_gibibyte, large_values_among_small_ones);

/// Everything that the server sends until it closes, after `bytes` and the end of the stream.
fn answer_to(server: &Server, bytes: &[u8]) -> String {
    let mut conn = server.connect();
    // The server may close in the middle of what is sent.
    let _ = conn.try_send_bytes(bytes);
    conn.read_to_end().escape_ascii().to_string()
}

const PIPELINE: &[u8] = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nva\r\nl\r\n\
*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n\
PING inline\r\n\
\r\n\
*0\r\n\
*-1\r\n\
*3\r\n$3\r\nset\r\n$1\r\nn\r\n$1\r\n1\r\n\
INCR n\n\
*2\r\n$4\r\nECHO\r\n$0\r\n\r\n\
*1\r\n$4\r\nNONE\r\n\
*2\r\n$6\r\nSTRLEN\r\n$3\r\nkey\r\n\
ECHO \"a b\\x41\\n\"\r\n";
const PIPELINE_ANSWER: &str = "+OK\r\n$5\r\nva\r\nl\r\n$6\r\ninline\r\n+OK\r\n:2\r\n$0\r\n\r\n\
-ERR unknown command 'NONE', with args beginning with: \r\n:5\r\n$5\r\na bA\n\r\n";

fn every_split_gives_the_same(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    for cut in 1..PIPELINE.len() {
        conn.send_split(PIPELINE, &[cut]);
        let answer = conn.read_bytes(PIPELINE_ANSWER.len());
        assert_eq!(
            answer.escape_ascii().to_string(),
            PIPELINE_ANSWER.as_bytes().escape_ascii().to_string(),
            "cut at {cut}"
        );
    }
    let each: Vec<usize> = (1..PIPELINE.len()).collect();
    conn.send_split(PIPELINE, &each);
    let answer = conn.read_bytes(PIPELINE_ANSWER.len());
    assert_eq!(answer, PIPELINE_ANSWER.as_bytes(), "byte by byte");
}

fn random_splits_of_a_pipeline(ctx: &Ctx) {
    let server = ctx.start();
    let seed = Rng::from_environment(11);
    eprintln!("seed {seed}");
    let mut rng = Rng::new(seed);
    let mut conn = server.connect();
    for round in 0..60 {
        let (mut bytes, mut wanted) = (Vec::new(), Vec::new());
        for i in 0..1 + rng.below(40) {
            let len = [0, 1, 40, 300, 5_000, 70_000][rng.below(6)];
            let (key, value) = (format!("key:{}", rng.below(9)), rng.bytes(len));
            bytes.extend(encode(&[b"SET", key.as_bytes(), &value]));
            wanted.push(Value::ok());
            if i % 3 == 0 {
                bytes.extend(encode(&[b"GET", key.as_bytes()]));
                wanted.push(Value::Bulk(value));
            }
        }
        let mut cuts: Vec<usize> = (0..rng.below(30)).map(|_| rng.below(bytes.len())).collect();
        cuts.sort_unstable();
        let mut writer = conn.split();
        std::thread::scope(|scope| {
            scope.spawn(|| writer.send_split(&bytes, &cuts));
            for (i, wanted) in wanted.iter().enumerate() {
                assert_eq!(&conn.receive(), wanted, "round {round}, reply {i}");
            }
        });
    }
}

fn inline_requests(ctx: &Ctx) {
    let server = ctx.start();
    let answers = [
        ("PING\r\n", "+PONG\r\n"),
        ("PING\n", "+PONG\r\n"),
        ("   PING   \r\n", "+PONG\r\n"),
        ("ping\ta\r\n", "$1\r\na\r\n"),
        ("ECHO 'it\\'s'\r\n", "$4\r\nit's\r\n"),
        ("ECHO \"\\x00\\xff\\t\"\r\n", "$3\r\n\0\u{ff}\t\r\n"),
        ("ECHO \"\"\r\n", "$0\r\n\r\n"),
        ("SET a b\r\nGET a\r\n", "+OK\r\n$1\r\nb\r\n"),
        ("\r\n\n\r\nPING\r\n", "+PONG\r\n"),
    ];
    let mut conn = server.connect();
    for (request, wanted) in answers {
        conn.send_bytes(request.as_bytes());
        let wanted: Vec<u8> = wanted.chars().map(|c| c as u8).collect();
        let answer = conn.read_bytes(wanted.len());
        assert_eq!(
            answer.escape_ascii().to_string(),
            wanted.escape_ascii().to_string(),
            "{request:?}"
        );
    }
    let long = format!("ECHO {}\r\n", "x".repeat(60_000));
    conn.send_bytes(long.as_bytes());
    assert_eq!(conn.receive(), Value::bulk("x".repeat(60_000)));
}

fn resp3_types(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect_resp3();
    let wanted = [
        ("GET absent", "_\r\n"),
        ("DEBUG PROTOCOL string", "$11\r\nHello World\r\n"),
        ("DEBUG PROTOCOL integer", ":12345\r\n"),
        ("DEBUG PROTOCOL double", ",3.141\r\n"),
        ("DEBUG PROTOCOL null", "_\r\n"),
        ("DEBUG PROTOCOL array", "*3\r\n:0\r\n:1\r\n:2\r\n"),
        ("DEBUG PROTOCOL set", "~3\r\n:0\r\n:1\r\n:2\r\n"),
        (
            "DEBUG PROTOCOL map",
            "%3\r\n:0\r\n#f\r\n:1\r\n#t\r\n:2\r\n#f\r\n",
        ),
        ("DEBUG PROTOCOL true", "#t\r\n"),
        ("DEBUG PROTOCOL false", "#f\r\n"),
        (
            "DEBUG PROTOCOL verbatim",
            "=29\r\ntxt:This is a verbatim\nstring\r\n",
        ),
        ("MGET absent", "*1\r\n_\r\n"),
        ("CONFIG GET port-that-is-not", "%0\r\n"),
    ];
    for (line, wanted) in wanted {
        conn.send(&ringdove_rig::inline_args(line));
        let (_, raw) = conn.try_receive_raw().expect("a reply");
        assert_eq!(
            raw.escape_ascii().to_string(),
            wanted.as_bytes().escape_ascii().to_string(),
            "{line}"
        );
    }
}

fn hello(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    let id = conn.run("CLIENT ID").int();
    let reply = conn.run("HELLO 3 SETNAME someone");
    let pairs = reply.pairs();
    let names: Vec<&str> = pairs.iter().map(|(k, _)| k.as_str()).collect();
    let wanted = [
        "server", "version", "proto", "id", "mode", "role", "modules",
    ];
    assert_eq!(names, wanted);
    assert!(matches!(reply, Value::Map(_)));
    assert_eq!(pairs[0].1, Value::bulk("redis"));
    assert_eq!(pairs[2].1, Value::Int(3));
    assert_eq!(pairs[3].1, Value::Int(id));
    assert_eq!(pairs[4].1, Value::bulk("standalone"));
    assert_eq!(pairs[5].1, Value::bulk("master"));
    assert_eq!(conn.run("CLIENT GETNAME"), Value::bulk("someone"));
    assert_eq!(conn.run("GET absent"), Value::Null);
    assert!(matches!(conn.run("HELLO"), Value::Map(_)), "keeps RESP3");
    assert!(matches!(conn.run("HELLO 2"), Value::Array(_)));
    assert_eq!(conn.run("GET absent"), Value::NilBulk);
    assert_eq!(conn.run("CLIENT GETNAME"), Value::bulk("someone"));

    let errors = [
        ("HELLO 4", "NOPROTO unsupported protocol version"),
        ("HELLO 1", "NOPROTO unsupported protocol version"),
        (
            "HELLO x",
            "ERR Protocol version is not an integer or out of range",
        ),
        (
            "HELLO 3 SETNAME",
            "ERR Syntax error in HELLO option 'SETNAME'",
        ),
        ("HELLO 3 AUTH a", "ERR Syntax error in HELLO option 'AUTH'"),
        (
            "HELLO 3 AUTH default wrong SETNAME x",
            "WRONGPASS invalid username-password pair or user is disabled.",
        ),
    ];
    for (line, text) in errors {
        let reply = conn.run(line);
        // A default user without a password takes any password.
        if line.contains("wrong") && matches!(reply, Value::Map(_)) {
            continue;
        }
        assert_eq!(reply, Value::error(text), "{line}");
    }
}

fn hello_needs_the_password(ctx: &Ctx) {
    let server = ctx.start_with("--requirepass secret");
    let mut conn = server.connect();
    let noauth = "NOAUTH HELLO must be called with the client already authenticated, otherwise \
                  the HELLO AUTH <user> <pass> option can be used to authenticate the \
                  client and select the RESP protocol version at the same time";
    assert_eq!(conn.run("HELLO 3"), Value::error(noauth));
    assert_eq!(conn.run("HELLO"), Value::error(noauth));
    let wrong = "WRONGPASS invalid username-password pair or user is disabled.";
    assert_eq!(conn.run("HELLO 3 AUTH default no"), Value::error(wrong));
    assert_eq!(conn.run("HELLO 3 AUTH other secret"), Value::error(wrong));
    let noauth = Value::error("NOAUTH Authentication required.");
    assert_eq!(conn.run("GET a"), noauth);
    let reply = conn.run("HELLO 3 AUTH default secret SETNAME me");
    assert!(matches!(reply, Value::Map(_)), "{reply:?}");
    assert_eq!(conn.run("GET a"), Value::Null);
    assert_eq!(conn.run("CLIENT GETNAME"), Value::bulk("me"));
}

fn protocol_errors_close(ctx: &Ctx) {
    let server = ctx.start();
    let too_long = "x".repeat(70_000);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"*x\r\n".into(), "invalid multibulk length"),
        (b"*1x\r\n".into(), "invalid multibulk length"),
        (b"* 1\r\n".into(), "invalid multibulk length"),
        (b"*2147483648\r\n".into(), "invalid multibulk length"),
        (
            b"*99999999999999999999\r\n".into(),
            "invalid multibulk length",
        ),
        (b"*1\r\nx\r\n".into(), "expected '$', got 'x'"),
        (b"*1\r\n:3\r\n".into(), "expected '$', got ':'"),
        (b"*1\r\n\r\n".into(), "expected '$', got ' '"),
        (b"*1\r\n*1\r\n".into(), "expected '$', got '*'"),
        (b"*1\r\n$x\r\n".into(), "invalid bulk length"),
        (b"*1\r\n$-1\r\n".into(), "invalid bulk length"),
        (b"*1\r\n$\r\n".into(), "invalid bulk length"),
        (b"*1\r\n$536870913\r\n".into(), "invalid bulk length"),
        (
            b"*1\r\n$9223372036854775807\r\n".into(),
            "invalid bulk length",
        ),
        (
            b"*1\r\n$9223372036854775808\r\n".into(),
            "invalid bulk length",
        ),
        (b"ECHO \"a\r\n".into(), "unbalanced quotes in request"),
        (b"ECHO 'a\r\n".into(), "unbalanced quotes in request"),
        (b"ECHO \"a\"b\r\n".into(), "unbalanced quotes in request"),
        (too_long.clone().into(), "too big inline request"),
        (format!("*{too_long}").into(), "too big mbulk count string"),
        (
            format!("*1\r\n${too_long}").into(),
            "too big bulk count string",
        ),
    ];
    for (request, text) in cases {
        let wanted = format!("-ERR Protocol error: {text}\r\n");
        let shown = request[..request.len().min(40)].escape_ascii();
        assert_eq!(
            answer_to(&server, &request),
            wanted.as_bytes().escape_ascii().to_string(),
            "{shown}"
        );
    }
    assert_eq!(server.connect().run("PING"), Value::simple("PONG"));
}

fn limits_before_auth(ctx: &Ctx) {
    let server = ctx.start_with("--requirepass secret");
    assert_eq!(
        answer_to(&server, b"*11\r\n"),
        "-ERR Protocol error: unauthenticated multibulk length\\r\\n"
    );
    assert_eq!(
        answer_to(&server, b"*2\r\n$16385\r\n"),
        "-ERR Protocol error: unauthenticated bulk length\\r\\n"
    );
    let mut conn = server.connect();
    assert_eq!(
        conn.run("GET a"),
        Value::error("NOAUTH Authentication required.")
    );
    conn.run_ok("AUTH secret");
    assert_eq!(conn.run("EXISTS 1 2 3 4 5 6 7 8 9 10 11 12"), Value::Int(0));
}

fn deep_pipeline(ctx: &Ctx) {
    let server = ctx.start();
    let count = 200_000;
    let mut conn = server.connect();
    let mut writer = conn.split();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut bytes = Vec::new();
            for i in 0..count {
                let (key, n) = (format!("k{}", i % 1000), i.to_string());
                bytes.extend(encode(&["SET", &key, &n]));
                bytes.extend(encode(&["GET", &key]));
            }
            writer.send_bytes(&bytes);
        });
        for i in 0..count {
            assert_eq!(conn.receive(), Value::ok());
            assert_eq!(conn.receive(), Value::bulk(i.to_string()));
        }
    });
}

fn replies_before_an_error_arrive(ctx: &Ctx) {
    let server = ctx.start();
    let mut request = Vec::new();
    for i in 0..50 {
        request.extend(encode(&["SET", &format!("k{i}"), "v"]));
        request.extend(encode(&["GET", &format!("k{i}")]));
    }
    request.extend(b"*1\r\n$x\r\n");
    request.extend(encode(&["SET", "after", "v"]));
    let wanted = "+OK\r\n$1\r\nv\r\n".repeat(50) + "-ERR Protocol error: invalid bulk length\r\n";
    assert_eq!(
        answer_to(&server, &request),
        wanted.as_bytes().escape_ascii().to_string()
    );
    assert_eq!(server.connect().run("EXISTS after"), Value::Int(0));
}

fn command_errors_keep_the_connection(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    let errors = [
        (
            "NOSUCH a b",
            "ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' ",
        ),
        ("GET", "ERR wrong number of arguments for 'get' command"),
        (
            "CLIENT nosuch",
            "ERR unknown subcommand 'nosuch'. Try CLIENT HELP.",
        ),
        (
            "CONFIG",
            "ERR wrong number of arguments for 'config' command",
        ),
        (
            "CONFIG get",
            "ERR wrong number of arguments for 'config|get' command",
        ),
        (
            "\"NO\\r\\nSUCH\" \"a\\nb\"",
            "ERR unknown command 'NO  SUCH', with args beginning with: 'a b' ",
        ),
    ];
    for (line, text) in errors {
        assert_eq!(conn.run(line), Value::error(text), "{line}");
    }
    let long = "y".repeat(300);
    let shown = &long[..128];
    let reply = conn.call(&[&long, &long, "third"]);
    let text = format!("ERR unknown command '{shown}', with args beginning with: '{shown}' ");
    assert_eq!(reply, Value::error(&text));
    assert_eq!(conn.run("PING"), Value::simple("PONG"));
}

fn empty_requests_are_skipped(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    conn.send_bytes(b"*0\r\n*-1\r\n*-10\r\n\r\n\nPING\r\n");
    assert_eq!(conn.receive(), Value::simple("PONG"));
    assert!(conn.is_quiet(Duration::from_millis(20)));
}

fn binary_safe(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    let all: Vec<u8> = (0..=255).collect();
    let key: Vec<u8> = all.iter().rev().copied().collect();
    assert_eq!(conn.call(&[b"SET", &key[..], &all]), Value::ok());
    assert_eq!(conn.call(&[b"GET", &key[..]]), Value::bulk(&all));
    assert_eq!(conn.run("KEYS *"), Value::Array(vec![Value::bulk(&key)]));
    assert_eq!(conn.call(&[b"SET", &b""[..], b""]), Value::ok());
    assert_eq!(conn.run("GET \"\""), Value::bulk(""));
}

fn bulk_limit_is_configurable(ctx: &Ctx) {
    let server = ctx.start_with("--proto-max-bulk-len 2mb");
    let over = format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${}\r\n", (2 << 20) + 1);
    let wanted = "-ERR Protocol error: invalid bulk length\\r\\n";
    assert_eq!(answer_to(&server, over.as_bytes()), wanted);
    let mut conn = server.connect();
    let value = "v".repeat(2 << 20);
    assert_eq!(conn.call(&["SET", "a", &value]), Value::ok());
    assert_eq!(
        conn.call(&["APPEND", "a", "x"]),
        Value::error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
    );
    assert_eq!(
        conn.run("SETRANGE a 2097152 x"),
        Value::error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
    );
    conn.run_ok("CONFIG SET proto-max-bulk-len 3mb");
    assert_eq!(conn.call(&["APPEND", "a", "x"]), Value::Int((2 << 20) + 1));
}

/// Redis copies such a value into its reply in one go, which stops it for a while; Ringdove is to
/// stay within `BYSTANDER_P99_MAX` and `BYSTANDER_MAX`.
fn half_a_gibibyte(ctx: &Ctx) {
    const LEN: usize = 512 << 20;
    const BYSTANDER_P99_MAX: Duration = Duration::from_millis(60);
    const BYSTANDER_MAX: Duration = Duration::from_millis(400);
    let server = ctx.start();
    let mut rng = Rng::new(5);
    let pattern = rng.bytes(1 << 20);
    let watch = Watch::start(&server, 16);
    let mut conn = server.connect();
    conn.set_timeout(Duration::from_secs(60));
    send_big(&mut conn, &pattern, LEN);
    assert_eq!(conn.receive(), Value::ok());
    assert_eq!(conn.run("STRLEN big"), Value::Int(LEN as i64));
    conn.send(&["GET", "big"]);
    let head = format!("${LEN}\r\n");
    assert_eq!(conn.read_bytes(head.len()), head.as_bytes());
    for part in 0..LEN / pattern.len() {
        assert!(conn.read_bytes(pattern.len()) == pattern, "MiB {part}");
    }
    assert_eq!(conn.read_bytes(2), b"\r\n");
    assert_eq!(conn.run("DEL big"), Value::Int(1));
    let seen = watch.stop();
    eprintln!(
        "beside 512 MiB set and read, {} shard(s): {seen:?}",
        ctx.shards
    );
    if !ctx.is_redis() {
        assert!(seen.p99 < BYSTANDER_P99_MAX, "{seen:?}");
        assert!(seen.max < BYSTANDER_MAX, "{seen:?}");
    }
}

/// Values of all sizes in one pipeline, which arrives in pieces of all sizes, while others break off
/// in the middle of theirs.
fn large_values_among_small_ones(ctx: &Ctx) {
    let server = ctx.start();
    let seed = Rng::from_environment(12);
    eprintln!("seed {seed}");
    let mut rng = Rng::new(seed);
    let mut breaks_off = server.connect();
    for round in 0..12 {
        let (mut bytes, mut wanted) = (Vec::new(), Vec::new());
        for n in 0..12 {
            let len = match rng.below(5) {
                0 => rng.below(100),
                1 => rng.below(100_000),
                2 => 200_000 + rng.below(200_000),
                3 => rng.below(3_000_000),
                _ => 65_536 + 262_144 - 3 + rng.below(6),
            };
            let (key, value) = (format!("key:{n}"), rng.bytes(len));
            bytes.extend(encode(&[b"SET", key.as_bytes(), &value]));
            bytes.extend(encode(&[b"STRLEN", key.as_bytes()]));
            wanted.extend([Value::ok(), Value::Int(len as i64)]);
            if rng.one_in(2) {
                bytes.extend(encode(&[b"GET", key.as_bytes()]));
                wanted.push(Value::Bulk(value));
            }
        }
        let broken = rng.below(bytes.len());
        breaks_off.send_bytes(&bytes[..broken]);
        breaks_off = server.connect();
        let mut conn = server.connect();
        conn.set_timeout(Duration::from_secs(60));
        let mut writer = conn.split();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut at = 0;
                while at < bytes.len() {
                    let most = *rng.pick(&[1000, 20_000, 300_000, 5_000_000]);
                    let end = bytes.len().min(at + 1 + rng.below(most));
                    writer.send_bytes(&bytes[at..end]);
                    at = end;
                }
            });
            for (at, wanted) in wanted.iter().enumerate() {
                assert!(conn.receive() == *wanted, "round {round}, reply {at}");
            }
        });
    }
    assert_eq!(server.connect().run("PING"), Value::simple("PONG"));
}

fn send_big(conn: &mut Conn, pattern: &[u8], len: usize) {
    conn.send_bytes(format!("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n${len}\r\n").as_bytes());
    for _ in 0..len / pattern.len() {
        conn.send_bytes(pattern);
    }
    conn.send_bytes(b"\r\n");
}
