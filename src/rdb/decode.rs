//! A value of RDB, decoded as its bytes arrive: what has come of a collection is already in its
//! structure, so that only the element being read waits for the rest of it.
//!
//! Every element of whatever is read takes at least a byte of the input: no number of elements that a
//! file names makes anything loop or grow beyond what is there.

use super::blob;
use super::build::{Built, HashBuilder, Limits, ListBuilder, SetBuilder, ZSetBuilder};
use super::error::Bad;
use super::format::{Family, Kind, Node};
use super::input::{Input, Stop};
use super::stream::StreamDecoder;
use crate::types::packed::Element;

/// See the head of the module.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    kind: Kind,
    /// Elements still to come, once their number has been read.
    left: Option<u64>,
    /// The earliest expiry of a hash's fields, where others are told as differences to it.
    earliest: u64,
    room: [Vec<u8>; 2],
}

#[derive(Debug)]
enum State {
    String(Option<Built>),
    List(ListBuilder),
    Set(SetBuilder),
    ZSet(ZSetBuilder),
    Hash(HashBuilder),
    Stream(Box<StreamDecoder>),
}

impl Decoder {
    /// For a value of this type.
    pub fn new(kind: Kind, limits: &Limits) -> Self {
        let state = match kind.family() {
            Family::String => State::String(None),
            Family::List => State::List(ListBuilder::new(limits)),
            Family::Set => State::Set(SetBuilder::new(limits)),
            Family::ZSet => State::ZSet(ZSetBuilder::new(limits)),
            Family::Hash => State::Hash(HashBuilder::new(limits)),
            Family::Stream => State::Stream(Box::new(StreamDecoder::new(kind))),
        };
        Self {
            state,
            kind,
            left: None,
            earliest: 0,
            room: Default::default(),
        }
    }

    /// Reads on, up to the value's end. On [`Stop::More`] the input stands behind what was used.
    pub fn read(&mut self, input: &mut Input<'_>) -> Result<(), Stop> {
        if let State::Stream(stream) = &mut self.state {
            return stream.read(input, &mut self.room[0]);
        }
        let mut mark = input.at();
        let outcome = loop {
            match self.step(input) {
                Ok(true) => return Ok(()),
                Ok(false) => mark = input.at(),
                Err(stop) => break stop,
            }
        };
        input.back_to(mark);
        Err(outcome)
    }

    /// The value, once `read` has come to its end.
    pub fn finish(self) -> Result<Built, Bad> {
        match self.state {
            State::String(value) => value.ok_or(Bad::Truncated),
            State::List(list) => list.finish(),
            State::Set(set) => set.finish(),
            State::ZSet(set) => set.finish(),
            State::Hash(hash) => hash.finish(),
            State::Stream(stream) => stream.finish(),
        }
    }

    /// Reads one part of the value; whether that was the last one. Nothing has changed when it stops.
    fn step(&mut self, input: &mut Input<'_>) -> Result<bool, Stop> {
        if let State::String(value) = &mut self.state {
            *value = Some(Built::string(input.string()?.bytes(&mut self.room[0])?));
            return Ok(true);
        }
        if self.kind.is_blob() {
            if self.kind == Kind::HashListpackEx {
                input.time_ms()?;
            }
            let text = input.string()?;
            let mut room = std::mem::take(&mut self.room[0]);
            self.blob(text.bytes(&mut room)?)?;
            return Ok(true);
        }
        match self.left {
            None => {
                if self.kind == Kind::HashMetadata {
                    self.earliest = input.time_ms()?.max(0) as u64;
                }
                let left = input.length()?;
                self.left = Some(left);
                Ok(left == 0)
            }
            Some(left) => {
                self.element(input)?;
                self.left = Some(left - 1);
                Ok(left == 1)
            }
        }
    }

    fn element(&mut self, input: &mut Input<'_>) -> Result<(), Stop> {
        let [room, other] = &mut self.room;
        match (&mut self.state, self.kind) {
            (State::List(list), Kind::List) => {
                list.push(Element::of(input.string()?.bytes(room)?));
            }
            (State::List(list), Kind::ListQuicklist) => {
                let bytes = input.string()?.bytes(room)?;
                blob::ziplist(bytes, |element| {
                    list.push(element);
                    Ok(())
                })?;
            }
            (State::List(list), _) => {
                let container = input.length()?;
                let bytes = input.string()?.bytes(room)?;
                match container {
                    Node::PLAIN => list.push(Element::of(bytes)),
                    Node::PACKED => blob::listpack(bytes, |element| {
                        list.push(element);
                        Ok(())
                    })?,
                    _ => return Err(Bad::Corrupt("a list's node is of an unknown kind").into()),
                }
            }
            (State::Set(set), _) => set.add(Element::of(input.string()?.bytes(room)?))?,
            (State::ZSet(set), kind) => {
                let member = input.string()?;
                let score = match kind {
                    Kind::ZSet => input.score_text()?,
                    _ => f64::from_le_bytes(input.array()?),
                };
                set.add(member.bytes(room)?, score)?;
            }
            (State::Hash(hash), kind) => {
                let ttl = match kind {
                    Kind::HashMetadata | Kind::HashMetadataPreGa => input.length()?,
                    _ => 0,
                };
                let (field, value) = (input.string()?, input.string()?);
                let expiry = match kind {
                    Kind::HashMetadata if ttl > 0 => Some(self.earliest.saturating_add(ttl - 1)),
                    Kind::HashMetadataPreGa if ttl > 0 => Some(ttl),
                    Kind::HashValkey => u64::try_from(input.time_ms()?).ok(),
                    _ => None,
                };
                let field = Element::of(field.bytes(room)?);
                hash.add(field, Element::of(value.bytes(other)?), expiry)?;
            }
            (State::String(_) | State::Stream(_), _) => {
                unreachable!("neither has elements here")
            }
        }
        Ok(())
    }

