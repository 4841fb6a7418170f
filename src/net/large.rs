//! Large arguments. One of which enough has arrived to know that it is large gets memory of its
//! own, which later becomes the value or leaves as it is for another shard. The reactor may take
//! this memory and let the kernel write into it, so that nothing is copied in between, and so that
//! a turn takes no more of it than one receive operation: other connections wait no longer than
//! for any other turn.

use super::engine::Engine;
use super::session::{ConnId, Kept, KeptArg, Session, Stall, flag};
use crate::resp::decode::BIG_MIN;

/// The reactor receives straight into an argument of which so much is missing. With less, changing
/// the way of receiving twice costs more than a copy.
const STRAIGHT_MIN: usize = 256 * 1024;

/// Where the memory of a large argument is.
#[derive(Default)]
pub enum Large {
    /// There is none.
    #[default]
    None,
    /// With its connection: the argument's bytes so far, and room for the rest.
    Here(Vec<u8>),
    /// With the reactor; so many bytes had arrived before.
    Away(usize),
}

impl Large {
    /// Bytes that have arrived.
    pub fn bytes(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Here(memory) => memory.len(),
            Self::Away(bytes) => *bytes,
        }
    }

    /// Whether none is being received.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

impl Kept {
    /// Bytes of the large argument that are still to come, the line end behind it included.
    fn missing(&self) -> usize {
        let whole = self.frame.bulk.map_or(0, |len| len as usize + 2);
        whole - self.large.bytes()
    }

    /// Takes what belongs to the large argument from the beginning of `data`; what is behind it.
    pub(super) fn fill_large<'a>(&mut self, data: &'a [u8]) -> &'a [u8] {
        let missing = self.missing();
        let Large::Here(memory) = &mut self.large else {
            assert!(self.large.is_none(), "nothing arrives beside the reactor's");
            return data;
        };
        let (now, later) = data.split_at(missing.min(data.len()));
        memory.extend_from_slice(now);
        self.end_large_if_whole();
        later
    }

    /// A large argument that has arrived is an argument as others are.
    fn end_large_if_whole(&mut self) {
        if self.missing() > 0 {
            return;
        }
        let Large::Here(mut memory) = std::mem::take(&mut self.large) else {
            unreachable!("it has just been filled")
        };
        memory.truncate(memory.len() - 2);
        self.owned_bytes += memory.len();
        self.args.push(KeptArg::Owned(memory));
        self.frame.bulk = None;
        self.frame.args_left -= 1;
    }
}

/// Gives the unfinished argument memory of its own if it is large; whether enough of it is missing
/// for the reactor to receive into that.
pub(super) fn begin_large(session: &mut Session) -> bool {
    let Some(kept) = session.kept.as_deref_mut() else {
        return false;
    };
    let from = kept.start + kept.frame.at;
    let Some(len) = kept.frame.bulk else {
        return false;
    };
    if len <= BIG_MIN as u64
        || kept.buf.len() - from < BIG_MIN
        || session.stall != Stall::No
        || !kept.large.is_none()
    {
        return false;
    }
    let len = len as usize;
    let mut memory = Vec::new();
    if memory.try_reserve_exact(len + 2).is_err() {
        return false; // it grows in the ordinary buffer instead
    }
    memory.extend_from_slice(&kept.buf[from..]);
    assert!(memory.len() < len + 2, "it would have been whole");
    kept.buf.truncate(from);
    kept.large = Large::Here(memory);
    kept.missing() >= STRAIGHT_MIN
}

impl Engine {
    /// The memory of a connection's large argument, for the reactor to receive into: what has
    /// arrived, and room for as many bytes as are missing. None if it has no such argument, or one
    /// that is nearly whole.
    pub fn lend_large(&mut self, conn: ConnId) -> Option<(Vec<u8>, usize)> {
        let kept = self.session(conn).kept.as_deref_mut()?;
        let missing = kept.missing();
        if missing < STRAIGHT_MIN || !matches!(kept.large, Large::Here(_)) {
            return None;
        }
        let away = Large::Away(kept.large.bytes());
        match std::mem::replace(&mut kept.large, away) {
            Large::Here(memory) => Some((memory, missing)),
            _ => unreachable!("just looked at"),
        }
    }

    /// The memory is back, with what has been received into it.
    pub fn large_received(&mut self, conn: ConnId, memory: Vec<u8>) {
        let now_ms = self.shard.now_ms as i64;
        let session = self.session(conn);
        let gone = session.is(flag::CLOSING | flag::CLOSE_AFTER_REPLY);
        let kept = session.kept.as_deref_mut().filter(|_| !gone);
        let Some(kept) = kept else {
            return self.shard.keyspace.dispose(memory.into());
        };
        let Large::Away(before) = kept.large else {
            unreachable!("the reactor has it")
        };
        let count = memory.len() - before;
        kept.large = Large::Here(memory);
        kept.end_large_if_whole();
        session.info.bytes_in += count as u64;
        session.info.active_ms = now_ms;
        self.shard.stats.bytes_in += count as u64;
        self.shard.stats.reads += 1;
        self.parse_kept(conn);
        self.watch_input(conn);
    }
}
