//! Tests of the table as a whole, and of CONFIG GET and SET. Replies were taken from
//! redis-server 7.0.15.

use super::shape::{Shape, Unit};
use super::*;

/// `CONFIG GET *` of redis-server 7.0.15 without options: name, tab, value. `dir` is left out.
const REDIS_7_0_15: &str = include_str!("redis-7.0.15.tsv");

fn get(config: &Config, pattern: &str) -> Vec<(String, String)> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    config
        .get(&[pattern.as_bytes()])
        .into_iter()
        .map(|(n, v)| (text(n), text(v)))
        .collect()
}

fn value(config: &Config, name: &str) -> String {
    get(config, name).pop().expect("one value").1
}

fn set(config: &mut Config, pairs: &[(&str, &str)]) -> Result<Vec<&'static str>, String> {
    let pairs: Vec<(&[u8], &[u8])> = pairs
        .iter()
        .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
        .collect();
    config.set(&pairs, Setter::default())
}

#[test]
fn every_directive_of_redis_is_there_with_its_default() {
    let config = Config::default();
    let mut count = 0;
    for line in REDIS_7_0_15.lines() {
        let (name, expected) = line.split_once('\t').expect("name, tab, value");
        // What was written survives unless somebody wants it otherwise.
        let expected = if name == "appendonly" {
            "yes"
        } else {
            expected
        };
        assert_eq!(
            get(&config, name),
            [(name.to_string(), expected.to_string())]
        );
        count += 1;
    }
    assert_eq!(count, 191);
    let all = get(&config, "*");
    for line in REDIS_7_0_15.lines() {
        let name = line.split('\t').next().expect("a name");
        assert!(all.iter().any(|(n, _)| n == name), "{name}");
    }
}

#[test]
fn names_are_unique_and_lower_case() {
    let names: Vec<&str> = DIRECTIVES.iter().flat_map(Row::names).collect();
    for (at, name) in names.iter().enumerate() {
        assert_eq!(*name, name.to_ascii_lowercase());
        assert!(!names[..at].contains(name), "{name} twice");
    }
}

/// Values that a directive takes, the limits of its type among them.
fn samples(row: &Row) -> Vec<String> {
    match &row.shape {
        Shape::YesNo { .. } => vec!["yes".into(), "no".into()],
        Shape::Number {
            min,
            max,
            unit: Unit::Octal,
            ..
        } => vec![format!("{min:o}"), format!("{max:o}")],
        Shape::Number {
            min,
            max,
            unit: Unit::Plain,
            ..
        } => vec![min.to_string(), max.to_string()],
        Shape::Number { min, max, .. } => vec![(*min).max(0).to_string(), max.to_string()],
        Shape::Choice { names, .. } => names().iter().map(|name| name.to_string()).collect(),
        Shape::Text { .. } if row.name == "proc-title-template" => vec!["x {port} {title}".into()],
        Shape::Text { .. } if row.name == "core-direct-announce-ports" => {
            vec!["31000,32000".into(), String::new()]
        }
        Shape::Text { check: Some(_), .. } => vec!["plain".into()],
        Shape::Text { .. } => vec!["plain".into(), "with\"quote'\\and blank\x07\u{e9}".into()],
        Shape::Compound { .. } => match row.name {
            "save" => vec!["900 1 300 10".into(), String::new()],
            "bind" => vec!["10.0.0.1 -::1".into()],
            "client-output-buffer-limit" => {
                vec!["normal 1 2 3 slave 1048576 5 6 pubsub 0 0 7".into()]
            }
            "oom-score-adj-values" => vec!["-1 2 2000".into()],
            "notify-keyspace-events" => vec!["AnKEm".into(), "g$lK".into(), String::new()],
            "replicaof" => vec!["10.0.0.9 7000".into()],
            "latency-tracking-info-percentiles" => vec!["50 99.123457 100".into(), String::new()],
            "shutdown-on-sigint" | "shutdown-on-sigterm" => {
                vec!["save now".into(), "nosave force".into()]
            }
            "dir" => vec!["/".into()],
            other => panic!("no sample for {other}"),
        },
    }
}

/// What CONFIG GET shows of a sample; all but a few spell it as it was given.
fn shown(row: &Row, sample: &str) -> String {
    match (row.name, sample) {
        ("oom-score-adj", "relative") => "yes".into(),
        _ => sample.into(),
    }
}

