//! The command line, read as getopt_long reads memtier's: `--name=value`, `--name value`, `-c50`,
//! `-c 50`, several flags behind one dash, and long names cut short where they stay unambiguous.

use super::table::{Action, OPTIONS, Opt, Origin};
use crate::config::Config;

/// What the command line asks for.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Asked {
    Run(Box<Config>),
    /// `compare A B`: the configuration with each server's address.
    Compare(Box<Config>, [Named; 2]),
    Help,
    Version,
    /// `scenarios`: the list with the command lines.
    Scenarios,
}

/// A server of a comparison.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) address: String,
}

/// Reads `args` (without the program's name). The error is a line for the user.
pub(crate) fn parse(args: &[String]) -> Result<Asked, String> {
    match args.first().map(String::as_str) {
        Some("compare") => {
            let mut config = Config::default();
            let (end, words) = read(&args[1..], &mut config)?;
            if let Some(end) = end {
                return Ok(end);
            }
            let [a, b] = words.as_slice() else {
                return Err(
                    "compare wants two servers: ringdove-load compare A B [options]".into(),
                );
            };
            config.command_line = shown(args);
            config.check()?;
            Ok(Asked::Compare(
                Box::new(config),
                [named(a, "A"), named(b, "B")],
            ))
        }
        Some("scenarios") => Ok(Asked::Scenarios),
        first => {
            let rest = if first == Some("run") {
                &args[1..]
            } else {
                args
            };
            let mut config = Config::default();
            let (end, words) = read(rest, &mut config)?;
            if let Some(end) = end {
                return Ok(end);
            }
            if let Some(word) = words.first() {
                return Err(format!(
                    "{word}: not an option (ringdove-load --help lists them)"
                ));
            }
            config.command_line = shown(args);
            config.check()?;
            Ok(Asked::Run(Box::new(config)))
        }
    }
}

fn named(word: &str, default: &str) -> Named {
    match word.split_once('=') {
        Some((name, address)) => Named {
            name: name.to_string(),
            address: address.to_string(),
        },
        None => Named {
            name: format!("{default} ({word})"),
            address: word.to_string(),
        },
    }
}

/// The command line as it could be typed again, without the password.
fn shown(args: &[String]) -> String {
    let mut line = "ringdove-load".to_string();
    let mut hide = false;
    for arg in args {
        let secret = hide;
        hide = matches!(arg.as_str(), "-a" | "--authenticate" | "-u" | "--uri");
        let inline = ["-a", "--authenticate=", "-u", "--uri="].iter().find(|p| {
            arg.starts_with(**p) && arg.len() > p.len() && !arg.starts_with("--authenticate ")
        });
        line.push(' ');
        match inline {
            _ if secret => line.push_str("***"),
            Some(prefix) => {
                line.push_str(prefix);
                line.push_str("***");
            }
            None if arg.is_empty() || arg.contains([' ', '"', '\'', '*', '$', '<', '>']) => {
                line.push('\'');
                line.push_str(&arg.replace('\'', r"'\''"));
                line.push('\'');
            }
            None => line.push_str(arg),
        }
    }
    line
}

/// Applies the options; answers what ends the program at once, and the words that are no options.
fn read(args: &[String], config: &mut Config) -> Result<(Option<Asked>, Vec<String>), String> {
    let mut words = Vec::new();
    // A scenario is a list of options: it comes first, so that the user's own options win.
    if let Some(name) = scenario_name(args)? {
        let scenario = crate::scenario::find(&name)?;
        let lines: Vec<String> = scenario.options.iter().map(|s| (*s).to_string()).collect();
        let (_, rest) = read_all(&lines, config)?;
        assert!(rest.is_empty(), "scenarios hold options only");
        config.scenario = Some(name);
    }
    let scenario_commands = config.commands.len();
    let (end, rest) = read_all(args, config)?;
    words.extend(rest);
    if config.scenario.is_some() && config.commands.len() > scenario_commands {
        return Err("--command and --scenario exclude each other".to_string());
    }
    Ok((end, words))
}

/// The value of `--scenario`, wherever it stands.
fn scenario_name(args: &[String]) -> Result<Option<String>, String> {
    let mut found = None;
    for (at, arg) in args.iter().enumerate() {
        if let Some(name) = arg.strip_prefix("--scenario=") {
            found = Some(name.to_string());
        } else if arg == "--scenario" {
            let name = args.get(at + 1).ok_or("--scenario wants a name")?;
            found = Some(name.clone());
        }
    }
    Ok(found)
}

