//! Whether what clients were answered could have come from one server that does one thing after
//! the other (Wing and Gong's search, 1993, with Lowe's memory of states, 2017).
//!
//! The search takes one op after the other, each no earlier than it was sent and no later than it
//! was answered, and has the [model](crate::model) answer it. An op that can change nothing and whose
//! answer is right is taken at once, for it can only come too late; the others are tried in the
//! order of their answers, and no set of taken ops is tried twice with one state.
//!
//! A value is written once and does not come back when it is gone. So a state in which a value, or
//! what was appended to later to make it, is gone though somebody not taken yet has seen it, is not
//! looked at any further.
//!
//! - An op whose answer was never seen may be taken at any time after it was sent, or never.
//! - Ops of one connection keep the order that DESIGN promises them: see
//!   [`Reach::keeps_order_with`].
//! - A key expires by itself, some time after its expiry and before anything is taken that was
//!   sent later; two keys need not expire in the order of their times. What a block makes expire
//!   may be gone before its next command.

use std::hash::BuildHasher;

use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use crate::model::{Answer, Guard, Op, Reach, State, TOKEN, ValueId, Values, is_of_tokens};

/// Searches in different orders: one that gets lost does so early, and the next one hardly ever.
const SEARCHES: u64 = 20;
/// States that a search looks at before it gives up.
const LOOKED_AT_MAX: usize = 3000;

/// Something that a client asked for.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) connection: u32,
    /// When it was sent: the step of the run, and the clock in unix milliseconds.
    pub(crate) sent: (u64, u64),
    /// When it was answered; `None`: never.
    pub(crate) answered: Option<(u64, u64)>,
    /// What was answered. `None` with a time: it was done, and the client did not want to know.
    pub(crate) answer: Option<Answer>,
    pub(crate) op: Op,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// An order that explains every answer.
    Order,
    /// There is none. The most that an order explains, and what comes next in none.
    Nothing { explained: usize, stuck: Vec<usize> },
    /// It would take too long.
    Undecided,
}

/// A value that somebody has seen.
struct Seen {
    by: Vec<usize>,
    /// From its first token on: who wrote the last one, and the value up to it.
    grew: Vec<(usize, ValueId)>,
}

struct Search<'a> {
    events: &'a [Event],
    values: Values,
    /// For each event the watches that it adds to, or ends.
    guards: Vec<Guard>,
    /// For each event those of its connection that come first.
    before: Vec<Vec<usize>>,
    /// For each event whether it changes no key, whenever it is taken.
    harmless: Vec<bool>,
    values_seen: Vec<Seen>,
    /// By the time of sending.
    by_sent: Vec<usize>,
    /// Those that were answered, by the time of it.
    by_answer: Vec<usize>,
    taken: Vec<bool>,
    /// Events with an answer that are not taken.
    left: usize,
    /// A number for each event; those of the taken ones are combined.
    marks: Vec<u64>,
    seen: FxHashSet<(u64, u64)>,
    looked_at: usize,
    best: (usize, Vec<usize>),
    /// Whether what is tried next is chosen with care, and chance.
    careful: bool,
    rng: fastrand::Rng,
}

/// Looks for an order of `events` that begins with empty databases.
pub(crate) fn explain(events: &[Event], databases: u8, keys: u8) -> Found {
    let mut by_sent: Vec<usize> = (0..events.len()).collect();
    by_sent.sort_by_key(|at| events[*at].sent);
    let mut by_answer = by_sent.clone();
    by_answer.retain(|at| events[*at].answered.is_some());
    by_answer.sort_by_key(|at| events[*at].answered);
    let mut values = Values::new();
    let guards = guards(events, &by_sent);
    let mut search = Search {
        events,
        values_seen: values_seen(events, &mut values),
        values,
        before: order_of_connections(events, &by_sent, &guards, databases, keys),
        guards,
        harmless: events
            .iter()
            .map(|e| e.op.changes_nothing(e.answer.as_ref()))
            .collect(),
        by_sent,
        by_answer,
        taken: vec![false; events.len()],
        left: events.iter().filter(|e| e.answered.is_some()).count(),
        marks: {
            let mut rng = fastrand::Rng::with_seed(1);
            events.iter().map(|_| rng.u64(..)).collect()
        },
        rng: fastrand::Rng::new(),
        careful: false,
        seen: FxHashSet::default(),
        looked_at: 0,
        best: (0, Vec::new()),
    };
    for attempt in 0..SEARCHES {
        search.careful = attempt > 0;
        search.rng = fastrand::Rng::with_seed(attempt);
        search.looked_at = 0;
        search.seen.clear();
        match search.go_on(State::empty(databases, keys), 0) {
            Some(true) => return Found::Order,
            Some(false) => {
                let (explained, stuck) = search.best;
                return Found::Nothing { explained, stuck };
            }
            None => {}
        }
    }
    Found::Undecided
}

