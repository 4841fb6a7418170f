//! Connections: names, kinds, CLIENT and its filters, replies off, pauses, databases, passwords.
use crate::Ctx;
use ringdove_rig::{Conn, Server, Value, eventually};
use std::collections::HashMap;
use std::time::{Duration, Instant};

crate::cases!(run:
    ping_echo_quit,
    select_and_reset,
    passwords,
    client_names,
    client_ids_grow,
    client_list_speaks_for_the_server,
    client_list_filters,
    client_kill_filters,
    client_kill_self_answers_first,
    client_reply,
    client_pause_holds_writes,
    client_pause_ends_by_itself,
    client_unblock,
    client_flags,
    monitor_sees_the_server,
    swapdb_is_seen_by_connected_clients,
);

/// The lines of CLIENT LIST as maps.
fn client_list(conn: &mut Conn, filter: &str) -> Vec<HashMap<String, String>> {
    let text = conn.run(&format!("CLIENT LIST {filter}")).text();
    text.lines().map(fields).collect()
}

fn fields(line: &str) -> HashMap<String, String> {
    line.split(' ')
        .filter_map(|field| field.split_once('='))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

fn ping_echo_quit(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    assert_eq!(conn.run("PING"), Value::simple("PONG"));
    assert_eq!(conn.run("PING \"a b\""), Value::bulk("a b"));
    assert_eq!(conn.run("ECHO \"\""), Value::bulk(""));
    // What follows QUIT is not executed, and what came before it is answered.
    conn.send_bytes(b"PING\r\nQUIT\r\nSET after quit\r\n");
    assert_eq!(conn.read_to_end(), b"+PONG\r\n+OK\r\n");
    assert_eq!(server.connect().run("EXISTS after"), Value::Int(0));
}

fn select_and_reset(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    conn.run_ok("SET where zero");
    conn.run_ok("SELECT 9");
    assert_eq!(conn.run("GET where"), Value::NilBulk);
    conn.run_ok("SET where nine");
    conn.run_ok("CLIENT SETNAME someone");
    assert!(matches!(conn.run("HELLO 3"), Value::Map(_)));
    assert_eq!(conn.run("RESET"), Value::simple("RESET"));
    assert_eq!(conn.run("GET where"), Value::bulk("zero"));
    assert_eq!(conn.run("GET absent"), Value::NilBulk);
    assert_eq!(conn.run("CLIENT GETNAME"), Value::NilBulk);
    let range = Value::error("ERR DB index is out of range");
    assert_eq!(conn.run("SELECT 16"), range);
    assert_eq!(conn.run("SELECT -1"), range);
    assert_eq!(
        conn.run("SELECT x"),
        Value::error("ERR value is not an integer or out of range")
    );
}

fn passwords(ctx: &Ctx) {
    let server = ctx.start_with("--requirepass first");
    let mut conn = server.connect();
    let noauth = Value::error("NOAUTH Authentication required.");
    let wrong = Value::error("WRONGPASS invalid username-password pair or user is disabled.");
    assert_eq!(conn.run("PING"), noauth);
    assert_eq!(conn.run("NOSUCH"), noauth_or_unknown(&conn.run("NOSUCH")));
    assert_eq!(conn.run("AUTH second"), wrong);
    assert_eq!(conn.run("AUTH default second"), wrong);
    assert_eq!(conn.run("AUTH nobody first"), wrong);
    conn.run_ok("AUTH default first");
    conn.run_ok("SET a 1");
    conn.run_ok("CONFIG SET requirepass second");
    assert_eq!(conn.run("GET a"), Value::bulk("1"), "stays authenticated");
    let mut other = server.connect();
    assert_eq!(other.run("AUTH first"), wrong);
    other.run_ok("AUTH second");
    assert_eq!(other.run("RESET"), Value::simple("RESET"));
    assert_eq!(other.run("GET a"), noauth, "RESET takes it away");
    conn.run_ok("CONFIG SET requirepass \"\"");
    assert_eq!(server.connect().run("GET a"), Value::bulk("1"));
    let none = "ERR AUTH <password> called without any password configured for the default user. \
                Are you sure your configuration is correct?";
    assert_eq!(server.connect().run("AUTH x"), Value::error(none));
}

/// Redis looks a command up before it asks for the password.
fn noauth_or_unknown(reply: &Value) -> Value {
    assert!(reply.text().starts_with("ERR unknown command"), "{reply:?}");
    reply.clone()
}

fn client_names(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    assert_eq!(conn.run("CLIENT GETNAME"), Value::NilBulk);
    conn.run_ok("CLIENT SETNAME one");
    assert_eq!(conn.run("CLIENT GETNAME"), Value::bulk("one"));
    let bad =
        Value::error("ERR Client names cannot contain spaces, newlines or special characters.");
    assert_eq!(conn.run("CLIENT SETNAME \"a b\""), bad);
    assert_eq!(conn.run("CLIENT SETNAME \"a\\n\""), bad);
    assert_eq!(conn.run("CLIENT GETNAME"), Value::bulk("one"));
    conn.run_ok("CLIENT SETNAME \"\"");
    assert_eq!(conn.run("CLIENT GETNAME"), Value::NilBulk);
}

fn client_ids_grow(ctx: &Ctx) {
    let server = ctx.start();
    let mut ids = Vec::new();
    for _ in 0..30 {
        ids.push(server.connect().run("CLIENT ID").int());
    }
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
}

fn client_list_speaks_for_the_server(ctx: &Ctx) {
    let server = ctx.start();
    let mut conns: Vec<Conn> = (0..12).map(|_| server.connect()).collect();
    for (i, conn) in conns.iter_mut().enumerate() {
        conn.run_ok(&format!("CLIENT SETNAME c{i}"));
        conn.run_ok(&format!("SELECT {i}"));
    }
    let mut asker = server.connect_resp3();
    let reply = asker.run("CLIENT LIST");
    assert!(matches!(reply, Value::Verbatim(_)));
    let list = client_list(&mut asker, "");
    assert_eq!(list.len(), 13);
    for (i, conn) in conns.iter().enumerate() {
        let name = format!("c{i}");
        let line = list.iter().find(|f| f["name"] == name).expect("its line");
        assert_eq!(line["addr"], conn.local_address().to_string());
        assert_eq!(line["laddr"], server.address().to_string());
        assert_eq!(line["db"], i.to_string());
        assert_eq!(line["cmd"], "select");
        assert_eq!(line["flags"], "N");
        assert_eq!(line["resp"], "2");
        assert_eq!(line["user"], "default");
        assert_eq!(line["sub"], "0");
        assert_eq!(line["multi"], "-1");
    }
    let own = fields(asker.run("CLIENT INFO").text().trim_end());
    assert_eq!(own["resp"], "3");
    assert_eq!(own["cmd"], "client|info");
    let names = "id addr laddr fd name age idle flags db sub psub ssub multi qbuf qbuf-free argv-mem \
                 multi-mem rbs rbp obl oll omem tot-mem events cmd user redir resp";
    for name in names.split(' ') {
        assert!(own.contains_key(name), "{name} in {own:?}");
    }
    drop(conns);
    eventually("closed connections leave the list", 5, || {
        (client_list(&mut asker, "").len() == 1).then_some(())
    });
}

fn client_list_filters(ctx: &Ctx) {
    let server = ctx.start();
    let mut conns: Vec<Conn> = (0..6).map(|_| server.connect()).collect();
    let ids: Vec<i64> = conns.iter_mut().map(|c| c.run("CLIENT ID").int()).collect();
    let mut asker = server.connect();
    let filter = format!("ID {} {} 999999", ids[4], ids[1]);
    let mut seen: Vec<i64> = client_list(&mut asker, &filter)
        .iter()
        .map(|f| f["id"].parse().expect("a number"))
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, [ids[1], ids[4]]);
    assert_eq!(client_list(&mut asker, "TYPE normal").len(), 7);
    assert_eq!(client_list(&mut asker, "TYPE pubsub").len(), 0);
    let errors = [
        (
            "CLIENT LIST TYPE nosuch",
            "ERR Unknown client type 'nosuch'",
        ),
        ("CLIENT LIST ID x", "ERR Invalid client ID"),
        ("CLIENT LIST nosuch x", "ERR syntax error"),
        ("CLIENT LIST TYPE", "ERR syntax error"),
    ];
    for (line, text) in errors {
        assert_eq!(asker.run(line), Value::error(text), "{line}");
    }
}

