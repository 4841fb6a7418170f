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
use super::format::{Kind, VALKEY_VERSION_MIN, VERSION_WITH_CHECKSUM, is_known_version, opcode};
use super::input::{Input, Stop};

/// An entry of a file.
#[derive(Debug)]
pub struct Entry {
    /// Its database.
    pub db: u64,
    /// Its key.
    pub key: Vec<u8>,
    /// When it expires, unix milliseconds.
    pub expiry: Option<u64>,
    /// Seconds since its last access.
    pub idle_seconds: Option<u64>,
    /// How often it is accessed.
    pub frequency: Option<u8>,
    /// Its value.
    pub value: Built,
}

/// What a file is made of.
#[derive(Debug)]
pub enum Item {
    /// Something that is known of the file: name and value.
    Aux(Vec<u8>, Vec<u8>),
    /// A library of functions, as it stands there.
    Function(Vec<u8>),
    /// A key and its value.
    Entry(Entry),
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
    Value { key: Vec<u8>, decoder: Box<Decoder> },
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
    crc: u64,
}

/// What one look at the input has brought.
enum Seen {
    Nothing,
    Item(Item),
    Value(Vec<u8>, Kind),
    End,
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
        }
    }

    /// The next bytes of the file.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.before += self.used as u64;
        self.buffer.drain(..self.used);
        self.used = 0;
        self.buffer.extend_from_slice(bytes);
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
            State::Value { key, .. } => Some(key.clone()),
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
    pub fn next_item(&mut self) -> Result<Option<Item>, Error> {
        loop {
            if self.buffer.len() - self.used < self.needed || matches!(self.state, State::Done) {
                return Ok(None);
            }
            self.needed = 0;
            let buffer = std::mem::take(&mut self.buffer);
            let mut input = Input::new(&buffer[self.used..]);
            let seen = self.look(&mut input);
            let used = input.at();
            if self.verifies && !matches!(self.state, State::Checksum) {
                self.crc = crc64(self.crc, &buffer[self.used..self.used + used]);
            }
            self.buffer = buffer;
            self.used += used;
            match seen {
                Ok(Seen::Nothing) => {}
                Ok(Seen::Item(item)) => return Ok(Some(item)),
                Ok(Seen::Value(key, kind)) => {
                    let decoder = Box::new(Decoder::new(kind, &self.limits));
                    self.state = State::Value { key, decoder };
                }
                Ok(Seen::End) if self.version >= VERSION_WITH_CHECKSUM => {
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
            State::Value { decoder, .. } => {
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
        let State::Value { key, decoder } = std::mem::replace(&mut self.state, State::Items) else {
            unreachable!("a value was being read")
        };
        let about = std::mem::take(&mut self.about);
        let value = match decoder.finish() {
            Ok(value) => value,
            Err(Bad::Empty) => return Ok(Seen::Item(Item::Empty(key))),
            Err(bad) => return Err(bad),
        };
        Ok(Seen::Item(Item::Entry(Entry {
            db: self.db,
            key,
            expiry: about.expiry,
            idle_seconds: about.idle_seconds,
            frequency: about.frequency,
            value,
        })))
    }

    /// Reads whatever an opcode or a type begins, up to a key.
    fn item(&mut self, input: &mut Input<'_>) -> Result<Seen, Stop> {
        let (mut room, mut other) = (Vec::new(), Vec::new());
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
                let (name, value) = (name.bytes(&mut room)?, value.bytes(&mut other)?);
                return Ok(Seen::Item(Item::Aux(name.to_vec(), value.to_vec())));
            }
            opcode::FUNCTION => {
                let library = input.string()?.bytes(&mut room)?.to_vec();
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
                let key = input.string()?.bytes(&mut room)?.to_vec();
                return Ok(Seen::Value(key, kind));
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
