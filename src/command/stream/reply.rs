//! Replies with entries.

use crate::resp::encode::Reply;
use crate::types::stream::{Element, Entry, StreamId};

/// An ID as a bulk string.
pub(super) fn id(reply: &mut Reply<'_>, id: StreamId) {
    reply.bulk(id.format(&mut [0; StreamId::TEXT_MAX]));
}

fn element(reply: &mut Reply<'_>, element: Element<'_>) {
    match element {
        Element::Int(number) => reply.bulk_integer(number),
        Element::Bytes(bytes) => reply.bulk(bytes),
    }
}

/// An entry's fields and values.
#[inline]
pub(super) fn pairs(reply: &mut Reply<'_>, entry: &Entry<'_>) {
    reply.array(2 * entry.len());
    for (field, value) in entry.pairs() {
        element(reply, field);
        element(reply, value);
    }
}

/// An entry: its ID, and its fields and values.
#[inline]
pub(super) fn entry(reply: &mut Reply<'_>, entry: &Entry<'_>) {
    reply.array(2);
    id(reply, entry.id);
    pairs(reply, entry);
}

/// Entries up to a number of them; 0 for all. `most` is how many they can be: where it has as many
/// digits as the true number, which it nearly always has, nothing needs to be moved.
pub(super) fn entries<'a>(
    reply: &mut Reply<'_>,
    entries: impl Iterator<Item = Entry<'a>>,
    count: u64,
    length: u64,
) {
    let most = if count == 0 {
        length
    } else {
        count.min(length)
    };
    counted(reply, most as usize, Reply::array, |reply| {
        let entries = entries.take(most as usize);
        entries.map(|e| entry(reply, &e)).count()
    });
}

/// An array or map (`head` writes which) whose length is known when it is written: `write` says it.
/// `most` is an estimate; nothing is moved where it is right.
pub(super) fn counted<'o>(
    reply: &mut Reply<'o>,
    most: usize,
    head: impl Fn(&mut Reply<'o>, usize),
    write: impl FnOnce(&mut Reply<'o>) -> usize,
) -> usize {
    /// `*`, the digits of a length, the line's end.
    const HEAD_MAX: usize = 1 + 20 + 2;
    let start = reply.output().buf.len();
    head(reply, most);
    let head_end = reply.output().buf.len();
    let count = write(reply);
    if count != most {
        let end = reply.output().buf.len();
        head(reply, count);
        let buf = &mut reply.output().buf;
        let mut right = [0; HEAD_MAX];
        let len = buf.len() - end;
        right[..len].copy_from_slice(&buf[end..]);
        buf.truncate(end);
        buf.splice(start..head_end, right[..len].iter().copied());
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Version;
    use crate::resp::encode::Output;

    #[test]
    fn a_head_is_corrected() {
        for (most, count) in [(3, 3), (9, 3), (1000, 2), (0, 12)] {
            let mut out = Output::default();
            out.buf.extend_from_slice(b"before");
            let mut reply = Reply::new(&mut out, Version::Resp2);
            counted(&mut reply, most, Reply::array, |reply| {
                (0..count).for_each(|_| reply.integer(7));
                count
            });
            let wanted = format!("before*{count}\r\n{}", ":7\r\n".repeat(count));
            assert_eq!(String::from_utf8(out.buf).as_deref(), Ok(&wanted[..]));
        }
    }
}
