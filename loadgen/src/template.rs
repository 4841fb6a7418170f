//! Requests as templates: everything that never changes is rendered once, as wire bytes; only
//! keys, values and numbers are written for each request.
//!
//! Placeholders (the first two, and the monitor lines that `workload` expands, are memtier's):
//!
//! | placeholder | becomes |
//! | --- | --- |
//! | `__key__` | the key prefix and the next key number of the command's pattern |
//! | `__id__` | the next key number alone |
//! | `__last__`, `__lastid__` | the same of the client's last key: its previous request's, or one further left in this request |
//! | `__data__` | a value, as the object options say |
//! | `__int:A-B__` | a number from A to B, each as likely |
//! | `__zipf:A-B__` | a number from A to B, A the most frequent (exponent 0.99) |
//! | `__seq__` | a number that no other request of the run has |
//! | `__client__` | the number of the client |
//! | `__ms__` | Unix time in milliseconds |
//! | `__scan__` | the cursor of the client's last reply, at first 0 |

use std::ops::Range;

use crate::keys::{Cursor, Distribution, KeyRange, Zipf};
use crate::rng::Rng;
use crate::values::Values;

/// The exponent of `__zipf:A-B__`: YCSB's.
const ZIPF_EXPONENT: f64 = 0.99;

#[derive(Clone, Debug)]
enum Piece {
    Text(Vec<u8>),
    Key,
    KeyNumber,
    Last,
    LastNumber,
    Data,
    Int { min: u64, count: u64 },
    Zipf { min: u64, zipf: Zipf },
    Sequence,
    Client,
    Millis,
    Scan,
}

#[derive(Clone, Debug)]
enum Part {
    /// Finished wire bytes.
    Wire(Vec<u8>),
    /// An argument that is the key and nothing else, with the finished bytes around it: one form
    /// for each number of digits that a key number may have.
    Key(Vec<KeyForm>),
    /// An argument that is the value and nothing else.
    Data,
    /// An argument of several pieces.
    Mixed(Vec<Piece>),
}

/// Digits of the largest key number.
const DIGITS_MAX: usize = 20;

/// Wire bytes around a key whose number has a known count of digits. Most requests are one form:
/// a copy and a number written over its zeros.
#[derive(Clone, Debug)]
struct KeyForm {
    /// Zeros stand where the digits go.
    wire: Vec<u8>,
    key: Range<usize>,
    digits: Range<usize>,
}

impl KeyForm {
    fn new(before: &[u8], prefix: &[u8], digits: usize, after: &[u8]) -> KeyForm {
        let mut wire = before.to_vec();
        push_length(&mut wire, prefix.len() + digits);
        let start = wire.len();
        wire.extend_from_slice(prefix);
        wire.resize(wire.len() + digits, b'0');
        let end = wire.len();
        wire.extend_from_slice(b"\r\n");
        wire.extend_from_slice(after);
        KeyForm {
            wire,
            key: start..end,
            digits: end - digits..end,
        }
    }

    /// Appends the form with its key; answers where in `out` the form begins.
    #[inline]
    fn render(&self, key: u64, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.extend_from_slice(&self.wire);
        write_digits(key, &mut out[start..][self.digits.clone()]);
        start
    }
}

/// One request, ready but for its variable parts.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    parts: Vec<Part>,
    /// The part that is the request's key, the one that a cluster routes by.
    key_part: Option<usize>,
    /// The key, when it has no placeholder.
    fixed_key: Option<Vec<u8>>,
    /// The request is fit for scan iteration: it holds `__scan__`.
    pub(crate) scans: bool,
    /// `__key__` occurs.
    pub(crate) keyed: bool,
}

/// Where variable parts come from, for one request.
pub(crate) struct Fill<'a> {
    pub(crate) prefix: &'a [u8],
    pub(crate) keys: &'a Distribution,
    pub(crate) range: KeyRange,
    pub(crate) cursor: &'a mut Cursor,
    pub(crate) rng: &'a mut Rng,
    pub(crate) values: &'a Values,
    /// Used for the first `__key__` instead of asking the distribution.
    pub(crate) chosen_key: Option<u64>,
    /// Used for `__data__` instead of a value of `values`.
    pub(crate) chosen_data: Option<&'a [u8]>,
    pub(crate) client: u64,
    pub(crate) sequence: u64,
    pub(crate) unix_ms: u64,
    pub(crate) scan_cursor: u64,
    /// The last key number that the client used; changed by rendering.
    pub(crate) last_key: u64,
    /// Memory for arguments of several pieces.
    pub(crate) scratch: &'a mut Vec<u8>,
}