fn client_kill_filters(ctx: &Ctx) {
    let server = ctx.start();
    let mut killer = server.connect();
    let victims = |n: usize| -> Vec<Conn> {
        let mut conns: Vec<Conn> = (0..n).map(|_| server.connect()).collect();
        for conn in &mut conns {
            assert_eq!(conn.run("PING"), Value::simple("PONG"), "accepted");
        }
        conns
    };

    let mut conns = victims(3);
    let address = conns[0].local_address();
    killer.run_ok(&format!("CLIENT KILL {address}"));
    assert!(conns[0].is_closed());
    assert_eq!(conns[1].run("PING"), Value::simple("PONG"));
    let gone = Value::error("ERR No such client");
    assert_eq!(killer.run(&format!("CLIENT KILL {address}")), gone);

    let id = conns[1].run("CLIENT ID").int();
    let by_id = format!("CLIENT KILL ID {id}");
    assert_eq!(killer.run(&by_id), Value::Int(1));
    assert!(conns[1].is_closed());
    assert_eq!(killer.run(&by_id), Value::Int(0));

    let by_address = format!("CLIENT KILL ADDR {}", conns[2].local_address());
    assert_eq!(killer.run(&by_address), Value::Int(1));
    assert!(conns[2].is_closed());

    let mut conns = victims(9);
    let by_local = format!("CLIENT KILL LADDR {} SKIPME yes", server.address());
    assert_eq!(killer.run(&by_local), Value::Int(9));
    assert!(conns.iter_mut().all(Conn::is_closed));

    let mut conns = victims(5);
    assert_eq!(killer.run("CLIENT KILL TYPE pubsub"), Value::Int(0));
    assert_eq!(
        killer.run("CLIENT KILL TYPE normal USER default"),
        Value::Int(5)
    );
    assert!(conns.iter_mut().all(Conn::is_closed));

    let mut conns = victims(2);
    let both = format!(
        "CLIENT KILL ID {} ADDR {}",
        conns[0].run("CLIENT ID").int(),
        conns[1].local_address()
    );
    assert_eq!(
        killer.run(&both),
        Value::Int(0),
        "filters are joined by and"
    );
    let errors = [
        ("CLIENT KILL ID x", "ERR client-id should be greater than 0"),
        ("CLIENT KILL ID 0", "ERR client-id should be greater than 0"),
        ("CLIENT KILL TYPE x", "ERR Unknown client type 'x'"),
        ("CLIENT KILL USER x", "ERR No such user 'x'"),
        ("CLIENT KILL SKIPME x", "ERR syntax error"),
        ("CLIENT KILL ID 1 ADDR", "ERR syntax error"),
    ];
    for (line, text) in errors {
        assert_eq!(killer.run(line), Value::error(text), "{line}");
    }
}

