//! Commands with many independent keys (MGET, EXISTS, TOUCH, MSET) over several shards: no entry
//! moves. Each owner answers for its own keys while these are claimed for reading, or runs its own
//! part when the transaction is over; which of these a command may use its tips say, see
//! [`Spread`].
//!
//! A pipeline of such commands, MSET after MSET, goes as one: they would all happen at the same
//! moments, and a transaction costs each owner more than a few keys do. It is one command to the
//! owners, with the keys of all; home answers each with its part of the reply.

use std::ops::Range;

use smallvec::SmallVec;

use super::batch::{Batch, Command, Origin};
use super::dispatch::Flow;
use super::engine::Engine;
use super::session::{ConnId, flag};
use super::transaction::{Job, Needs, mode_of};
use crate::command::registry::Spread;
use crate::command::spec::{Find, Flags, Spec};
use crate::mesh::ShardId;
use crate::resp::Version;
use crate::resp::encode::{Output, Reply};
use crate::resp::number::parse_i64;
use crate::shard::lending::{Carried, Head, OwnedCommand, Questions};
use crate::txn::{Claim, Loans};

/// What goes together, at most. More would hold its owners up, and others who want one of the keys.
const KEYS_TOGETHER_MAX: usize = 256;
const BYTES_TOGETHER_MAX: usize = 64 << 10;

/// Which owner has each key of some commands.
#[derive(Default)]
pub(super) struct Places {
    /// For each key its participant.
    owners: SmallVec<[u16; 16]>,
    /// Where the keys of each command end.
    ends: SmallVec<[usize; 2]>,
}

impl Places {
    /// How many commands there are.
    pub(super) fn commands(&self) -> usize {
        self.ends.len()
    }
}

/// An owner's share of the arguments.
struct Share {
    owner: ShardId,
    args: SmallVec<[&'static [u8]; 24]>,
    large: Vec<(usize, Vec<u8>)>,
}

impl Engine {
    /// Runs a command whose keys have several owners, each of which can do its part alone.
    pub(super) fn run_spread(
        &mut self,
        conn: ConnId,
        batch: &mut Batch,
        command: &Command,
        spec: &'static Spec,
        spread: Spread,
    ) -> Flow {
        let step = match spec.keys {
            [one] => match one.find {
                Find::Range { step, .. } => usize::from(step),
                _ => unreachable!("the registry looked"),
            },
            _ => unreachable!("the registry looked"),
        };
        if !(command.argc as usize - 1).is_multiple_of(step) {
            return self.run_here(conn, batch, command, spec); // it says what is wrong
        }
        let write = spec.flags.has(Flags::WRITE);
        if let Some(stall) = self.not_yet(conn, write) {
            return Flow::Wait(stall);
        }
        let db = self.session(conn).db;
        let mode = mode_of(spec);
        let mut needs = Needs::default();
        let mut shares: SmallVec<[Share; 4]> = SmallVec::new();
        let mut places = Places::default();
        let together = self.together(conn, batch, command, spread, step);
        for command in &batch.commands[together.clone()] {
            let args = batch.args_of(command);
            for group in args[1..].chunks_exact(step) {
                let pos = self.shard.pos(group[0]);
                let owner = self.shard.owner_at(pos);
                let (place, part) = needs.part(owner);
                let position = pos.to_bits();
                part.claims.push(Claim::Key { db, position, mode });
                places.owners.push(place);
                if usize::from(place) == shares.len() {
                    shares.push(Share {
                        owner,
                        args: SmallVec::from_slice(&args[..1]),
                        large: Vec::new(),
                    });
                }
                shares[usize::from(place)].args.extend_from_slice(group);
            }
            places.ends.push(places.owners.len());
        }
        if let Some(stall) = self.no_room_for(conn, &needs) {
            return Flow::Wait(stall);
        }
        if !batch.owned.is_empty() {
            hand_out_large(batch, command, step, &places.owners, &mut shares);
        }
        let call = self.remote_call(conn, 0);
        let head = Head {
            row: command.row,
            pos: crate::keyspace::Pos::default(),
        };
        let questions = shares.into_iter().map(|share| {
            let command = OwnedCommand::new(head, share.args.iter().copied(), share.large);
            let commands = vec![command];
            (share.owner, Questions { call, commands })
        });
        let job = match spread {
            Spread::Apply => {
                let parts = questions.map(|(_, part)| part).collect();
                Job::Apply(command.row, parts, together.len())
            }
            reads => {
                for (owner, part) in questions {
                    needs.part(owner).1.ask.questions = Some(Box::new(part));
                }
                match reads {
                    Spread::Sum => Job::Sum(command.row),
                    _ => Job::InKeyOrder(command.row, places),
                }
            }
        };
        let commands = &batch.commands[together.clone()];
        let bytes = commands.iter().map(|each| batch.bytes_of(each)).sum();
        self.begin_in_flow(conn, needs, job, write, bytes);
        batch.begun = together.end;
        batch.surveyed = batch.surveyed.max(together.end);
        Flow::Done
    }

