//! The types of directives that are more than one word: what they are, how they are read from the words
//! of a line or of CONFIG SET, and the lines that say them in a file.
//!
//! Spellings, orders and error texts are those of redis-server 7.0.15.

use std::path::{Path, PathBuf};

use super::reason;
use super::shape::{must_be_one_of, parse_memory, print_memory};
use super::words;

/// A text of the configuration: any bytes. Empty where Redis has a null string.
pub type Text = Vec<u8>;

/// Where the words come from: some directives add up in a file, and replace by CONFIG SET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// The first line of the file or of the command line with this directive.
    First,
    /// A further line with it.
    Again,
    /// CONFIG SET.
    Set,
}

/// A line that CONFIG REWRITE would write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The line without its end.
    pub text: Vec<u8>,
    /// Written even when the file has no line of this directive: the value is not the default.
    pub forced: bool,
}

/// `save`: a snapshot is due after `seconds` with at least `changes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    /// Seconds since the last snapshot.
    pub seconds: u64,
    /// Writes since then.
    pub changes: u64,
}

/// All save points; none: no snapshots by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavePoints(pub Vec<SavePoint>);

impl SavePoints {
    pub(super) fn of(points: &[(u64, u64)]) -> Self {
        SavePoints(
            points
                .iter()
                .map(|&(seconds, changes)| SavePoint { seconds, changes })
                .collect(),
        )
    }

    pub(super) fn parse(&mut self, args: &[&[u8]], given: Given) -> Result<(), String> {
        // `save ""` means no save points, wherever it stands.
        let clear = matches!(args, [b""]);
        let args = if clear { &[] } else { args };
        let number = |word: &[u8], min: i128| {
            parse_loosely(word)
                .filter(|&n| n >= min)
                .and_then(|n| u64::try_from(n).ok())
        };
        let points = args.chunks(2).map(|pair| {
            let [seconds, changes] = pair else {
                return None;
            };
            Some(SavePoint {
                seconds: number(seconds, 1)?,
                changes: number(changes, 0)?,
            })
        });
        let points: Vec<SavePoint> = points
            .collect::<Option<_>>()
            .ok_or("Invalid save parameters")?;
        // The first line of a file replaces the defaults, the following ones add to it.
        if clear || args.is_empty() || given != Given::Again {
            self.0.clear();
        }
        self.0.extend(points);
        Ok(())
    }

    pub(super) fn print(&self) -> Vec<u8> {
        let words: Vec<String> = self
            .0
            .iter()
            .map(|p| format!("{} {}", p.seconds, p.changes))
            .collect();
        words.join(" ").into_bytes()
    }

    pub(super) fn lines(&self, name: &str, _default: &Self) -> Vec<Line> {
        let line = |text: String| Line {
            text: text.into_bytes(),
            forced: true,
        };
        if self.0.is_empty() {
            return vec![line(format!("{name} \"\""))];
        }
        self.0
            .iter()
            .map(|p| line(format!("{name} {} {}", p.seconds, p.changes)))
            .collect()
    }
}

/// The limit of a class of clients: closed at once above `hard` bytes of output, or after
/// `soft_seconds` above `soft` bytes. Zero: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputBufferLimit {
    /// Bytes at which the client is closed at once.
    pub hard: u64,
    /// Bytes above which the time runs.
    pub soft: u64,
    /// Seconds that a client may stay above `soft`.
    pub soft_seconds: u64,
}

/// `client-output-buffer-limit`, one limit for each class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputBufferLimits {
    /// Ordinary clients, MONITOR included.
    pub normal: OutputBufferLimit,
    /// Replicas.
    pub replica: OutputBufferLimit,
    /// Clients with a subscription.
    pub pubsub: OutputBufferLimit,
}

