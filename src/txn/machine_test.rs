//! The machine's protocol step by step, with two shards and messages delivered by hand. What
//! may happen in any order is `tests/sim`'s.

use std::collections::VecDeque;

use super::{Action, Claim, ConnectionId, Message, Mode, Part, ShardId, TxnId, Txns, Types};

#[derive(Debug)]
struct Test;

impl Types for Test {
    type Ask = &'static str;
    type Loan = &'static str;
    type Parked = &'static str;
}

/// Two shards; what they send stays in its lane until it is delivered.
struct Pair {
    shards: [Txns<Test>; 2],
    lanes: [VecDeque<Message<Test>>; 2],
}

impl Pair {
    fn new() -> Self {
        Self {
            shards: [0, 1].map(|id| Txns::new(ShardId(id), 1)),
            lanes: [VecDeque::new(), VecDeque::new()],
        }
    }

    /// Begins a transaction of a client of `home` on one key of each shard.
    fn begin(&mut self, home: u16, number: u64) -> TxnId {
        self.begin_on(home, number, &[(0, 7), (1, 7)], None)
    }

    /// The same on these shards and positions, behind another one.
    fn begin_on(
        &mut self,
        home: u16,
        number: u64,
        keys: &[(u16, u64)],
        last: Option<TxnId>,
    ) -> TxnId {
        let part = |position| Part {
            claims: [key_at(position, Mode::Write)].into_iter().collect(),
            ask: "both",
            watcher: None,
            waits_for_snapshot: true,
        };
        let parts = keys.iter().map(|&(shard, at)| (ShardId(shard), part(at)));
        let shard = &mut self.shards[usize::from(home)];
        shard.begin_behind(connection(home, number), parts.collect(), last)
    }

    /// Carries out what a shard wants, and says what it was.
    fn drain(&mut self, at: usize) -> Vec<String> {
        let mut seen = Vec::new();
        let shard = &mut self.shards[at];
        while let Some(action) = shard.next_action() {
            match action {
                Action::Send(to, message) => {
                    assert_eq!(usize::from(to.0), 1 - at);
                    self.lanes[at].push_back(message);
                }
                Action::Lend(txn) => {
                    let asked = shard.take_ask(txn);
                    assert_eq!(asked, ("both", None));
                    shard.put_ask(txn, asked.0);
                    shard.lent(txn, "entry");
                    seen.push(format!("lend {}", txn.time()));
                }
                Action::TakeBack(txn, loan) => seen.push(format!("{loan} of {}", txn.time())),
                Action::Run(command) | Action::Discard(command) => seen.push(command.into()),
                Action::Execute { txn, loans, .. } => {
                    seen.push(format!("execute {}", txn.time()));
                    let back = loans.into_iter().map(|(shard, _)| (shard, "change"));
                    shard.executed(txn, back.collect::<Vec<_>>());
                }
                Action::Dirty { txn, .. } => seen.push(format!("dirty {}", txn.time())),
            }
        }
        shard.verify();
        seen
    }

    /// Delivers the next message from a shard to the other.
    fn deliver(&mut self, from: usize) -> Vec<String> {
        let message = self.lanes[from].pop_front().expect("the lane has one");
        let sender = ShardId(u16::try_from(from).unwrap());
        self.shards[1 - from].handle(sender, message);
        self.drain(1 - from)
    }

    fn is_drained(&self) -> bool {
        self.shards.iter().all(Txns::is_drained) && self.lanes.iter().all(VecDeque::is_empty)
    }
}

fn connection(home: u16, number: u64) -> ConnectionId {
    ConnectionId {
        home: ShardId(home),
        number,
    }
}

fn key(mode: Mode) -> Claim {
    key_at(7, mode)
}

fn key_at(position: u64, mode: Mode) -> Claim {
    Claim::Key {
        db: 0,
        position,
        mode,
    }
}

