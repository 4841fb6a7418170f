//! An entry: key, expiry, access clock and short value in one allocation.
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | header, one word in host order: see [`Header`] |
//! | 0 or 8 | expiry, unix milliseconds, if the header says so |
//! | 0 or 4 | length of the key, if it is longer than 255 bytes |
//! | n | the key |
//! | n | the value: its bytes, 8 bytes of a number, a `LargeString` pointer, or an `Object` pointer (16) |
//!
//! Nothing is padded: a key of 16 bytes with a value of 8 takes 32 bytes. Entries belong to the heap
//! of their shard; an [`OwnedEntry`] is a copy in the process's common memory that may travel.
#![expect(unsafe_code, reason = "one allocation holds parts of variable length")]

mod packed;

use super::heap::Heap;
use super::value::{
    Decimal, GROWING_INLINE_BYTES_MAX, INLINE_BYTES_MAX, Kind, LargeString, NewValue, Object,
    Value, parse_int,
};
use bytes::{Bytes, BytesMut};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// The access clock's bits (LRU or LFU, as the shard uses it).
pub const CLOCK_BITS: u32 = 24;
const CLOCK_MASK: u64 = (1 << CLOCK_BITS) - 1;

const HEADER_BYTES: usize = 8;
const EXPIRY_BYTES: usize = 8;
const LONG_LENGTH_BYTES: usize = 4;
const SHORT_KEY_MAX: usize = 255;
/// Longest inline block: its length is a u16.
const INLINE_LENGTH_MAX: usize = u16::MAX as usize;
const _: () = assert!(INLINE_BYTES_MAX <= INLINE_LENGTH_MAX);

/// How the value stands in the entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Inline,
    Int,
    Large,
    Object,
}

impl Form {
    const ALL: [Self; 4] = [Self::Inline, Self::Int, Self::Large, Self::Object];
}

/// | bits | what |
/// | --- | --- |
/// | 0..4 | kind |
/// | 4..6 | form |
/// | 8 | has an expiry |
/// | 9 | the key is longer than 255 bytes |
/// | 10 | a string that was modified in place |
/// | 16..24 | length of a short key |
/// | 24..48 | access clock |
/// | 48..64 | length of an inline value |
#[derive(Clone, Copy, PartialEq, Eq)]
struct Header(u64);

impl Header {
    const EXPIRY: u64 = 1 << 8;
    const LONG_KEY: u64 = 1 << 9;
    const RAW: u64 = 1 << 10;
    const CLOCK_SHIFT: u32 = 24;

    fn new(kind: Kind, form: Form, key_len: usize, inline_len: usize) -> Self {
        assert!(
            inline_len <= INLINE_LENGTH_MAX,
            "a block of {inline_len} bytes is not inline"
        );
        assert!(u32::try_from(key_len).is_ok());
        let key = if key_len <= SHORT_KEY_MAX {
            (key_len as u64) << 16
        } else {
            Self::LONG_KEY
        };
        Self(kind as u64 | (form as u64) << 4 | key | (inline_len as u64) << 48)
    }
    #[inline]
    fn set(self, flag: u64, on: bool) -> Self {
        Self(if on { self.0 | flag } else { self.0 & !flag })
    }
    #[inline]
    fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }
    #[inline]
    fn kind(self) -> Kind {
        Kind::ALL[(self.0 & 15) as usize]
    }
    #[inline]
    fn form(self) -> Form {
        Form::ALL[(self.0 >> 4 & 3) as usize]
    }
    #[inline]
    fn clock(self) -> u32 {
        (self.0 >> Self::CLOCK_SHIFT & CLOCK_MASK) as u32
    }
    #[inline]
    fn with_clock(self, clock: u32) -> Self {
        let cleared = self.0 & !(CLOCK_MASK << Self::CLOCK_SHIFT);
        Self(cleared | (u64::from(clock) & CLOCK_MASK) << Self::CLOCK_SHIFT)
    }
    #[inline]
    fn inline_len(self) -> usize {
        (self.0 >> 48) as usize
    }
    fn with_inline_len(self, len: usize) -> Self {
        assert!(len <= INLINE_LENGTH_MAX);
        Self(self.0 & (u64::MAX >> 16) | (len as u64) << 48)
    }
    #[inline]
    fn expiry_len(self) -> usize {
        if self.has(Self::EXPIRY) {
            EXPIRY_BYTES
        } else {
            0
        }
    }
    #[inline]
    fn value_len(self) -> usize {
        match self.form() {
            Form::Inline => self.inline_len(),
            Form::Int | Form::Large => 8,
            Form::Object => 16,
        }
    }
}

