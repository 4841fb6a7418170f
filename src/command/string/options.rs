//! The options that SET, GETEX, MSETEX and DELEX share: a condition, an expiry, GET.
use twox_hash::XxHash3_64;

use crate::command::error::Error;
use crate::command::spec::KeyFlags;
use crate::keyspace::{EntryRef, Expiry, Kind};
use crate::resp::number::{I64_TEXT_MAX, parse_i64};

/// Hexadecimal digits of a digest.
pub(super) const DIGEST_DIGITS: usize = 16;

/// What SET does with its key: GET reads it, too.
pub(super) fn key_flags(args: &[&[u8]]) -> KeyFlags {
    let options = args.get(3..).unwrap_or_default();
    match options
        .iter()
        .any(|option| option.eq_ignore_ascii_case(b"get"))
    {
        true => KeyFlags::RW | KeyFlags::ACCESS | KeyFlags::UPDATE,
        false => KeyFlags::OW | KeyFlags::UPDATE,
    }
}

/// On what a key is set or deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Condition<'a> {
    Always,
    /// NX
    Missing,
    /// XX
    Present,
    /// IFEQ
    Equal(&'a [u8]),
    /// IFNE
    NotEqual(&'a [u8]),
    /// IFDEQ
    DigestEqual(&'a [u8]),
    /// IFDNE
    DigestNotEqual(&'a [u8]),
}

/// What happens to the expiry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ttl<'a> {
    /// Nothing is said.
    Unset,
    /// KEEPTTL
    Keep,
    /// PERSIST
    Persist,
    /// EX, PX, EXAT, PXAT: the number as it was given.
    Time(&'a [u8], Unit),
}

/// What a time counts, and from when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    /// EX
    Seconds,
    /// PX
    Milliseconds,
    /// EXAT
    UnixSeconds,
    /// PXAT
    UnixMilliseconds,
}

/// Which options a command takes, besides times.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Accept {
    /// All but PERSIST.
    Set,
    /// NX, XX and KEEPTTL.
    MsetEx,
    /// PERSIST.
    GetEx,
}

/// Options as they were given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options<'a> {
    pub(super) condition: Condition<'a>,
    pub(super) ttl: Ttl<'a>,
    pub(super) get: bool,
}

impl<'a> Options<'a> {
    /// Reads the options. As on Redis, one may be repeated, unless it excludes itself by its value.
    pub(super) fn parse(args: &[&'a [u8]], accept: Accept) -> Result<Self, Error> {
        let mut options = Self {
            condition: Condition::Always,
            ttl: Ttl::Unset,
            get: false,
        };
        let mut rest = args;
        while let [option, after @ ..] = rest {
            rest = options.take(option, after, accept).ok_or(Error::SYNTAX)?;
        }
        Ok(options)
    }

    /// Takes one option; what is left behind it and its value.
    fn take<'r>(
        &mut self,
        option: &[u8],
        after: &'r [&'a [u8]],
        accept: Accept,
    ) -> Option<&'r [&'a [u8]]> {
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        let unit = match option.len() {
            2 if is("ex") => Some(Unit::Seconds),
            2 if is("px") => Some(Unit::Milliseconds),
            4 if is("exat") => Some(Unit::UnixSeconds),
            4 if is("pxat") => Some(Unit::UnixMilliseconds),
            _ => None,
        };
        if let Some(unit) = unit {
            let free = match self.ttl {
                Ttl::Unset => true,
                Ttl::Time(_, before) => before == unit,
                Ttl::Keep | Ttl::Persist => false,
            };
            let [value, rest @ ..] = after else {
                return None;
            };
            self.ttl = Ttl::Time(value, unit);
            return free.then_some(rest);
        }
        if accept == Accept::GetEx {
            let fits = is("persist") && matches!(self.ttl, Ttl::Unset | Ttl::Persist);
            self.ttl = Ttl::Persist;
            return fits.then_some(after);
        }
        if is("keepttl") {
            let fits = matches!(self.ttl, Ttl::Unset | Ttl::Keep);
            self.ttl = Ttl::Keep;
            return fits.then_some(after);
        }
        if accept == Accept::Set && is("get") {
            self.get = true;
            return Some(after);
        }
        let (condition, rest) = match after {
            _ if is("nx") => (Condition::Missing, after),
            _ if is("xx") => (Condition::Present, after),
            [value, rest @ ..] if accept == Accept::Set => (Condition::named(option, value)?, rest),
            _ => return None,
        };
        let plain = matches!(condition, Condition::Missing | Condition::Present);
        let fits = match self.condition {
            Condition::Always => true,
            before => plain && before == condition,
        };
        self.condition = condition;
        fits.then_some(rest)
    }

    /// What storing a value does with the expiry, and what GETEX sets it to.
    pub(super) fn expiry(&self, now_ms: u64, command: &str) -> Result<Expiry, Error> {
        match self.ttl {
            Ttl::Unset | Ttl::Persist => Ok(Expiry::Clear),
            Ttl::Keep => Ok(Expiry::Keep),
            Ttl::Time(text, unit) => expires_at(text, unit, now_ms, command).map(Expiry::At),
        }
    }
}

