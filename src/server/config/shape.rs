//! What a row of the directive table is: names, flags, what the directive means here, and the shape
//! of its value, which is all that GET, SET, the file reader and REWRITE need to know of it.

use super::Config;
use super::compound::{Given, Line};
use super::words;

/// What the server does with a directive's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The server acts on it.
    Acts,
    /// Kept and reported; what it speaks of is not built yet.
    Later,
    /// Kept and reported; what it speaks of does not exist in this architecture.
    Nothing,
}

/// Cannot be changed by CONFIG SET.
pub const IMMUTABLE: u8 = 1;
/// Can be changed by CONFIG SET only where `enable-protected-configs` allows it.
pub const PROTECTED: u8 = 2;
/// The value is a secret: it is kept out of the slow log and of MONITOR.
pub const SENSITIVE: u8 = 4;
/// Given by CONFIG GET under its exact name only.
pub const HIDDEN: u8 = 8;
/// Takes several words.
pub const MULTI: u8 = 16;
/// Cannot be changed while the data set is loading.
pub const NOT_LOADING: u8 = 32;

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Decimal, with a sign.
    Plain,
    /// Octal (file permissions).
    Octal,
    /// Bytes, with an optional unit: `b`, `k` = 1000, `kb` = 1024, `m`, `mb`, `g`, `gb`.
    Memory,
    /// As `Memory`, or a percentage from `0%` to `100%`, which is stored as a negative number.
    MemoryOrPercent,
}

/// A check of a text beyond its syntax; the error is Redis's text.
pub(super) type Check = fn(&[u8]) -> Result<(), &'static str>;

/// Reads the words of a line into a field; the error is Redis's text.
pub(super) type Reader = fn(&mut Config, &[&[u8]], Given) -> Result<(), String>;

/// The shape of a directive's value, with the access to its field.
pub enum Shape {
    /// `yes` or `no`.
    YesNo {
        /// Reads the field.
        get: fn(&Config) -> bool,
        /// Writes the field.
        put: fn(&mut Config, bool),
    },
    /// An integer between `min` and `max`, both included.
    Number {
        /// Reads the field.
        get: fn(&Config) -> i128,
        /// Writes the field; the value is within the limits.
        put: fn(&mut Config, i128),
        /// Smallest value.
        min: i128,
        /// Largest value.
        max: i128,
        /// How it is written.
        unit: Unit,
    },
    /// Any bytes that pass the check.
    Text {
        /// Reads the field.
        get: fn(&Config) -> &[u8],
        /// Writes the field.
        put: fn(&mut Config, Vec<u8>),
        /// What the bytes must be beyond that.
        check: Option<Check>,
    },
    /// One of a few words.
    Choice {
        /// The field's word.
        get: fn(&Config) -> &'static str,
        /// Writes the field; `false` when the word is none of the names.
        put: fn(&mut Config, &[u8]) -> bool,
        /// All words, in the order in which the error lists them.
        names: fn() -> Vec<&'static str>,
    },
    /// A type of its own (see `compound.rs`).
    Compound {
        /// The field as CONFIG GET shows it.
        get: fn(&Config) -> Vec<u8>,
        /// Reads the words into the field.
        put: Reader,
        /// The lines of the configuration file that say the field's value.
        lines: fn(&Config, &str, &Config) -> Vec<Line>,
    },
}

/// One directive.
pub struct Row {
    /// The name that errors and REWRITE use.
    pub name: &'static str,
    /// Other spellings that GET, SET and the file understand.
    pub aliases: &'static [&'static str],
    /// Union of the flag constants of this module.
    pub flags: u8,
    /// What the server does with it.
    pub meaning: Meaning,
    /// The value.
    pub shape: Shape,
}

impl Row {
    /// Says whether a flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The name and the aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// The value as CONFIG GET shows it.
    pub fn get(&self, config: &Config) -> Vec<u8> {
        match &self.shape {
            Shape::YesNo { get, .. } => yes_no(get(config)).into(),
            Shape::Number { get, unit, .. } => print_number(get(config), *unit).into_bytes(),
            Shape::Text { get, .. } => get(config).to_vec(),
            Shape::Choice { get, .. } => get(config).into(),
            Shape::Compound { get, .. } => get(config),
        }
    }