/// The address of an entry that is alive: the word of a table, or an [`OwnedEntry`]'s.
///
/// Whoever makes one promises that the entry stays where it is as long as the `Raw` is used; the
/// functions here read and write only inside the entry, as its header bounds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Raw(NonNull<u8>);

impl Raw {
    /// # Safety
    /// The address is that of a live entry.
    #[inline]
    pub(super) unsafe fn at(address: u64) -> Self {
        let ptr = std::ptr::with_exposed_provenance_mut(address as usize);
        // SAFETY: a live entry's address is not null.
        Self(unsafe { NonNull::new_unchecked(ptr) })
    }

    #[inline]
    pub(super) fn address(self) -> u64 {
        self.0.as_ptr().expose_provenance() as u64
    }

    #[inline]
    fn header(self) -> Header {
        // SAFETY: an entry starts with its header, 8-byte aligned.
        Header(unsafe { self.0.cast::<u64>().read() })
    }

    #[inline]
    fn set_header(self, header: Header) {
        // SAFETY: as in `header`.
        unsafe { self.0.cast::<u64>().write(header.0) }
    }

    /// Where a part starts.
    #[inline]
    fn part(self, offset: usize) -> NonNull<u8> {
        // SAFETY: offsets come from the header and lie inside the entry, or at its end.
        unsafe { self.0.add(offset) }
    }

    #[inline]
    fn key_span(self, header: Header) -> (usize, usize) {
        let start = HEADER_BYTES + header.expiry_len();
        if header.has(Header::LONG_KEY) {
            // SAFETY: a long key has its length in front, in 4 bytes.
            let len = unsafe { self.part(start).cast::<u32>().read_unaligned() };
            (start + LONG_LENGTH_BYTES, len as usize)
        } else {
            (start, (header.0 >> 16 & 0xff) as usize)
        }
    }

    #[inline]
    fn value_start(self, header: Header) -> usize {
        let (start, len) = self.key_span(header);
        start + len
    }

    #[inline]
    fn bytes<'a>(self, start: usize, len: usize) -> &'a [u8] {
        // SAFETY: the span lies inside the entry, which its holder keeps alive and unchanged for 'a.
        unsafe { NonNull::slice_from_raw_parts(self.part(start), len).as_ref() }
    }

    /// Bytes of the entry.
    #[inline]
    fn size(self) -> usize {
        let header = self.header();
        self.value_start(header) + header.value_len()
    }

    #[inline]
    fn key<'a>(self) -> &'a [u8] {
        let (start, len) = self.key_span(self.header());
        self.bytes(start, len)
    }

    #[inline]
    fn expiry(self) -> Option<u64> {
        if self.header().has(Header::EXPIRY) {
            // SAFETY: the flag says that the expiry follows the header, 8-byte aligned as it is.
            Some(unsafe { self.part(HEADER_BYTES).cast::<u64>().read() })
        } else {
            None
        }
    }

    fn put(self, offset: usize, bytes: &[u8]) {
        let from = NonNull::from(bytes).cast::<u8>();
        // SAFETY: the part lies inside the entry; the source is another allocation.
        unsafe {
            self.part(offset)
                .copy_from_nonoverlapping(from, bytes.len())
        }
    }

    #[inline]
    fn large(self, header: Header) -> NonNull<LargeString> {
        assert_eq!(header.form(), Form::Large);
        let at = self.part(self.value_start(header));
        // SAFETY: the form says that a pointer stands here.
        unsafe { at.cast().read_unaligned() }
    }

    #[inline]
    fn object(self, header: Header) -> NonNull<dyn Object> {
        assert_eq!(header.form(), Form::Object);
        let at = self.part(self.value_start(header));
        // SAFETY: the form says that a fat pointer stands here.
        unsafe { at.cast().read_unaligned() }
    }

