//! Segments are prepared on a thread of their own, since writing zeros to a whole file takes longer
//! than a shard may be held up. It serves all shards; each asks for its next segment while the one
//! before is still being filled.

use std::io;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use super::Error;
use super::directory::{Segment, prepare};
use super::folder::Folder;
use crate::log::Identity;
use crate::log::block::Header;

/// After a failure it is tried again so much later: space comes back when somebody makes some.
const RETRY_MS: u64 = 1000;

/// What one shard wants, and how it is told.
struct Request {
    identity: Identity,
    segment: u64,
    header: Header,
    done: Sender<(u64, Result<Segment, Error>)>,
    wake: Box<dyn Fn() + Send>,
}

/// The thread's mailbox. It ends when all of its orders are gone.
#[derive(Clone)]
pub struct Preparer {
    requests: Sender<Request>,
}

impl Preparer {
    /// Starts the thread for a directory.
    pub fn start(folder: Folder) -> io::Result<Self> {
        let (requests, inbox) = channel::<Request>();
        std::thread::Builder::new()
            .name("segments".into())
            .spawn(move || {
                for request in inbox {
                    let Request {
                        identity,
                        segment,
                        header,
                        ..
                    } = request;
                    let prepared = prepare(folder.path(), identity, segment, header);
                    // Nobody listens when the shard has ended.
                    if request.done.send((segment, prepared)).is_ok() {
                        (request.wake)();
                    }
                }
            })?;
        Ok(Self { requests })
    }
}

/// One shard's orders: one at a time.
pub struct Orders {
    preparer: Preparer,
    identity: Identity,
    /// Of the first segment.
    header: Header,
    inbox: Receiver<(u64, Result<Segment, Error>)>,
    outbox: Sender<(u64, Result<Segment, Error>)>,
    /// What was asked for and has not come.
    asked: Option<u64>,
    /// Not asked again before.
    again_ms: u64,
}

impl Orders {
    /// The orders of a shard whose log begins with this header.
    pub fn new(preparer: Preparer, identity: Identity, header: Header) -> Self {
        let (outbox, inbox) = channel();
        Self {
            preparer,
            identity,
            header,
            inbox,
            outbox,
            asked: None,
            again_ms: 0,
        }
    }

    /// Asks for a segment, unless one is under way or the last attempt failed just now. `wake` is
    /// called on the other thread when there is something to [`take`](Self::take).
    pub fn want(&mut self, segment: u64, now_ms: u64, wake: impl Fn() + Send + 'static) {
        if self.asked.is_some() || now_ms < self.again_ms {
            return;
        }
        let request = Request {
            identity: self.identity,
            segment,
            header: self.header,
            done: self.outbox.clone(),
            wake: Box::new(wake),
        };
        // The thread ends after its orders.
        if self.preparer.requests.send(request).is_ok() {
            self.asked = Some(segment);
        }
    }

    /// Whether something was asked for and has not come.
    pub fn is_under_way(&self) -> bool {
        self.asked.is_some()
    }

    /// What has come of it.
    pub fn take(&mut self, now_ms: u64) -> Option<(u64, Result<Segment, Error>)> {
        match self.inbox.try_recv() {
            Ok((segment, prepared)) => {
                assert_eq!(self.asked.take(), Some(segment), "it was asked for");
                if prepared.is_err() {
                    self.again_ms = now_ms + RETRY_MS;
                }
                Some((segment, prepared))
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::directory::tests::{BLOCKS, Folder as Temporary};
    use super::*;
    use crate::log::Lsn;
    use crate::mesh::ShardId;

    fn orders(temporary: &Temporary) -> Orders {
        let identity = Identity {
            shard: ShardId(2),
            shards: 3,
            epoch: 5,
        };
        let folder = Folder::open(&temporary.0).expect("it is there");
        let preparer = Preparer::start(folder).expect("a thread");
        let header = Header {
            first: Lsn(0),
            blocks: BLOCKS,
        };
        Orders::new(preparer, identity, header)
    }

    /// Waits for the wake, and takes.
    fn get(orders: &mut Orders, segment: u64, now_ms: u64) -> Result<Segment, Error> {
        let (wake, woken) = channel();
        orders.want(segment, now_ms, move || {
            wake.send(()).expect("it is waited for")
        });
        woken.recv().expect("a wake");
        let (number, prepared) = orders.take(now_ms).expect("it was woken for something");
        assert_eq!(number, segment);
        prepared
    }

    #[test]
    fn segments_come_one_after_the_other() {
        let folder = Temporary::new("preparing");
        let mut orders = orders(&folder);
        assert!(orders.take(0).is_none());
        for segment in 0..3 {
            get(&mut orders, segment, 0).expect("room");
            assert!(folder.0.join(format!("5-2-{segment}.log")).exists());
        }
    }

    #[test]
    fn after_a_failure_there_is_a_pause() {
        let folder = Temporary::new("preparing-failure");
        let in_the_way = folder.0.join("5-2-0.log.new");
        std::fs::create_dir(&in_the_way).expect("a folder");
        let mut orders = orders(&folder);
        get(&mut orders, 0, 5000).expect_err("no file can have that name");
        std::fs::remove_dir(&in_the_way).expect("it is empty");
        orders.want(0, 5999, || unreachable!("too early"));
        assert!(orders.asked.is_none());
        get(&mut orders, 0, 6000).expect("the name is free");
    }
}