    /// Where the commands stand in the batch that go together with this one, which is the first.
    fn together(
        &mut self,
        conn: ConnId,
        batch: &Batch,
        command: &Command,
        spread: Spread,
        step: usize,
    ) -> Range<usize> {
        let at = batch.place_of(command);
        let alone = self.slow != 0 || self.session(conn).is(flag::SLOW) || !batch.owned.is_empty();
        if alone || !matches!(spread, Spread::Apply | Spread::InKeyOrder) {
            return at..at + 1;
        }
        let from = |command: &Command| match command.origin {
            Origin::Local(input) => Some(input),
            Origin::Remote(_) => None,
        };
        let spec = self.shard.registry.row(command.row).spec;
        let mut bytes = batch.bytes_of(command);
        let mut keys = command.argc as usize / step;
        let followers = batch.commands[at + 1..].iter().take_while(|next| {
            let argc = next.argc as usize;
            bytes += batch.bytes_of(next);
            keys += argc / step;
            next.row == command.row
                && from(next) == from(command)
                && spec.arity_fits(argc)
                && (argc - 1).is_multiple_of(step)
                && bytes <= BYTES_TOGETHER_MAX
                && keys <= KEYS_TOGETHER_MAX
        });
        at..at + 1 + followers.count()
    }
}

/// Gives the memory of large arguments to the owners that they go to.
fn hand_out_large(
    batch: &mut Batch,
    command: &Command,
    step: usize,
    owners: &[u16],
    shares: &mut [Share],
) {
    let first = command.args_at as usize;
    let range = first + 1..first + command.argc as usize;
    let moved: Vec<_> = batch
        .owned
        .extract_if(.., |(index, _)| range.contains(index))
        .collect();
    for (index, memory) in moved {
        let at = index - first - 1;
        let (group, within) = (at / step, at % step);
        let owner = owners[group];
        let before = owners[..group].iter().filter(|o| **o == owner).count();
        let place = 1 + before * step + within;
        shares[usize::from(owner)].large.push((place, memory));
    }
}

/// Puts the elements of the owners' arrays in the order of the keys, an array for each command.
pub(super) fn in_key_order(
    version: Version,
    places: &Places,
    loans: &mut Loans<Carried>,
    out: &mut Output,
) {
    if let Some(error) = failed(loans) {
        for _ in &places.ends {
            out.buf.extend_from_slice(&error.buf);
        }
        return;
    }
    let mut elements: SmallVec<[Elements<'_>; 4]> = loans
        .iter()
        .map(|(_, loan)| Elements::of(&loan.answers[0]))
        .collect();
    let mut at = 0;
    for end in &places.ends {
        Reply::new(out, version).array(end - at);
        for owner in &places.owners[at..*end] {
            elements[usize::from(*owner)].next_into(out);
        }
        at = *end;
    }
}

/// Adds up the owners' numbers.
pub(super) fn sum(version: Version, loans: &mut Loans<Carried>, out: &mut Output) {
    if let Some(error) = failed(loans) {
        return out.append(error);
    }
    let number = |answer: &Output| {
        let digits = &answer.buf[1..answer.buf.len() - 2];
        parse_i64(digits).expect("an owner answers with a number")
    };
    let total = loans.iter().map(|(_, loan)| number(&loan.answers[0])).sum();
    Reply::new(out, version).integer(total);
}

/// An owner's answer that is an error.
fn failed(loans: &mut Loans<Carried>) -> Option<&mut Output> {
    let mut answers = loans.iter_mut().map(|(_, loan)| &mut loan.answers[0]);
    answers.find(|answer| answer.buf.first() == Some(&b'-'))
}

/// The elements of an encoded array of scalars.
struct Elements<'a> {
    from: &'a Output,
    at: usize,
    shared_at: usize,
}

impl<'a> Elements<'a> {
    fn of(from: &'a Output) -> Self {
        assert_eq!(
            from.buf.first(),
            Some(&b'*'),
            "an owner answers with an array"
        );
        let mut elements = Self {
            from,
            at: 0,
            shared_at: 0,
        };
        elements.at = elements.line_end();
        elements
    }

    /// The offset after the line that begins here.
    fn line_end(&self) -> usize {
        let line = &self.from.buf[self.at..];
        let end = line.iter().position(|byte| *byte == b'\n');
        self.at + end.expect("a line ends") + 1
    }

    /// Appends the next element to `out`.
    fn next_into(&mut self, out: &mut Output) {
        let buf = &self.from.buf;
        let head_end = self.line_end();
        let head = &buf[self.at..head_end];
        out.buf.extend_from_slice(head);
        self.at = head_end;
        if head[0] != b'$' || head[1] == b'-' {
            return; // the line is all
        }
        match self.from.shared.get(self.shared_at) {
            Some((at, bytes)) if *at == head_end => {
                out.shared.push((out.buf.len(), bytes.clone()));
                self.shared_at += 1;
            }
            _ => {
                let length = parse_i64(&head[1..head.len() - 2]).expect("a length") as usize;
                out.buf.extend_from_slice(&buf[head_end..head_end + length]);
                self.at += length;
            }
        }
        out.buf.extend_from_slice(b"\r\n");
        self.at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn elements_are_taken_one_by_one() {
        let mut from = Output::default();
        let mut reply = Reply::new(&mut from, Version::Resp2);
        reply.array(6);
        reply.bulk(b"one");
        reply.bulk_shared(&Bytes::from(vec![b'x'; 20_000]));
        reply.null();
        reply.bulk(b"");
        reply.integer(5);
        reply.bulk_shared(&Bytes::from(vec![b'y'; 20_000]));
        let mut elements = Elements::of(&from);
        let mut out = Output::default();
        (0..6).for_each(|_| elements.next_into(&mut out));
        assert_eq!(out.buf, from.buf[4..]);
        let offsets = |o: &Output| o.shared.iter().map(|(at, _)| *at).collect::<Vec<_>>();
        let moved: Vec<usize> = offsets(&from).iter().map(|at| at - 4).collect();
        assert_eq!(offsets(&out), moved);
        assert_eq!(elements.at, from.buf.len());
    }
}
