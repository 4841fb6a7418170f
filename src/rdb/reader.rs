//! A file of RDB, read as its bytes arrive.
//!
//! ```text
//! "REDIS" version (4 digits), or "VALKEY" version (3 digits)
//! aux | function | database | sizes | [expiry] [idle | frequency] type key value | ...
//! end, and since version 5 the CRC-64 of all before it (8 bytes, little-endian; 0: none)
//! ```
//!
//! What is fed is kept until it is used, which is at once but for a string that is not whole yet. A
//! value's elements go into its structure as they come.

use super::build::{Built, Limits};
use super::crc64::crc64;
use super::decode::Decoder;
use super::error::{Bad, Error};
use super::format::{
    Family, Kind, VALKEY_VERSION_MIN, VERSION_WITH_CHECKSUM, is_known_version, opcode,
};
use super::input::{Input, Stop, Text};
use crate::keyspace::NewValue;
use std::ops::Range;

/// An entry of a file.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Its database.
    pub db: u64,
    /// Its key.
    pub key: &'a [u8],
    /// When it expires, unix milliseconds.
    pub expiry: Option<u64>,
    /// Seconds since its last access.
    pub idle_seconds: Option<u64>,
    /// How often it is accessed.
    pub frequency: Option<u8>,
    /// Its value.
    pub value: Value<'a>,
}

/// The value of an entry.
#[derive(Debug)]
pub enum Value<'a> {
    /// A string, of which most files are full: it is not copied.
    String(&'a [u8]),
    /// Anything else.
    Built(Built),
}

impl Value<'_> {
    /// Gives the value to store to `store`.
    pub fn store<R>(self, store: impl FnOnce(NewValue<'_>) -> R) -> R {
        match self {
            Self::String(bytes) => store(NewValue::string(bytes)),
            Self::Built(value) => value.store(store),
        }
    }
}

/// What a file is made of.
#[derive(Debug)]
pub enum Item<'a> {
    /// Something that is known of the file: name and value.
    Aux(Vec<u8>, Vec<u8>),
    /// A library of functions, as it stands there.
    Function(Vec<u8>),
    /// A key and its value.
    Entry(Entry<'a>),
    /// A key whose value has no elements, and which therefore does not exist.
    Empty(Vec<u8>),
    /// The end, whose checksum was right.
    End,
}

/// What is said of a key before its type.
#[derive(Clone, Copy, Debug, Default)]
struct About {
    expiry: Option<u64>,
    idle_seconds: Option<u64>,
    frequency: Option<u8>,
}

#[derive(Debug)]
enum State {
    Signature,
    Items,
    /// The value of `key`, which is not a string.
    Value(Box<Decoder>),
    Checksum,
    Done,
}

/// See the head of the module.
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    verifies: bool,
    state: State,
    version: u32,
    db: u64,
    about: About,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were used.
    used: usize,
    /// Bytes that there must be behind them before it is worth going on.
    needed: usize,
    /// Bytes before the buffer.
    before: u64,
    /// The checksum of these bytes, and of so many of the buffer: it is taken of many items at once.
    crc: u64,
    summed: usize,
    /// The key of the last entry.
    key: Vec<u8>,
    /// A string that does not stand in the buffer as it is.
    room: Vec<u8>,
}

/// What one look at the input has brought.
enum Seen {
    Nothing,
    Item(Item<'static>),
    /// The key of a value of this kind.
    Key(Kind),
    /// A key and a string.
    String(Where),
    /// The value of the key.
    Value(Built),
    End,
}

/// Where a string stands.
enum Where {
    /// In the input that was looked at.
    Input(Range<usize>),
    /// In the reader's room.
    Room,
}

const SIGNATURE_BYTES: usize = 9;

impl Reader {
    /// At the start of a file; `verifies`: whether its checksum is looked at (`rdbchecksum`).
    pub fn new(limits: &Limits, verifies: bool) -> Self {
        Self {
            limits: *limits,
            verifies,
            state: State::Signature,
            version: 0,
            db: 0,
            about: About::default(),
            buffer: Vec::new(),
            used: 0,
            needed: 0,
            before: 0,
            crc: 0,
            summed: 0,
            key: Vec::new(),
            room: Vec::new(),
        }
    }