/// The moment that an option's number names, unix milliseconds.
pub(super) fn expires_at(
    text: &[u8],
    unit: Unit,
    now_ms: u64,
    command: &str,
) -> Result<u64, Error> {
    let number = parse_i64(text).ok_or(Error::NOT_INTEGER)?;
    let number = u64::try_from(number).ok().filter(|n| *n > 0);
    let in_ms = number.and_then(|n| match unit {
        Unit::Seconds | Unit::UnixSeconds => n.checked_mul(1000),
        Unit::Milliseconds | Unit::UnixMilliseconds => Some(n),
    });
    let at = in_ms.and_then(|ms| match unit {
        Unit::Seconds | Unit::Milliseconds => ms.checked_add(now_ms),
        Unit::UnixSeconds | Unit::UnixMilliseconds => Some(ms),
    });
    at.filter(|at| i64::try_from(*at).is_ok())
        .ok_or_else(|| Error::invalid_expire(command))
}

impl<'a> Condition<'a> {
    /// The condition of this name on the value.
    pub(super) fn named(name: &[u8], value: &'a [u8]) -> Option<Self> {
        let is = |text: &str| name.eq_ignore_ascii_case(text.as_bytes());
        match name.len() {
            4 if is("ifeq") => Some(Self::Equal(value)),
            4 if is("ifne") => Some(Self::NotEqual(value)),
            5 if is("ifdeq") => Some(Self::DigestEqual(value)),
            5 if is("ifdne") => Some(Self::DigestNotEqual(value)),
            _ => None,
        }
    }

    /// Whether it holds for what is under the key. A condition on the value is an error where the
    /// key has another type than string.
    pub(super) fn holds(self, found: Option<EntryRef<'_>>) -> Result<bool, Error> {
        match (self, found) {
            (Self::Always, _) => Ok(true),
            (Self::Missing, found) => Ok(found.is_none()),
            (Self::Present, found) => Ok(found.is_some()),
            (Self::Equal(_) | Self::DigestEqual(_), None) => Ok(false),
            (Self::NotEqual(_) | Self::DigestNotEqual(_), None) => Ok(true),
            (_, Some(entry)) if entry.kind() != Kind::String => Err(Error::WRONG_TYPE),
            (condition, Some(entry)) => {
                let mut text = [0; I64_TEXT_MAX];
                let bytes = entry.value().bytes(&mut text).ok_or(Error::WRONG_TYPE)?;
                condition.holds_for(bytes)
            }
        }
    }

    fn holds_for(self, bytes: &[u8]) -> Result<bool, Error> {
        Ok(match self {
            Self::Always | Self::Present => true,
            Self::Missing => false,
            Self::Equal(value) => bytes == value,
            Self::NotEqual(value) => bytes != value,
            Self::DigestEqual(digest) => is_digest_of(digest, bytes)?,
            Self::DigestNotEqual(digest) => !is_digest_of(digest, bytes)?,
        })
    }
}

fn is_digest_of(given: &[u8], bytes: &[u8]) -> Result<bool, Error> {
    if given.len() != DIGEST_DIGITS {
        return Err(Error::new("ERR must be exactly 16 hexadecimal characters"));
    }
    Ok(given.eq_ignore_ascii_case(&digest(bytes)))
}

/// XXH3's 64 bits of a string, in hexadecimal, as DIGEST replies it.
pub(super) fn digest(bytes: &[u8]) -> [u8; DIGEST_DIGITS] {
    let hash = XxHash3_64::oneshot(bytes);
    std::array::from_fn(|at| b"0123456789abcdef"[(hash >> (60 - 4 * at) & 15) as usize])
}