    /// The value; 'a must not outlive the entry's next change.
    #[inline]
    fn value<'a>(self) -> Value<'a> {
        let header = self.header();
        match header.form() {
            Form::Inline => {
                let bytes = self.bytes(self.value_start(header), header.inline_len());
                match header.kind() {
                    Kind::String => Value::Str(bytes),
                    kind => Value::Packed(kind, bytes),
                }
            }
            Form::Int => Value::Int(self.int(header)),
            // SAFETY: the entry owns the string and keeps it until it is disposed of or replaced.
            Form::Large => Value::Large(unsafe { self.large(header).as_ref() }),
            // SAFETY: the entry owns the object, as above.
            Form::Object => Value::Object(unsafe { self.object(header).as_ref() }),
        }
    }

    fn int(self, header: Header) -> i64 {
        assert_eq!(header.form(), Form::Int);
        let at = self.part(self.value_start(header));
        // SAFETY: the form says that 8 bytes of a number stand here.
        unsafe { at.cast::<i64>().read_unaligned() }
    }
}

/// What a value needs in an entry.
struct Plan {
    header: Header,
    size: usize,
}

fn plan(key: &[u8], expiry: Option<u64>, value: &NewValue<'_>) -> Plan {
    let (kind, form, inline_len, raw) = match value {
        NewValue::Int(_) => (Kind::String, Form::Int, 0, false),
        NewValue::Str { bytes, raw } if bytes.len() <= INLINE_BYTES_MAX => {
            (Kind::String, Form::Inline, bytes.len(), *raw)
        }
        NewValue::Str { raw, .. } => (Kind::String, Form::Large, 0, *raw),
        NewValue::Large(_) => (Kind::String, Form::Large, 0, false),
        NewValue::Packed(kind, bytes) => (*kind, Form::Inline, bytes.len(), false),
        NewValue::Object(object) => (object.kind(), Form::Object, 0, false),
    };
    let header = Header::new(kind, form, key.len(), inline_len)
        .set(Header::RAW, raw)
        .set(Header::EXPIRY, expiry.is_some());
    let length = if header.has(Header::LONG_KEY) {
        LONG_LENGTH_BYTES
    } else {
        0
    };
    let size = HEADER_BYTES + header.expiry_len() + length + key.len() + header.value_len();
    Plan { header, size }
}

/// Writes all parts into memory of the plan's size.
#[inline]
fn fill(
    at: NonNull<u8>,
    plan: &Plan,
    key: &[u8],
    expiry: Option<u64>,
    clock: u32,
    value: NewValue<'_>,
) {
    let raw = Raw(at);
    let header = plan.header.with_clock(clock);
    raw.set_header(header);
    if let Some(ms) = expiry {
        raw.put(HEADER_BYTES, &ms.to_ne_bytes());
    }
    if header.has(Header::LONG_KEY) {
        raw.put(
            HEADER_BYTES + header.expiry_len(),
            &(key.len() as u32).to_ne_bytes(),
        );
    }
    let (key_start, _) = raw.key_span(header);
    raw.put(key_start, key);
    put_value(raw, key_start + key.len(), value);
}

/// Writes the value where the header, already there, has room for it.
#[inline]
fn put_value(raw: Raw, value_at: usize, value: NewValue<'_>) {
    match value {
        NewValue::Int(number) => raw.put(value_at, &number.to_ne_bytes()),
        NewValue::Str { bytes, .. } if raw.header().form() == Form::Inline => {
            raw.put(value_at, bytes)
        }
        NewValue::Str { bytes, .. } => {
            write_large(raw.part(value_at), Bytes::copy_from_slice(bytes))
        }
        NewValue::Large(bytes) => write_large(raw.part(value_at), bytes),
        NewValue::Packed(_, bytes) => raw.put(value_at, bytes),
        NewValue::Object(object) => {
            let pointer = NonNull::from(Box::leak(object));
            // SAFETY: the plan left 16 bytes for the fat pointer.
            unsafe { raw.part(value_at).cast().write_unaligned(pointer) };
        }
    }
}

fn write_large(at: NonNull<u8>, bytes: Bytes) {
    let pointer = NonNull::from(Box::leak(Box::new(LargeString::new(bytes))));
    // SAFETY: the plan left 8 bytes for the pointer.
    unsafe { at.cast().write_unaligned(pointer) }
}