#[test]
fn two_rounds_and_the_reply_after_one() {
    let mut pair = Pair::new();
    assert!(pair.shards[1].is_idle());
    pair.begin(0, 1);
    assert_eq!(pair.drain(0), ["lend 1"]);
    assert_eq!(pair.deliver(0), ["lend 1"]);
    assert_eq!(pair.shards[0].running()[0].2, 1);
    assert_eq!(pair.deliver(1), ["execute 1", "change of 1"]);
    assert_eq!(pair.deliver(0), ["change of 1"]);
    assert!(pair.is_drained());
}

#[test]
fn commands_of_one_owner_wait_where_they_conflict_and_in_their_order() {
    let mut pair = Pair::new();
    pair.begin(0, 1);
    pair.drain(0);
    pair.deliver(0);
    let (shard, client) = (&mut pair.shards[1], connection(0, 9));
    let other = Claim::Key {
        db: 0,
        position: 8,
        mode: Mode::Write,
    };
    assert!(!shard.admits(client, &[key(Mode::Read)]) && shard.admits(client, &[other]));
    assert!(!shard.admits(
        client,
        &[Claim::Db {
            db: 0,
            mode: Mode::Read
        }]
    ));
    shard.park(client, &[key(Mode::Read)], "get 7");
    // The rest of the pipeline stays behind, whatever it needs.
    assert!(shard.holds_back(client) && !shard.admits(client, &[other]));
    shard.park(client, &[other], "set 8");
    let counts = shard.counts();
    assert_eq!((counts.held, counts.parked, counts.waiting), (1, 2, 0));
    assert_eq!(shard.queued().len(), 3);
    assert!(pair.drain(1).is_empty());
    pair.deliver(1);
    assert_eq!(pair.deliver(0), ["change of 1", "get 7", "set 8"]);
    assert!(pair.is_drained());
}

#[test]
fn who_writes_to_what_is_being_told_stands_aside_and_is_in_nobodys_way() {
    let mut pair = Pair::new();
    let (client, other) = (connection(0, 9), connection(0, 8));
    let shard = &mut pair.shards[1];
    assert!(shard.begin_to_tell().is_empty() && !shard.is_idle());
    assert!(shard.is_drained());
    shard.stand_aside_from(0, 7);
    let whole = |mode| [Claim::Db { db: 0, mode }];
    assert!(shard.admits(client, &[key(Mode::Read)]));
    assert!(!shard.admits(client, &[key(Mode::Write)]));
    assert!(!shard.admits_service(&[key(Mode::Write)]));
    shard.park(client, &[key(Mode::Write)], "set 7");
    shard.park(client, &[key_at(8, Mode::Read)], "get 8");
    assert!(shard.admits(other, &[key(Mode::Read)]) && shard.admits(other, &whole(Mode::Write)));
    // A part of shard 0 stands aside, too; what comes from there does not pass it, others do.
    pair.begin(0, 1);
    assert_eq!(pair.drain(0), ["lend 1"]);
    assert!(pair.deliver(0).is_empty());
    let shard = &mut pair.shards[1];
    assert!(!shard.admits(other, &[key(Mode::Read)]));
    assert!(shard.admits(connection(1, 8), &[key(Mode::Read)]));
    shard.park(other, &[key(Mode::Read)], "get 7");
    assert!(pair.drain(1).is_empty());
    assert!(!pair.shards[1].told(|_, position| position != 7));
    assert!(pair.shards[1].told(|_, position| position == 7));
    // They queue by their ages; the part is the oldest.
    assert_eq!(pair.drain(1), ["lend 1"]);
    assert_eq!(pair.deliver(1), ["execute 1", "change of 1"]);
    let rest = ["change of 1", "set 7", "get 7", "get 8"];
    assert_eq!(pair.deliver(0), rest);
    assert!(!pair.shards[1].all_told());
    assert!(pair.is_drained() && pair.shards[1].is_idle());
}

