//! What clients did and saw, and whether it could have happened one command after the other.
//!
//! Keys hold lists, writes append a value that nobody else ever appends, reads return the whole
//! list. So a read tells which writes came before it, and the order of writes is known from the
//! longest list: no search over orders is needed. Each transaction is a node, and it must come
//! after another when it saw its write (wr), overwrote it (ww), when the other did not see its
//! write (rw, reversed), when the other was answered before it was asked (real time), or when
//! its connection sent it later and the order is promised. The history is strictly serializable
//! exactly if this graph has no cycle. The method is that of Elle (Kingsbury and Alvaro, 2020).
//!
//! FLUSHALL would make a list forget its past. It is therefore only used in a transaction that
//! first reads and afterwards appends to every key: the value that it appends names a new
//! generation of the list, and what it read joins it to the one before.

use std::collections::HashMap;

pub(crate) type Key = u32;
pub(crate) type Value = u32;

/// One step of a transaction, with what it saw. `None`: the answer was never seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Append(Key, Value),
    Read(Key, Option<Vec<Value>>),
    Exists(Key, Option<bool>),
    Flush,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Answered, at this time.
    Done(u64),
    /// EXEC answered null: nothing of it may be seen.
    Refused(u64),
    /// The connection was lost: it took effect whole, or not at all.
    Unknown,
}

/// A command or a MULTI/EXEC block.
#[derive(Clone, Debug)]
pub(crate) struct Txn {
    pub(crate) connection: u64,
    /// When the request was sent.
    pub(crate) invoked: u64,
    pub(crate) end: End,
    pub(crate) steps: Vec<Step>,
}

impl Txn {
    pub(crate) fn writes(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step, Step::Append(..) | Step::Flush))
    }

    fn keys(&self) -> impl Iterator<Item = Option<Key>> + '_ {
        self.steps.iter().map(|step| match step {
            Step::Append(key, _) | Step::Read(key, _) | Step::Exists(key, _) => Some(*key),
            Step::Flush => None,
        })
    }

    /// Whether it has a key in common with another; FLUSHALL has all.
    fn meets(&self, other: &Txn) -> bool {
        self.keys()
            .any(|key| key.is_none() || other.keys().any(|o| o.is_none() || o == key))
    }
}

/// Why a history cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Anomaly {
    /// A value was read that no transaction wrote, or one that was refused.
    Invented(Key, Value),
    /// A list has a value twice.
    Twice(Key, Value),
    /// A write that was answered is in no list.
    Lost(Key, Value),
    /// Two lists of one key, neither of which continues the other.
    Forked(Key, Vec<Value>, Vec<Value>),
    /// A transaction did not see its own writes.
    Inconsistent(usize, Key),
    /// These transactions would have to come before each other, for these reasons.
    Cycle(Vec<(usize, Why)>),
}

/// Why a transaction comes after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Saw(Key),
    Overwrote(Key),
    WasNotSeen(Key),
    RealTime,
    SentLater,
}

/// What a transaction did with one key, seen from outside.
#[derive(Default)]
struct Effect {
    /// The list before it, where it is known.
    base: Option<Vec<Value>>,
    existed: Option<bool>,
    flushed: bool,
    appended: Vec<Value>,
}

/// Checks a whole history, whose last transaction has read every key.
pub(crate) fn check(history: &[Txn]) -> Result<(), Anomaly> {
    let mut writers: HashMap<Value, usize> = HashMap::new();
    let mut keys: Vec<Key> = Vec::new();
    for (index, txn) in history.iter().enumerate() {
        keys.extend(txn.keys().flatten());
        for step in &txn.steps {
            if let Step::Append(_, value) = step {
                assert!(
                    writers.insert(*value, index).is_none(),
                    "the workload appends a value once"
                );
            }
        }
    }
    keys.sort_unstable();
    keys.dedup();
    let mut graph = Graph::new(history.len());
    for &key in &keys {
        let mut effects = Vec::new();
        for (index, txn) in history.iter().enumerate() {
            if matches!(txn.end, End::Refused(_)) {
                continue;
            }
            if let Some(effect) = effect_on(txn, key).ok_or(Anomaly::Inconsistent(index, key))? {
                effects.push((index, effect));
            }
        }
        key_edges(history, key, &effects, &writers, &mut graph)?;
    }
    time_edges(history, &mut graph);
    order_edges(history, &mut graph);
    graph
        .find_cycle()
        .map_or(Ok(()), |cycle| Err(Anomaly::Cycle(cycle)))
}