fn read_all(args: &[String], config: &mut Config) -> Result<(Option<Asked>, Vec<String>), String> {
    let mut words = Vec::new();
    let mut args = args.iter().map(String::as_str).peekable();
    while let Some(arg) = args.next() {
        if arg == "--" {
            words.extend(args.map(str::to_string));
            break;
        }
        if let Some(long) = arg.strip_prefix("--") {
            let (name, inline) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            let option = find_long(name)?;
            let shown = format!("--{}", option.long);
            let value = match (option.takes_value(), inline) {
                (true, Some(value)) => Some(value),
                (true, None) => Some(
                    args.next()
                        .ok_or_else(|| format!("{shown} wants a value"))?,
                ),
                (false, Some(_)) => return Err(format!("{shown} takes no value")),
                (false, None) => None,
            };
            if let Some(end) = apply(option, &shown, value, config)? {
                return Ok((Some(end), words));
            }
        } else if arg.len() > 1 && arg.starts_with('-') {
            let mut cluster = &arg[1..];
            while let Some(letter) = cluster.chars().next() {
                cluster = &cluster[letter.len_utf8()..];
                let shown = format!("-{letter}");
                // memtier's -h is --host with a value, and was --help before.
                if letter == 'h' && cluster.is_empty() && args.peek().is_none() {
                    return Ok((Some(Asked::Help), words));
                }
                let option = OPTIONS
                    .iter()
                    .find(|o| o.short == Some(letter))
                    .ok_or_else(|| unknown(&shown))?;
                let value = if !option.takes_value() {
                    None
                } else if !cluster.is_empty() {
                    Some(std::mem::take(&mut cluster).trim_start_matches('='))
                } else {
                    Some(
                        args.next()
                            .ok_or_else(|| format!("{shown} wants a value"))?,
                    )
                };
                if let Some(end) = apply(option, &shown, value, config)? {
                    return Ok((Some(end), words));
                }
            }
        } else {
            words.push(arg.to_string());
        }
    }
    Ok((None, words))
}

fn unknown(shown: &str) -> String {
    format!("{shown}: no such option here (ringdove-load --help lists them all)")
}

fn find_long(name: &str) -> Result<&'static Opt, String> {
    if let Some(exact) = OPTIONS.iter().find(|o| o.long == name) {
        return Ok(exact);
    }
    let mut fitting = OPTIONS.iter().filter(|o| o.long.starts_with(name));
    match (fitting.next(), fitting.next()) {
        (Some(one), None) if !name.is_empty() => Ok(one),
        (Some(one), Some(other)) if !name.is_empty() => Err(format!(
            "--{name}: ambiguous, --{} or --{}?",
            one.long, other.long
        )),
        _ => Err(unknown(&format!("--{name}"))),
    }
}

fn apply(
    option: &Opt,
    shown: &str,
    value: Option<&str>,
    config: &mut Config,
) -> Result<Option<Asked>, String> {
    let named = |error: String| format!("{shown}: {error}");
    match option.action {
        Action::Flag(set) => set(config),
        Action::Value(_, set) => set(config, value.unwrap_or("")).map_err(named)?,
        Action::Refuse { why, .. } => {
            return Err(format!(
                "{shown} is memtier's, but does not exist here: {why}"
            ));
        }
        Action::Help => return Ok(Some(Asked::Help)),
        Action::Version => return Ok(Some(Asked::Version)),
    }
    Ok(None)
}