/// What an entry gives up when it goes: parts outside its allocation.
pub(super) enum Outside {
    Nothing,
    Large(Box<LargeString>),
    Object(Box<dyn Object>),
}

/// What an entry owned outside its allocation; the caller frees or forgets the entry afterwards.
fn outside(raw: Raw) -> Outside {
    let header = raw.header();
    match header.form() {
        Form::Inline | Form::Int => Outside::Nothing,
        // SAFETY: the pointer was leaked from a box when it was stored, and is given up here.
        Form::Large => Outside::Large(unsafe { Box::from_raw(raw.large(header).as_ptr()) }),
        // SAFETY: as above.
        Form::Object => Outside::Object(unsafe { Box::from_raw(raw.object(header).as_ptr()) }),
    }
}

/// Makes an entry in the heap. The caller owns it until it stands in a table.
#[inline]
pub(super) fn create(
    heap: &Heap,
    key: &[u8],
    expiry: Option<u64>,
    clock: u32,
    value: NewValue<'_>,
) -> Raw {
    let plan = plan(key, expiry, &value);
    let at = heap.alloc(plan.size);
    fill(at, &plan, key, expiry, clock, value);
    let raw = Raw(at);
    charge(heap, raw, 1);
    raw
}

/// Charges, or takes back, what the entry holds outside its allocation.
#[inline]
fn charge(heap: &Heap, raw: Raw, sign: isize) {
    match raw.header().form() {
        Form::Inline | Form::Int => {}
        Form::Large | Form::Object => heap.charge(sign * outside_bytes(raw) as isize),
    }
}

fn outside_bytes(raw: Raw) -> usize {
    match raw.value() {
        Value::Large(large) => large.heap_bytes(),
        Value::Object(object) => object.heap_bytes(),
        Value::Int(_) | Value::Str(_) | Value::Packed(..) => 0,
    }
}

/// Gives an entry's allocation back; what it owned outside is the caller's to drop, now or in slices.
///
/// # Safety
/// The entry is alive, of this heap, and stands in no table any more.
#[inline]
pub(super) unsafe fn destroy(heap: &Heap, raw: Raw) -> Outside {
    charge(heap, raw, -1);
    let outside = outside(raw);
    // SAFETY: the entry was made by `create` in this heap, and its header still gives its size.
    unsafe { heap.free(raw.0, raw.size()) };
    outside
}

/// Replaces the value and the expiry, in place where the size class stays; the result is where the
/// entry stands now, and what the old value owned outside.
///
/// # Safety
/// The entry is alive and of this heap; where the result is another address, the old one is gone.
pub(super) unsafe fn replace(
    heap: &Heap,
    raw: Raw,
    expiry: Option<u64>,
    value: NewValue<'_>,
) -> (Raw, Outside) {
    if overwritten(raw, expiry, &value) {
        return (raw, Outside::Nothing);
    }
    let clock = raw.header().clock();
    let old_size = raw.size();
    let plan = plan(raw.key(), expiry, &value);
    let same_place = Heap::good_size(plan.size) == Heap::good_size(old_size);
    let same_key_place = plan.header.expiry_len() == raw.header().expiry_len();
    charge(heap, raw, -1);
    if same_place && same_key_place {
        let outside = outside(raw);
        let value_at = raw.value_start(raw.header());
        raw.set_header(plan.header.with_clock(clock));
        if let Some(ms) = expiry {
            raw.put(HEADER_BYTES, &ms.to_ne_bytes());
        }
        put_value(raw, value_at, value);
        charge(heap, raw, 1);
        return (raw, outside);
    }
    let at = heap.alloc(plan.size);
    fill(at, &plan, raw.key(), expiry, clock, value);
    let outside = outside(raw);
    // SAFETY: the caller gives the old place up.
    unsafe { heap.free(raw.0, old_size) };
    charge(heap, Raw(at), 1);
    (Raw(at), outside)
}