fn client_kill_self_answers_first(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    let own = format!(
        "PING\r\nCLIENT KILL ADDR {} SKIPME no\r\nPING\r\n",
        conn.local_address()
    );
    conn.send_bytes(own.as_bytes());
    assert_eq!(conn.read_to_end(), b"+PONG\r\n:1\r\n");
}

fn client_reply(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    conn.send_bytes(b"CLIENT REPLY OFF\r\nSET a 1\r\nGET a\r\nNOSUCH\r\nCLIENT REPLY ON\r\n");
    assert_eq!(conn.receive(), Value::ok());
    conn.send_bytes(b"CLIENT REPLY SKIP\r\nSET a 2\r\nGET a\r\n");
    assert_eq!(conn.receive(), Value::bulk("2"));
    conn.send_bytes(b"CLIENT REPLY SKIP\r\nGET a\r\nCLIENT REPLY SKIP\r\nGET a\r\nPING\r\n");
    assert_eq!(conn.receive(), Value::simple("PONG"));
    assert_eq!(
        conn.run("CLIENT REPLY nosuch"),
        Value::error("ERR syntax error")
    );
    assert!(conn.is_quiet(Duration::from_millis(20)));
}

fn client_pause_holds_writes(ctx: &Ctx) {
    let server = ctx.start();
    let mut control = server.connect();
    let mut conns: Vec<Conn> = (0..6).map(|_| server.connect()).collect();
    control.run_ok("CLIENT PAUSE 60000 WRITE");
    for (i, conn) in conns.iter_mut().enumerate() {
        assert_eq!(
            conn.run(&format!("GET k{i}")),
            Value::NilBulk,
            "reads go on"
        );
        conn.send(&["SET", &format!("k{i}"), "v"]);
    }
    for conn in &mut conns {
        assert!(conn.is_quiet(Duration::from_millis(20)), "a write waits");
    }
    control.run_ok("CLIENT UNPAUSE");
    for conn in &mut conns {
        assert_eq!(conn.receive(), Value::ok());
    }
    // ALL holds UNPAUSE, too: only time ends it.
    control.run_ok("CLIENT PAUSE 500 ALL");
    for conn in &mut conns {
        conn.send(&["GET", "k1"]);
    }
    for conn in &mut conns {
        assert!(conn.is_quiet(Duration::from_millis(10)), "a read waits");
    }
    for conn in &mut conns {
        assert_eq!(conn.receive(), Value::bulk("v"));
    }
}

fn client_pause_ends_by_itself(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    let start = Instant::now();
    conn.run_ok("CLIENT PAUSE 150");
    assert_eq!(server.connect().run("PING"), Value::simple("PONG"));
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(149), "{waited:?}");
    assert!(waited < Duration::from_secs(5), "{waited:?}");
    assert_eq!(
        conn.run("CLIENT PAUSE x"),
        Value::error("ERR timeout is not an integer or out of range")
    );
    assert_eq!(
        conn.run("CLIENT PAUSE -1"),
        Value::error("ERR timeout is negative")
    );
}

