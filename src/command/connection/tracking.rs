//! CLIENT TRACKING, CACHING, GETREDIR and TRACKINGINFO. What they ask for is done in
//! [`crate::net::tracking`] and [`crate::shard::tracking`].

use std::rc::Rc;

use super::client::on_or_off;
use crate::command::context::HomeCtx;
use crate::command::error::{Error, Outcome};
use crate::net::session::{Session, flag};
use crate::net::tracking::{Mode, Redirect, Tracker};
use crate::resp::number::parse_i64;

/// What stands behind CLIENT TRACKING ON or OFF.
#[derive(Default)]
struct Options<'a> {
    bcast: bool,
    optin: bool,
    optout: bool,
    noloop: bool,
    redirect: Option<Redirect>,
    prefixes: Vec<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(ctx: &mut HomeCtx<'_>, mut rest: &[&'a [u8]]) -> Result<Self, Error> {
        let mut options = Self::default();
        while let [option, after @ ..] = rest {
            rest = after;
            match (&option.to_ascii_lowercase()[..], after) {
                (b"bcast", _) => options.bcast = true,
                (b"optin", _) => options.optin = true,
                (b"optout", _) => options.optout = true,
                (b"noloop", _) => options.noloop = true,
                (b"prefix", [prefix, after @ ..]) => {
                    options.prefixes.push(prefix);
                    rest = after;
                }
                (b"redirect", [id, after @ ..]) => {
                    if options.redirect.is_some() {
                        let text = "ERR A client can only redirect to a single other client";
                        return Err(Error::new(text));
                    }
                    options.redirect = Some(find(ctx, id)?);
                    rest = after;
                }
                _ => return Err(Error::SYNTAX),
            }
        }
        Ok(options)
    }

    /// Whether the options fit each other and what the connection has asked for before.
    fn check(&self, before: Option<&Tracker>) -> Outcome {
        let wrong = |text: &'static str| Err(Error::new(text));
        if !self.bcast && !self.prefixes.is_empty() {
            return wrong("ERR PREFIX option requires BCAST mode to be enabled");
        }
        if before.is_some_and(|before| self.bcast != (before.mode == Mode::Broadcast)) {
            return wrong(
                "ERR You can't switch BCAST mode on/off before disabling tracking for this client, \
                 and then re-enabling it with a different mode.",
            );
        }
        if self.bcast && (self.optin || self.optout) {
            return wrong("ERR OPTIN and OPTOUT are not compatible with BCAST");
        }
        if self.optin && self.optout {
            return wrong("ERR You can't specify both OPTIN mode and OPTOUT mode");
        }
        let mode = before.map(|before| before.mode);
        if self.optin && mode == Some(Mode::OptOut) || self.optout && mode == Some(Mode::OptIn) {
            return wrong(
                "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, \
                 and then re-enabling it with a different mode.",
            );
        }
        self.check_prefixes(before)
    }

    /// Prefixes of a connection do not overlap, so that it hears of no key twice.
    fn check_prefixes(&self, before: Option<&Tracker>) -> Outcome {
        let refuse = |prefix: &[u8], what: &str, other: &[u8]| {
            let overlaps = Error::quoting("ERR Prefix '", prefix, "' overlaps with ");
            let other = Error::quoting(
                what,
                other,
                "'. Prefixes for a single client must not overlap.",
            );
            Err(Error::of_bytes([overlaps.text(), other.text()].concat()))
        };
        for (at, prefix) in self.prefixes.iter().enumerate() {
            let mut existing = before.iter().flat_map(|before| &before.prefixes);
            if let Some(other) = existing.find(|other| overlap(prefix, other)) {
                return refuse(prefix, "an existing prefix '", other);
            }
            let mut others = self.prefixes[at + 1..].iter();
            if let Some(other) = others.find(|other| overlap(prefix, other)) {
                return refuse(prefix, "another provided prefix '", other);
            }
        }
        Ok(())
    }

    fn mode(&self) -> Mode {
        match () {
            () if self.bcast => Mode::Broadcast,
            () if self.optin => Mode::OptIn,
            () if self.optout => Mode::OptOut,
            () => Mode::All,
        }
    }
}

/// Whether a key can begin with both.
fn overlap(a: &[u8], b: &[u8]) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

