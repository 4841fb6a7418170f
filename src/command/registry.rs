//! The table of commands as the server runs with it: every row numbered, found by name without
//! allocation, with what `rename-command` has changed.
use super::spec::{Begin, Find, Flags, Run, Spec};
use crate::stdx::bytes::word;

/// The number of a row: an index into [`Registry::rows`] and into per-command counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RowId(pub u16);

impl RowId {
    /// No such command.
    pub const UNKNOWN: Self = Self(u16::MAX);

    /// As an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl Default for RowId {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

/// What dispatch needs to know of a row at a glance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// Runs where its only key lives; the index of that key among the arguments.
    OneKey(u8),
    /// Runs where its keys live, found by key specs.
    ManyKeys,
    /// Runs at the client's home, without keys.
    Here,
    /// Runs at the client's home, with the connection.
    Home,
    /// Runs at the shard that its arguments name.
    At,
    /// Runs everywhere.
    Gather,
    /// Acts on the connection's transaction.
    Control,
    /// Has subcommands only.
    Container,
}

/// How a command whose keys have several owners is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spread {
    /// The entries are lent to the client's home, which runs it.
    Lend,
    /// Each owner answers for its keys with an array; the elements stand in the order of the keys.
    InKeyOrder,
    /// Each owner answers for its keys with a number, and the reply is the sum.
    Sum,
    /// It only writes and always succeeds: each owner runs it for its keys in the end.
    Apply,
}

/// A row of the running table.
pub struct Row {
    /// What the command is.
    pub spec: &'static Spec,
    /// Its name as INFO and the slow log print it: `get`, `config|get`.
    pub full_name: String,
    /// The name that clients call it by; empty: renamed away.
    pub called: String,
    /// How it is routed.
    pub route: Route,
    /// How it is run when its keys have several owners.
    pub spread: Spread,
    /// Its container, for a subcommand.
    pub parent: Option<RowId>,
    /// Its subcommands.
    pub children: std::ops::Range<u16>,
}

/// All rows, and an index of the names.
pub struct Registry {
    /// Commands and, after each container, its subcommands.
    pub rows: Vec<Row>,
    /// Open addressing by [`hash`], at most a quarter full.
    index: Vec<Named>,
}

/// Longest name of a command; longer ones are unknown without looking.
const NAME_MAX: usize = 64;

/// The letters' case bit in each byte of a word.
const CASE: u64 = 0x2020_2020_2020_2020;