fn client_unblock(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    let id = server.connect().run("CLIENT ID").int();
    assert_eq!(conn.run(&format!("CLIENT UNBLOCK {id}")), Value::Int(0));
    assert_eq!(conn.run("CLIENT UNBLOCK 99999 ERROR"), Value::Int(0));
    assert_eq!(
        conn.run("CLIENT UNBLOCK 1 nosuch"),
        Value::error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    );
}

fn client_flags(ctx: &Ctx) {
    let server = ctx.start();
    let mut conn = server.connect();
    conn.run_ok("CLIENT NO-EVICT on");
    let flags =
        |conn: &mut Conn| fields(conn.run("CLIENT INFO").text().trim_end())["flags"].clone();
    assert_eq!(flags(&mut conn), "e");
    conn.run_ok("CLIENT NO-EVICT off");
    assert_eq!(flags(&mut conn), "N");
    if !ctx.is_redis() {
        conn.run_ok("CLIENT NO-TOUCH on");
        assert_eq!(flags(&mut conn), "T");
        conn.run_ok("CLIENT NO-TOUCH off");
        conn.run_ok("CLIENT SETINFO LIB-NAME client");
        conn.run_ok("CLIENT SETINFO lib-ver 1.2.3");
        let own = fields(conn.run("CLIENT INFO").text().trim_end());
        assert_eq!(
            (&own["lib-name"][..], &own["lib-ver"][..]),
            ("client", "1.2.3")
        );
    }
    assert_eq!(
        conn.run("CLIENT NO-EVICT maybe"),
        Value::error("ERR syntax error")
    );
}

/// Commands of every connection, whichever shard it is on, arrive at the monitor.
fn monitor_sees_the_server(ctx: &Ctx) {
    let server = ctx.start();
    let mut monitor = server.connect();
    monitor.run_ok("MONITOR");
    for i in 0..8 {
        let mut conn = server.connect();
        conn.run_ok("SELECT 3");
        conn.call(&["SET", &format!("m{i}"), "a\"b\n\u{1}"]);
        let address = conn.local_address();
        let wanted = [
            format!(" [0 {address}] \"SELECT\" \"3\""),
            format!(" [3 {address}] \"SET\" \"m{i}\" \"a\\\"b\\n\\x01\""),
        ];
        for wanted in wanted {
            let line = monitor.receive().text();
            let (time, rest) = line.split_at(line.find(' ').expect("a time"));
            assert!(time.parse::<f64>().is_ok(), "{line}");
            // Redis logs SELECT after it ran, so with the new number.
            let rest = rest.replace("[3 ", "[0 ");
            assert_eq!(rest, wanted.replace("[3 ", "[0 "));
        }
    }
    // AUTH and the monitor's own commands are not shown; other clients see nothing of it.
    let mut conn = server.connect();
    conn.run("AUTH some secret");
    conn.run("CONFIG GET port");
    assert!(
        monitor.is_quiet(Duration::from_millis(20)) || !monitor_line_has(&mut monitor, "secret")
    );
    assert_eq!(monitor.run("RESET"), Value::simple("RESET"));
}

fn monitor_line_has(monitor: &mut Conn, text: &str) -> bool {
    monitor.receive().text().contains(text)
}

fn swapdb_is_seen_by_connected_clients(ctx: &Ctx) {
    let server = ctx.start();
    let (mut zero, mut one) = (server.connect(), server.connect());
    one.run_ok("SELECT 1");
    for i in 0..50 {
        fill(&mut zero, i, "zero");
        fill(&mut one, i, "one");
    }
    server.connect().run_ok("SWAPDB 0 1");
    for i in 0..50 {
        assert_eq!(zero.run(&format!("GET k{i}")), Value::bulk("one"));
        assert_eq!(one.run(&format!("GET k{i}")), Value::bulk("zero"));
    }
    swap_errors(&server);
}

fn fill(conn: &mut Conn, i: usize, value: &str) {
    conn.run_ok(&format!("SET k{i} {value}"));
}

fn swap_errors(server: &Server) {
    let mut conn = server.connect();
    let errors = [
        ("SWAPDB 0 16", "ERR DB index is out of range"),
        ("SWAPDB x 1", "ERR invalid first DB index"),
        ("SWAPDB 1 x", "ERR invalid second DB index"),
    ];
    for (line, text) in errors {
        assert_eq!(conn.run(line), Value::error(text), "{line}");
    }
    conn.run_ok("SWAPDB 2 2");
}
