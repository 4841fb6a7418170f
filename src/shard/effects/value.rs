//! A key's whole value as effects: what makes it anew, whatever stands under the key.
//!
//! | type | effects |
//! | --- | --- |
//! | string | SET, with PXAT where it expires |
//! | list | DEL, RPUSH |
//! | set | DEL, SADD |
//! | sorted set | DEL, ZADD |
//! | hash | DEL, HSET, and HPEXPIREAT for each field that expires |
//! | stream | DEL, XADD, XSETID, XGROUP CREATE and CREATECONSUMER, XCLAIM |
//! | stream with entries that XADD cannot add | DEL, RESTORE |
//!
//! followed by PEXPIREAT where the key expires. Elements go in groups of [`GROUP`], as in the log
//! that Redis rewrites.

use super::{Payload, Words};
use crate::command::zset::view::View;
use crate::keyspace::{EntryRef, Kind};
use crate::rdb::{Encoder, payload};
use crate::resp::number::I64_TEXT_MAX;
use crate::types::hash::HashRef;
use crate::types::list::List;
use crate::types::set::Set;
use crate::types::stream::{Group, Stream, StreamId};

/// Elements of one effect, at the most (Redis's AOF_REWRITE_ITEMS_PER_CMD): so much is run at once.
const GROUP: usize = 64;

/// Appends what makes the entry.
pub(super) fn put(out: &mut Payload, db: u16, entry: &EntryRef<'_>, words: &mut Words) {
    let key = entry.key();
    if entry.kind() == Kind::String {
        return put_string(out, db, entry, words);
    }
    out.put(db, [&b"DEL"[..], key].into_iter());
    match entry.kind() {
        Kind::String => unreachable!("seen above"),
        Kind::List => {
            let mut groups = Groups::new(out, words, db, key, "RPUSH");
            List::of(entry.value()).forward(0, |element| {
                groups.add(|words| words.push_element(element));
                true
            });
            groups.end();
        }
        Kind::Set => {
            let mut groups = Groups::new(out, words, db, key, "SADD");
            Set::of(entry.value())
                .for_each(|member| groups.add(|words| words.push_element(member)));
            groups.end();
        }
        Kind::ZSet => {
            let mut groups = Groups::new(out, words, db, key, "ZADD");
            let view = View::of(*entry).expect("a sorted set");
            view.visit_all(|score, member| {
                groups.add(|words| {
                    words.push_f64(score);
                    words.push(member);
                });
            });
            groups.end();
        }
        Kind::Hash => put_hash(out, db, entry, words),
        Kind::Stream => {
            let stream = match entry.value() {
                crate::keyspace::Value::Object(object) => object.as_any().downcast_ref(),
                _ => None,
            };
            let stream = stream.expect("a stream");
            let before = out.bytes.len();
            if !put_stream(out, db, key, stream, words) {
                out.bytes.truncate(before);
                put_restored(out, db, entry);
            }
        }
    }
    if let Some(at) = entry.expiry() {
        words.clear();
        words.extend(&[b"PEXPIREAT", key]);
        words.push_u64(at);
        out.put(db, words.iter());
    }
}

fn put_string(out: &mut Payload, db: u16, entry: &EntryRef<'_>, words: &mut Words) {
    let mut text = [0; I64_TEXT_MAX];
    let value = entry.value();
    let bytes = value.bytes(&mut text).expect("a string");
    words.clear();
    match entry.expiry() {
        None => out.put(db, [&b"SET"[..], entry.key(), bytes].into_iter()),
        Some(at) => {
            words.push_u64(at);
            let at = words.iter().next().expect("just pushed");
            let all = [&b"SET"[..], entry.key(), bytes, b"PXAT", at];
            out.put(db, all.into_iter());
        }
    }
}

/// A command with many elements, cut into several.
struct Groups<'a> {
    out: &'a mut Payload,
    words: &'a mut Words,
    db: u16,
    key: &'a [u8],
    command: &'static str,
    count: usize,
}

impl<'a> Groups<'a> {
    fn new(
        out: &'a mut Payload,
        words: &'a mut Words,
        db: u16,
        key: &'a [u8],
        command: &'static str,
    ) -> Self {
        words.clear();
        Self {
            out,
            words,
            db,
            key,
            command,
            count: 0,
        }
    }

    fn add(&mut self, push: impl FnOnce(&mut Words)) {
        if self.words.is_empty() {
            self.words.extend(&[self.command.as_bytes(), self.key]);
        }
        push(self.words);
        self.count += 1;
        if self.count == GROUP {
            self.end();
        }
    }

    fn end(&mut self) {
        if self.count > 0 {
            self.out.put(self.db, self.words.iter());
        }
        self.words.clear();
        self.count = 0;
    }
}

