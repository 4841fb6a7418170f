//! Options that change what is sent, as a real server sees it; and the ways to reach it.

use std::net::Ipv6Addr;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::{Folder, Redis, load, load_words};

#[test]
fn counts_follow_ratio_clients_and_requests() {
    let redis = Redis::start(&[]);
    let done = load(&format!(
        "-p {} -t 2 -c 3 -n 110 --ratio 1:10 --key-maximum 1000",
        redis.port
    ))
    .expect(0);
    assert_eq!(
        (done.count("Sets"), done.count("Gets"), done.count("Totals")),
        (60, 600, 660)
    );
    assert!(
        done.stdout.contains("Ops/sec") && done.stdout.contains("Request Latency Distribution")
    );
}

#[test]
fn preload_and_allkeys_write_each_key_once() {
    let redis = Redis::start(&[]);
    let port = redis.port;
    load(&format!("-p {port} -t 1 -c 1 -n 10 --ratio 0:1 --preload --key-minimum 1 --key-maximum 4321 --key-prefix k: -d 7")).expect(0);
    assert_eq!(redis.keys(), 4321);
    assert_eq!(redis.ask("STRLEN k:4321"), ":7");
    redis.ask("FLUSHALL");
    let done = load(&format!("-p {port} -t 2 -c 5 -n allkeys --key-pattern P:P --ratio 1:0 --key-minimum 1 --key-maximum 999 --pipeline 9")).expect(0);
    assert_eq!((redis.keys(), done.count("Sets")), (999, 999));
    let done = load(&format!("-p {port} -t 1 -c 2 -n allkeys --key-pattern S:S --ratio 0:1 --key-minimum 1 --key-maximum 999")).expect(0);
    let gets = &done.run()["lines"][1];
    assert_eq!(
        (gets["hits"].as_u64(), gets["misses"].as_u64()),
        (Some(1998), Some(0))
    );
}

#[test]
fn commands_of_the_users_own_run_with_their_placeholders() {
    let redis = Redis::start(&[]);
    let port = redis.port.to_string();
    let done = load_words(&[
        "-p",
        &port,
        "-t",
        "1",
        "-c",
        "2",
        "-n",
        "60",
        "--key-maximum",
        "5",
        "-d",
        "9",
        "--command",
        "HSET h:__client__ __key__ __data__",
        "--command-ratio",
        "2",
        "--command",
        "ZADD z __int:5-5__ m__seq__",
    ])
    .expect(0);
    assert_eq!((done.count("Hsets"), done.count("Zadds")), (80, 40));
    assert_eq!(redis.ask("ZCARD z"), ":40");
    assert_eq!(redis.ask("ZCOUNT z 5 5"), ":40");
    assert_eq!(redis.ask("HSTRLEN h:1 memtier-3"), ":9");
}

#[test]
fn offsets_expiry_mget_wait_scan_and_monitor_lines_work() {
    let redis = Redis::start(&[]);
    let port = redis.port;
    let basic = format!("-p {port} -t 1 -c 1 --key-minimum 1 --key-maximum 50");
    load(&format!(
        "{basic} -n 100 --ratio 1:1 --data-offset 100 -d 10"
    ))
    .expect(0);
    assert!([":110", ":0"].contains(&redis.ask("STRLEN memtier-1").as_str()));
    load(&format!(
        "{basic} -n allkeys --ratio 1:0 --key-pattern P:P --expiry-range 500-600"
    ))
    .expect(0);
    let ttl: u64 = redis.ask("TTL memtier-7")[1..].parse().expect("a TTL");
    assert!((490..=600).contains(&ttl));
    let done = load(&format!("{basic} -n 20 --ratio 0:10 --multi-key-get 4")).expect(0);
    assert_eq!(done.count("Gets"), 20);
    // Sequences of 4, 4 and 2 keys.
    assert_eq!(done.run()["lines"][1]["hits"], 66 + 2);
    let done = load(&format!(
        "{basic} -n 30 --ratio 2:1 --wait-ratio 2:1 --num-slaves 0-0 --wait-timeout 1-1"
    ))
    .expect(0);
    assert_eq!(done.count("Waits"), 7);
    let port = port.to_string();
    let done = load_words(&[
        "-p",
        &port,
        "-t",
        "1",
        "-c",
        "1",
        "-n",
        "40",
        "--scan-incremental-iteration",
        "--command",
        "SCAN 0 COUNT 5",
    ])
    .expect(0);
    assert_eq!(done.count("Scans"), 40);
    let folder = Folder::new();
    let path = folder.file("monitor.txt");
    let lines = "OK\n1700000000.1 [0 127.0.0.1:1] \"set\" \"from\" \"mo\\x6eitor\"\n1700000000.2 [0 127.0.0.1:1] \"incr\" \"n\"\n";
    std::fs::write(&path, lines).expect("written");
    load_words(&[
        "-p",
        &port,
        "-t",
        "1",
        "-c",
        "1",
        "-n",
        "10",
        "--monitor-input",
        &path,
        "--command",
        "__monitor_line1__",
        "--command",
        "__monitor_line@__",
    ])
    .expect(0);
    assert_eq!(
        (
            redis.ask("STRLEN from").as_str(),
            redis.ask("GET n").as_str()
        ),
        (":7", "$1")
    );
}

