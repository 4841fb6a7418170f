//! Requests and replies of one connection that follow each other in a lane share a message.
//!
//! A pipeline whose keys live elsewhere crosses as one request after the other, and so do its
//! replies. What all of them have in common is said, and looked at, once: a message of either kind is
//! a run of one or more.
//!
//! A run goes on only within the batch of commands in which it began, and only while its message is
//! the last in the lane's buffer. So whatever else is done to that buffer ends it.

use crate::mesh::ShardId;
use crate::net::session::ConnId;

/// A message that another request or reply may join.
#[derive(Clone, Copy, Default)]
struct Open {
    /// The batch in which it was written.
    batch: u64,
    /// Where it begins in the lane's buffer.
    message: usize,
    /// Where it ends there.
    end: usize,
}

/// Replies that may be joined.
#[derive(Clone, Copy, Default)]
struct Replies {
    open: Open,
    conn: ConnId,
    /// The place of the next one.
    seq: u32,
    count: u32,
}

/// The last runs in each lane.
pub(in crate::net) struct Runs {
    /// The number of the batch that is being executed; 0 between batches.
    batch: u64,
    batches: u64,
    requests: Box<[Open]>,
    replies: Box<[Replies]>,
}

/// A run of replies that goes on.
pub(super) struct Joined {
    /// Where its message begins.
    pub(super) message: usize,
    /// Replies in it.
    pub(super) count: u32,
}

impl Runs {
    pub(in crate::net) fn new(shards: usize) -> Self {
        Self {
            batch: 0,
            batches: 0,
            requests: vec![Open::default(); shards].into(),
            replies: vec![Replies::default(); shards].into(),
        }
    }

    /// A batch begins.
    pub(in crate::net) fn begin(&mut self) {
        self.batches += 1;
        self.batch = self.batches;
    }

    /// It ends, or what has gathered in the lanes moves.
    pub(in crate::net) fn end(&mut self) {
        self.batch = 0;
    }

    fn goes_on(&self, open: &Open, end: usize) -> bool {
        self.batch != 0 && open.batch == self.batch && open.end == end
    }

    /// The message at the end of what goes to `owner` that a request with this head may join.
    #[inline]
    pub(super) fn request<const N: usize>(
        &self,
        owner: ShardId,
        buf: &[u8],
        head: &[u8; N],
    ) -> Option<usize> {
        let open = &self.requests[owner.index()];
        let at = open.message + super::wire::BEGIN_BYTES;
        (self.goes_on(open, buf.len()) && buf[at..at + N] == *head).then_some(open.message)
    }

    /// A request has been written.
    #[inline]
    pub(super) fn requested(&mut self, owner: ShardId, message: usize, end: usize) {
        let batch = self.batch;
        self.requests[owner.index()] = Open {
            batch,
            message,
            end,
        };
    }

    /// The run at the end of what goes to `home`, where so many bytes are, that a reply may join.
    #[inline]
    pub(super) fn reply(
        &self,
        home: ShardId,
        end: usize,
        conn: ConnId,
        seq: u32,
    ) -> Option<Joined> {
        let last = &self.replies[home.index()];
        let joins = self.goes_on(&last.open, end) && (last.conn, last.seq) == (conn, seq);
        joins.then_some(Joined {
            message: last.open.message,
            count: last.count,
        })
    }

    /// A reply has been written, as the last of so many of its message.
    #[inline]
    pub(super) fn replied(
        &mut self,
        home: ShardId,
        (message, end): (usize, usize),
        (conn, seq): (ConnId, u32),
        count: u32,
    ) {
        let batch = self.batch;
        let open = Open {
            batch,
            message,
            end,
        };
        self.replies[home.index()] = Replies {
            open,
            conn,
            seq: seq.wrapping_add(1),
            count,
        };
    }
}