/// Outer None: it contradicts itself. Inner None: it has nothing to do with the key.
#[expect(clippy::option_option, reason = "two different absences, both local")]
fn effect_on(txn: &Txn, key: Key) -> Option<Option<Effect>> {
    let mut effect = Effect::default();
    let mut involved = false;
    for step in &txn.steps {
        match step {
            Step::Append(k, value) if *k == key => {
                involved = true;
                effect.appended.push(*value);
            }
            Step::Read(k, Some(list)) if *k == key => {
                involved = true;
                let before = list.strip_suffix(&effect.appended[..])?;
                if effect.flushed {
                    if !before.is_empty() {
                        return None;
                    }
                } else if *effect.base.get_or_insert_with(|| before.to_vec()) != before {
                    return None;
                }
            }
            Step::Exists(k, Some(exists)) if *k == key => {
                involved = true;
                if !effect.appended.is_empty() {
                    if !exists {
                        return None;
                    }
                } else if *effect.existed.get_or_insert(*exists) != *exists {
                    return None;
                }
            }
            Step::Flush => {
                involved = true;
                effect.flushed = true;
                assert!(
                    effect.appended.is_empty(),
                    "the workload flushes before it appends"
                );
            }
            _ => {}
        }
    }
    Some(involved.then_some(effect))
}

fn key_edges(
    history: &[Txn],
    key: Key,
    effects: &[(usize, Effect)],
    writers: &HashMap<Value, usize>,
    graph: &mut Graph,
) -> Result<(), Anomaly> {
    // Which generation each flush began.
    let born_of: HashMap<Value, &Effect> = effects
        .iter()
        .filter(|(_, effect)| effect.flushed)
        .map(|(_, effect)| (effect.appended[0], effect))
        .collect();
    let generation = |list: &[Value]| list.first().copied().filter(|v| born_of.contains_key(v));
    let mut longest: HashMap<Option<Value>, Vec<Value>> = HashMap::from([(None, Vec::new())]);
    let states = effects.iter().filter_map(|(_, effect)| {
        let mut state = match (&effect.base, effect.flushed) {
            (Some(base), false) => base.clone(),
            (None, false) => return None,
            (_, true) => Vec::new(),
        };
        state.extend(&effect.appended);
        Some(state)
    });
    let bases = effects.iter().filter_map(|(_, effect)| effect.base.clone());
    for list in states.chain(bases) {
        let known = longest.entry(generation(&list)).or_default();
        if list.len() > known.len() {
            if !list.starts_with(known) {
                return Err(Anomaly::Forked(key, known.clone(), list));
            }
            *known = list;
        } else if !known.starts_with(&list) {
            return Err(Anomaly::Forked(key, known.clone(), list));
        }
    }
    let chain = join_generations(key, &born_of, &longest)?;
    let mut at: HashMap<Value, usize> = HashMap::new();
    for (index, &value) in chain.iter().enumerate() {
        let writer = writers.get(&value).map(|&writer| &history[writer]);
        if writer.is_none_or(|txn| {
            matches!(txn.end, End::Refused(_)) || !txn.steps.contains(&Step::Append(key, value))
        }) {
            return Err(Anomaly::Invented(key, value));
        }
        if at.insert(value, index + 1).is_some() {
            return Err(Anomaly::Twice(key, value));
        }
    }
    for pair in chain.windows(2) {
        graph.edge(writers[&pair[0]], writers[&pair[1]], Why::Overwrote(key));
    }
    for (index, effect) in effects {
        for value in &effect.appended {
            if !at.contains_key(value) && matches!(history[*index].end, End::Done(_)) {
                return Err(Anomaly::Lost(key, *value));
            }
        }
        if let Some(base) = &effect.base {
            let version = base.last().map_or(0, |value| at[value]);
            if version > 0 {
                graph.edge(writers[&chain[version - 1]], *index, Why::Saw(key));
            }
            if let Some(next) = chain.get(version) {
                graph.edge(*index, writers[next], Why::WasNotSeen(key));
            }
        }
        match (effect.existed, chain.first()) {
            (Some(true), Some(first)) => graph.edge(writers[first], *index, Why::Saw(key)),
            (Some(true), None) => return Err(Anomaly::Inconsistent(*index, key)),
            (Some(false), Some(first)) => graph.edge(*index, writers[first], Why::WasNotSeen(key)),
            (_, None) | (None, _) => {}
        }
    }
    Ok(())
}