#[test]
fn every_scenario_runs_clean() {
    let redis = Redis::start(&[]);
    let names = [
        "cache",
        "session",
        "leaderboard",
        "queue",
        "ratelimiter",
        "streams",
        "ycsb-a",
        "ycsb-b",
        "ycsb-c",
        "ycsb-d",
        "ycsb-e",
        "ycsb-f",
    ];
    for name in names {
        redis.ask("FLUSHALL");
        let done = load(&format!(
            "-p {} --scenario {name} -t 1 -c 4 -n 300 --key-maximum 500 -P resp3",
            redis.port
        ));
        assert_eq!(done.code, 0, "{name}: {}{}", done.stdout, done.stderr);
        assert_eq!(done.count("Totals"), 1200, "{name}");
    }
    let listing = load("scenarios").expect(0).stdout;
    assert!(
        names
            .iter()
            .all(|name| listing.contains(&format!("{name}: ")))
    );
}

#[test]
fn unix_sockets_ipv6_databases_and_resp3_are_spoken() {
    let folder = Folder::new();
    let socket = folder.file("redis.sock");
    let redis = Redis::start(&["--unixsocket", &socket]);
    load(&format!(
        "-S {socket} -t 1 -c 2 -n 50 --ratio 1:0 --select-db 3 -P resp3"
    ))
    .expect(0);
    assert!(redis.ask("INFO keyspace").starts_with('$'));
    assert_eq!(redis.keys(), 0, "database 0 is untouched");
    if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        load(&format!("-s ::1 -6 -p {} -t 1 -c 2 -n 50", redis.port)).expect(0);
        load(&format!(
            "-u redis://[::1]:{}/2 -t 1 -c 2 -n 50 -P resp2",
            redis.port
        ))
        .expect(0);
    }
}

#[test]
fn tls_checks_certificates_and_carries_pipelines() {
    let folder = Folder::new();
    let mut ca = CertificateParams::new(Vec::new()).expect("parameters");
    // A name of its own: with the server's, OpenSSL would take the server for its own issuer.
    ca.distinguished_name
        .push(DnType::CommonName, "a test's authority");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer =
        CertifiedIssuer::self_signed(ca, KeyPair::generate().expect("a key")).expect("a CA");
    let server_key = KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_string(), "127.0.0.1".to_string()];
    let server = CertificateParams::new(names)
        .expect("parameters")
        .signed_by(&server_key, &issuer)
        .expect("a certificate");
    let (ca_path, cert, key) = (
        folder.file("ca.pem"),
        folder.file("cert.pem"),
        folder.file("key.pem"),
    );
    std::fs::write(&ca_path, issuer.pem()).expect("written");
    std::fs::write(&cert, server.pem()).expect("written");
    std::fs::write(&key, server_key.serialize_pem()).expect("written");
    let tls_port = crate::free_port();
    let tls_text = tls_port.to_string();
    let _redis = Redis::start(&[
        "--tls-port",
        &tls_text,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca_path,
        "--tls-auth-clients",
        "optional",
    ]);
    let basic = format!(
        "-s 127.0.0.1 -p {tls_port} --tls -t 1 -c 2 -n 500 --pipeline 20 -d 3000 --ratio 1:1"
    );
    let done = load(&format!("{basic} --cacert {ca_path}")).expect(0);
    assert_eq!(done.count("Totals"), 1000);
    load(&format!(
        "{basic} --tls-skip-verify --tls-protocols TLSv1.2 --cert {cert} --key {key}"
    ))
    .expect(0);
    load(&format!(
        "{basic} --cacert {ca_path} --verify --key-maximum 100"
    ))
    .expect(0);
    let done = load(&basic).expect(3);
    assert!(done.stderr.contains("tls: "), "{}", done.stderr);
}

/// What `openssl req -x509` makes: the server's certificate is its own authority, and clients are
/// given the same file.
#[test]
fn tls_takes_a_self_signed_certificate_that_it_was_given() {
    let folder = Folder::new();
    let self_signed = |name: &str| {
        let mut own = CertificateParams::new(vec!["localhost".to_string()]).expect("parameters");
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let made = CertifiedIssuer::self_signed(own, KeyPair::generate().expect("a key"));
        let made = made.expect("a certificate");
        let (cert, key) = (
            folder.file(&format!("{name}.pem")),
            folder.file(&format!("{name}.key")),
        );
        std::fs::write(&cert, made.pem()).expect("written");
        std::fs::write(&key, made.key().serialize_pem()).expect("written");
        (cert, key)
    };
    let (cert, key) = self_signed("server");
    let (other, _) = self_signed("other");
    let tls_port = crate::free_port();
    let tls_text = tls_port.to_string();
    let _redis = Redis::start(&[
        "--tls-port",
        &tls_text,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &cert,
        "--tls-auth-clients",
        "no",
    ]);
    let basic = format!("-s 127.0.0.1 -p {tls_port} --tls -t 1 -c 2 -n 50");
    load(&format!("{basic} --cacert {cert}")).expect(0);
    let done = load(&format!("{basic} --cacert {other}")).expect(3);
    assert!(done.stderr.contains("tls: "), "{}", done.stderr);
}

#[test]
fn a_preload_that_fails_is_told() {
    let redis = Redis::start(&[]);
    let words = format!(
        "-p {} -t 1 -c 1 -n 10 --key-maximum 7 --preload",
        redis.port
    );
    let mut words: Vec<&str> = words.split_whitespace().collect();
    words.extend([
        "--preload-command",
        "HSETT __key__ f 1",
        "--command",
        "PING",
    ]);
    let done = load_words(&words).expect(1);
    assert!(
        done.stdout.contains("Errors: 8 x error-reply"),
        "{}",
        done.stdout
    );
}

#[test]
fn large_values_and_deep_pipelines_do_not_jam() {
    let redis = Redis::start(&[]);
    let done = load(&format!(
        "-p {} -t 2 -c 3 -n 60 --pipeline 20 --ratio 1:1 -d 300000 -R --key-maximum 3",
        redis.port
    ))
    .expect(0);
    assert_eq!(done.count("Totals"), 360);
}