    /// Reads the words of a line, or of CONFIG SET's argument, into the field. The error is Redis's.
    pub fn put(&self, config: &mut Config, args: &[&[u8]], given: Given) -> Result<(), String> {
        if let Shape::Compound { put, .. } = &self.shape {
            return put(config, args, given);
        }
        let [arg] = args else {
            return Err("wrong number of arguments".into());
        };
        match &self.shape {
            Shape::YesNo { put, .. } => {
                let yes = arg.eq_ignore_ascii_case(b"yes");
                if !yes && !arg.eq_ignore_ascii_case(b"no") {
                    return Err("argument must be 'yes' or 'no'".into());
                }
                put(config, yes);
            }
            Shape::Number {
                put,
                min,
                max,
                unit,
                ..
            } => {
                put(config, parse_number(arg, *min, *max, *unit)?);
            }
            Shape::Text { put, check, .. } => {
                if let Some(check) = check {
                    check(arg)?;
                }
                put(config, arg.to_vec());
            }
            Shape::Choice { put, names, .. } => {
                if !put(config, arg) {
                    return Err(must_be_one_of(&names()));
                }
            }
            Shape::Compound { .. } => unreachable!("handled above"),
        }
        Ok(())
    }

    /// The lines that say the value in a configuration file.
    pub fn lines(&self, config: &Config, default: &Config) -> Vec<Line> {
        let value = match &self.shape {
            Shape::Compound { lines, .. } => return lines(config, self.name, default),
            // Nothing to say, where nothing is what the default says too.
            Shape::Text { get, .. } if get(config).is_empty() && get(default).is_empty() => {
                return Vec::new();
            }
            Shape::Text { get, .. } => {
                let mut quoted = Vec::new();
                words::quote(get(config), &mut quoted);
                quoted
            }
            Shape::Number {
                get,
                unit: Unit::Memory | Unit::MemoryOrPercent,
                ..
            } => print_memory(get(config)).into_bytes(),
            _ => self.get(config),
        };
        let mut text = format!("{} ", self.name).into_bytes();
        text.extend(value);
        vec![Line {
            text,
            forced: self.get(config) != self.get(default),
        }]
    }
}

fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// Redis's error for a word that is none of the allowed ones.
pub(super) fn must_be_one_of(names: &[&str]) -> String {
    format!(
        "argument(s) must be one of the following: {}",
        names.join(", ")
    )
}

fn print_number(value: i128, unit: Unit) -> String {
    match unit {
        Unit::Octal => format!("{value:o}"),
        Unit::MemoryOrPercent if value < 0 => format!("{}%", -value),
        _ => value.to_string(),
    }
}

/// Bytes in the largest unit that divides them, as REWRITE writes them; a percentage as such.
pub(super) fn print_memory(value: i128) -> String {
    match value {
        ..0 => format!("{}%", -value),
        0 => "0".into(),
        _ if value % (1 << 30) == 0 => format!("{}gb", value >> 30),
        _ if value % (1 << 20) == 0 => format!("{}mb", value >> 20),
        _ if value % (1 << 10) == 0 => format!("{}kb", value >> 10),
        _ => value.to_string(),
    }
}

fn parse_number(arg: &[u8], min: i128, max: i128, unit: Unit) -> Result<i128, String> {
    let value = match unit {
        Unit::Plain => parse_integer(arg).ok_or("argument couldn't be parsed into an integer")?,
        Unit::Octal => parse_octal(arg).ok_or("argument couldn't be parsed as an octal number")?,
        Unit::Memory => parse_memory(arg).ok_or("argument must be a memory value")?,
        Unit::MemoryOrPercent => match parse_percent(arg) {
            Some(percent) if percent > 100 => {
                return Err("percentage argument must be less or equal to 100".into());
            }
            Some(percent) => -percent,
            None => parse_memory(arg).ok_or("argument must be a memory or percent value")?,
        },
    };
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(match unit {
        Unit::Octal => format!("argument must be between {min:o} and {max:o} inclusive"),
        _ => format!("argument must be between {min} and {max} inclusive"),
    })
}