/// The connection of a client that must be there.
fn find(ctx: &mut HomeCtx<'_>, id: &[u8]) -> Result<Redirect, Error> {
    let id = parse_i64(id).ok_or(Error::NOT_INTEGER)?;
    let client = id as u64; // there is no such client if it is negative
    match ctx.shard().node.find_client(client) {
        Some((home, conn)) => Ok(Redirect { client, home, conn }),
        None => Err(Error::new(
            "ERR The client ID you want redirect to does not exist",
        )),
    }
}

/// CLIENT TRACKING
pub(super) fn track(ctx: &mut HomeCtx<'_>) -> Outcome {
    let (conn, in_exec) = (ctx.conn, ctx.in_exec);
    let args = ctx.args;
    let options = Options::parse(ctx, &args[3..])?;
    if !on_or_off(args[2])? {
        ctx.engine.stop_tracking(conn);
        ctx.reply().ok();
        return Ok(());
    }
    let before = ctx.session().info.tracker.as_deref();
    options.check(before)?;
    let mut prefixes: Vec<Rc<[u8]>> = options.prefixes.iter().map(|p| Rc::from(*p)).collect();
    if options.bcast && prefixes.is_empty() {
        prefixes.push(Rc::from(&b""[..])); // all keys
    }
    let mut all = before.map_or_else(Default::default, |before| before.prefixes.clone());
    prefixes.retain(|prefix| all.insert(prefix.clone()));
    let tracker = Tracker {
        mode: options.mode(),
        noloop: options.noloop,
        redirect: options.redirect,
        broken: false,
        prefixes: all,
    };
    ctx.engine.track(conn, tracker, prefixes, in_exec);
    Ok(())
}

/// CLIENT CACHING
pub(super) fn caching(ctx: &mut HomeCtx<'_>) -> Outcome {
    let tracker = ctx.session().info.tracker.as_deref();
    let Some(mode) = tracker.map(|tracker| tracker.mode) else {
        return Err(Error::new(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or \
             OPTOUT mode enabled",
        ));
    };
    let (wanted, refusal) = match &ctx.args[2].to_ascii_lowercase()[..] {
        b"yes" => (
            Mode::OptIn,
            "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
        ),
        b"no" => (
            Mode::OptOut,
            "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
        ),
        _ => return Err(Error::SYNTAX),
    };
    if mode != wanted {
        return Err(Error::new(refusal));
    }
    ctx.session().cache_next();
    ctx.reply().ok();
    Ok(())
}

/// The client that a connection redirects to: 0 for none, -1 if it does not track.
pub(super) fn redirect_of(session: &Session) -> i64 {
    let tracker = session.info.tracker.as_deref();
    tracker.map_or(-1, |tracker| {
        tracker.redirect.map_or(0, |to| to.client as i64)
    })
}

/// CLIENT GETREDIR
pub(super) fn getredir(ctx: &mut HomeCtx<'_>) -> Outcome {
    let redirect = redirect_of(ctx.session());
    ctx.reply().integer(redirect);
    Ok(())
}

/// CLIENT TRACKINGINFO
pub(super) fn info(ctx: &mut HomeCtx<'_>) -> Outcome {
    let session = ctx.session();
    let caching = session.is(flag::CACHING);
    let redirect = redirect_of(session);
    let tracker = session.info.tracker.as_deref();
    let mode = tracker.map_or(Mode::All, |tracker| tracker.mode);
    let words = [
        ("off", tracker.is_none()),
        ("on", tracker.is_some()),
        ("bcast", mode == Mode::Broadcast),
        ("optin", mode == Mode::OptIn),
        ("caching-yes", mode == Mode::OptIn && caching),
        ("optout", mode == Mode::OptOut),
        ("caching-no", mode == Mode::OptOut && caching),
        ("noloop", tracker.is_some_and(|tracker| tracker.noloop)),
        ("broken_redirect", tracker.is_some_and(|t| t.broken)),
    ];
    let prefixes: Vec<Rc<[u8]>> = tracker
        .iter()
        .flat_map(|tracker| tracker.prefixes.iter().cloned())
        .collect();
    let mut reply = ctx.reply();
    reply.map(3);
    reply.bulk(b"flags");
    let words = words.iter().filter(|(_, holds)| *holds);
    reply.set(words.clone().count());
    words.for_each(|(word, _)| reply.bulk(word.as_bytes()));
    reply.bulk(b"redirect");
    reply.integer(redirect);
    reply.bulk(b"prefixes");
    reply.array(prefixes.len());
    prefixes.iter().for_each(|prefix| reply.bulk(prefix));
    Ok(())
}
