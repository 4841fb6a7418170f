//! The end of a request to move slots: where they are now is kept for the next start
//! ([`crate::server::placement`]), and when it is the client is answered. No slots move meanwhile.

use std::sync::mpsc::TryRecvError;

use super::Request;
use crate::keyspace::cursor_slot;
use crate::net::engine::Engine;
use crate::resp::encode::Reply;
use crate::server::log;
use crate::server::placement::Placement;

impl Engine {
    /// All that could move has.
    pub(super) fn end_move(&mut self) {
        let leading = self.moves.leading.as_mut().expect("it leads");
        let node = self.shard.node.clone();
        if let Some(placement) = node.placement.get()
            && leading.request.moves()
            && placement.moved(&node.config(), &self.shard.slot_map)
        {
            let (waking, shard) = (node.clone(), self.shard.id);
            let wake = move || waking.wake(shard);
            leading.keeping = Some(Placement::write_aside(&node, wake));
            // Where no thread could be started it has failed already.
            return self.end_kept_move();
        }
        self.answer_move(Ok(()));
    }

    /// Answers the client for whom slots have moved when it is known whether that was kept.
    pub(in crate::net) fn end_kept_move(&mut self) {
        let leading = self.moves.leading.as_ref();
        let Some(keeping) = leading.and_then(|leading| leading.keeping.as_ref()) else {
            return;
        };
        match keeping.try_recv() {
            Ok(kept) => self.answer_move(kept),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => {
                unreachable!("a thread that panics ends the process")
            }
        }
    }

    fn answer_move(&mut self, kept: Result<(), String>) {
        let leading = self.moves.leading.take().expect("it leads");
        self.shard.node.end_move();
        let mut errors = Vec::new();
        if !leading.stretches.is_empty() {
            let slot = cursor_slot(leading.at).index();
            errors.push(format!(
                "slot {slot} holds more than the log takes at once: it can move with appendonly no. \
                 Those before it have moved"
            ));
        }
        if let Err(why) = kept {
            log::warning(format_args!("Where the slots are was not kept: {why}"));
            errors.push(format!(
                "the slots have moved, but a restart would not find them there: {why}"
            ));
        }
        let session = self.session(leading.conn);
        let version = session.version;
        session.complete(leading.seq, |out| {
            let mut reply = Reply::new(out, version);
            if !errors.is_empty() {
                return reply.error(format!("ERR {}", errors.join(". Also, ")).as_bytes());
            }
            match &leading.request {
                Request::Move => reply.integer(leading.done.iter().sum::<usize>() as i64),
                Request::Balance(balance) => balance.report(&leading.done, &mut reply),
            }
        });
        self.answered(leading.conn);
    }
}
