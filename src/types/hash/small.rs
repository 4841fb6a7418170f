//! A small hash: one packed block.
//!
//! Without expiries: field, value, field, value and so on, in the order of their first writing. With
//! the block's [mark](Packed::mark): the earliest expiry (an integer), then field, value, expiry (an
//! integer, 0: none) for each. The earliest expiry is a lower bound: who removes or prolongs does not
//! look for the next one, active expiry does ([`remove_expired`]).

use super::expired;
use crate::types::packed::{self, Block, Element, Packed};

/// The block of a small hash, for reading.
#[derive(Clone, Copy, Debug)]
pub struct Small<'a> {
    block: Packed<'a>,
}

/// A field and what belongs to it.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Offset of the field.
    pub at: usize,
    /// The field.
    pub field: Element<'a>,
    /// Its value.
    pub value: Element<'a>,
    /// When it expires.
    pub expiry: Option<u64>,
}

impl<'a> Small<'a> {
    /// The hash in a block.
    #[inline]
    pub fn new(block: Packed<'a>) -> Self {
        Self { block }
    }

    /// The block.
    pub fn block(&self) -> Packed<'a> {
        self.block
    }

    /// Whether it has room for expiries (OBJECT ENCODING says `listpackex`).
    #[inline]
    pub fn has_expiries(&self) -> bool {
        self.block.mark()
    }

    /// Elements for each field.
    #[inline]
    fn stride(&self) -> usize {
        if self.has_expiries() { 3 } else { 2 }
    }

    /// Offset of the first field.
    #[inline]
    fn start(&self) -> usize {
        if self.has_expiries() {
            self.block.next(packed::HEAD_BYTES)
        } else {
            packed::HEAD_BYTES
        }
    }

    /// Fields.
    #[inline]
    pub fn len(&self) -> usize {
        self.block.len() / self.stride()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fields that have not expired.
    pub fn live_len(&self, now: u64) -> usize {
        if self.due().is_none_or(|due| due > now) {
            return self.len();
        }
        self.iter()
            .filter(|entry| !expired(entry.expiry, now))
            .count()
    }

    /// Offset of a field.
    #[inline]
    pub fn find(&self, field: Element<'_>) -> Option<usize> {
        self.block.find(field, self.start(), self.stride())
    }

    /// The value of the field at an offset.
    #[inline]
    pub fn value_at(&self, at: usize) -> Element<'a> {
        self.block.get(self.block.next(at))
    }

    /// The expiry of the field at an offset.
    #[inline]
    pub fn expiry_at(&self, at: usize) -> Option<u64> {
        if !self.has_expiries() {
            return None;
        }
        let expiry = self.block.get(self.block.skip(at, 2)).int();
        expiry.filter(|ms| *ms > 0).map(|ms| ms as u64)
    }

    /// A field's value, unless it has expired.
    #[inline]
    pub fn get(&self, field: &[u8], now: u64) -> Option<Element<'a>> {
        let at = self.find(Element::of(field))?;
        (!expired(self.expiry_at(at), now)).then(|| self.value_at(at))
    }

    /// No field expires earlier; None if none does at all.
    pub fn due(&self) -> Option<u64> {
        self.block.due()
    }

    /// The field with this number, in the order of the block.
    pub fn nth(&self, index: usize) -> Option<Entry<'a>> {
        let first = usize::from(self.has_expiries());
        let at = self.block.nth(first + index * self.stride())?;
        Some(self.entry(at))
    }

    fn entry(&self, at: usize) -> Entry<'a> {
        Entry {
            at,
            field: self.block.get(at),
            value: self.value_at(at),
            expiry: self.expiry_at(at),
        }
    }

    /// All fields, expired ones included.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'a>> {
        let small = *self;
        let mut at = self.start();
        std::iter::from_fn(move || {
            if at >= small.block.end() {
                return None;
            }
            let entry = small.entry(at);
            at = small.block.skip(at, small.stride());
            Some(entry)
        })
    }
}

/// Writes a field: `at` is where it stands, if it does. A block that gets an expiry must have room for
/// expiries, and [`note_due`] is to be called afterwards.
pub fn set(
    block: &mut impl Block,
    at: Option<usize>,
    field: Element<'_>,
    value: Element<'_>,
    expiry: Option<u64>,
) {
    let old = Packed::new(block.block());
    let marked = old.mark();
    assert!(marked || expiry.is_none(), "no room for an expiry");
    let parts = [field, value, Element::Int(expiry.unwrap_or(0) as i64)];
    let parts = if marked { &parts[..] } else { &parts[..2] };
    match at {
        None => packed::push(block, parts),
        Some(at) => {
            let value_at = old.next(at);
            packed::replace(block, value_at, parts.len() - 1, &parts[1..]);
        }
    }
}

/// Sets or clears the expiry of the field at an offset; the block has room for expiries, or there is
/// none to clear. [`note_due`] is to be called afterwards.
pub fn set_expiry(block: &mut impl Block, at: usize, expiry: Option<u64>) {
    let old = Packed::new(block.block());
    if !old.mark() {
        assert!(expiry.is_none(), "no room for an expiry");
        return;
    }
    let expiry_at = old.skip(at, 2);
    let element = Element::Int(expiry.unwrap_or(0) as i64);
    packed::replace(block, expiry_at, 1, &[element]);
}

/// Removes the field at an offset.
pub fn remove(block: &mut impl Block, at: usize) {
    let stride = Small::new(Packed::new(block.block())).stride();
    packed::remove(block, at, stride);
}

/// A field of a block with expiries expires then. Offsets in the block are valid no more.
pub fn note_due(block: &mut impl Block, at: u64) {
    if Packed::new(block.block()).due().is_none_or(|due| at < due) {
        set_due(block, at as i64);
    }
}

fn set_due(block: &mut impl Block, due: i64) {
    packed::replace(block, packed::HEAD_BYTES, 1, &[Element::Int(due)]);
}

/// The same hash in a block with room for expiries.
pub fn with_expiries(small: Small<'_>) -> Vec<u8> {
    assert!(!small.has_expiries());
    /// The earliest expiry, and each field's.
    const MOST: usize = 10;
    let more = MOST + small.len() * Element::Int(0).packed_bytes();
    let mut block = Vec::with_capacity(small.block.end() + more);
    block.extend_from_slice(&packed::EMPTY);
    packed::set_mark(&mut block, true);
    packed::push(&mut block, &[Element::Int(packed::NO_DUE)]);
    for entry in small.iter() {
        packed::push(&mut block, &[entry.field, entry.value, Element::Int(0)]);
    }
    block
}

/// Removes up to `most` fields that have expired by `now`, after `gone` has seen each; how many. Afterwards the earliest expiry is
/// exact.
pub fn remove_expired(
    block: &mut impl Block,
    now: u64,
    most: usize,
    mut gone: impl FnMut(Element<'_>),
) -> usize {
    let (mut removed, mut due) = (0, packed::NO_DUE);
    let mut at = Small::new(Packed::new(block.block())).start();
    loop {
        let small = Small::new(Packed::new(block.block()));
        if at >= small.block.end() {
            break;
        }
        let expiry = small.expiry_at(at);
        if removed < most && expired(expiry, now) {
            gone(small.block.get(at));
            remove(block, at);
            removed += 1;
        } else {
            due = expiry.map_or(due, |ms| due.min(ms as i64));
            at = small.block.skip(at, small.stride());
        }
    }
    if Small::new(Packed::new(block.block())).has_expiries() {
        set_due(block, due);
    }
    removed
}
