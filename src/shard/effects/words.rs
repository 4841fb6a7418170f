//! The arguments of a command that is being put together, and their form as a request.

use crate::resp::double::{F64_TEXT_MAX, format_f64};
use crate::resp::number::{I64_TEXT_MAX, format_i64};
use crate::types::packed::Element;

/// The arguments of a command, one behind the other in one buffer that is used again and again.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Words {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Words {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of memory that its buffers take.
    pub(super) fn bytes_kept(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<usize>()
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Adds one.
    pub fn push(&mut self, word: &[u8]) {
        self.bytes.extend_from_slice(word);
        self.ends.push(self.bytes.len());
    }

    /// Adds several.
    pub fn extend(&mut self, words: &[&[u8]]) {
        words.iter().for_each(|word| self.push(word));
    }

    /// Adds an element's text.
    pub fn push_element(&mut self, element: Element<'_>) {
        match element {
            Element::Int(number) => self.push_int(number),
            Element::Bytes(bytes) => self.push(bytes),
        }
    }

    /// Adds a number in decimal.
    pub fn push_int(&mut self, number: i64) {
        self.push(format_i64(number, &mut [0; I64_TEXT_MAX]));
    }

    /// Adds a number that may lie beyond `i64`, in decimal.
    pub fn push_u64(&mut self, number: u64) {
        match i64::try_from(number) {
            Ok(number) => self.push_int(number),
            Err(_) => self.push(number.to_string().as_bytes()),
        }
    }

    /// Adds a floating point number; reading its text gives the same number.
    pub fn push_f64(&mut self, number: f64) {
        self.push(format_f64(number, &mut [0; F64_TEXT_MAX]));
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        (0..self.ends.len()).map(|at| {
            let from = at.checked_sub(1).map_or(0, |before| self.ends[before]);
            &self.bytes[from..self.ends[at]]
        })
    }
}

/// Appends a request: an array of bulk strings, as clients send it.
pub(super) fn put_request<'a>(out: &mut Vec<u8>, words: impl ExactSizeIterator<Item = &'a [u8]>) {
    put_head(out, b'*', words.len());
    for word in words {
        put_head(out, b'$', word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

#[inline(always)]
fn put_head(out: &mut Vec<u8>, kind: u8, number: usize) {
    let digit = |n: usize| b'0' + n as u8;
    match number {
        0..10 => out.extend_from_slice(&[kind, digit(number), b'\r', b'\n']),
        10..100 => {
            let (tens, ones) = (digit(number / 10), digit(number % 10));
            out.extend_from_slice(&[kind, tens, ones, b'\r', b'\n']);
        }
        _ => {
            out.push(kind);
            out.extend_from_slice(format_i64(number as i64, &mut [0; I64_TEXT_MAX]));
            out.extend_from_slice(b"\r\n");
        }
    }
}