fn hash(name: &[u8]) -> usize {
    let last = &name[name.len().saturating_sub(8)..];
    let mixed = (word(name) | CASE) ^ (word(last) | CASE).rotate_left(17) ^ name.len() as u64;
    (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize
}

/// A name in the index.
#[derive(Clone, Copy)]
struct Named {
    /// The name in lower and in upper case, if it is short; 0 otherwise.
    lower: u64,
    upper: u64,
    id: RowId,
}

impl Named {
    const FREE: Self = Self {
        lower: 0,
        upper: 0,
        id: RowId::UNKNOWN,
    };
}

impl Registry {
    /// The table of `families`.
    pub fn new(families: &[&'static [Spec]]) -> Self {
        let mut rows: Vec<Row> = Vec::new();
        for spec in families.iter().copied().flatten() {
            let parent = RowId(rows.len() as u16);
            rows.push(Row {
                spec,
                full_name: spec.name.to_string(),
                called: spec.name.to_string(),
                route: route_of(spec),
                spread: spread_of(spec),
                parent: None,
                children: 0..0,
            });
            let first = rows.len() as u16;
            for sub in spec.subcommands {
                rows.push(Row {
                    spec: sub,
                    full_name: format!("{}|{}", spec.name, sub.name),
                    called: sub.name.to_string(),
                    route: route_of(sub),
                    spread: spread_of(sub),
                    parent: Some(parent),
                    children: 0..0,
                });
            }
            rows[parent.index()].children = first..rows.len() as u16;
        }
        assert!(
            rows.len() < usize::from(u16::MAX),
            "rows are numbered in 16 bits"
        );
        let size = (rows.len() * 4).next_power_of_two();
        let mut registry = Self {
            rows,
            index: vec![Named::FREE; size],
        };
        registry.enter_all();
        registry
    }

    /// Gives a command another name; an empty one removes it. Errors are Redis's texts.
    pub fn rename(&mut self, old: &str, new: &str) -> Result<(), &'static str> {
        let id = self
            .find(old.as_bytes())
            .ok_or("No such command in rename-command")?;
        if !new.is_empty() && self.find(new.as_bytes()).is_some() {
            return Err("Target command name already exists");
        }
        self.rows[id.index()].called = new.to_ascii_lowercase();
        self.index.fill(Named::FREE);
        self.enter_all();
        Ok(())
    }

    fn enter_all(&mut self) {
        (0..self.rows.len() as u16).for_each(|id| self.enter(RowId(id)));
    }

    fn enter(&mut self, id: RowId) {
        let row = &self.rows[id.index()];
        if row.parent.is_some() || row.called.is_empty() {
            return;
        }
        let called = row.called.as_bytes();
        let mut named = Named { id, ..Named::FREE };
        if called.len() <= 8 {
            named.lower = word(called);
            named.upper = word(&called.to_ascii_uppercase());
        }
        let mask = self.index.len() - 1;
        let mut at = hash(called) & mask;
        while self.index[at].id != RowId::UNKNOWN {
            at = (at + 1) & mask;
        }
        self.index[at] = named;
    }

    /// The row of a command by its first argument, in any case.
    pub fn find(&self, name: &[u8]) -> Option<RowId> {
        if name.len() > NAME_MAX {
            return None;
        }
        let exact = if name.len() <= 8 { word(name) } else { 0 };
        let mask = self.index.len() - 1;
        let mut at = hash(name) & mask;
        loop {
            let named = &self.index[at];
            if named.id == RowId::UNKNOWN {
                return None;
            }
            let same = exact != 0 && (exact == named.lower || exact == named.upper)
                || self.rows[named.id.index()]
                    .called
                    .as_bytes()
                    .eq_ignore_ascii_case(name);
            if same {
                return Some(named.id);
            }
            at = (at + 1) & mask;
        }
    }

    /// The row of a subcommand of `container`.
    pub fn find_child(&self, container: RowId, name: &[u8]) -> Option<RowId> {
        let children = self.rows[container.index()].children.clone();
        children
            .map(RowId)
            .find(|id| self.row(*id).called.as_bytes().eq_ignore_ascii_case(name))
    }

    /// A row by its number.
    pub fn row(&self, id: RowId) -> &Row {
        &self.rows[id.index()]
    }

    /// The row of a command line: a subcommand where the first argument is a container.
    pub fn resolve(&self, args: &[&[u8]]) -> Option<RowId> {
        let id = self.find(args.first()?)?;
        if self.row(id).children.is_empty() {
            return Some(id);
        }
        match args.get(1) {
            Some(sub) => self.find_child(id, sub),
            None => Some(id),
        }
    }
}

fn route_of(spec: &Spec) -> Route {
    match spec.run {
        Run::Home(_) => Route::Home,
        Run::At { .. } => Route::At,
        Run::Gather { .. } => Route::Gather,
        Run::Control(_) => Route::Control,
        Run::Container => Route::Container,
        Run::Keyed(_) => match spec.keys {
            [] => Route::Here,
            [one] => match (one.begin, one.find) {
                (Begin::Index(at), Find::Range { last: 0, .. }) => Route::OneKey(at as u8),
                _ => Route::ManyKeys,
            },
            _ => Route::ManyKeys,
        },
    }
}

/// The command tips say it, and the keys must stand in groups of a fixed size behind the name.
fn spread_of(spec: &Spec) -> Spread {
    let [one] = spec.keys else {
        return Spread::Lend;
    };
    let (Begin::Index(1), Find::Range { last: -1, .. }) = (one.begin, one.find) else {
        return Spread::Lend;
    };
    let policy = |kind: &str| spec.tips.iter().find_map(|tip| tip.strip_prefix(kind));
    if policy("request_policy:") != Some("multi_shard") {
        return Spread::Lend;
    }
    let reads = spec.flags.has(Flags::READONLY);
    match (policy("response_policy:"), reads) {
        (None, true) => Spread::InKeyOrder,
        (Some("agg_sum"), true) => Spread::Sum,
        (Some("all_succeeded"), false) => Spread::Apply,
        _ => Spread::Lend,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &[Spec] = &[
        Spec {
            name: "get",
            ..Spec::BASE
        },
        Spec {
            name: "config",
            subcommands: &[Spec {
                name: "get",
                ..Spec::BASE
            }],
            ..Spec::BASE
        },
        Spec {
            name: "sunsubscribe",
            ..Spec::BASE
        },
    ];

    #[test]
    fn names_are_found_in_any_case_and_renames_hold() {
        let mut table = Registry::new(&[ROWS]);
        assert_eq!(table.rename("GET", "fetch"), Ok(()));
        assert!(table.find(b"get").is_none());
        assert_eq!(table.find(b"FeTCh"), Some(RowId(0)));
        assert_eq!(table.find(b"SUNSUBSCRIBE"), Some(RowId(3)));
        assert_eq!(table.find(b"nosuch"), None);
        assert_eq!(table.resolve(&[b"CONFIG", b"GET"]), Some(RowId(2)));
        assert_eq!(table.row(RowId(2)).full_name, "config|get");
        assert!(table.rename("nosuch", "").is_err());
        assert!(table.rename("config", "fetch").is_err());
        assert_eq!(table.rename("config", ""), Ok(()));
        assert_eq!(table.find(b"config"), None);
    }
}