impl OutputBufferLimits {
    pub(super) const DEFAULT: Self = Self {
        normal: OutputBufferLimit {
            hard: 0,
            soft: 0,
            soft_seconds: 0,
        },
        replica: OutputBufferLimit {
            hard: 256 << 20,
            soft: 64 << 20,
            soft_seconds: 60,
        },
        pubsub: OutputBufferLimit {
            hard: 32 << 20,
            soft: 8 << 20,
            soft_seconds: 60,
        },
    };

    fn class(&mut self, name: &[u8]) -> Option<&mut OutputBufferLimit> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Some(&mut self.normal),
            b"slave" | b"replica" => Some(&mut self.replica),
            b"pubsub" => Some(&mut self.pubsub),
            _ => None,
        }
    }

    pub(super) fn parse(&mut self, args: &[&[u8]], _given: Given) -> Result<(), String> {
        if !args.len().is_multiple_of(4) {
            return Err("Wrong number of arguments in buffer limit configuration.".into());
        }
        for words in args.chunks(4) {
            let limit = self
                .class(words[0])
                .ok_or("Invalid client class specified in buffer limit configuration.")?;
            let bytes = |word: &[u8]| parse_memory(word).and_then(|n| u64::try_from(n).ok());
            let seconds = parse_loosely(words[3]).and_then(|n| u64::try_from(n).ok());
            let (Some(hard), Some(soft), Some(soft_seconds)) =
                (bytes(words[1]), bytes(words[2]), seconds)
            else {
                return Err(
                    "Error in hard, soft or soft_seconds setting in buffer limit configuration."
                        .into(),
                );
            };
            *limit = OutputBufferLimit {
                hard,
                soft,
                soft_seconds,
            };
        }
        Ok(())
    }

    pub(super) fn print(&self) -> Vec<u8> {
        let one = |name: &str, l: &OutputBufferLimit| {
            format!("{name} {} {} {}", l.hard, l.soft, l.soft_seconds)
        };
        [
            one("normal", &self.normal),
            one("slave", &self.replica),
            one("pubsub", &self.pubsub),
        ]
        .join(" ")
        .into_bytes()
    }

    pub(super) fn lines(&self, name: &str, default: &Self) -> Vec<Line> {
        let classes = [
            ("normal", &self.normal, &default.normal),
            ("replica", &self.replica, &default.replica),
            ("pubsub", &self.pubsub, &default.pubsub),
        ];
        let line = |(class, limit, default): &(&str, &OutputBufferLimit, &OutputBufferLimit)| {
            let (hard, soft) = (
                print_memory(limit.hard.into()),
                print_memory(limit.soft.into()),
            );
            let text = format!("{name} {class} {hard} {soft} {}", limit.soft_seconds);
            Line {
                text: text.into_bytes(),
                forced: limit != default,
            }
        };
        classes.iter().map(line).collect()
    }
}

/// `oom-score-adj-values`: master, replica and child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OomScores(pub [i32; 3]);

impl OomScores {
    pub(super) fn parse(&mut self, args: &[&[u8]], _given: Given) -> Result<(), String> {
        let [a, b, c] = args else {
            return Err("wrong number of arguments".into());
        };
        let score = |word: &[u8]| {
            let value = parse_loosely(word).filter(|n| (-2000..=2000).contains(n));
            value
                .and_then(|n| i32::try_from(n).ok())
                .ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")
        };
        self.0 = [score(a)?, score(b)?, score(c)?];
        Ok(())
    }

    pub(super) fn print(&self) -> Vec<u8> {
        self.0.map(|n| n.to_string()).join(" ").into_bytes()
    }

    pub(super) fn lines(&self, name: &str, default: &Self) -> Vec<Line> {
        plain_line(name, &self.print(), self != default)
    }
}

/// `notify-keyspace-events`: a set of event classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotifyFlags(pub u32);

