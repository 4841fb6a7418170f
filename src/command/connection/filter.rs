//! The filters of CLIENT LIST and CLIENT KILL: those of Redis, and Valkey's newer ones with their
//! negations. A connection must match all of them.

use super::auth::DEFAULT_USER;
use super::list::flags_of;
use crate::command::error::Error;
use crate::net::session::{Peer, Session, flag};
use crate::resp::number::parse_i64;

/// Letters that FLAGS may ask for.
const FLAG_LETTERS: &[u8] = b"OSMPxbtRBdcuAUreTIN";

/// Which command the filters are given to; a few texts and defaults differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Use {
    List,
    Kill,
}

/// Classes of clients that there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    Normal,
    Pubsub,
    /// Replicas and masters: none are connected yet.
    Replication,
}

#[derive(Clone, PartialEq, Debug)]
enum Test<'a> {
    Ids(Vec<i64>),
    Class(Class),
    Addr(&'a [u8]),
    Laddr(&'a [u8]),
    User,
    MaxAge(i64),
    Idle(i64),
    Flags(&'a [u8]),
    Name(&'a [u8]),
    LibName(&'a [u8]),
    LibVer(&'a [u8]),
    Db(u16),
    Capa(&'a [u8]),
    Ip(&'a [u8]),
}

/// What a connection must be to be listed or killed.
#[derive(Debug)]
pub(super) struct Filter<'a> {
    /// Tests, and whether each is negated.
    tests: Vec<(bool, Test<'a>)>,
    /// Whether the caller itself is left out.
    pub(super) skip_me: bool,
}

impl<'a> Filter<'a> {
    /// The filters in `args`, which begin after the subcommand.
    pub(super) fn parse(args: &[&'a [u8]], use_: Use, databases: usize) -> Result<Self, Error> {
        let mut filter = Self {
            tests: Vec::new(),
            skip_me: use_ == Use::Kill,
        };
        if let ([addr], Use::Kill) = (args, use_) {
            filter.tests.push((false, Test::Addr(addr)));
            filter.skip_me = false; // the old form kills its own connection, too
            return Ok(filter);
        }
        let mut rest = args;
        let mut after_ids = false;
        while let [word, after @ ..] = rest {
            let Some((value, after)) = after.split_first() else {
                return Err(not_a_filter(after_ids, use_));
            };
            let word = word.to_ascii_lowercase();
            let (negated, name) = match word.strip_prefix(b"not-") {
                Some(name) => (true, name),
                None => (false, &word[..]),
            };
            let follows_ids = std::mem::replace(&mut after_ids, name == b"id");
            rest = after;
            if name == b"skipme" && !negated {
                filter.skip_me = yes_or_no(value)?;
                continue;
            }
            let test = match name {
                b"id" => {
                    let (ids, after) = ids(value, after, use_)?;
                    rest = after;
                    Test::Ids(ids)
                }
                _ => {
                    test(name, value, databases).unwrap_or(Err(not_a_filter(follows_ids, use_)))?
                }
            };
            filter.push(negated, test);
        }
        Ok(filter)
    }

    /// A repeated filter replaces the first one; ids are gathered.
    fn push(&mut self, negated: bool, test: Test<'a>) {
        let kind = std::mem::discriminant(&test);
        let known = self
            .tests
            .iter_mut()
            .find(|(n, t)| *n == negated && std::mem::discriminant(t) == kind);
        match (known, test) {
            (Some((_, Test::Ids(ids))), Test::Ids(more)) => ids.extend(more),
            (Some((_, known)), test) => *known = test,
            (None, test) => self.tests.push((negated, test)),
        }
    }

    /// Whether a connection matches; `now_ms` is Unix time.
    pub(super) fn matches(&self, session: &Session, caller: u64, now_ms: i64) -> bool {
        if self.skip_me && session.id == caller {
            return false;
        }
        let holds = |(negated, test): &(bool, Test<'_>)| holds(test, session, now_ms) != *negated;
        self.tests.iter().all(holds)
    }
}

/// What is said of a word that is no filter, or lacks its value.
fn not_a_filter(after_ids: bool, use_: Use) -> Error {
    match use_ {
        Use::List if after_ids => Error::new("ERR Invalid client ID"),
        _ => Error::SYNTAX,
    }
}

fn yes_or_no(value: &[u8]) -> Result<bool, Error> {
    match () {
        () if value.eq_ignore_ascii_case(b"yes") => Ok(true),
        () if value.eq_ignore_ascii_case(b"no") => Ok(false),
        () => Err(Error::SYNTAX),
    }
}

/// One id, and as many more as follow.
fn ids<'s, 'a>(
    first: &'a [u8],
    mut rest: &'s [&'a [u8]],
    use_: Use,
) -> Result<(Vec<i64>, &'s [&'a [u8]]), Error> {
    let id = |arg: &[u8]| match (parse_i64(arg), use_) {
        (Some(id), Use::List) => Ok(id),
        (Some(id), Use::Kill) if id > 0 => Ok(id),
        (_, Use::Kill) => Err(Error::new("ERR client-id should be greater than 0")),
        (None, Use::List) => Err(Error::new("ERR Invalid client ID")),
    };
    let mut ids = vec![id(first)?];
    while let [next, after @ ..] = rest {
        match parse_i64(next) {
            None => break,
            Some(..=0) if use_ == Use::Kill => break,
            Some(_) => {}
        }
        ids.push(id(next)?);
        rest = after;
    }
    Ok((ids, rest))
}

/// The test of a name and a value; None: no such filter.
fn test<'a>(name: &[u8], value: &'a [u8], databases: usize) -> Option<Result<Test<'a>, Error>> {
    Some(match name {
        b"type" => class(value)
            .map(Test::Class)
            .ok_or_else(|| Error::quoting("ERR Unknown client type '", value, "'")),
        b"user" if value == DEFAULT_USER => Ok(Test::User),
        b"user" => Err(Error::quoting("ERR No such user '", value, "'")),
        b"addr" => Ok(Test::Addr(value)),
        b"laddr" => Ok(Test::Laddr(value)),
        b"maxage" => seconds(value, "maxage").map(Test::MaxAge),
        b"idle" => seconds(value, "idle").map(Test::Idle),
        b"flags" if value.iter().all(|letter| FLAG_LETTERS.contains(letter)) => {
            Ok(Test::Flags(value))
        }
        b"flags" => Err(Error::quoting(
            "ERR Unknown flags found in the provided filter: ",
            value,
            "",
        )),
        b"name" => Ok(Test::Name(value)),
        b"lib-name" => Ok(Test::LibName(value)),
        b"lib-ver" => Ok(Test::LibVer(value)),
        b"db" => database(value, databases).map(Test::Db),
        b"capa" if value.iter().all(|letter| *letter == b'r') => Ok(Test::Capa(value)),
        b"capa" => Err(Error::quoting(
            "ERR Unknown capa found in the provided filter: ",
            value,
            "",
        )),
        b"ip" => Ok(Test::Ip(value)),
        _ => return None,
    })
}

fn class(value: &[u8]) -> Option<Class> {
    Some(match &value.to_ascii_lowercase()[..] {
        b"normal" => Class::Normal,
        b"pubsub" => Class::Pubsub,
        b"slave" | b"replica" | b"master" | b"primary" => Class::Replication,
        _ => return None,
    })
}

fn seconds(value: &[u8], name: &str) -> Result<i64, Error> {
    match parse_i64(value) {
        Some(n) if n > 0 => Ok(n),
        Some(_) => Err(Error::new(format!("ERR {name} should be greater than 0"))),
        None => Err(Error::new(format!(
            "ERR {name} is not an integer or out of range"
        ))),
    }
}

fn database(value: &[u8], databases: usize) -> Result<u16, Error> {
    let Some(n) = parse_i64(value).filter(|n| i32::try_from(*n).is_ok()) else {
        return Err(Error::new("ERR DB is not an integer or out of range"));
    };
    match u16::try_from(n) {
        Ok(db) if usize::from(db) < databases => Ok(db),
        _ => Err(Error::new(format!(
            "ERR DB number should be between 0 and {}",
            databases - 1
        ))),
    }
}

fn holds(test: &Test<'_>, session: &Session, now_ms: i64) -> bool {
    let info = &session.info;
    let since = |then_ms: i64| now_ms / 1000 - then_ms / 1000;
    match test {
        Test::Ids(ids) => ids.contains(&(session.id as i64)),
        Test::Class(class) => match class {
            Class::Normal => !session.is(flag::PUBSUB),
            Class::Pubsub => session.is(flag::PUBSUB),
            Class::Replication => false,
        },
        Test::Addr(addr) => session.peer.addr().as_bytes() == *addr,
        Test::Laddr(addr) => session.peer.laddr().as_bytes() == *addr,
        Test::User => true,
        Test::MaxAge(age) => since(info.created_ms) >= *age,
        Test::Idle(idle) => since(info.active_ms) >= *idle,
        Test::Flags(letters) => {
            let have = flags_of(session);
            letters.iter().all(|l| have.as_bytes().contains(l))
        }
        Test::Name(name) => !info.name.is_empty() && info.name == *name,
        Test::LibName(name) => !info.lib_name.is_empty() && info.lib_name == *name,
        Test::LibVer(ver) => !info.lib_ver.is_empty() && info.lib_ver == *ver,
        Test::Db(db) => session.db == *db,
        Test::Capa(letters) => letters.is_empty() || session.is(flag::CAPA_REDIRECT),
        Test::Ip(ip) => match &session.peer {
            Peer::Tcp(peer, _) => peer.ip().to_canonical().to_string().as_bytes() == *ip,
            Peer::Unix(_) => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<'a>(args: &[&'a str], use_: Use) -> Result<Filter<'a>, String> {
        let args: Vec<&[u8]> = args.iter().map(|a| a.as_bytes()).collect();
        Filter::parse(&args, use_, 16).map_err(|e| String::from_utf8_lossy(e.text()).into_owned())
    }

    fn session(id: u64) -> Session {
        let at = |text: &str| text.parse().expect("an address");
        let peer = Peer::Tcp(at("10.0.0.7:555"), at("10.0.0.1:6379"));
        Session::new(id, peer, 9, 1_000_000)
    }

    fn hit(args: &[&str], use_: Use) -> bool {
        let now_ms = 1_000_000 + 10_500;
        parse(args, use_)
            .expect("filters")
            .matches(&session(7), 7, now_ms)
    }

    #[test]
    fn filters_are_joined_by_and() {
        assert!(hit(&["ID", "3", "7", "TYPE", "normal"], Use::List));
        assert!(!hit(&["ID", "3", "TYPE", "normal"], Use::List));
        assert!(hit(
            &["not-id", "3", "IP", "10.0.0.7", "idle", "10"],
            Use::List
        ));
        assert!(!hit(&["MAXAGE", "11"], Use::List));
        assert!(!hit(&["ID", "7"], Use::Kill), "the caller is spared");
        assert!(hit(&["ID", "7", "SKIPME", "no"], Use::Kill));
        assert!(hit(&["10.0.0.7:555"], Use::Kill), "but not by the old form");
        assert!(hit(&["FLAGS", "N", "DB", "0", "NOT-NAME", "x"], Use::List));
        assert!(!hit(&["CAPA", "r"], Use::List));
    }

    #[test]
    fn texts_are_those_of_redis() {
        let kill = |args: &[&str]| parse(args, Use::Kill).map(|_| ()).unwrap_err();
        let list = |args: &[&str]| parse(args, Use::List).map(|_| ()).unwrap_err();
        assert_eq!(kill(&["ID", "x"]), "ERR client-id should be greater than 0");
        assert_eq!(kill(&["ID", "1", "ADDR"]), "ERR syntax error");
        assert_eq!(kill(&["USER", "x"]), "ERR No such user 'x'");
        assert_eq!(list(&["ID", "x"]), "ERR Invalid client ID");
        assert_eq!(list(&["ID"]), "ERR syntax error");
        assert_eq!(
            list(&["DB", "16"]),
            "ERR DB number should be between 0 and 15"
        );
        assert_eq!(
            list(&["MAXAGE", "0"]),
            "ERR maxage should be greater than 0"
        );
    }
}