    /// Decodes a collection that stands in one string.
    fn blob(&mut self, bytes: &[u8]) -> Result<(), Bad> {
        match (&mut self.state, self.kind) {
            (State::List(list), _) => blob::ziplist(bytes, |element| {
                list.push(element);
                Ok(())
            }),
            (State::Set(set), Kind::SetIntset) => intset(bytes, |int| set.add(Element::Int(int))),
            (State::Set(set), _) => blob::listpack(bytes, |member| set.add(member)),
            (State::ZSet(set), kind) => {
                let mut member = None;
                let mut visit = |element| {
                    let Some(member) = Option::take(&mut member) else {
                        member = Some(element);
                        return Ok(());
                    };
                    let member: Element<'_> = member;
                    set.add(member.text(&mut Default::default()), score_of(element)?)
                };
                match kind {
                    Kind::ZSetZiplist => blob::ziplist(bytes, &mut visit)?,
                    _ => blob::listpack(bytes, &mut visit)?,
                }
                whole(member.is_none())
            }
            (State::Hash(hash), Kind::HashZipmap) => blob::zipmap(bytes, |field, value| {
                hash.add(Element::of(field), Element::of(value), None)
            }),
            (State::Hash(hash), kind) => hash_blob(hash, kind, bytes),
            (State::String(_) | State::Stream(_), _) => unreachable!("neither is a blob"),
        }
    }
}

fn whole(is: bool) -> Result<(), Bad> {
    if is {
        Ok(())
    } else {
        Err(Bad::Corrupt("a pair is not whole"))
    }
}

fn hash_blob(hash: &mut HashBuilder, kind: Kind, bytes: &[u8]) -> Result<(), Bad> {
    let (mut field, mut value) = (None, None);
    let with_expiry = matches!(kind, Kind::HashListpackEx | Kind::HashListpackExPreGa);
    let mut visit = |element| {
        let Some(name) = field else {
            field = Some(element);
            return Ok(());
        };
        let expiry = match (with_expiry, value, element) {
            (true, None, _) => {
                value = Some(element);
                return Ok(());
            }
            (true, Some(_), Element::Int(at)) => u64::try_from(at).ok().filter(|at| *at > 0),
            (true, Some(_), Element::Bytes(_)) => {
                return Err(Bad::Corrupt("an expiry is no number"));
            }
            (false, ..) => None,
        };
        let value = value.take().unwrap_or(element);
        field = None;
        hash.add(name, value, expiry)
    };
    match kind {
        Kind::HashZiplist => blob::ziplist(bytes, &mut visit)?,
        _ => blob::listpack(bytes, &mut visit)?,
    }
    whole(field.is_none())
}

/// The score that an element is, as a number or as text.
fn score_of(element: Element<'_>) -> Result<f64, Bad> {
    match element {
        Element::Int(number) => Ok(number as f64),
        Element::Bytes(text) => std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(Bad::Corrupt("a score is no number")),
    }
}

/// Visits the integers of an intset: their width (4 bytes), their number (4 bytes), and they
/// themselves ascending, all little-endian.
fn intset(bytes: &[u8], mut visit: impl FnMut(i64) -> Result<(), Bad>) -> Result<(), Bad> {
    const INTSET: Bad = Bad::Corrupt("an intset is damaged");
    let (head, ints) = bytes.split_at_checked(8).ok_or(INTSET)?;
    let part = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
    let (width, count) = (part(0) as usize, part(4) as usize);
    if !matches!(width, 2 | 4 | 8) || ints.len() != count * width {
        return Err(INTSET);
    }
    let mut before = None;
    for int in ints.chunks_exact(width) {
        let int = match *int {
            [a, b] => i64::from(i16::from_le_bytes([a, b])),
            [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
            _ => i64::from_le_bytes(int.try_into().expect("eight bytes")),
        };
        if before >= Some(int) {
            return Err(INTSET);
        }
        before = Some(int);
        visit(int)?;
    }
    Ok(())
}