impl NotifyFlags {
    /// `K`: events go to `__keyspace@<db>__:<key>`.
    pub const KEYSPACE: u32 = 1 << 0;
    /// `E`: events go to `__keyevent@<db>__:<event>`.
    pub const KEYEVENT: u32 = 1 << 1;
    /// `g`: commands of no type (DEL, EXPIRE, RENAME).
    pub const GENERIC: u32 = 1 << 2;
    /// `$`: strings.
    pub const STRING: u32 = 1 << 3;
    /// `l`: lists.
    pub const LIST: u32 = 1 << 4;
    /// `s`: sets.
    pub const SET: u32 = 1 << 5;
    /// `h`: hashes.
    pub const HASH: u32 = 1 << 6;
    /// `z`: sorted sets.
    pub const ZSET: u32 = 1 << 7;
    /// `x`: expired keys.
    pub const EXPIRED: u32 = 1 << 8;
    /// `e`: evicted keys.
    pub const EVICTED: u32 = 1 << 9;
    /// `t`: streams.
    pub const STREAM: u32 = 1 << 10;
    /// `d`: module types.
    pub const MODULE: u32 = 1 << 11;
    /// `m`: misses; not in `A`.
    pub const KEY_MISS: u32 = 1 << 12;
    /// `n`: new keys; not in `A`.
    pub const NEW_KEY: u32 = 1 << 13;
    /// `o`: keys whose value another one replaces; not in `A`.
    pub const OVERWRITTEN: u32 = 1 << 14;
    /// `c`: keys that get a value of another type; not in `A`.
    pub const TYPE_CHANGED: u32 = 1 << 15;
    /// No class of the directive: clients have read keys, and want to hear of changes.
    pub const TRACKED: u32 = 1 << 30;
    /// No class of the directive: clients wait for keys.
    pub const WAITERS: u32 = 1 << 31;
    /// `A`: all classes of events but misses, new keys and replaced values.
    pub const ALL: u32 = Self::MODULE * 2 - Self::GENERIC;

    /// In the order in which Redis shows them.
    const LETTERS: [(u8, u32); 16] = [
        (b'g', Self::GENERIC),
        (b'$', Self::STRING),
        (b'l', Self::LIST),
        (b's', Self::SET),
        (b'h', Self::HASH),
        (b'z', Self::ZSET),
        (b'x', Self::EXPIRED),
        (b'e', Self::EVICTED),
        (b't', Self::STREAM),
        (b'd', Self::MODULE),
        (b'n', Self::NEW_KEY),
        (b'o', Self::OVERWRITTEN),
        (b'c', Self::TYPE_CHANGED),
        (b'K', Self::KEYSPACE),
        (b'E', Self::KEYEVENT),
        (b'm', Self::KEY_MISS),
    ];

    /// The same, or nothing if events of no class would go anywhere.
    pub fn effective(self) -> Self {
        match self.0 & (Self::KEYSPACE | Self::KEYEVENT) {
            0 => Self(0),
            _ => self,
        }
    }

    /// Whether any of these bits is set.
    #[inline]
    pub fn has(self, bits: u32) -> bool {
        self.0 & bits != 0
    }

    pub(super) fn parse(&mut self, args: &[&[u8]], _given: Given) -> Result<(), String> {
        let [letters] = args else {
            return Err("wrong number of arguments".into());
        };
        let flag = |letter: &u8| match letter {
            b'A' => Some(Self::ALL),
            _ => Self::LETTERS
                .iter()
                .find(|(l, _)| l == letter)
                .map(|(_, flag)| *flag),
        };
        let flags = letters
            .iter()
            .try_fold(0, |all, letter| Some(all | flag(letter)?));
        self.0 = flags.ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?;
        Ok(())
    }

    pub(super) fn print(&self) -> Vec<u8> {
        let all = self.0 & Self::ALL == Self::ALL;
        let shown = if all { self.0 & !Self::ALL } else { self.0 };
        let letters = Self::LETTERS
            .iter()
            .filter(|(_, flag)| shown & flag != 0)
            .map(|(letter, _)| *letter);
        all.then_some(b'A').into_iter().chain(letters).collect()
    }