impl Fill<'_> {
    #[inline]
    fn next_key(&mut self) -> u64 {
        self.last_key = match self.chosen_key.take() {
            Some(key) => key,
            None => self.keys.pick(self.range, self.cursor, self.rng),
        };
        self.last_key
    }
}

impl Template {
    /// A template from the words of a command; keys begin with `prefix`. Errors name the
    /// placeholder.
    pub(crate) fn new(words: &[Vec<u8>], prefix: &[u8]) -> Result<Template, String> {
        if words.is_empty() {
            return Err("an empty command".to_string());
        }
        let mut template = Template {
            parts: vec![Part::Wire(format!("*{}\r\n", words.len()).into_bytes())],
            key_part: None,
            fixed_key: None,
            scans: false,
            keyed: false,
        };
        let key_word = key_word(words);
        for (at, word) in words.iter().enumerate() {
            let pieces = pieces_of(word)?;
            template.keyed |= pieces
                .iter()
                .any(|p| matches!(p, Piece::Key | Piece::KeyNumber));
            template.scans |= pieces.iter().any(|p| matches!(p, Piece::Scan));
            match pieces.as_slice() {
                [Piece::Key] => template.push_key(prefix),
                [Piece::Data] => template.parts.push(Part::Data),
                [Piece::Text(text)] => template.push_wire(text),
                [] => template.push_wire(b""),
                _ => template.parts.push(Part::Mixed(pieces)),
            }
            if Some(at) == key_word {
                match template.parts.last() {
                    Some(Part::Wire(_)) | None => template.fixed_key = Some(word.clone()),
                    Some(_) => template.key_part = Some(template.parts.len() - 1),
                }
            }
        }
        Ok(template)
    }

    fn push_wire(&mut self, text: &[u8]) {
        let mut bytes = format!("${}\r\n", text.len()).into_bytes();
        bytes.extend_from_slice(text);
        bytes.extend_from_slice(b"\r\n");
        match self.parts.last_mut() {
            Some(Part::Wire(wire)) => wire.extend_from_slice(&bytes),
            Some(Part::Key(forms)) => {
                for form in forms {
                    form.wire.extend_from_slice(&bytes);
                }
            }
            _ => self.parts.push(Part::Wire(bytes)),
        }
    }

    /// The key takes the finished bytes before it into its forms.
    fn push_key(&mut self, prefix: &[u8]) {
        let before = match self.parts.pop() {
            Some(Part::Wire(wire)) => wire,
            Some(other) => {
                self.parts.push(other);
                Vec::new()
            }
            None => Vec::new(),
        };
        let forms = (1..=DIGITS_MAX).map(|digits| KeyForm::new(&before, prefix, digits, b""));
        self.parts.push(Part::Key(forms.collect()));
    }

    /// Appends the request to `out`; answers where in `out` its key stands (nowhere, if the key
    /// is fixed or the command has none).
    #[inline]
    pub(crate) fn render(&self, fill: &mut Fill<'_>, out: &mut Vec<u8>) -> Range<usize> {
        let mut key_at = 0..0;
        for (at, part) in self.parts.iter().enumerate() {
            match part {
                Part::Wire(bytes) => out.extend_from_slice(bytes),
                Part::Key(forms) => {
                    let key = fill.next_key();
                    let form = &forms[digits_of(key) - 1];
                    let start = form.render(key, out);
                    if self.key_part == Some(at) {
                        key_at = start + form.key.start..start + form.key.end;
                    }
                }
                Part::Data => {
                    let values = fill.values;
                    let data = match fill.chosen_data {
                        Some(data) => data,
                        None => values.pick(fill.last_key, fill.rng),
                    };
                    push_length(out, data.len());
                    out.extend_from_slice(data);
                    out.extend_from_slice(b"\r\n");
                }
                Part::Mixed(pieces) => {
                    let mut scratch = std::mem::take(fill.scratch);
                    scratch.clear();
                    pieces
                        .iter()
                        .for_each(|piece| piece.render(fill, &mut scratch));
                    push_length(out, scratch.len());
                    if self.key_part == Some(at) {
                        key_at = out.len()..out.len() + scratch.len();
                    }
                    out.extend_from_slice(&scratch);
                    out.extend_from_slice(b"\r\n");
                    *fill.scratch = scratch;
                }
            }
        }
        key_at
    }

