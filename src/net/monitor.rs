//! MONITOR: every command of every connection, shown at the shards that have monitors.
//!
//! A command is formatted once, at its connection's home, and sent as bytes to each shard with a
//! monitor; so the order is that of the connection. A connection whose commands cannot be handed
//! on because a lane is full waits for room, as with any other hop. What a slow monitor has not
//! taken counts for its output limit, and never grows over [`WAITING_OUTPUT_MAX`].
//!
//! Each shard knows how many monitors every shard has: a shard whose number changes tells all
//! others. The reply to MONITOR waits until all of them know ([`Run::Gather`]'s parts travel
//! behind that message), so nothing that begins after it is missed.
//!
//! [`Run::Gather`]: crate::command::spec::Run::Gather

use super::engine::{Engine, WAITING_OUTPUT_MAX, slow};
use super::remote::{kind, wire};
use super::session::{ConnId, Peer, Stall, flag};
use crate::command::registry::RowId;
use crate::mesh::ShardId;

/// What is shown in place of a secret.
const REDACTED: &[u8] = b"\"(redacted)\"";
/// Memory of the line's buffer that is kept for the next one.
const LINE_KEPT_MAX: usize = 64 * 1024;

/// Who monitors.
#[derive(Default)]
pub struct Monitors {
    /// Connections of this shard that monitor.
    here: Vec<ConnId>,
    /// Number of monitors of each shard.
    counts: Vec<u32>,
    /// The line that is being shown.
    line: Vec<u8>,
}

impl Monitors {
    /// Nobody, on any of `shards` shards.
    pub fn new(shards: usize) -> Self {
        Self {
            counts: vec![0; shards],
            ..Self::default()
        }
    }
}

impl Engine {
    /// Makes a connection a monitor.
    pub fn start_monitor(&mut self, conn: ConnId) {
        let session = self.session(conn);
        assert!(!session.is(flag::MONITOR), "it is none yet");
        session.flags |= flag::MONITOR;
        self.monitors.here.push(conn);
        self.tell_monitors();
    }

    /// A connection is no monitor any more, if it was one.
    pub fn stop_monitor(&mut self, conn: ConnId) {
        let session = self.session(conn);
        if session.is(flag::MONITOR) {
            session.flags &= !flag::MONITOR;
            self.monitors.here.retain(|other| *other != conn);
            self.tell_monitors();
        }
    }

    /// Tells every shard how many monitors this one has.
    fn tell_monitors(&mut self) {
        let count = self.monitors.here.len() as u32;
        let own = self.shard.id;
        self.know_monitors(own, count);
        for shard in (0..self.outgoing.len()).filter(|shard| *shard != own.index()) {
            let buf = &mut self.outgoing[shard].buf;
            let at = wire::begin(buf, kind::MONITORS);
            wire::put_u32(buf, count);
            wire::end(buf, at);
        }
    }

    /// A shard has `count` monitors now.
    pub(super) fn know_monitors(&mut self, shard: ShardId, count: u32) {
        self.monitors.counts[shard.index()] = count;
        if self.monitors.counts.iter().any(|count| *count > 0) {
            self.slow |= slow::MONITORS;
        } else {
            self.slow &= !slow::MONITORS;
        }
    }

    /// Why a command cannot be shown now.
    pub(super) fn no_room_to_show(&mut self, conn: ConnId) -> Option<Stall> {
        let own = self.shard.id.index();
        (0..self.monitors.counts.len())
            .filter(|shard| *shard != own)
            .find_map(|shard| {
                (self.monitors.counts[shard] > 0)
                    .then(|| self.no_room(conn, ShardId(shard as u16)))
                    .flatten()
            })
    }

    /// Writes the line for a command of `conn`.
    pub(super) fn format_shown(&mut self, conn: ConnId, row: RowId, args: &[&[u8]]) {
        let now_us = self.shard.now_us;
        let is_secret = self.shard.registry.row(row).spec.secret;
        let session = self.sessions[conn as usize].as_deref().expect("in use");
        let line = &mut self.monitors.line;
        line.clear();
        line.shrink_to(LINE_KEPT_MAX);
        let (seconds, micros) = (now_us / 1_000_000, now_us % 1_000_000);
        let peer = match &session.peer {
            Peer::Unix(path) => format!("unix:{path}"),
            peer @ Peer::Tcp(..) => peer.addr(),
        };
        let head = format!("+{seconds}.{micros:06} [{} {peer}]", session.db);
        line.extend_from_slice(head.as_bytes());
        for (index, arg) in args.iter().enumerate() {
            line.push(b' ');
            if is_secret(args, index) {
                line.extend_from_slice(REDACTED);
            } else {
                quote(arg, line);
            }
        }
        line.extend_from_slice(b"\r\n");
    }

    /// Shows the line to all monitors.
    pub(super) fn feed_monitors(&mut self) {
        let line = std::mem::take(&mut self.monitors.line);
        let own = self.shard.id.index();
        for shard in 0..self.monitors.counts.len() {
            if shard == own || self.monitors.counts[shard] == 0 {
                continue;
            }
            let buf = &mut self.outgoing[shard].buf;
            let at = wire::begin(buf, kind::SHOWN);
            buf.extend_from_slice(&line);
            wire::end(buf, at);
        }
        self.show(&line);
        self.monitors.line = line;
    }

    /// Shows a line to the monitors of this shard.
    pub(super) fn show(&mut self, line: &[u8]) {
        for at in 0..self.monitors.here.len() {
            let conn = self.monitors.here[at];
            let session = self.session(conn);
            if session.is(flag::CLOSING | flag::CLOSE_AFTER_REPLY | flag::REPLY_OFF) {
                continue;
            }
            session.target().buf.extend_from_slice(line);
            if session.output_bytes() > WAITING_OUTPUT_MAX {
                self.shard.stats.output_buffer_limit_disconnections += 1;
                self.close(conn);
            } else {
                self.mark_dirty(conn);
            }
        }
    }
}

/// Appends an argument in quotes, with what is not printable escaped, as Redis's `sdscatrepr`.
pub fn quote(arg: &[u8], line: &mut Vec<u8>) {
    line.push(b'"');
    for &byte in arg {
        match byte {
            b'\\' | b'"' => line.extend_from_slice(&[b'\\', byte]),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\t' => line.extend_from_slice(b"\\t"),
            0x07 => line.extend_from_slice(b"\\a"),
            0x08 => line.extend_from_slice(b"\\b"),
            b' '..=b'~' => line.push(byte),
            _ => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                line.extend_from_slice(&[b'\\', b'x', DIGITS[high], DIGITS[low]]);
            }
        }
    }
    line.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_escaped() {
        let mut line = Vec::new();
        quote(b"a\"b\\\n\r\t\x07\x08\x00\x7f\xff ", &mut line);
        assert_eq!(line, br#""a\"b\\\n\r\t\a\b\x00\x7f\xff ""#);
    }
}