/// The first answer that no order explains together with those before it: for the report.
pub(crate) fn first_impossible(events: &[Event], databases: u8, keys: u8) -> Option<usize> {
    let mut by_answer: Vec<usize> = (0..events.len()).collect();
    by_answer.retain(|at| events[*at].answered.is_some());
    by_answer.sort_by_key(|at| events[*at].answered);
    let until = |last: usize| {
        let end = events[last].answered;
        let mut known: Vec<Event> = events
            .iter()
            .filter(|e| Some(e.sent) <= end)
            .cloned()
            .collect();
        for event in known.iter_mut().filter(|e| e.answered > end) {
            event.answered = None;
            event.answer = None;
        }
        known
    };
    by_answer.into_iter().find(|last| {
        matches!(
            explain(&until(*last), databases, keys),
            Found::Nothing { .. }
        )
    })
}

/// Adds what an answer shows of values to `all`.
fn values_in<'a>(answer: &'a Answer, all: &mut Vec<&'a [u8]>) {
    match answer {
        Answer::Bulk(value) if !value.is_empty() && is_of_tokens(value) => all.push(value),
        Answer::Array(parts) => parts.iter().for_each(|part| values_in(part, all)),
        _ => {}
    }
}

fn values_seen(events: &[Event], values: &mut Values) -> Vec<Seen> {
    let mut writers: FxHashMap<&[u8], usize> = FxHashMap::default();
    for (at, event) in events.iter().enumerate() {
        writers.extend(event.op.written().into_iter().map(|token| (token, at)));
    }
    let mut all: FxHashMap<&[u8], Seen> = FxHashMap::default();
    for (at, event) in events.iter().enumerate() {
        let mut seen = Vec::new();
        event
            .answer
            .iter()
            .for_each(|answer| values_in(answer, &mut seen));
        for value in seen {
            let known = all.entry(value).or_insert_with(|| {
                let ends = (TOKEN..=value.len()).step_by(TOKEN);
                let grew = ends.filter_map(|end| {
                    let writer = writers.get(&value[end - TOKEN..end])?;
                    Some((*writer, values.number(value[..end].to_vec())))
                });
                Seen {
                    by: Vec::new(),
                    grew: grew.collect(),
                }
            });
            known.by.push(at);
        }
    }
    all.into_values().collect()
}

/// What ends the watches of a connection ends those that were sent since the last such thing, so
/// each of these begins another guard.
fn guards(events: &[Event], by_sent: &[usize]) -> Vec<Guard> {
    let mut guards = vec![0; events.len()];
    let mut current: FxHashMap<u32, Guard> = FxHashMap::default();
    let mut last = 0;
    for &at in by_sent {
        let event = &events[at];
        let guard = *current.entry(event.connection).or_insert_with(|| {
            last += 1;
            last
        });
        guards[at] = guard;
        if event.op.ends_watches() {
            current.remove(&event.connection);
        }
    }
    guards
}

fn order_of_connections(
    events: &[Event],
    by_sent: &[usize],
    guards: &[Guard],
    databases: u8,
    keys: u8,
) -> Vec<Vec<usize>> {
    let reach: Vec<Reach> = events
        .iter()
        .zip(guards)
        .map(|(e, guard)| Reach::of(&e.op, *guard, databases, keys))
        .collect();
    let mut before = vec![Vec::new(); events.len()];
    for (place, &later) in by_sent.iter().enumerate() {
        for &earlier in &by_sent[..place] {
            let same = events[earlier].connection == events[later].connection;
            if same && reach[earlier].keeps_order_with(&reach[later]) {
                before[later].push(earlier);
            }
        }
    }
    before
}