    pub(super) fn lines(&self, name: &str, default: &Self) -> Vec<Line> {
        let mut quoted = Vec::new();
        words::quote(&self.print(), &mut quoted);
        plain_line(name, &quoted, self != default)
    }
}

/// `bind`: the addresses to listen on. A leading `-` means that one may be missing on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses(pub Vec<Text>);

impl Addresses {
    /// Redis's limit (CONFIG_BINDADDR_MAX).
    const COUNT_MAX: usize = 16;

    pub(super) fn of(addresses: &[&str]) -> Self {
        Addresses(addresses.iter().map(|a| a.as_bytes().to_vec()).collect())
    }

    pub(super) fn parse(&mut self, args: &[&[u8]], _given: Given) -> Result<(), String> {
        if args.len() > Self::COUNT_MAX {
            return Err("Too many bind addresses specified.".into());
        }
        let args = if matches!(args, [b""]) { &[] } else { args };
        self.0 = args.iter().map(|a| a.to_vec()).collect();
        Ok(())
    }

    pub(super) fn print(&self) -> Vec<u8> {
        self.0.join(&b' ')
    }

    pub(super) fn lines(&self, name: &str, default: &Self) -> Vec<Line> {
        let value = if self.0.is_empty() {
            b"\"\"".to_vec()
        } else {
            self.print()
        };
        plain_line(name, &value, self != default)
    }
}

/// `replicaof`: the master's host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaOf(pub Option<(Text, u16)>);

impl ReplicaOf {
    pub(super) fn parse(&mut self, args: &[&[u8]], _given: Given) -> Result<(), String> {
        let [host, port] = args else {
            return Err("wrong number of arguments".into());
        };
        if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
            self.0 = None;
            return Ok(());
        }
        let port = parse_loosely(port)
            .and_then(|n| u16::try_from(n).ok())
            .ok_or("Invalid master port")?;
        self.0 = Some((host.to_vec(), port));
        Ok(())
    }

    pub(super) fn print(&self) -> Vec<u8> {
        match &self.0 {
            Some((host, port)) => [host.as_slice(), format!(" {port}").as_bytes()].concat(),
            None => Vec::new(),
        }
    }

    pub(super) fn lines(&self, name: &str, _default: &Self) -> Vec<Line> {
        if self.0.is_none() {
            return Vec::new();
        }
        plain_line(name, &self.print(), true)
    }
}

/// `latency-tracking-info-percentiles`.
#[derive(Clone, Debug, PartialEq)]
pub struct Percentiles(pub Vec<f64>);

impl Percentiles {
    pub(super) fn parse(&mut self, args: &[&[u8]], _given: Given) -> Result<(), String> {
        let args = if matches!(args, [b""]) { &[] } else { args };
        let parse = |word: &&[u8]| {
            let value = std::str::from_utf8(word)
                .ok()
                .and_then(|word| word.parse::<f64>().ok());
            let value = value
                .filter(|v| !v.is_nan())
                .ok_or("Invalid latency-tracking-info-percentiles parameters")?;
            if !(0.0..=100.0).contains(&value) {
                return Err(
                    "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
                );
            }
            Ok(value)
        };
        self.0 = args.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(())
    }

    pub(super) fn print(&self) -> Vec<u8> {
        self.0
            .iter()
            .map(|&p| print_percentile(p))
            .collect::<Vec<_>>()
            .join(" ")
            .into_bytes()
    }

    pub(super) fn lines(&self, name: &str, default: &Self) -> Vec<Line> {
        let value = if self.0.is_empty() {
            b"\"\"".to_vec()
        } else {
            self.print()
        };
        plain_line(name, &value, self != default)
    }
}

/// A percentile with at most six decimals and no trailing zeros, as Redis shows it: `99.9`.
pub fn print_percentile(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').into()
}

/// `shutdown-on-sigint`, `shutdown-on-sigterm`: how a signal shuts the server down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownOn(pub u8);

