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
    reply.counted(most as usize, Reply::array, |reply| {
        let entries = entries.take(most as usize);
        entries.map(|e| entry(reply, &e)).count()
    });
}
