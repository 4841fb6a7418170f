//! What a shard's part of a command hands to the client's home: numbers and byte strings, one after
//! the other, little-endian. Such records never leave the process.

/// Appends a number.
pub(in crate::command) fn put(buf: &mut Vec<u8>, n: u64) {
    buf.extend_from_slice(&n.to_le_bytes());
}

/// Appends a byte string with its length in front.
pub(in crate::command) fn put_bytes(buf: &mut Vec<u8>, bytes: &[u8]) {
    put(buf, bytes.len() as u64);
    buf.extend_from_slice(bytes);
}

/// Reads what was put, in the same order.
pub(in crate::command) struct Fields<'a>(pub(in crate::command) &'a [u8]);

impl<'a> Fields<'a> {
    pub(in crate::command) fn number(&mut self) -> u64 {
        let (head, rest) = self.0.split_at(size_of::<u64>());
        self.0 = rest;
        u64::from_le_bytes(head.try_into().expect("eight bytes"))
    }

    pub(in crate::command) fn bytes(&mut self) -> &'a [u8] {
        let length = self.number() as usize;
        let (head, rest) = self.0.split_at(length);
        self.0 = rest;
        head
    }

    pub(in crate::command) fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    pub(in crate::command) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
