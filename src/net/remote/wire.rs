//! Numbers and pointers in the messages between shards.
#![expect(
    unsafe_code,
    reason = "memory changes hands between shards as a pointer in a message"
)]

pub(in crate::net) fn put_u8(buf: &mut Vec<u8>, n: u8) {
    buf.push(n);
}
pub(in crate::net) fn put_u16(buf: &mut Vec<u8>, n: u16) {
    buf.extend_from_slice(&n.to_le_bytes());
}
pub(in crate::net) fn put_u32(buf: &mut Vec<u8>, n: u32) {
    buf.extend_from_slice(&n.to_le_bytes());
}
pub(in crate::net) fn put_u64(buf: &mut Vec<u8>, n: u64) {
    buf.extend_from_slice(&n.to_le_bytes());
}

/// Numbers one after the other, `N` bytes: put together where it is known how many they are, so that
/// room is made for them once and not for each.
pub(in crate::net) struct Packed<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Packed<N> {
    #[inline]
    pub(in crate::net) fn new() -> Self {
        Self {
            bytes: [0; N],
            at: 0,
        }
    }

    /// Appends a number's bytes.
    #[inline]
    pub(in crate::net) fn with<const M: usize>(mut self, number: [u8; M]) -> Self {
        self.bytes[self.at..self.at + M].copy_from_slice(&number);
        self.at += M;
        self
    }

    #[inline]
    pub(in crate::net) fn bytes(self) -> [u8; N] {
        assert_eq!(self.at, N, "it is as long as was said");
        self.bytes
    }
}

/// The beginning of a message, of `N` bytes.
pub(in crate::net) struct Head<const N: usize>(Packed<N>);

impl<const N: usize> Head<N> {
    /// The beginning of a message of a kind; [`end`] puts its length in.
    #[inline]
    pub(in crate::net) fn new(kind: u8) -> Self {
        Self(Packed::new().with([0; LENGTH_BYTES]).with([kind]))
    }

    /// Appends a number's bytes.
    #[inline]
    pub(in crate::net) fn with<const M: usize>(self, number: [u8; M]) -> Self {
        Self(self.0.with(number))
    }

    /// Puts it into the buffer; what is returned belongs to [`end`].
    #[inline]
    pub(in crate::net) fn put(self, buf: &mut Vec<u8>) -> usize {
        let at = buf.len();
        buf.extend_from_slice(&self.0.bytes());
        at
    }
}

/// Bytes of a message's length.
const LENGTH_BYTES: usize = 4;
/// Bytes before what a message says: its length and its kind.
pub(in crate::net) const BEGIN_BYTES: usize = LENGTH_BYTES + 1;

/// Starts a message; what is returned belongs to [`end`].
pub(in crate::net) fn begin(buf: &mut Vec<u8>, kind: u8) -> usize {
    let at = buf.len();
    put_u32(buf, 0);
    put_u8(buf, kind);
    at
}

/// Ends the message that began at `at`.
pub(in crate::net) fn end(buf: &mut [u8], at: usize) {
    let length = (buf.len() - at - 4) as u32;
    buf[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

/// Reads numbers and bytes off the front of a message.
pub(in crate::net) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    #[inline]
    pub(in crate::net) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
    #[inline]
    pub(in crate::net) fn left(&self) -> usize {
        self.0.len()
    }
    #[inline]
    pub(in crate::net) fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(n);
        self.0 = tail;
        head
    }
    /// The next bytes as a reader of their own: that they are there is looked at once, and not
    /// for each number in them.
    #[inline]
    pub(in crate::net) fn head<const N: usize>(&mut self) -> Reader<'a> {
        let (head, rest) = self.0.split_first_chunk::<N>().expect("a whole message");
        self.0 = rest;
        Reader(head)
    }
    #[inline]
    fn array<const N: usize>(&mut self) -> [u8; N] {
        self.bytes(N).try_into().expect("as many as asked for")
    }
    #[inline]
    pub(in crate::net) fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }
    #[inline]
    pub(in crate::net) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }
    #[inline]
    pub(in crate::net) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }
    #[inline]
    pub(in crate::net) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
}

/// Gives a value away as a number; [`unpack`] takes it exactly once.
pub(in crate::net) fn pack<T: Send>(value: T) -> u64 {
    pack_box(Box::new(value))
}

/// Gives away a value that has its memory; [`unpack_box`] takes it exactly once.
pub(in crate::net) fn pack_box<T: Send>(value: Box<T>) -> u64 {
    Box::into_raw(value) as usize as u64
}

/// Takes the value that [`pack`] gave away, which must be of the same type.
pub(in crate::net) fn unpack<T: Send>(number: u64) -> T {
    *unpack_box(number)
}

/// Takes the value that [`pack_box`] gave away, which must be of the same type.
pub(in crate::net) fn unpack_box<T: Send>(number: u64) -> Box<T> {
    // SAFETY: the number came through a message that pack_box wrote with this type, and a message
    // is read once.
    unsafe { Box::from_raw(number as usize as *mut T) }
}