/// An integer of 64 bits in the one spelling that Redis takes: no blanks, no `+`, no leading zero.
pub(super) fn parse_integer(arg: &[u8]) -> Option<i128> {
    let digits = arg.strip_prefix(b"-").unwrap_or(arg);
    let canonical = match digits {
        [] => false,
        [b'0'] => digits.len() == arg.len(),
        [first, rest @ ..] => (b'1'..=b'9').contains(first) && rest.iter().all(u8::is_ascii_digit),
    };
    // The limits of Redis's parser: what no 64-bit integer holds is no integer at all.
    let value: i128 = std::str::from_utf8(arg)
        .ok()
        .filter(|_| canonical && arg.len() <= 20)?
        .parse()
        .ok()?;
    (i128::from(i64::MIN)..=i128::from(i64::MAX))
        .contains(&value)
        .then_some(value)
}

fn parse_octal(arg: &[u8]) -> Option<i128> {
    let text = std::str::from_utf8(arg)
        .ok()
        .filter(|text| !text.is_empty() && text.len() <= 20)?;
    i128::from_str_radix(text, 8).ok()
}

/// Bytes with an optional unit. What 64 bits do not hold is
/// refused (Redis lets it wrap around).
pub fn parse_memory(arg: &[u8]) -> Option<i128> {
    let digits = arg.iter().take_while(|b| b.is_ascii_digit()).count();
    let (number, unit) = arg.split_at(digits);
    let scale: i128 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1_000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    // No digits are zero, even before a unit, as on Redis.
    if number.is_empty() {
        return Some(0);
    }
    let number: i128 = std::str::from_utf8(number)
        .ok()
        .filter(|n| n.len() <= 20)?
        .parse()
        .ok()?;
    let bytes = number * scale;
    (bytes <= i128::from(u64::MAX)).then_some(bytes)
}

fn parse_percent(arg: &[u8]) -> Option<i128> {
    let digits = arg.strip_suffix(b"%")?;
    let plain = !digits.is_empty() && digits.len() <= 18 && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| plain)?
        .parse()
        .ok()
}