/// The commonest replacement: a short string by one that its size class has room for.
#[inline]
fn overwritten(raw: Raw, expiry: Option<u64>, value: &NewValue<'_>) -> bool {
    let header = raw.header();
    let NewValue::Str {
        bytes,
        raw: modified,
    } = value
    else {
        return false;
    };
    let is_short = header.form() == Form::Inline && header.kind() == Kind::String;
    if !is_short || bytes.len() > INLINE_BYTES_MAX || header.has(Header::EXPIRY) != expiry.is_some()
    {
        return false;
    }
    let start = raw.value_start(header);
    if Heap::good_size(start + bytes.len()) != Heap::good_size(start + header.inline_len()) {
        return false;
    }
    raw.set_header(
        header
            .with_inline_len(bytes.len())
            .set(Header::RAW, *modified),
    );
    if let Some(ms) = expiry {
        raw.put(HEADER_BYTES, &ms.to_ne_bytes());
    }
    raw.put(start, bytes);
    true
}

/// Sets, changes or clears the expiry; the value is taken along as it is.
///
/// # Safety
/// As for [`replace`].
pub(super) unsafe fn set_expiry(heap: &Heap, raw: Raw, expiry: Option<u64>) -> Raw {
    let header = raw.header();
    match (raw.expiry(), expiry) {
        (None, None) => raw,
        (Some(_), Some(ms)) => {
            raw.put(HEADER_BYTES, &ms.to_ne_bytes());
            raw
        }
        (Some(_), None) | (None, Some(_)) => {
            let old_size = raw.size();
            let old_tail = HEADER_BYTES + header.expiry_len();
            let tail_len = old_size - old_tail;
            let header = header.set(Header::EXPIRY, expiry.is_some());
            let new = Raw(heap.alloc(HEADER_BYTES + header.expiry_len() + tail_len));
            new.set_header(header);
            if let Some(ms) = expiry {
                new.put(HEADER_BYTES, &ms.to_ne_bytes());
            }
            new.put(
                HEADER_BYTES + header.expiry_len(),
                raw.bytes(old_tail, tail_len),
            );
            // SAFETY: the caller gives the old place up; pointers in the value moved along.
            unsafe { heap.free(raw.0, old_size) };
            new
        }
    }
}

/// An entry, as it is read.
#[derive(Clone, Copy)]
pub struct EntryRef<'a> {
    raw: Raw,
    life: PhantomData<&'a [u8]>,
}

impl<'a> EntryRef<'a> {
    /// # Safety
    /// The entry is alive and unchanged for 'a.
    #[inline]
    pub(super) unsafe fn new(raw: Raw) -> Self {
        Self {
            raw,
            life: PhantomData,
        }
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &'a [u8] {
        self.raw.key()
    }

    /// The type.
    #[inline]
    pub fn kind(&self) -> Kind {
        self.raw.header().kind()
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> Value<'a> {
        self.raw.value()
    }

    /// The value as the bytes of a string; None for other types. A number's decimal is made here;
    /// everything else is borrowed.
    pub fn string(&self) -> Option<Cow<'a, [u8]>> {
        match self.value() {
            Value::Int(number) => Some(Cow::Owned(Decimal::new(number).as_bytes().to_vec())),
            Value::Str(bytes) => Some(Cow::Borrowed(bytes)),
            Value::Large(large) => Some(Cow::Borrowed(large.as_slice())),
            Value::Packed(..) | Value::Object(_) => None,
        }
    }

    /// When it expires, unix milliseconds.
    #[inline]
    pub fn expiry(&self) -> Option<u64> {
        self.raw.expiry()
    }

    /// When something inside its value next expires (a field of a hash), or a lower bound of it.
    #[inline]
    pub fn due_inside(&self) -> Option<u64> {
        if self.kind() == Kind::Hash {
            self.value().due()
        } else {
            None
        }
    }

    /// Whether it has expired by `now`, unix milliseconds.
    #[inline]
    pub fn expired(&self, now: u64) -> bool {
        self.raw.expiry().is_some_and(|at| at <= now)
    }

    /// The access clock, as `touch` left it.
    #[inline]
    pub fn clock(&self) -> u32 {
        self.raw.header().clock()
    }

    /// What OBJECT ENCODING replies for a string or an object; a packed collection's encoding is
    /// named by its type's commands, here None.
    pub fn encoding(&self) -> Option<&'static str> {
        /// Redis's OBJ_ENCODING_EMBSTR_SIZE_LIMIT.
        const EMBSTR_BYTES_MAX: usize = 44;
        match self.value() {
            Value::Int(_) => Some("int"),
            Value::Str(bytes) if bytes.len() <= EMBSTR_BYTES_MAX && !self.is_raw() => {
                Some("embstr")
            }
            Value::Str(_) | Value::Large(_) => Some("raw"),
            Value::Packed(..) => None,
            Value::Object(object) => Some(object.encoding()),
        }
    }

    /// Whether it is a string that was modified in place.
    pub fn is_raw(&self) -> bool {
        self.raw.header().has(Header::RAW)
    }

    /// Bytes of memory that it takes, its table's share not included.
    pub fn memory_bytes(&self) -> usize {
        Heap::good_size(self.raw.size()) + outside_bytes(self.raw)
    }

    /// A copy of the value that may be stored under another key (COPY).
    pub fn duplicate(&self) -> NewValue<'a> {
        match self.value() {
            Value::Int(number) => NewValue::Int(number),
            Value::Str(bytes) => NewValue::Str {
                bytes,
                raw: self.is_raw(),
            },
            Value::Large(large) => NewValue::Large(large.share()),
            Value::Packed(kind, bytes) => NewValue::Packed(kind, bytes),
            Value::Object(object) => NewValue::Object(object.duplicate()),
        }
    }
}