impl ShutdownOn {
    /// Save even without save points.
    pub const SAVE: u8 = 1;
    /// Do not save.
    pub const NOSAVE: u8 = 2;
    /// Do not wait for replicas.
    pub const NOW: u8 = 4;
    /// Stop even if saving fails.
    pub const FORCE: u8 = 8;

    const WORDS: [(&'static str, u8); 5] = [
        ("default", 0),
        ("save", Self::SAVE),
        ("nosave", Self::NOSAVE),
        ("now", Self::NOW),
        ("force", Self::FORCE),
    ];

    pub(super) fn parse(&mut self, args: &[&[u8]], _given: Given) -> Result<(), String> {
        let flag = |word: &&[u8]| {
            let found = Self::WORDS
                .iter()
                .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word));
            found.map(|(_, flag)| *flag)
        };
        let flags = args
            .iter()
            .try_fold(0, |all, word| Some(all | flag(word)?))
            .filter(|_| !args.is_empty());
        let flags = flags.ok_or_else(|| must_be_one_of(&Self::WORDS.map(|(name, _)| name)))?;
        if flags & Self::SAVE != 0 && flags & Self::NOSAVE != 0 {
            return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
        }
        self.0 = flags;
        Ok(())
    }

    pub(super) fn print(&self) -> Vec<u8> {
        let shown = |flag: u8| {
            if self.0 == 0 {
                flag == 0
            } else {
                self.0 & flag != 0
            }
        };
        let words: Vec<&str> = Self::WORDS
            .iter()
            .filter(|(_, flag)| shown(*flag))
            .map(|(name, _)| *name)
            .collect();
        words.join(" ").into_bytes()
    }

    pub(super) fn lines(&self, name: &str, default: &Self) -> Vec<Line> {
        plain_line(name, &self.print(), self != default)
    }
}

/// `dir`: the working directory, always an absolute path. The boot code makes it the process's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory(pub PathBuf);

impl Directory {
    /// The process's working directory; `/` where there is none any more.
    pub(super) fn current() -> Self {
        Directory(std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")))
    }

    pub(super) fn parse(&mut self, args: &[&[u8]], _given: Given) -> Result<(), String> {
        let [dir] = args else {
            return Err("wrong number of arguments".into());
        };
        if dir.is_empty() {
            return Err("No such file or directory".into());
        }
        // A relative path starts at the directory that an earlier `dir` went to, as after a chdir.
        let found = self
            .0
            .join(as_path(dir))
            .canonicalize()
            .map_err(|error| reason(&error))?;
        if !found.is_dir() {
            return Err("Not a directory".into());
        }
        self.0 = found;
        Ok(())
    }

    pub(super) fn print(&self) -> Vec<u8> {
        use std::os::unix::ffi::OsStrExt;
        self.0.as_os_str().as_bytes().to_vec()
    }

    pub(super) fn lines(&self, name: &str, _default: &Self) -> Vec<Line> {
        let mut quoted = Vec::new();
        words::quote(&self.print(), &mut quoted);
        // Always said: the directory of the next start may be another one.
        plain_line(name, &quoted, true)
    }
}

/// An integer as C's `strtoll` reads it, if nothing is left behind it. Redis reads the numbers of
/// compound directives so: blanks before it, `+` and leading zeros are taken, and nothing is zero.
fn parse_loosely(word: &[u8]) -> Option<i128> {
    let number = word.trim_ascii_start();
    let digits = number
        .strip_prefix(b"-")
        .or(number.strip_prefix(b"+"))
        .unwrap_or(number);
    if word.is_empty() {
        return Some(0);
    }
    let plain = !digits.is_empty() && digits.len() <= 30 && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(number)
        .ok()
        .filter(|_| plain)?
        .parse()
        .ok()
}

/// A text of the configuration as a path.
pub fn as_path(text: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(text))
}

fn plain_line(name: &str, value: &[u8], forced: bool) -> Vec<Line> {
    let text = [name.as_bytes(), b" ", value].concat();
    vec![Line { text, forced }]
}