/// The text of `--help`.
pub(crate) fn help() -> String {
    let mut text = "Usage: ringdove-load [options]\n       ringdove-load compare [NAME=]A [NAME=]B [options]\n       \
        ringdove-load scenarios\n\nA load generator for servers that speak the Redis protocol. Takes memtier's command lines;\noptions marked + are its own.\n"
        .to_string();
    let mut group = "";
    for option in OPTIONS {
        if matches!(option.action, Action::Refuse { .. }) {
            continue;
        }
        if option.group != group {
            group = option.group;
            text.push_str(&format!("\n{group}:\n"));
        }
        let short = option
            .short
            .map_or("    ".to_string(), |c| format!("-{c}, "));
        let value = match option.action {
            Action::Value(name, _) => format!("={name}"),
            _ => String::new(),
        };
        let mark = if option.origin == Origin::Own {
            '+'
        } else {
            ' '
        };
        let head = format!(" {mark}{short}--{}{value}", option.long);
        let gap = if head.len() < 38 {
            " ".repeat(38 - head.len())
        } else {
            format!("\n{}", " ".repeat(38))
        };
        text.push_str(&format!("{head}{gap}{}\n", option.help));
    }
    text.push_str(
        "\nExit codes: 0 clean, 1 errors were counted, 2 wrong command line, 3 server not reached or\n\
         credentials refused at the start, 4 verify found faults, 5 all connections lost.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Arrivals, Pattern, Protocol, Requests};

    fn run(line: &str) -> Config {
        match parse(&words(line)) {
            Ok(Asked::Run(config)) => *config,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn words(line: &str) -> Vec<String> {
        let words = crate::template::split_words(line).expect("words");
        words
            .into_iter()
            .map(|w| String::from_utf8(w).expect("text"))
            .collect()
    }

    /// memtier's own list (its usage text): long name, short form, takes a value, exists here.
    const MEMTIERS: &[(&str, Option<char>, bool, bool)] = &[
        ("host", Some('h'), true, true),
        ("server", Some('s'), true, true),
        ("port", Some('p'), true, true),
        ("unix-socket", Some('S'), true, true),
        ("ipv4", Some('4'), false, true),
        ("ipv6", Some('6'), false, true),
        ("protocol", Some('P'), true, true),
        ("authenticate", Some('a'), true, true),
        ("uri", Some('u'), true, true),
        ("tls", None, false, true),
        ("cert", None, true, true),
        ("key", None, true, true),
        ("cacert", None, true, true),
        ("tls-skip-verify", None, false, true),
        ("tls-protocols", None, true, true),
        ("sni", None, true, true),
        ("run-count", Some('x'), true, true),
        ("debug", Some('D'), false, true),
        ("client-stats", None, true, true),
        ("out-file", Some('o'), true, true),
        ("json-out-file", None, true, true),
        ("hdr-file-prefix", None, true, true),
        ("show-config", None, false, true),
        ("hide-histogram", None, false, true),
        ("print-percentiles", None, true, true),
        ("print-all-runs", None, false, true),
        ("cluster-mode", None, false, true),
        ("statsd-host", None, true, false),
        ("statsd-port", None, true, false),
        ("statsd-prefix", None, true, false),
        ("statsd-run-label", None, true, false),
        ("graphite-port", None, true, false),
        ("help", None, false, true),
        ("version", Some('v'), false, true),
        ("requests", Some('n'), true, true),
        ("rate-limiting", None, true, true),
        ("clients", Some('c'), true, true),
        ("threads", Some('t'), true, true),
        ("test-time", None, true, true),
        ("ratio", None, true, true),
        ("pipeline", None, true, true),
        ("reconnect-interval", None, true, true),
        ("reconnect-on-error", None, false, true),
        ("max-reconnect-attempts", None, true, true),
        ("reconnect-backoff-factor", None, true, true),
        ("connection-timeout", None, true, true),
        ("thread-conn-start-min-jitter-micros", None, true, true),
        ("thread-conn-start-max-jitter-micros", None, true, true),
        ("multi-key-get", None, true, true),
        ("select-db", None, true, true),
        ("distinct-client-seed", None, false, true),
        ("randomize", None, false, true),
        ("command", None, true, true),
        ("command-ratio", None, true, true),
        ("command-key-pattern", None, true, true),
        ("monitor-input", None, true, true),
        ("monitor-pattern", None, true, true),
        ("command-stats-breakdown", None, true, true),
        ("scan-incremental-iteration", None, false, true),
        ("scan-incremental-max-iterations", None, true, true),
        ("data-size", Some('d'), true, true),
        ("data-offset", None, true, true),
        ("random-data", Some('R'), false, true),
        ("data-size-range", None, true, true),
        ("data-size-list", None, true, true),
        ("data-size-pattern", None, true, true),
        ("expiry-range", None, true, true),
        ("data-import", None, true, false),
        ("data-verify", None, false, false),
        ("verify-only", None, false, true),
        ("generate-keys", None, false, false),
        ("no-expiry", None, false, false),
        ("key-prefix", None, true, true),
        ("key-minimum", None, true, true),
        ("key-maximum", None, true, true),
        ("key-pattern", None, true, true),
        ("key-stddev", None, true, true),
        ("key-median", None, true, true),
        ("key-zipf-exp", None, true, true),
        ("wait-ratio", None, true, true),
        ("num-slaves", None, true, true),
        ("wait-timeout", None, true, true),
    ];

    #[test]
    fn the_table_has_memtiers_options_and_says_which_are_missing() {
        for (long, short, value, here) in MEMTIERS {
            let row = OPTIONS
                .iter()
                .find(|o| o.long == *long)
                .unwrap_or_else(|| panic!("--{long}"));
            assert_eq!(row.short, *short, "--{long}");
            assert_eq!(row.takes_value(), *value, "--{long}");
            assert_eq!(row.origin, Origin::Memtier, "--{long}");
            assert_eq!(
                !matches!(row.action, Action::Refuse { .. }),
                *here,
                "--{long}"
            );
            if !here {
                let error = parse(&words(&format!("--{long} 1"))).expect_err("refused");
                assert!(error.starts_with(&format!("--{long} ")), "{error}");
            }
        }
        let ours = OPTIONS
            .iter()
            .filter(|o| o.origin == Origin::Memtier)
            .count();
        assert_eq!(
            ours,
            MEMTIERS.len(),
            "the table calls no other option memtier's"
        );
    }

    #[test]
    fn names_and_letters_are_unique() {
        for (at, option) in OPTIONS.iter().enumerate() {
            for other in &OPTIONS[at + 1..] {
                assert_ne!(option.long, other.long);
                assert!(
                    option.short.is_none() || option.short != other.short,
                    "{}",
                    option.long
                );
            }
        }
    }

    #[test]
    fn a_memtier_line_runs_unchanged() {
        let config = run(
            "-s 10.0.0.1 -p 7000 -c 25 -t2 -n allkeys --ratio=1:0 -d 100 --key-prefix= \
             --key-minimum=1 --key-maximum 1000000 --key-pattern=P:P --pipeline=30 -R -P resp3 \
             --hide-histogram --print-percentiles 50,90,99.99 --json-out-file out.json -x 3 \
             --distinct-client-seed --select-db=2 -a user:pa:ss",
        );
        assert_eq!(config.server.display(), "10.0.0.1:7000");
        assert_eq!(
            (config.clients, config.threads, config.pipeline),
            (25, 2, 30)
        );
        assert_eq!(config.requests, Some(Requests::AllKeys));
        assert_eq!(config.key_pattern, (Pattern::Parallel, Pattern::Parallel));
        assert_eq!(config.print_percentiles, [50.0, 90.0, 99.99]);
        assert_eq!(config.server.protocol, Protocol::Resp3);
        assert_eq!(config.server.user.as_deref(), Some("user"));
        assert_eq!(config.server.password.as_deref(), Some("pa:ss"));
        assert!(config.random_data && config.key_prefix.is_empty() && config.run_count == 3);
        assert!(!config.command_line.contains("pa:ss"));
    }

    #[test]
    fn commands_gather_what_follows_them() {
        let config = run(
            "--command 'set __key__ __data__' --command-ratio=2 --command-key-pattern=G \
             --command 'get __key__'",
        );
        let specs: Vec<_> = config
            .commands
            .iter()
            .map(|c| (c.line.as_str(), c.ratio, c.pattern))
            .collect();
        assert_eq!(
            specs,
            [
                ("set __key__ __data__", 2, Pattern::Gaussian),
                ("get __key__", 1, Pattern::Random)
            ]
        );
    }

    #[test]
    fn short_flags_combine_and_long_names_may_be_cut() {
        let config = run("-RDc7 --test-t 3 --arriv=poisson --rate 10,20k");
        assert!(config.random_data && config.debug);
        assert_eq!((config.clients, config.test_time_sec), (7, 3.0));
        assert_eq!(config.arrivals, Arrivals::Poisson);
        assert_eq!(config.rates, [10.0, 20_000.0]);
        assert!(parse(&words("--key 1")).is_ok());
        assert!(
            parse(&words("--key- 1"))
                .expect_err("ambiguous")
                .contains("ambiguous")
        );
    }

    #[test]
    fn wrong_lines_name_the_option() {
        for (line, part) in [
            ("--no-such-thing", "--no-such-thing"),
            ("-Z", "-Z"),
            ("-p 99999", "-p"),
            ("--ratio=1", "--ratio"),
            ("--key-pattern=R:Q", "--key-pattern"),
            ("--pipeline", "--pipeline"),
            ("--slo p99", "--slo"),
            ("--tls=1", "--tls"),
            ("-P memcache_text", "-P"),
        ] {
            let error = parse(&words(line)).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn uris_help_and_compare() {
        let config = run("--uri rediss://joe:s3cret@example.org:7001/4");
        assert!(config.server.tls && config.server.port == 7001 && config.server.select_db == 4);
        let v6 = run("-u redis://[::1]:7002");
        assert_eq!(v6.server.display(), "[::1]:7002");
        assert_eq!(parse(&words("-h")), Ok(Asked::Help));
        assert_eq!(run("-h otherhost").server.host, "otherhost");
        let asked = parse(&words("compare old=127.0.0.1:1 127.0.0.1:2 --rounds 3"));
        let Ok(Asked::Compare(config, [a, b])) = asked else {
            panic!("{asked:?}")
        };
        assert_eq!(
            (a.name.as_str(), b.address.as_str(), config.rounds),
            ("old", "127.0.0.1:2", 3)
        );
        assert!(help().contains("--key-zipf-exp"));
    }

    #[test]
    fn scenarios_parse_and_may_be_overridden() {
        for scenario in crate::scenario::SCENARIOS {
            let config = run(&format!(
                "--scenario={} --key-maximum=77 -c 3",
                scenario.name
            ));
            assert_eq!((config.key_maximum, config.clients), (77, 3));
            assert!(!config.commands.is_empty(), "{}", scenario.name);
        }
        assert!(
            parse(&words("--scenario nonsense"))
                .expect_err("unknown")
                .contains("cache")
        );
    }
}