impl fmt::Debug for EntryRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &String::from_utf8_lossy(self.key()))
            .field("expiry", &self.expiry())
            .field("value", &self.value())
            .finish()
    }
}

impl Raw {
    /// Remembers an access.
    #[inline]
    pub(super) fn touch(self, clock: u32) {
        self.set_header(self.header().with_clock(clock));
    }

    /// Changes a string's bytes in place, at least `len` of them (zeros are added). Where the entry
    /// has to move, the result is its new place.
    ///
    /// # Safety
    /// As for [`replace`]; the entry is a string.
    pub(super) unsafe fn edit_string<R>(
        self,
        heap: &Heap,
        len: usize,
        change: impl FnOnce(&mut [u8]) -> R,
    ) -> (Self, R) {
        let header = self.header();
        assert_eq!(header.kind(), Kind::String);
        if header.form() == Form::Large {
            let result = self.edit_large(heap, |bytes| {
                if bytes.len() < len {
                    bytes.resize(len, 0);
                }
                change(bytes)
            });
            return (self, result);
        }
        let start = self.value_start(header);
        let old_len = header.inline_len();
        let fits = header.form() == Form::Inline
            && len <= INLINE_BYTES_MAX
            && Heap::good_size(start + len.max(old_len)) == Heap::good_size(start + old_len);
        if fits {
            let len = len.max(old_len);
            // SAFETY: the size class has room for `len` bytes of value.
            unsafe { self.part(start + old_len).write_bytes(0, len - old_len) };
            self.set_header(header.with_inline_len(len).set(Header::RAW, true));
            return (self, change(self.bytes_mut(start, len)));
        }
        // SAFETY: the caller's promise is passed on.
        unsafe { self.edit_elsewhere(heap, len, change) }
    }

    /// Edits a short string that does not fit where it is, or is not stored as bytes.
    ///
    /// # Safety
    /// As for [`Raw::edit_string`].
    unsafe fn edit_elsewhere<R>(
        self,
        heap: &Heap,
        len: usize,
        change: impl FnOnce(&mut [u8]) -> R,
    ) -> (Self, R) {
        let decimal;
        let old = match self.value() {
            Value::Int(number) => {
                decimal = Decimal::new(number);
                decimal.as_bytes()
            }
            Value::Str(bytes) => bytes,
            Value::Large(_) | Value::Packed(..) | Value::Object(_) => {
                unreachable!("a short string")
            }
        };
        let mut own = Vec::with_capacity(len.max(old.len()));
        own.extend_from_slice(old);
        own.resize(len.max(old.len()), 0);
        let result = change(&mut own);
        let value = if own.len() > GROWING_INLINE_BYTES_MAX {
            NewValue::Large(Bytes::from(std::mem::take(&mut own)))
        } else {
            NewValue::Str {
                bytes: &own,
                raw: true,
            }
        };
        // SAFETY: the caller's promise is passed on; a short string owns nothing outside.
        let (new, _) = unsafe { replace(heap, self, self.expiry(), value) };
        new.set_header(new.header().set(Header::RAW, true));
        (new, result)
    }