    /// The key of a request whose key never changes.
    pub(crate) fn fixed_key(&self) -> Option<&[u8]> {
        self.fixed_key.as_deref()
    }
}

impl Piece {
    fn render(&self, fill: &mut Fill<'_>, out: &mut Vec<u8>) {
        let mut digits = [0u8; DIGITS_MAX];
        let number = match self {
            Piece::Text(text) => return out.extend_from_slice(text),
            Piece::Data => {
                let values = fill.values;
                let data = match fill.chosen_data {
                    Some(data) => data,
                    None => values.pick(fill.last_key, fill.rng),
                };
                return out.extend_from_slice(data);
            }
            Piece::Key => {
                out.extend_from_slice(fill.prefix);
                fill.next_key()
            }
            Piece::KeyNumber => fill.next_key(),
            Piece::Last => {
                out.extend_from_slice(fill.prefix);
                fill.last_key
            }
            Piece::LastNumber => fill.last_key,
            Piece::Int { min, count } => min + fill.rng.below(*count),
            Piece::Zipf { min, zipf } => min + zipf.rank(fill.rng) - 1,
            Piece::Sequence => fill.sequence,
            Piece::Client => fill.client,
            Piece::Millis => fill.unix_ms,
            Piece::Scan => fill.scan_cursor,
        };
        out.extend_from_slice(decimal(number, &mut digits));
    }
}

#[inline]
fn push_length(out: &mut Vec<u8>, len: usize) {
    let mut digits = [0u8; DIGITS_MAX];
    out.push(b'$');
    out.extend_from_slice(decimal(len as u64, &mut digits));
    out.extend_from_slice(b"\r\n");
}

/// How many digits `value` has in decimal.
#[inline]
fn digits_of(value: u64) -> usize {
    value.checked_ilog10().unwrap_or(0) as usize + 1
}

/// Writes the last `room.len()` digits of `value`.
#[inline]
fn write_digits(mut value: u64, room: &mut [u8]) {
    let mut pairs = room.rchunks_exact_mut(2);
    for pair in &mut pairs {
        let low = (value % 100) as usize * 2;
        pair.copy_from_slice(&PAIRS[low..low + 2]);
        value /= 100;
    }
    if let [first] = pairs.into_remainder() {
        *first = b'0' + (value % 10) as u8;
    }
}

/// `00` to `99`.
const PAIRS: [u8; 200] = {
    let mut pairs = [0; 200];
    let mut at = 0;
    while at < 100 {
        pairs[2 * at] = b'0' + (at / 10) as u8;
        pairs[2 * at + 1] = b'0' + (at % 10) as u8;
        at += 1;
    }
    pairs
};

/// `value` in decimal, at the end of `room`.
#[inline]
fn decimal(value: u64, room: &mut [u8; DIGITS_MAX]) -> &[u8] {
    let at = DIGITS_MAX - digits_of(value);
    write_digits(value, &mut room[at..]);
    &room[at..]
}

/// Which word a cluster routes by: the first argument, but for the commands that have their first
/// key elsewhere (as COMMAND INFO tells it).
fn key_word(words: &[Vec<u8>]) -> Option<usize> {
    let is = |at: usize, names: &[&str]| {
        words.get(at).is_some_and(|w| {
            names
                .iter()
                .any(|name| w.eq_ignore_ascii_case(name.as_bytes()))
        })
    };
    let at = if is(
        0,
        &[
            "EVAL",
            "EVALSHA",
            "EVAL_RO",
            "EVALSHA_RO",
            "FCALL",
            "FCALL_RO",
        ],
    ) {
        3
    } else if is(
        0,
        &[
            "BITOP",
            "OBJECT",
            "XINFO",
            "XGROUP",
            "MEMORY",
            "DEBUG",
            "ZUNION",
            "ZINTER",
            "ZDIFF",
            "SINTERCARD",
            "LMPOP",
            "ZMPOP",
        ],
    ) {
        2
    } else if is(0, &["XREAD", "XREADGROUP"]) {
        1 + (1..words.len()).find(|at| is(*at, &["STREAMS"]))?
    } else if is(
        0,
        &[
            "PING",
            "ECHO",
            "INFO",
            "DBSIZE",
            "TIME",
            "SCAN",
            "KEYS",
            "RANDOMKEY",
            "WAIT",
            "PUBLISH",
            "FLUSHALL",
            "FLUSHDB",
            "CONFIG",
            "CLIENT",
            "COMMAND",
        ],
    ) {
        return None;
    } else {
        1
    };
    (at < words.len()).then_some(at)
}