/// Builds the table and the struct from one list, so that a directive is one row and nothing else.
///
/// A row: `/// doc`, `field: type = default, "name" | "alias", flags, Meaning, shape;` with the
/// shapes `yes_no`, `number(min, max)`, `octal(min, max)`, `memory(min, max)`,
/// `memory_or_percent(min, max)`, `text`, `text(check)`, `choice` and `compound`.
macro_rules! directives {
    ($($(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr,
       $name:literal $(| $alias:literal)*, $flags:expr, $meaning:ident, $shape:ident $(($($arg:expr),+))?;)+) => {
        /// Every directive of the configuration, as plain fields.
        ///
        /// Shards hold it behind an `Arc` and read the fields; who changes it clones it, changes the
        /// clone with [`Config::set`], applies what [`Config::set`] says has changed, and hands the
        /// clone out in a new `Arc`. Fields of type [`Text`] are empty where Redis has a null string.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            /// Absolute path of the file that the server was started with; what REWRITE rewrites.
            pub config_file: Option<std::path::PathBuf>,
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        impl Default for Config {
            fn default() -> Self {
                Config { config_file: None, $($field: $default,)+ }
            }
        }

        /// The one table of directives: CONFIG GET, SET, REWRITE and the file reader are served from it.
        pub const DIRECTIVES: &[Row] = &[$(Row {
            name: $name,
            aliases: &[$($alias),*],
            flags: $flags,
            meaning: Meaning::$meaning,
            shape: directives!(@$shape $field, $type $($(, $arg)+)?),
        },)+];
    };
    (@yes_no $field:ident, $type:ty) => {
        Shape::YesNo { get: |c| c.$field, put: |c, v| c.$field = v }
    };
    (@number $field:ident, $type:ty, $min:expr, $max:expr) => {
        directives!(@integer $field, $type, $min, $max, Plain)
    };
    (@octal $field:ident, $type:ty, $min:expr, $max:expr) => {
        directives!(@integer $field, $type, $min, $max, Octal)
    };
    (@memory $field:ident, $type:ty, $min:expr, $max:expr) => {
        directives!(@integer $field, $type, $min, $max, Memory)
    };
    (@memory_or_percent $field:ident, $type:ty, $min:expr, $max:expr) => {
        directives!(@integer $field, $type, $min, $max, MemoryOrPercent)
    };
    (@integer $field:ident, $type:ty, $min:expr, $max:expr, $unit:ident) => {
        Shape::Number {
            get: |c| c.$field as i128,
            // The limits of the row are within the type: a test takes every row to both of them.
            put: |c, v| c.$field = v as $type,
            min: $min as i128,
            max: $max as i128,
            unit: Unit::$unit,
        }
    };
    (@text $field:ident, $type:ty) => {
        Shape::Text { get: |c| &c.$field, put: |c, v| c.$field = v, check: None }
    };
    (@text $field:ident, $type:ty, $check:expr) => {
        Shape::Text { get: |c| &c.$field, put: |c, v| c.$field = v, check: Some($check) }
    };
    (@choice $field:ident, $type:ty) => {
        Shape::Choice {
            get: |c| c.$field.name(),
            put: |c, word| <$type>::from_name(word).map(|v| c.$field = v).is_some(),
            names: || <$type>::names().collect(),
        }
    };
    (@compound $field:ident, $type:ty) => {
        Shape::Compound {
            get: |c| c.$field.print(),
            put: |c, args, given| c.$field.parse(args, given),
            lines: |c, name, default| c.$field.lines(name, &default.$field),
        }
    };
}
pub(super) use directives;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_as_string2ll() {
        for (text, value) in [
            ("0", Some(0)),
            ("-5", Some(-5)),
            ("9223372036854775807", Some(i128::from(i64::MAX))),
        ] {
            assert_eq!(parse_integer(text.as_bytes()), value, "{text}");
        }
        for text in [
            "",
            "-",
            "+5",
            "010",
            "-0",
            "5 ",
            " 5",
            "5.0",
            "0x1",
            "9223372036854775808",
            "99999999999999999999999",
        ] {
            assert_eq!(parse_integer(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn memory_units() {
        for (text, value) in [
            ("", Some(0)),
            ("1", Some(1)),
            ("1b", Some(1)),
            ("1k", Some(1_000)),
            ("1kB", Some(1_024)),
            ("3M", Some(3_000_000)),
            ("3mb", Some(3 << 20)),
            ("2g", Some(2_000_000_000)),
            ("2GB", Some(2 << 30)),
            ("18446744073709551615", Some(i128::from(u64::MAX))),
            ("18446744073709551616", None),
            ("18446744073709551615gb", None),
            ("-1", None),
            ("1.5gb", None),
            ("1 mb", None),
            ("1x", None),
            ("kb", Some(0)),
        ] {
            assert_eq!(parse_memory(text.as_bytes()), value, "{text}");
        }
        assert_eq!(print_memory(0), "0");
        assert_eq!(print_memory(1 << 30), "1gb");
        assert_eq!(print_memory(1_500_000), "1500000");
        assert_eq!(print_memory(1536), "1536");
        assert_eq!(print_memory(-10), "10%");
    }

    #[test]
    fn percentages() {
        let parse =
            |text: &str| parse_number(text.as_bytes(), -100, 1 << 62, Unit::MemoryOrPercent);
        assert_eq!(parse("5%"), Ok(-5));
        assert_eq!(parse("0%"), Ok(0));
        assert_eq!(parse("10mb"), Ok(10 << 20));
        assert_eq!(
            parse("101%"),
            Err("percentage argument must be less or equal to 100".into())
        );
        for text in ["%", "-5%", "1m%", "-1"] {
            assert_eq!(
                parse(text),
                Err("argument must be a memory or percent value".into()),
                "{text}"
            );
        }
    }
}