#[test]
fn a_snapshot_that_begins_puts_those_aside_that_wait() {
    let mut pair = Pair::new();
    pair.begin(0, 1);
    pair.drain(0);
    pair.deliver(0);
    let shard = &mut pair.shards[1];
    shard.park(connection(1, 1), &[key(Mode::Write)], "set 7");
    shard.park(connection(1, 1), &[key_at(8, Mode::Write)], "set 8");
    shard.park(connection(1, 2), &[key(Mode::Read)], "get 7");
    pair.begin_on(0, 3, &[(1, 7)], None);
    pair.drain(0);
    pair.deliver(0);
    let wanted = pair.shards[1].begin_to_tell();
    assert_eq!(wanted.iter().filter(|key| **key == (0, 7)).count(), 2);
    pair.shards[1].stand_aside_from(0, 7);
    pair.deliver(1);
    assert_eq!(pair.deliver(0), ["change of 1", "get 7"]);
    // A client that goes leaves nothing there.
    pair.shards[1].leave(ShardId(1), connection(1, 1));
    assert_eq!(pair.drain(1), ["set 7", "set 8"]);
    assert!(pair.shards[1].all_told());
    assert_eq!(pair.drain(1), ["lend 2"]);
    pair.deliver(1);
    pair.deliver(0);
    assert!(pair.is_drained());
}

#[test]
fn the_older_one_wins_and_the_younger_keeps_its_place() {
    let mut pair = Pair::new();
    // Both hold their own shard; (1, shard 0) is older than (1, shard 1).
    pair.begin(0, 1);
    pair.begin(1, 2);
    assert_eq!(
        (pair.drain(0), pair.drain(1)),
        (vec!["lend 1".into()], vec!["lend 1".into()])
    );
    // The younger queues at shard 0; the older wounds it at shard 1, where it gives way.
    assert!(pair.deliver(1).is_empty());
    assert_eq!(pair.deliver(0), ["entry of 1", "lend 1"]);
    assert_eq!(pair.shards[1].totals().gave_way, 1);
    assert_eq!(pair.deliver(1), ["execute 1", "change of 1", "lend 1"]);
    assert_eq!(pair.deliver(0), ["change of 1", "lend 1"]);
    assert_eq!(pair.deliver(0), ["execute 1", "change of 1"]);
    assert_eq!(pair.deliver(1), ["change of 1"]);
    assert!(pair.is_drained());
}

#[test]
fn a_client_that_goes_leaves_nothing_held() {
    for delivered in 0..=1 {
        let mut pair = Pair::new();
        let txn = pair.begin(0, 1);
        pair.drain(0);
        // The grant is under way, or the request for it still is.
        for _ in 0..delivered {
            pair.deliver(0);
        }
        assert!(pair.shards[0].cancel(txn) && !pair.shards[0].cancel(txn));
        pair.shards[0].leave(ShardId(1), connection(0, 1));
        assert_eq!(pair.drain(0), ["entry of 1"]);
        assert!(!pair.shards[0].is_drained(), "a grant has to be paid back");
        while let Some(from) = (0..2).find(|&from| !pair.lanes[from].is_empty()) {
            pair.deliver(from);
        }
        assert!(pair.is_drained());
    }
}

#[test]
fn parked_commands_of_a_client_that_goes_are_discarded() {
    let mut pair = Pair::new();
    pair.begin(0, 1);
    pair.drain(0);
    pair.shards[0].park(connection(1, 5), &[key(Mode::Write)], "set 7");
    pair.shards[1].leave(ShardId(0), connection(1, 5));
    pair.drain(1);
    assert_eq!(pair.deliver(1), ["set 7"]);
    assert_eq!(pair.shards[0].counts().parked, 0);
}

#[test]
fn a_change_under_watch_stops_the_transaction() {
    let mut pair = Pair::new();
    let client = connection(0, 1);
    pair.shards[1].watch(client, 0, 7, b"k");
    assert_eq!(pair.shards[1].counts().watched_keys, 1);
    pair.shards[1].touched(0, 7);
    let part = Part {
        claims: [key(Mode::Read)].into_iter().collect(),
        ask: "both",
        watcher: Some(client),
        waits_for_snapshot: true,
    };
    pair.shards[0].begin(client, [(ShardId(1), part)].into_iter().collect());
    pair.drain(0);
    let message = pair.lanes[0].pop_front().unwrap();
    pair.shards[1].handle(ShardId(0), message);
    let Some(Action::Lend(txn)) = pair.shards[1].next_action() else {
        panic!("it is free");
    };
    pair.shards[1].lent(txn, "entry");
    pair.drain(1);
    assert_eq!(pair.deliver(1), ["dirty 1"]);
    assert_eq!(pair.deliver(0), ["entry of 1"]);
    assert_eq!(pair.shards[1].counts().watchers, 0);
    assert!(pair.is_drained());
}