    /// The next bytes of the file.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.sum_up();
        self.before += self.used as u64;
        self.buffer.drain(..self.used);
        (self.used, self.summed) = (0, 0);
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the checksum of what was used, up to where the stored one stands.
    fn sum_up(&mut self) {
        if self.verifies && !matches!(self.state, State::Checksum | State::Done) {
            self.crc = crc64(self.crc, &self.buffer[self.summed..self.used]);
            self.summed = self.used;
        }
    }

    /// Bytes of the file that were used.
    pub fn offset(&self) -> u64 {
        self.before + self.used as u64
    }

    /// Bytes that were fed and are not used.
    pub fn unused(&self) -> &[u8] {
        &self.buffer[self.used..]
    }

    /// The file's version, once its first bytes were read.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// There are no more bytes: whether that is the end.
    pub fn end(&self) -> Result<(), Error> {
        match self.state {
            State::Done => Ok(()),
            _ => Err(self.error(Bad::Truncated)),
        }
    }

    fn error(&self, bad: Bad) -> Error {
        let key = match &self.state {
            State::Value(_) => Some(self.key.clone()),
            _ => None,
        };
        Error {
            offset: self.offset(),
            key,
            bad,
        }
    }

    /// The next item; None if more bytes are needed, or after the end. After an error nothing more
    /// can be read.
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, Error> {
        loop {
            if self.buffer.len() - self.used < self.needed || matches!(self.state, State::Done) {
                return Ok(None);
            }
            self.needed = 0;
            let buffer = std::mem::take(&mut self.buffer);
            let mut input = Input::new(&buffer[self.used..]);
            let seen = self.look(&mut input);
            let used = input.at();
            self.buffer = buffer;
            let start = self.used;
            self.used += used;
            match seen {
                Ok(Seen::Nothing) => {}
                Ok(Seen::Item(item)) => return Ok(Some(item)),
                Ok(Seen::Key(kind)) => {
                    self.state = State::Value(Box::new(Decoder::new(kind, &self.limits)));
                }
                Ok(Seen::String(stands)) => {
                    let about = std::mem::take(&mut self.about);
                    let bytes = match stands {
                        Where::Input(at) => &self.buffer[start + at.start..start + at.end],
                        Where::Room => &self.room,
                    };
                    return Ok(Some(self.entry(about, Value::String(bytes))));
                }
                Ok(Seen::Value(value)) => {
                    let about = std::mem::take(&mut self.about);
                    return Ok(Some(self.entry(about, Value::Built(value))));
                }
                Ok(Seen::End) if self.version >= VERSION_WITH_CHECKSUM => {
                    self.sum_up();
                    self.state = State::Checksum;
                }
                Ok(Seen::End) => {
                    self.state = State::Done;
                    return Ok(Some(Item::End));
                }
                Err(Stop::More(needed)) => {
                    self.needed = needed - used;
                    return Ok(None);
                }
                Err(Stop::Bad(bad)) => return Err(self.error(bad)),
            }
        }
    }

    fn entry<'a>(&'a self, about: About, value: Value<'a>) -> Item<'a> {
        Item::Entry(Entry {
            db: self.db,
            key: &self.key,
            expiry: about.expiry,
            idle_seconds: about.idle_seconds,
            frequency: about.frequency,
            value,
        })
    }

    fn look(&mut self, input: &mut Input<'_>) -> Result<Seen, Stop> {
        match &mut self.state {
            State::Signature => {
                self.version = signature(input.take(SIGNATURE_BYTES)?)?;
                self.state = State::Items;
                Ok(Seen::Nothing)
            }
            State::Items => {
                let start = input.at();
                self.item(input).inspect_err(|_| input.back_to(start))
            }
            State::Value(decoder) => {
                decoder.read(input)?;
                Ok(self.value()?)
            }
            State::Checksum => {
                let stored = u64::from_le_bytes(input.array()?);
                if self.verifies && stored != 0 && stored != self.crc {
                    let computed = self.crc;
                    return Err(Bad::Checksum { computed, stored }.into());
                }
                self.state = State::Done;
                Ok(Seen::Item(Item::End))
            }
            State::Done => Ok(Seen::Nothing),
        }
    }