/// All values that a key ever had, in the order in which it had them.
fn join_generations(
    key: Key,
    born_of: &HashMap<Value, &Effect>,
    longest: &HashMap<Option<Value>, Vec<Value>>,
) -> Result<Vec<Value>, Anomaly> {
    let mut children: HashMap<Option<Value>, Value> = HashMap::new();
    for (&first, effect) in born_of {
        let base = effect.base.as_ref().expect("a flush reads before");
        let parent = base.first().copied().filter(|v| born_of.contains_key(v));
        let whole = &longest[&parent];
        if base != whole || children.insert(parent, first).is_some() {
            return Err(Anomaly::Forked(key, whole.clone(), vec![first]));
        }
    }
    let mut chain = longest[&None].clone();
    let mut current = None;
    let mut joined = 0;
    while let Some(&child) = children.get(&current) {
        chain.extend(&longest[&Some(child)]);
        current = Some(child);
        joined += 1;
        if joined > children.len() {
            return Err(Anomaly::Twice(key, child));
        }
    }
    if joined < children.len() {
        // Flushes that each read what the other wrote.
        return Err(Anomaly::Forked(key, chain, Vec::new()));
    }
    Ok(chain)
}

/// Who was answered before another was asked comes before it. One extra node for each answer,
/// in a row, stands for "everything answered until now", so the edges stay few.
fn time_edges(history: &[Txn], graph: &mut Graph) {
    let mut answers: Vec<(u64, usize)> = history
        .iter()
        .enumerate()
        .filter_map(|(index, txn)| match txn.end {
            End::Done(at) => Some((at, index)),
            _ => None,
        })
        .collect();
    answers.sort_unstable();
    let first = graph.add(answers.len());
    for (place, &(_, index)) in answers.iter().enumerate() {
        graph.edge(index, first + place, Why::RealTime);
        if place > 0 {
            graph.edge(first + place - 1, first + place, Why::RealTime);
        }
    }
    for (index, txn) in history.iter().enumerate() {
        let before = answers.partition_point(|&(at, _)| at < txn.invoked);
        if before > 0 && !matches!(txn.end, End::Refused(_)) {
            graph.edge(first + before - 1, index, Why::RealTime);
        }
    }
}

/// The promised order of one connection: writes in order; a read after a write, and a write
/// after a read, that share a key.
fn order_edges(history: &[Txn], graph: &mut Graph) {
    let mut by_connection: HashMap<u64, Vec<usize>> = HashMap::new();
    for (index, txn) in history.iter().enumerate() {
        if !matches!(txn.end, End::Refused(_)) {
            by_connection.entry(txn.connection).or_default().push(index);
        }
    }
    for sent in by_connection.values() {
        for (place, &later) in sent.iter().enumerate() {
            for &earlier in &sent[..place] {
                let (a, b) = (&history[earlier], &history[later]);
                let both_write = a.writes() && b.writes();
                if both_write || ((a.writes() || b.writes()) && a.meets(b)) {
                    graph.edge(earlier, later, Why::SentLater);
                }
            }
        }
    }
}

struct Graph {
    /// How many of the nodes are transactions.
    txns: usize,
    after: Vec<Vec<(usize, Why)>>,
}

impl Graph {
    fn new(txns: usize) -> Self {
        Self {
            txns,
            after: vec![Vec::new(); txns],
        }
    }

    fn add(&mut self, nodes: usize) -> usize {
        let first = self.after.len();
        self.after.resize(first + nodes, Vec::new());
        first
    }

    fn edge(&mut self, from: usize, to: usize, why: Why) {
        if from != to {
            self.after[from].push((to, why));
        }
    }

    /// A cycle, each transaction with the reason why it follows the one before.
    fn find_cycle(&self) -> Option<Vec<(usize, Why)>> {
        let mut incoming = vec![0usize; self.after.len()];
        for &(to, _) in self.after.iter().flatten() {
            incoming[to] += 1;
        }
        let mut free: Vec<usize> = (0..incoming.len()).filter(|&n| incoming[n] == 0).collect();
        let mut gone = vec![false; incoming.len()];
        while let Some(node) = free.pop() {
            gone[node] = true;
            for &(to, _) in &self.after[node] {
                incoming[to] -= 1;
                if incoming[to] == 0 {
                    free.push(to);
                }
            }
        }
        // What is left has a cycle, and may have tails behind it: the shortest is the clearest.
        (0..self.txns)
            .filter(|&node| !gone[node])
            .filter_map(|start| self.shortest_round(start, &gone))
            .min_by_key(Vec::len)
    }

    fn shortest_round(&self, start: usize, gone: &[bool]) -> Option<Vec<(usize, Why)>> {
        let mut came: HashMap<usize, (usize, Why)> = HashMap::new();
        let mut queue = std::collections::VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for &(to, why) in &self.after[node] {
                if gone[to] || came.contains_key(&to) {
                    continue;
                }
                came.insert(to, (node, why));
                if to == start {
                    let mut round = Vec::new();
                    let mut at = start;
                    loop {
                        let (before, why) = came[&at];
                        if at < self.txns {
                            round.push((at, why));
                        }
                        at = before;
                        if at == start {
                            round.reverse();
                            return Some(round);
                        }
                    }
                }
                queue.push_back(to);
            }
        }
        None
    }
}
