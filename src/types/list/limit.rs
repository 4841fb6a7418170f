//! Up to where a list is one packed block.

use crate::types::packed;

/// What `list-max-listpack-size` allows a listpack.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Bytes, as Redis counts them.
    pub bytes: usize,
    /// Elements.
    pub count: usize,
}

impl Limit {
    /// The limit of a configuration: negative for bytes (-1 to -5 for 4 to 64 KiB), else elements.
    pub fn of(size: i32) -> Self {
        /// Redis's SIZE_SAFETY_LIMIT.
        const COUNTED_BYTES_MAX: usize = 8192;
        const LARGEST: u32 = 5;
        if size < 0 {
            Self {
                bytes: 2048 << size.unsigned_abs().min(LARGEST),
                count: usize::MAX,
            }
        } else {
            Self {
                bytes: COUNTED_BYTES_MAX,
                count: size.unsigned_abs().max(1) as usize,
            }
        }
    }

    /// Whether a list of so many bytes (of elements) and elements is over it. A list that is at it
    /// fits into an entry.
    pub fn exceeded(self, bytes: usize, count: usize) -> bool {
        /// What a listpack of Redis has more than a packed block: its head and end.
        const LISTPACK_EXTRA: usize = 5;
        bytes + LISTPACK_EXTRA > self.bytes
            || count > self.count
            || bytes > packed::ENTRY_BYTES_MAX
            || count > packed::COUNT_MAX
    }

    /// The limit that a list which shrinks must be below, so that its form does not change to and fro.
    pub fn shrinking(self) -> Self {
        Self {
            bytes: self.bytes / 2,
            count: self.count / 2,
        }
    }
}