    /// A value has come to its end.
    fn value(&mut self) -> Result<Seen, Bad> {
        let State::Value(decoder) = std::mem::replace(&mut self.state, State::Items) else {
            unreachable!("a value was being read")
        };
        match decoder.finish() {
            Ok(value) => Ok(Seen::Value(value)),
            Err(Bad::Empty) => {
                self.about = About::default();
                Ok(Seen::Item(Item::Empty(self.key.clone())))
            }
            Err(bad) => Err(bad),
        }
    }

    /// Reads whatever an opcode or a type begins, up to a key, or up to the string behind it.
    fn item(&mut self, input: &mut Input<'_>) -> Result<Seen, Stop> {
        match input.byte()? {
            opcode::EXPIRE_SECONDS => {
                let seconds = i64::from(i32::from_le_bytes(input.array()?));
                self.about.expiry = Some((seconds * 1000).max(0) as u64);
            }
            opcode::EXPIRE_MS => self.about.expiry = Some(input.time_ms()?.max(0) as u64),
            opcode::FREQ => self.about.frequency = Some(input.byte()?),
            opcode::IDLE => self.about.idle_seconds = Some(input.length()?),
            opcode::SELECT_DB => self.db = input.length()?,
            opcode::RESIZE_DB => {
                // Tables grow by themselves, in small steps.
                input.length()?;
                input.length()?;
            }
            opcode::SLOT_INFO => {
                for _ in 0..3 {
                    input.length()?;
                }
            }
            opcode::SLOT_IMPORT if self.version >= VALKEY_VERSION_MIN => {
                return Err(Bad::Corrupt("it was written while slots were being imported").into());
            }
            opcode::AUX => {
                let (name, value) = (input.string()?, input.string()?);
                let name = name.bytes(&mut self.room)?.to_vec();
                let value = value.bytes(&mut self.room)?.to_vec();
                return Ok(Seen::Item(Item::Aux(name, value)));
            }
            opcode::FUNCTION => {
                let library = input.string()?.bytes(&mut self.room)?.to_vec();
                return Ok(Seen::Item(Item::Function(library)));
            }
            opcode::FUNCTION_PRE_GA => {
                return Err(Bad::Corrupt("it has functions of a release candidate of 7.0").into());
            }
            opcode::MODULE_AUX => {
                let name = module_name(input.length()?);
                return Err(Bad::Module(format!("data of the module type '{name}'")).into());
            }
            opcode::END => return Ok(Seen::End),
            number => {
                let kind = match Kind::of(number, self.version) {
                    Ok(kind) => kind,
                    Err(Bad::Module(_)) => {
                        input.string()?;
                        let name = module_name(input.length()?);
                        let what = format!("a value of the module type '{name}'");
                        return Err(Bad::Module(what).into());
                    }
                    Err(bad) => return Err(bad.into()),
                };
                let key = input.string()?.bytes(&mut self.room)?;
                self.key.clear();
                self.key.extend_from_slice(key);
                if kind.family() != Family::String {
                    return Ok(Seen::Key(kind));
                }
                let text = input.string()?;
                if let Text::Plain(bytes) = text {
                    let end = input.at();
                    return Ok(Seen::String(Where::Input(end - bytes.len()..end)));
                }
                text.bytes(&mut self.room)?;
                return Ok(Seen::String(Where::Room));
            }
        }
        Ok(Seen::Nothing)
    }
}

/// The version that the first bytes of a file name.
fn signature(bytes: &[u8]) -> Result<u32, Bad> {
    let digits = bytes
        .strip_prefix(b"REDIS")
        .or_else(|| bytes.strip_prefix(b"VALKEY"))
        .ok_or(Bad::Signature)?;
    let version = std::str::from_utf8(digits)
        .ok()
        .filter(|text| text.bytes().all(|digit| digit.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or(Bad::Signature)?;
    if is_known_version(version) {
        Ok(version)
    } else {
        Err(Bad::Version(version))
    }
}

/// The name in a module type's number: nine characters of 6 bits, above ten bits of version.
fn module_name(number: u64) -> String {
    const CHARACTERS: &[u8; 64] =
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9)
        .rev()
        .map(|at| char::from(CHARACTERS[(number >> (10 + 6 * at) & 63) as usize]))
        .collect()
}