/// Fields that have expired and are still there are written, too: their removal is an effect of its
/// own.
fn put_hash(out: &mut Payload, db: u16, entry: &EntryRef<'_>, words: &mut Words) {
    let key = entry.key();
    let hash = HashRef::of(entry.value()).expect("a hash");
    let mut expiring: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut groups = Groups::new(out, words, db, key, "HSET");
    hash.for_each(0, |field, value| {
        groups.add(|words| {
            words.push_element(field);
            words.push_element(value);
        });
        let mut text = [0; I64_TEXT_MAX];
        let field = field.text(&mut text);
        if let Some(Some(at)) = hash.expiry(field, 0) {
            expiring.push((at, field.to_vec()));
        }
    });
    groups.end();
    expiring.sort();
    for same in expiring.chunk_by(|a, b| a.0 == b.0) {
        for group in same.chunks(GROUP) {
            words.clear();
            words.extend(&[b"HPEXPIREAT", key]);
            words.push_u64(group[0].0);
            words.push(b"FIELDS");
            words.push_int(group.len() as i64);
            group.iter().for_each(|(_, field)| words.push(field));
            out.put(db, words.iter());
        }
    }
}

/// Adds an ID's text.
pub(crate) fn push_id(words: &mut Words, id: StreamId) {
    words.push(id.format(&mut [0; StreamId::TEXT_MAX]));
}

/// A value as DUMP's payload.
fn put_restored(out: &mut Payload, db: u16, entry: &EntryRef<'_>) {
    let mut bytes = Vec::new();
    payload::dump(&mut Encoder::new(false), &entry.value(), &mut bytes);
    out.put(db, [&b"RESTORE"[..], entry.key(), b"0", &bytes].into_iter());
}

/// A stream. One without entries has had one for a moment, as a group needs a stream to be made in.
/// False where XADD does not take its entries: of those that have come with a snapshot some may have
/// no fields, and one may be at 0-0.
fn put_stream(out: &mut Payload, db: u16, key: &[u8], stream: &Stream, words: &mut Words) -> bool {
    const FIRST: StreamId = StreamId { ms: 0, seq: 1 };
    let log = &stream.log;
    if log.is_empty() {
        words.clear();
        words.extend(&[b"XADD", key]);
        push_id(words, log.last_id().max(FIRST));
        words.extend(&[b"x", b"y"]);
        out.put(db, words.iter());
        out.put(db, [b"XTRIM", key, b"MAXLEN", b"0"].into_iter());
    }
    for entry in log.range(StreamId::MIN, StreamId::MAX, false) {
        if entry.is_empty() || entry.id == StreamId::MIN {
            return false;
        }
        words.clear();
        words.extend(&[b"XADD", key]);
        push_id(words, entry.id);
        for (field, value) in entry.pairs() {
            words.push(field.bytes(&mut [0; I64_TEXT_MAX]));
            words.push(value.bytes(&mut [0; I64_TEXT_MAX]));
        }
        out.put(db, words.iter());
    }
    words.clear();
    words.extend(&[b"XSETID", key]);
    push_id(words, log.last_id());
    words.push(b"ENTRIESADDED");
    words.push_u64(log.entries_added());
    words.push(b"MAXDELETEDID");
    push_id(words, log.max_deleted_id());
    out.put(db, words.iter());
    for group in stream.groups() {
        put_group(out, db, key, group, words);
    }
    true
}

fn put_group(out: &mut Payload, db: u16, key: &[u8], group: &Group, words: &mut Words) {
    words.clear();
    words.extend(&[b"XGROUP", b"CREATE", key, &group.name]);
    push_id(words, group.last_id);
    push_entries_read(words, group.entries_read);
    out.put(db, words.iter());
    for consumer in group.consumers() {
        words.clear();
        words.extend(&[
            b"XGROUP",
            b"CREATECONSUMER",
            key,
            &group.name,
            &consumer.name,
        ]);
        out.put(db, words.iter());
        // What was delivered together is mostly pending together.
        let mut ids = consumer.pending().iter().peekable();
        while let Some(first) = ids.next() {
            let of_first = group.pending()[first];
            begin_claim(words, key, &group.name, &consumer.name);
            push_id(words, *first);
            let same = |id: &&StreamId| group.pending()[*id] == of_first;
            for id in std::iter::from_fn(|| ids.next_if(same)).take(GROUP) {
                push_id(words, *id);
            }
            end_claim(words, of_first.delivered_ms, of_first.deliveries);
            out.put(db, words.iter());
        }
    }
}

/// Adds `ENTRIESREAD`; -1 where it is not known.
pub(crate) fn push_entries_read(words: &mut Words, entries_read: Option<u64>) {
    words.push(b"ENTRIESREAD");
    match entries_read {
        Some(read) => words.push_u64(read),
        None => words.push_int(-1),
    }
}

/// Begins an XCLAIM that makes entries pending of a consumer, which may have been deleted; their IDs
/// follow.
pub(crate) fn begin_claim(words: &mut Words, key: &[u8], group: &[u8], consumer: &[u8]) {
    words.clear();
    words.extend(&[b"XCLAIM", key, group, consumer, b"0"]);
}

/// Ends it: when they were delivered last, Unix milliseconds, and how often.
pub(crate) fn end_claim(words: &mut Words, delivered_ms: u64, deliveries: u64) {
    words.push(b"TIME");
    words.push_u64(delivered_ms);
    words.push(b"RETRYCOUNT");
    words.push_u64(deliveries);
    words.extend(&[b"FORCE", b"JUSTID"]);
}