#[test]
fn every_directive_goes_round_through_set_get_rewrite_and_load() {
    let folder = std::env::temp_dir().join(format!("ringdove-round-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("temp folder");
    let path = folder.join("a.conf");
    for row in DIRECTIVES {
        for sample in samples(row) {
            let mut config = Config {
                config_file: Some(path.clone()),
                ..Config::default()
            };
            // Immutable and protected ones too: the row itself does not mind.
            let words: Vec<&[u8]> = match row.has(MULTI) {
                true => sample.as_bytes().split(|b| *b == b' ').collect(),
                false => vec![sample.as_bytes()],
            };
            row.put(&mut config, &words, Given::Set).expect(row.name);
            config.settle();
            let is = match row.name {
                "hz" => config.hz.to_string(),
                "repl-backlog-size" => config.repl_backlog_size.to_string(),
                _ => shown(row, &sample),
            };
            assert_eq!(value(&config, row.name), is, "{}", row.name);
            for alias in row.aliases {
                assert_eq!(value(&config, alias), is, "{alias}");
            }

            config.cluster_enabled &= row.name == "cluster-enabled";
            std::fs::write(&path, "# mine\n").expect("temp file");
            config.rewrite(None).expect("rewrite");
            // `logfile` names a file that would be made where the test runs.
            if matches!(row.name, "logfile") {
                continue;
            }
            let Ok(Startup::Run(launch)) = load(&[path.clone().into_os_string()]) else {
                panic!(
                    "{}: {}",
                    row.name,
                    std::fs::read_to_string(&path).expect("there")
                );
            };
            if row.name == "cluster-enabled" {
                config.databases = launch.config.databases;
            }
            assert_eq!(launch.config, config, "{}", row.name);
        }
    }
    std::fs::remove_dir_all(folder).expect("clean up");
}

#[test]
fn numbers_refuse_what_is_beyond_their_limits() {
    for row in DIRECTIVES {
        let Shape::Number {
            min,
            max,
            unit: Unit::Plain,
            ..
        } = &row.shape
        else {
            continue;
        };
        for beyond in [min - 1, max + 1] {
            let text = beyond.to_string();
            let error = row
                .put(&mut Config::default(), &[text.as_bytes()], Given::Set)
                .expect_err(row.name);
            let expected = format!("argument must be between {min} and {max} inclusive");
            assert!(
                error == expected || error == "argument couldn't be parsed into an integer",
                "{error}"
            );
        }
    }
}

#[test]
fn get_shows_names_as_redis_does() {
    let config = Config::default();
    assert_eq!(get(&config, "PORT"), [("PORT".into(), "6379".into())]);
    assert_eq!(get(&config, "P?RT"), [("port".into(), "6379".into())]);
    assert_eq!(get(&config, "nosuch"), []);
    assert_eq!(config.get(&[b"[p]ort", b"port"]).len(), 1);
    assert_eq!(
        config
            .get(&[b"SLAVE-read-only", b"replica-read-only"])
            .len(),
        2
    );
    let slaves = get(&config, "slave*");
    assert!(
        slaves.iter().any(|(n, _)| n == "slave-priority")
            && slaves.iter().all(|(n, _)| n.starts_with("slave"))
    );
    assert_eq!(
        get(&config, "watchdog-period").len(),
        1,
        "hidden ones have to be named"
    );
    assert!(
        !get(&config, "*")
            .iter()
            .any(|(n, _)| n == "watchdog-period")
    );
}

#[test]
fn set_says_what_redis_says() {
    for (pairs, error) in [
        (
            &[("nosuch", "1")][..],
            "ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'",
        ),
        (
            &[("a\r\nb", "1")],
            "ERR Unknown option or number of arguments for CONFIG SET - 'a  b'",
        ),
        (
            &[("hz", "5"), ("nosuch", "2")],
            "ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'",
        ),
        (
            &[("PORT", "abc")],
            "ERR CONFIG SET failed (possibly related to argument 'port') - argument couldn't be parsed into an integer",
        ),
        (
            &[("maxclients", "100"), ("maxclients", "200")],
            "ERR CONFIG SET failed (possibly related to argument 'maxclients') - duplicate parameter",
        ),
        (
            &[("databases", "2"), ("nosuch", "1")],
            "ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config",
        ),
        (
            &[("dir", "/tmp")],
            "ERR CONFIG SET failed (possibly related to argument 'dir') - can't set protected config",
        ),
        (
            &[("appendonly", "true")],
            "ERR CONFIG SET failed (possibly related to argument 'appendonly') - argument must be 'yes' or 'no'",
        ),
        (
            &[("maxmemory", "1.5gb")],
            "ERR CONFIG SET failed (possibly related to argument 'maxmemory') - argument must be a memory value",
        ),
        (
            &[("proto-max-bulk-len", "100")],
            "ERR CONFIG SET failed (possibly related to argument 'proto-max-bulk-len') - \
             argument must be between 1048576 and 9223372036854775807 inclusive",
        ),
        (
            &[("maxmemory-policy", "x")],
            "ERR CONFIG SET failed (possibly related to argument 'maxmemory-policy') - argument(s) must be one of the \
             following: volatile-lru, volatile-lfu, volatile-random, volatile-ttl, allkeys-lru, allkeys-lfu, \
             allkeys-random, noeviction",
        ),
        (
            &[("save", " 900  1 ")],
            "ERR CONFIG SET failed (possibly related to argument 'save') - Invalid save parameters",
        ),
        (
            &[("client-output-buffer-limit", "replica 1mb 2x 3")],
            "ERR CONFIG SET failed (possibly related to argument 'client-output-buffer-limit') - \
             Error in hard, soft or soft_seconds setting in buffer limit configuration.",
        ),
        (
            &[("client-output-buffer-limit", "master 1 2 3")],
            "ERR CONFIG SET failed (possibly related to argument 'client-output-buffer-limit') - \
             Invalid client class specified in buffer limit configuration.",
        ),
        (
            &[("shutdown-on-sigterm", "")],
            "ERR CONFIG SET failed (possibly related to argument 'shutdown-on-sigterm') - argument(s) must be one of \
             the following: default, save, nosave, now, force",
        ),
        (
            &[("proc-title-template", "{foo}")],
            "ERR CONFIG SET failed (possibly related to argument 'proc-title-template') - \
             template format is invalid or contains unknown variables",
        ),
        (
            &[("bind", "a b c d e f g h i j k l m n o p q")],
            "ERR CONFIG SET failed (possibly related to argument 'bind') - Too many bind addresses specified.",
        ),
        (
            &[("oom-score-adj-values", "1 2 3000")],
            "ERR CONFIG SET failed (possibly related to argument 'oom-score-adj-values') - \
             Invalid oom-score-adj-values, elements must be between -2000 and 2000.",
        ),
    ] {
        let mut config = Config::default();
        assert_eq!(set(&mut config, pairs), Err(error.to_string()));
        assert_eq!(config, Config::default(), "nothing has changed");
    }
}

#[test]
fn set_is_all_or_nothing_and_names_what_changed() {
    let mut config = Config::default();
    assert!(set(&mut config, &[("timeout", "5"), ("port", "x")]).is_err());
    assert_eq!(config, Config::default());
    let changed = set(
        &mut config,
        &[("timeout", "5"), ("port", "6379"), ("SLAVE-priority", "7")],
    );
    assert_eq!(changed, Ok(vec!["timeout", "replica-priority"]));
    // Two names of one directive are not a duplicate, as on Redis: the last one counts.
    set(
        &mut config,
        &[("slave-read-only", "no"), ("replica-read-only", "yes")],
    )
    .expect("both");
    assert!(config.replica_read_only);
}

#[test]
fn values_that_redis_shows_otherwise_than_given() {
    let mut config = Config::default();
    for (name, given, shown) in [
        ("hz", "0", "1"),
        ("hz", "1000", "500"),
        ("maxmemory", "1gb", "1073741824"),
        ("maxmemory", "", "0"),
        ("repl-backlog-size", "100", "16384"),
        ("maxmemory-clients", "5%", "5%"),
        ("maxmemory-clients", "0%", "0"),
        (
            "client-output-buffer-limit",
            "normal 1 2 3",
            "normal 1 2 3 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
        ),
        (
            "client-output-buffer-limit",
            "REPLICA 1mb 2kb 3 pubsub 0 0 0",
            "normal 1 2 3 slave 1048576 2048 3 pubsub 0 0 0",
        ),
        (
            "client-output-buffer-limit",
            "",
            "normal 1 2 3 slave 1048576 2048 3 pubsub 0 0 0",
        ),
        ("notify-keyspace-events", "KEA", "AKE"),
        ("notify-keyspace-events", "Ex", "xE"),
        ("notify-keyspace-events", "g$n", "g$n"),
        ("notify-keyspace-events", "KExe$lshztdmn", "$lshzxetdnKEm"),
        // 7.0.15 shows `AKEm` and so forgets the `n` at a rewrite.
        ("notify-keyspace-events", "AKEmn", "AnKEm"),
        ("save", "05 +1", "5 1"),
        ("save", "5 ", "5 0"),
        (
            "latency-tracking-info-percentiles",
            "50.123456789 0 1e1",
            "50.123457 0 10",
        ),
        ("shutdown-on-sigterm", "now save default", "save now"),
        ("loglevel", "DEBUG", "debug"),
        ("bind", "", ""),
    ] {
        set(&mut config, &[(name, given)]).expect(name);
        assert_eq!(value(&config, name), shown, "{name} {given}");
    }
}

#[test]
fn protected_and_loading() {
    let mut config = Config {
        enable_protected_configs: Allowed::Local,
        ..Config::default()
    };
    let pair: &[(&[u8], &[u8])] = &[(b"dbfilename", b"x.rdb")];
    assert!(config.set(pair, Setter::default()).is_err());
    assert_eq!(
        config.set(
            pair,
            Setter {
                local: true,
                loading: false
            }
        ),
        Ok(vec!["dbfilename"])
    );
    let loading = Setter {
        local: true,
        loading: true,
    };
    assert_eq!(
        config.set(&[(b"appendonly", b"yes")], loading),
        Err("LOADING Redis is loading the dataset in memory".into())
    );
    assert_eq!(
        config.set(
            &[(b"dbfilename", b"a/b")],
            Setter {
                local: true,
                loading: false
            }
        ),
        Err(
            "ERR CONFIG SET failed (possibly related to argument 'dbfilename') - \
             dbfilename can't be a path, just a filename"
                .into()
        )
    );
}

#[test]
fn secrets_are_known() {
    assert!(
        is_sensitive(b"requirepass") && is_sensitive(b"MASTERAUTH") && is_sensitive(b"primaryauth")
    );
    assert!(!is_sensitive(b"port") && !is_sensitive(b"nosuch"));
}