fn pieces_of(word: &[u8]) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut text = Vec::new();
    let mut rest = word;
    while !rest.is_empty() {
        match placeholder(rest)? {
            Some((piece, len)) => {
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(piece);
                rest = &rest[len..];
            }
            None => {
                text.push(rest[0]);
                rest = &rest[1..];
            }
        }
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

/// The placeholder at the very start of `rest`, with its length.
fn placeholder(rest: &[u8]) -> Result<Option<(Piece, usize)>, String> {
    let simple: [(&[u8], Piece); 9] = [
        (b"__key__", Piece::Key),
        (b"__id__", Piece::KeyNumber),
        (b"__last__", Piece::Last),
        (b"__lastid__", Piece::LastNumber),
        (b"__data__", Piece::Data),
        (b"__seq__", Piece::Sequence),
        (b"__client__", Piece::Client),
        (b"__ms__", Piece::Millis),
        (b"__scan__", Piece::Scan),
    ];
    for (name, piece) in simple {
        if rest.starts_with(name) {
            return Ok(Some((piece, name.len())));
        }
    }
    for name in ["__int:", "__zipf:"] {
        if !rest.starts_with(name.as_bytes()) {
            continue;
        }
        let body = &rest[name.len()..];
        let bad = || format!("{name}A-B__ wants two numbers, the first not above the second");
        let end = body.windows(2).position(|w| w == b"__").ok_or_else(bad)?;
        let text = std::str::from_utf8(&body[..end]).map_err(|_| bad())?;
        let (min, max) = text.split_once('-').ok_or_else(bad)?;
        let min: u64 = min.parse().map_err(|_| bad())?;
        let max: u64 = max.parse().map_err(|_| bad())?;
        if min > max || max - min == u64::MAX {
            return Err(bad());
        }
        let count = max - min + 1;
        let piece = if name == "__int:" {
            Piece::Int { min, count }
        } else {
            Piece::Zipf {
                min,
                zipf: Zipf::new(count, ZIPF_EXPONENT),
            }
        };
        return Ok(Some((piece, name.len() + end + 2)));
    }
    Ok(None)
}

/// Splits a command line into words, like redis-cli: blanks separate, double quotes know
/// `\n \r \t \\ \" \xHH`, single quotes know `\'`.
pub(crate) fn split_words(line: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut words = Vec::new();
    let mut bytes = line.bytes().peekable();
    loop {
        while bytes.next_if(u8::is_ascii_whitespace).is_some() {}
        let Some(first) = bytes.peek().copied() else {
            return Ok(words);
        };
        let mut word = Vec::new();
        if first == b'"' || first == b'\'' {
            bytes.next();
            loop {
                match bytes.next() {
                    None => return Err(format!("a quote without its end in: {line}")),
                    Some(b) if b == first => break,
                    Some(b'\\') => match bytes.next() {
                        None => return Err(format!("a quote without its end in: {line}")),
                        Some(b) if first == b'\'' => {
                            if b != b'\'' {
                                word.push(b'\\');
                            }
                            word.push(b);
                        }
                        Some(b'n') => word.push(b'\n'),
                        Some(b'r') => word.push(b'\r'),
                        Some(b't') => word.push(b'\t'),
                        Some(b'x') => {
                            let digits = [bytes.next(), bytes.next()];
                            let [Some(high), Some(low)] = digits.map(|d| {
                                d.and_then(|d| char::from(d).to_digit(16)).map(|d| d as u8)
                            }) else {
                                return Err(format!("\\x wants two hex digits in: {line}"));
                            };
                            word.push(high << 4 | low);
                        }
                        Some(b) => word.push(b),
                    },
                    Some(b) => word.push(b),
                }
            }
        } else {
            while let Some(b) = bytes.next_if(|b| !b.is_ascii_whitespace()) {
                word.push(b);
            }
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Sizes;

    fn render(line: &str, chosen_key: Option<u64>) -> (String, String) {
        let words = split_words(line).expect("words");
        let template = Template::new(&words, b"k-").expect("a template");
        let range = KeyRange { min: 1, max: 3 };
        let values = Values::new(Sizes::Fixed(4), range, false, 0);
        let keys = Distribution::Sequential;
        let mut fill = Fill {
            prefix: b"k-",
            keys: &keys,
            range,
            cursor: &mut Cursor::new(&keys, range, 0, 1),
            rng: &mut Rng::new(1, 1),
            values: &values,
            chosen_key,
            chosen_data: None,
            client: 9,
            sequence: 77,
            unix_ms: 5,
            scan_cursor: 0,
            last_key: 0,
            scratch: &mut Vec::new(),
        };
        let mut out = b"before".to_vec();
        let key = template.render(&mut fill, &mut out);
        let key = String::from_utf8_lossy(&out[key]).into_owned();
        (String::from_utf8(out[6..].to_vec()).expect("text"), key)
    }

    #[test]
    fn requests_are_resp_arrays() {
        let (wire, key) = render("SET __key__ __data__", None);
        assert_eq!(wire, "*3\r\n$3\r\nSET\r\n$3\r\nk-1\r\n$4\r\nxxxx\r\n");
        assert_eq!(key, "k-1");
        let (wire, _) = render("MGET __key__ __key__", Some(3));
        assert_eq!(wire, "*3\r\n$4\r\nMGET\r\n$3\r\nk-3\r\n$3\r\nk-1\r\n");
        let (wire, key) = render("XADD s:{__key__}:x '*' f__seq__ c__client__ ''", None);
        assert_eq!(key, "s:{k-1}:x");
        assert!(
            wire.ends_with("$9\r\ns:{k-1}:x\r\n$1\r\n*\r\n$3\r\nf77\r\n$2\r\nc9\r\n$0\r\n\r\n")
        );
        let (wire, _) = render("INCRBY n __int:7-7__", None);
        assert!(wire.ends_with("$1\r\n7\r\n"));
        let (wire, key) = render("ZADD board:__client__ __id__ __last__ __lastid__", Some(2));
        assert_eq!(key, "board:9");
        assert!(wire.ends_with("$1\r\n2\r\n$3\r\nk-2\r\n$1\r\n2\r\n"));
    }

    #[test]
    fn numbers_of_every_length_are_written() {
        let mut numbers = vec![0, u64::MAX];
        for exponent in 1..DIGITS_MAX as u32 {
            numbers.extend([10u64.pow(exponent) - 1, 10u64.pow(exponent)]);
        }
        for number in numbers {
            let (wire, key) = render("GET __key__", Some(number));
            assert_eq!(key, format!("k-{number}"));
            assert_eq!(
                wire,
                format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len())
            );
            let (_, key) = render("GET a__key__", Some(number));
            assert_eq!(key, format!("ak-{number}"));
        }
        let (wire, key) = render("SET __key__ __data__ EX 5", Some(12));
        assert_eq!(key, "k-12");
        assert!(wire.ends_with("$4\r\nk-12\r\n$4\r\nxxxx\r\n$2\r\nEX\r\n$1\r\n5\r\n"));
    }

    #[test]
    fn wrong_placeholders_are_named() {
        for line in ["GET __int:9-1__", "GET __int:1-2", "GET __zipf:x-2__"] {
            let words = split_words(line).expect("words");
            assert!(Template::new(&words, b"").is_err(), "{line}");
        }
        assert!(split_words("SET \"a").is_err());
    }

    #[test]
    fn quotes_are_redis_clis() {
        let words = split_words(r#"set "a b\x41\n" 'c\'d' e"#).expect("words");
        assert_eq!(
            words,
            [
                b"set".to_vec(),
                b"a bA\n".to_vec(),
                b"c'd".to_vec(),
                b"e".to_vec()
            ]
        );
    }
}
