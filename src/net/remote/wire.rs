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
    pub(in crate::net) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
    pub(in crate::net) fn left(&self) -> usize {
        self.0.len()
    }
    pub(in crate::net) fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(n);
        self.0 = tail;
        head
    }
    fn array<const N: usize>(&mut self) -> [u8; N] {
        self.bytes(N).try_into().expect("as many as asked for")
    }
    pub(in crate::net) fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }
    pub(in crate::net) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }
    pub(in crate::net) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }
    pub(in crate::net) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
}

/// Gives a value away as a number; [`unpack`] takes it exactly once.
pub(in crate::net) fn pack<T: Send>(value: T) -> u64 {
    Box::into_raw(Box::new(value)) as usize as u64
}

/// Takes the value that [`pack`] gave away, which must be of the same type.
pub(in crate::net) fn unpack<T: Send>(number: u64) -> T {
    // SAFETY: the number came through a message that pack wrote with this type, and a message is
    // read once.
    *unsafe { Box::from_raw(number as usize as *mut T) }
}