    fn edit_large<R>(self, heap: &Heap, change: impl FnOnce(&mut BytesMut) -> R) -> R {
        charge(heap, self, -1);
        let header = self.header();
        // SAFETY: the entry owns the string, and only a holder of the entry for writing comes here.
        let large = unsafe { self.large(header).as_mut() };
        let result = large.edit(change);
        self.set_header(header.set(Header::RAW, true));
        charge(heap, self, 1);
        result
    }

    #[inline]
    fn bytes_mut<'a>(self, start: usize, len: usize) -> &'a mut [u8] {
        // SAFETY: the span lies inside the entry, which its holder has exclusively for 'a.
        unsafe { NonNull::slice_from_raw_parts(self.part(start), len).as_mut() }
    }

    /// The object for writing, and its bytes before.
    ///
    /// # Safety
    /// The caller holds the entry exclusively for 'a.
    pub(super) unsafe fn object_mut<'a>(self) -> Option<&'a mut dyn Object> {
        let header = self.header();
        if header.form() == Form::Object {
            // SAFETY: the entry owns the object, and the caller holds the entry exclusively.
            Some(unsafe { self.object(header).as_mut() })
        } else {
            None
        }
    }

    /// Appends to a string; the entry's place and the string's new length.
    ///
    /// # Safety
    /// As for [`Raw::edit_string`].
    pub(super) unsafe fn append(self, heap: &Heap, tail: &[u8]) -> (Self, usize) {
        let old_len = match self.value() {
            Value::Int(number) => Decimal::new(number).as_bytes().len(),
            Value::Large(_) => {
                let len = self.edit_large(heap, |bytes| {
                    bytes.extend_from_slice(tail);
                    bytes.len()
                });
                return (self, len);
            }
            _ => self.header().inline_len(),
        };
        let len = old_len + tail.len();
        // SAFETY: the caller's promise is passed on.
        let (new, ()) =
            unsafe { self.edit_string(heap, len, |bytes| bytes[old_len..].copy_from_slice(tail)) };
        (new, len)
    }

    /// Writes a number over the number that stands here; false if none does.
    pub(super) fn overwrite_int(self, number: i64) -> bool {
        let header = self.header();
        let is_int = header.form() == Form::Int;
        if is_int {
            self.put(self.value_start(header), &number.to_ne_bytes());
        }
        is_int
    }

    /// A copy in the process's common memory; what the entry owns outside moves to it, and this
    /// allocation is freed.
    ///
    /// # Safety
    /// As for [`destroy`].
    pub(super) unsafe fn detach(self, heap: &Heap) -> OwnedEntry {
        charge(heap, self, -1);
        let size = self.size();
        let owned = OwnedEntry {
            raw: Raw(common_memory(size)),
        };
        owned.raw.put(0, self.bytes(0, size));
        // SAFETY: the caller gives the entry up; its copy owns what it pointed to.
        unsafe { heap.free(self.0, size) };
        owned
    }
}

fn entry_layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("entries stay far below isize::MAX")
}

fn common_memory(size: usize) -> NonNull<u8> {
    assert!(size >= HEADER_BYTES);
    // SAFETY: the size is not zero.
    let ptr = unsafe { alloc(entry_layout(size)) };
    NonNull::new(ptr).unwrap_or_else(|| handle_alloc_error(entry_layout(size)))
}

/// An entry outside every table, with everything that belongs to it: it may go to another table,
/// database or shard.
pub struct OwnedEntry {
    raw: Raw,
}

// SAFETY: it is the only owner of its allocation, of its string buffer (Bytes is Send) and of its
// object (Object requires Send).
unsafe impl Send for OwnedEntry {}

impl OwnedEntry {
    /// Makes one (for RESTORE-like commands that build away from the owner).
    pub fn new(key: &[u8], expiry: Option<u64>, clock: u32, value: NewValue<'_>) -> Self {
        let plan = plan(key, expiry, &value);
        let at = common_memory(plan.size);
        fill(at, &plan, key, expiry, clock, value);
        Self { raw: Raw(at) }
    }