/// Two writes of one connection: the second has everything while the first waits at shard 1 for an
/// older transaction. Returns them.
fn one_behind_the_other(pair: &mut Pair) -> [TxnId; 2] {
    pair.begin_on(0, 9, &[(0, 3)], None);
    assert_eq!(pair.drain(0), ["lend 1", "execute 1", "change of 1"]);
    pair.begin_on(1, 2, &[(1, 7), (0, 5)], None);
    assert_eq!(pair.drain(1), ["lend 1"]);
    let first = pair.begin(0, 1);
    let second = pair.begin_on(0, 1, &[(0, 8), (1, 8)], Some(first));
    assert_eq!(pair.drain(0), ["lend 2", "lend 3"]);
    assert!(pair.deliver(0).is_empty(), "it waits");
    assert_eq!(pair.deliver(0), ["lend 3"]);
    assert_eq!(pair.deliver(1), ["lend 1"]);
    assert!(pair.deliver(1).is_empty(), "it has everything, and waits");
    assert_eq!(pair.shards[0].running()[1].2, 0);
    [first, second]
}

#[test]
fn writes_of_a_connection_execute_in_their_order() {
    let mut pair = Pair::new();
    one_behind_the_other(&mut pair);
    assert_eq!(pair.deliver(0), ["execute 1", "change of 1", "lend 2"]);
    assert_eq!(pair.deliver(1), ["change of 1"]);
    let both = ["execute 2", "execute 3", "change of 2", "change of 3"];
    assert_eq!(pair.deliver(1), both);
    assert_eq!(pair.deliver(0), ["change of 2"]);
    assert_eq!(pair.deliver(0), ["change of 3"]);
    assert!(pair.is_drained());
}

#[test]
fn who_has_everything_gives_way_until_its_turn_has_come() {
    let mut pair = Pair::new();
    one_behind_the_other(&mut pair);
    // Older than both, for shard 1 has seen no number of theirs that is higher.
    pair.shards[1].begin_service(
        connection(1, 4),
        [(
            ShardId(1),
            Part {
                claims: [key_at(8, Mode::Write)].into_iter().collect(),
                ask: "both",
                watcher: None,
                waits_for_snapshot: true,
            },
        )]
        .into_iter()
        .collect(),
    );
    pair.drain(1);
    let mut seen = Vec::new();
    while let Some(from) = (0..2).find(|&from| !pair.lanes[from].is_empty()) {
        seen.extend(pair.deliver(from));
    }
    let at = |what: &str| seen.iter().position(|other| other == what);
    assert!(at("execute 2") < at("execute 3") && at("execute 2").is_some());
    assert_eq!(pair.shards[0].totals().gave_way, 1);
    assert!(pair.is_drained());
}

#[test]
fn writes_of_a_client_that_goes_end_from_the_last_one_on() {
    for last_too in [true, false] {
        let mut pair = Pair::new();
        let [first, second] = one_behind_the_other(&mut pair);
        if last_too {
            assert!(pair.shards[0].cancel(second));
        }
        assert!(pair.shards[0].cancel(first));
        let mut seen = pair.drain(0);
        while let Some(from) = (0..2).find(|&from| !pair.lanes[from].is_empty()) {
            seen.extend(pair.deliver(from));
        }
        assert!(!seen.contains(&"execute 2".into()));
        // One alone is given up: what stands behind it goes on.
        assert_eq!(seen.contains(&"execute 3".into()), !last_too);
        assert!(pair.is_drained());
    }
}