impl Search<'_> {
    /// Whether the rest can be explained from a state. None: given up.
    fn go_on(&mut self, mut state: State, mut taken: u64) -> Option<bool> {
        let mut eager = Vec::new();
        let found = self.take_eagerly(&mut state, &mut taken, &mut eager);
        let found = if found {
            Some(true)
        } else {
            self.branch(&state, taken)
        };
        if found != Some(true) {
            eager.into_iter().for_each(|at| self.put_back(at));
        }
        found
    }

    /// Takes everything that changes nothing and was answered rightly. Whether nothing is left.
    fn take_eagerly(&mut self, state: &mut State, taken: &mut u64, eager: &mut Vec<usize>) -> bool {
        let mut next = state.clone();
        loop {
            if self.left == 0 {
                return true;
            }
            let count = eager.len();
            for at in self.candidates() {
                if !self.harmless[at] {
                    continue;
                }
                next.copy_from(state);
                if self.apply(&mut next, at, self.events[at].sent.1) && next == *state {
                    self.take(at);
                    *taken ^= self.marks[at];
                    eager.push(at);
                }
            }
            if eager.len() == count {
                return self.left == 0;
            }
        }
    }

    fn branch(&mut self, state: &State, taken: u64) -> Option<bool> {
        if self.something_is_gone(state) {
            return Some(false);
        }
        if !self.seen.insert((taken, FxBuildHasher.hash_one(state))) {
            return Some(false);
        }
        self.looked_at += 1;
        if self.looked_at > LOOKED_AT_MAX {
            return None;
        }
        let mut candidates = self.candidates();
        candidates.sort_by_key(|at| self.events[*at].answered.unwrap_or((u64::MAX, u64::MAX)));
        if self.careful {
            self.look_ahead(state, &mut candidates);
        }
        let explained = self.events.len() - self.left;
        if explained > self.best.0 {
            self.best = (explained, candidates.clone());
        }
        let latest_ms = self.now_ms();
        for at in candidates {
            let sent_ms = self.events[at].sent.1;
            let expiries = self.events[at].op.expiries_within();
            let later = expiries
                .into_iter()
                .filter(|ms| (sent_ms..=latest_ms).contains(ms));
            for now_ms in std::iter::once(sent_ms).chain(later.map(|ms| ms + 1)) {
                let mut next = state.clone();
                if !self.apply(&mut next, at, now_ms) || (self.harmless[at] && next == *state) {
                    continue; // the latter was taken before
                }
                self.take(at);
                let found = self.go_on(next, taken ^ self.marks[at]);
                if found == Some(true) {
                    return found;
                }
                self.put_back(at);
                found?;
            }
        }
        for next in state.expiries(self.now_ms()) {
            let found = self.go_on(next, taken);
            if found != Some(false) {
                return found;
            }
        }
        Some(false)
    }

    /// Whether a value is gone that somebody has seen who is not taken yet.
    fn something_is_gone(&self, state: &State) -> bool {
        self.values_seen.iter().any(|seen| {
            let last = seen
                .grew
                .iter()
                .rev()
                .find(|(writer, _)| self.taken[*writer]);
            last.is_some_and(|(_, value)| !state.holds(*value))
                && seen.by.iter().any(|at| !self.taken[*at])
        })
    }

    /// Puts those first after which most others could be taken.
    fn look_ahead(&mut self, state: &State, candidates: &mut [usize]) {
        let (mut after, mut next) = (state.clone(), state.clone());
        let mut scores = FxHashMap::default();
        for &at in &*candidates {
            after.copy_from(state);
            let mut score = self.rng.i32(..2);
            if self.apply(&mut after, at, self.events[at].sent.1) {
                for &other in candidates.iter().filter(|other| **other != at) {
                    next.copy_from(&after);
                    let known = self.events[other].answer.is_some();
                    score +=
                        i32::from(known && self.apply(&mut next, other, self.events[other].sent.1));
                }
            }
            scores.insert(at, -score);
        }
        candidates.sort_by_key(|at| scores[at]);
    }

    fn apply(&mut self, state: &mut State, at: usize, now_ms: u64) -> bool {
        let event = &self.events[at];
        let answer = event.answer.as_ref();
        let values = &mut self.values;
        state.apply(self.guards[at], &event.op, answer, now_ms, values)
    }

    fn take(&mut self, at: usize) {
        self.taken[at] = true;
        self.left -= usize::from(self.events[at].answered.is_some());
    }

    fn put_back(&mut self, at: usize) {
        self.taken[at] = false;
        self.left += usize::from(self.events[at].answered.is_some());
    }

    /// What may come next: nothing that is left was answered before it was sent, or comes before it
    /// in its connection.
    fn candidates(&self) -> Vec<usize> {
        let first_answer = self.first_answer();
        let open = self.by_sent.iter().copied().filter(|at| !self.taken[*at]);
        open.take_while(|at| self.events[*at].sent < first_answer)
            .filter(|at| self.before[*at].iter().all(|b| self.taken[*b]))
            .collect()
    }

    fn first_answer(&self) -> (u64, u64) {
        let mut answered = self.by_answer.iter().filter(|at| !self.taken[**at]);
        let first = answered.next().and_then(|at| self.events[*at].answered);
        first.unwrap_or((u64::MAX, u64::MAX))
    }

    /// The latest that it can be now.
    fn now_ms(&self) -> u64 {
        self.first_answer().1
    }
}