    /// What it holds.
    pub fn entry(&self) -> EntryRef<'_> {
        // SAFETY: the entry lives as long as self, and is changed only through &mut self.
        unsafe { EntryRef::new(self.raw) }
    }

    /// The same under another key (RENAME); what is large or an object moves along.
    pub fn renamed(self, key: &[u8]) -> Self {
        let (expiry, clock) = (self.raw.expiry(), self.raw.header().clock());
        let raw = self.raw;
        let was_raw_string = raw.header().has(Header::RAW);
        let renamed = match raw.value() {
            Value::Int(number) => Self::new(key, expiry, clock, NewValue::Int(number)),
            Value::Str(bytes) => Self::new(
                key,
                expiry,
                clock,
                NewValue::Str {
                    bytes,
                    raw: was_raw_string,
                },
            ),
            Value::Packed(kind, bytes) => {
                Self::new(key, expiry, clock, NewValue::Packed(kind, bytes))
            }
            Value::Large(large) => Self::new(key, expiry, clock, NewValue::Large(large.share())),
            Value::Object(_) => {
                let Outside::Object(object) = outside(raw) else {
                    unreachable!("its form is Object")
                };
                // The object has moved out: forget it here, so that drop frees the allocation alone.
                std::mem::forget(self);
                let renamed = Self::new(key, expiry, clock, NewValue::Object(object));
                // SAFETY: the allocation is ours, and nothing refers to it any more.
                unsafe { dealloc(raw.0.as_ptr(), entry_layout(raw.size())) };
                return renamed;
            }
        };
        let header = renamed.raw.header();
        renamed
            .raw
            .set_header(header.set(Header::RAW, was_raw_string));
        renamed
    }

    /// Sets or clears the expiry, unix milliseconds.
    pub fn with_expiry(self, expiry: Option<u64>) -> Self {
        let old = self.raw;
        let header = old.header();
        if header.has(Header::EXPIRY) == expiry.is_some() {
            if let Some(ms) = expiry {
                old.put(HEADER_BYTES, &ms.to_ne_bytes());
            }
            return self;
        }
        let old_tail = HEADER_BYTES + header.expiry_len();
        let tail_len = old.size() - old_tail;
        let header = header.set(Header::EXPIRY, expiry.is_some());
        let new = Raw(common_memory(HEADER_BYTES + header.expiry_len() + tail_len));
        new.set_header(header);
        if let Some(ms) = expiry {
            new.put(HEADER_BYTES, &ms.to_ne_bytes());
        }
        new.put(
            HEADER_BYTES + header.expiry_len(),
            old.bytes(old_tail, tail_len),
        );
        std::mem::forget(self);
        // SAFETY: the allocation is ours; what it owned outside has moved to the copy.
        unsafe { dealloc(old.0.as_ptr(), entry_layout(old.size())) };
        Self { raw: new }
    }

    /// Moves it into the heap of a shard.
    pub(super) fn settle(self, heap: &Heap) -> Raw {
        let from = self.raw;
        let size = from.size();
        let raw = Raw(heap.alloc(size));
        raw.put(0, from.bytes(0, size));
        charge(heap, raw, 1);
        std::mem::forget(self);
        // SAFETY: the allocation is ours; what it owned outside has moved to the copy.
        unsafe { dealloc(from.0.as_ptr(), entry_layout(size)) };
        raw
    }
}

impl Drop for OwnedEntry {
    fn drop(&mut self) {
        let size = self.raw.size();
        drop_outside(outside(self.raw));
        // SAFETY: the allocation is ours, and this is its end.
        unsafe { dealloc(self.raw.0.as_ptr(), entry_layout(size)) };
    }
}

impl fmt::Debug for OwnedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entry().fmt(f)
    }
}

pub(super) fn drop_outside(outside: Outside) {
    match outside {
        Outside::Nothing => {}
        Outside::Large(large) => drop(large),
        Outside::Object(object) => drop(object),
    }
}

impl Value<'_> {
    /// The number that the string is the decimal of; None for other strings and other types.
    pub fn as_int(&self) -> Option<i64> {
        match *self {
            Self::Int(number) => Some(number),
            Self::Str(bytes) => parse_int(bytes),
            Self::Large(_) | Self::Packed(..) | Self::Object(_) => None,
        }
    }
}
