//! What reading in a group and claiming leave behind: which entries are pending of whom since when,
//! and how far the group is.

use crate::keyspace::Pos;
use crate::resp::number::parse_i64;
use crate::shard::Shard;
use crate::shard::effects::value::{begin_claim, end_claim, push_entries_read, push_id};
use crate::types::stream::{Group, Pending, StreamId};
use smallvec::SmallVec;

/// A counter. Clients give `i64`; one that has grown beyond, or has come with a value, is told by an
/// effect.
pub(super) fn counter(shard: &Shard, text: &[u8]) -> Option<i128> {
    let told = || std::str::from_utf8(text).ok()?.parse::<u64>().ok();
    match parse_i64(text) {
        Some(number) => Some(number.into()),
        None if shard.replays() => told().map(i128::from),
        None => None,
    }
}

/// What a command has done to a group on behalf of a consumer. Filled only where somebody listens.
#[derive(Default)]
pub(super) struct Delivery {
    on: bool,
    created: bool,
    /// Entries that are no longer pending.
    acknowledged: SmallVec<[StreamId; 4]>,
    /// Entries that are pending of the consumer now: when they were delivered, how often.
    pending: SmallVec<[(StreamId, u64, u64); 8]>,
    /// How far the group is, where that has changed.
    position: Option<(StreamId, Option<u64>)>,
}

impl Delivery {
    /// Nothing yet.
    pub(super) fn new(shard: &Shard) -> Self {
        Self {
            on: shard.effects.is_on(),
            ..Self::default()
        }
    }

    /// The consumer is new.
    pub(super) fn created(&mut self, created: bool) {
        self.created |= created;
    }

    /// An entry is pending of the consumer now.
    pub(super) fn pending(&mut self, id: StreamId, pending: &Pending) {
        if self.on {
            let (time, count) = (pending.delivered_ms, pending.deliveries);
            self.pending.push((id, time, count));
        }
    }

    /// An entry is no longer pending.
    pub(super) fn acknowledged(&mut self, id: StreamId) {
        if self.on {
            self.acknowledged.push(id);
        }
    }

    /// The group has advanced.
    pub(super) fn advanced(&mut self, group: &Group) {
        self.position = Some((group.last_id, group.entries_read));
    }

    /// Records it.
    pub(super) fn record(
        self,
        shard: &mut Shard,
        db: u16,
        (pos, key): (Pos, &[u8]),
        (group, consumer): (&[u8], &[u8]),
    ) {
        if !self.on {
            return;
        }
        if self.created {
            let words = [b"XGROUP", &b"CREATECONSUMER"[..], key, group, consumer];
            shard.effect(db, pos, &words);
        }
        if !self.acknowledged.is_empty()
            && let Some(mut words) = shard.words()
        {
            words.extend(&[b"XACK", key, group]);
            self.acknowledged
                .iter()
                .for_each(|id| push_id(&mut words, *id));
            shard.effect_of(db, pos, Some(words));
        }
        // What was delivered together is written together.
        for same in self.pending.chunk_by(|a, b| (a.1, a.2) == (b.1, b.2)) {
            if let Some(mut words) = shard.words() {
                begin_claim(&mut words, key, group, consumer);
                same.iter().for_each(|(id, ..)| push_id(&mut words, *id));
                end_claim(&mut words, same[0].1, same[0].2);
                shard.effect_of(db, pos, Some(words));
            }
        }
        if let Some((last_id, entries_read)) = self.position
            && let Some(mut words) = shard.words()
        {
            words.extend(&[b"XGROUP", b"SETID", key, group]);
            push_id(&mut words, last_id);
            push_entries_read(&mut words, entries_read);
            shard.effect_of(db, pos, Some(words));
        }
    }
}
