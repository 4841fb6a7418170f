//! Who a connection is: AUTH, HELLO, RESET.

use super::client::{check_name, set_name};
use crate::command::context::HomeCtx;
use crate::command::error::{Error, Outcome};
use crate::net::session::flag;
use crate::resp::Version;
use crate::resp::number::parse_i64;

/// The version of Redis that clients choose features by.
const REDIS_VERSION: &[u8] = b"7.4.0";
/// The only user, until there are ACLs.
pub(super) const DEFAULT_USER: &[u8] = b"default";

const NO_PASSWORD: Error = Error::fixed(
    "ERR AUTH <password> called without any password configured for the default user. Are you \
     sure your configuration is correct?",
);
const HELLO_NOAUTH: Error = Error::fixed(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
     AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol \
     version at the same time",
);

/// AUTH `[username] password`
pub(super) fn auth(ctx: &mut HomeCtx<'_>) -> Outcome {
    let (user, password) = match ctx.args {
        [_, password] => {
            if ctx.shard().config.requirepass.is_empty() {
                return Err(NO_PASSWORD);
            }
            (DEFAULT_USER, *password)
        }
        [_, user, password] => (*user, *password),
        _ => return Err(Error::SYNTAX),
    };
    authenticate(ctx, user, password)?;
    ctx.reply().ok();
    Ok(())
}

fn authenticate(ctx: &mut HomeCtx<'_>, user: &[u8], password: &[u8]) -> Outcome {
    let required = &ctx.shard().config.requirepass;
    // Without a password, the default user is let in with any.
    let right = required.is_empty() || same_secret(password, required);
    if user != DEFAULT_USER || !right {
        return Err(Error::WRONG_PASS);
    }
    ctx.session().flags &= !flag::NEED_AUTH;
    Ok(())
}

/// Compares in a time that depends on the length of what the client has sent, and on nothing else.
fn same_secret(given: &[u8], secret: &[u8]) -> bool {
    let mut differ = given.len() ^ secret.len();
    for (index, byte) in given.iter().enumerate() {
        let other = secret.get(index % secret.len().max(1)).copied();
        differ |= std::hint::black_box(usize::from(byte ^ other.unwrap_or_default()));
    }
    std::hint::black_box(differ) == 0
}

/// Whether HELLO's argument at an index is user or password: one of the two after AUTH.
pub(super) fn is_login(args: &[&[u8]], at: usize) -> bool {
    let before = |n: usize| at > n && args[at - n].eq_ignore_ascii_case(b"auth");
    before(1) || before(2)
}

/// HELLO `[protover [AUTH username password] [SETNAME clientname]]`
pub(super) fn hello(ctx: &mut HomeCtx<'_>) -> Outcome {
    let args = ctx.args;
    let mut version = None;
    if let Some(arg) = args.get(1) {
        version = Some(match parse_i64(arg) {
            Some(2) => Version::Resp2,
            Some(3) => Version::Resp3,
            Some(_) => return Err(Error::new("NOPROTO unsupported protocol version")),
            None => {
                let text = "ERR Protocol version is not an integer or out of range";
                return Err(Error::new(text));
            }
        });
    }
    let (mut login, mut name) = (None, None);
    let mut rest = args.get(2..).unwrap_or_default();
    while let [option, after @ ..] = rest {
        rest = match after {
            [user, password, rest @ ..] if option.eq_ignore_ascii_case(b"auth") => {
                login = Some((*user, *password));
                rest
            }
            [wanted, rest @ ..] if option.eq_ignore_ascii_case(b"setname") => {
                check_name(wanted)?;
                name = Some(*wanted);
                rest
            }
            _ => {
                return Err(Error::quoting(
                    "ERR Syntax error in HELLO option '",
                    option,
                    "'",
                ));
            }
        };
    }
    if let Some((user, password)) = login {
        authenticate(ctx, user, password)?;
    }
    if ctx.session().is(flag::NEED_AUTH) {
        return Err(HELLO_NOAUTH);
    }
    if let Some(name) = name {
        set_name(ctx, name)?;
    }
    if let Some(version) = version {
        ctx.session().version = version;
    }
    greet(ctx);
    Ok(())
}

fn greet(ctx: &mut HomeCtx<'_>) {
    let id = ctx.session().id as i64;
    let mode: &[u8] = match ctx.session().is(flag::CORE) {
        true => b"cluster",
        false => b"standalone",
    };
    let mut reply = ctx.reply();
    let version = if reply.is_resp3() { 3 } else { 2 };
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(REDIS_VERSION);
    reply.bulk(b"proto");
    reply.integer(version);
    reply.bulk(b"id");
    reply.integer(id);
    reply.bulk(b"mode");
    reply.bulk(mode);
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
}

/// RESET: everything that the connection has asked for is taken back, but the name and version of
/// its library.
pub(super) fn reset(ctx: &mut HomeCtx<'_>) -> Outcome {
    let conn = ctx.conn;
    ctx.engine.stop_monitor(conn);
    ctx.engine.unsubscribe_from_all(conn);
    ctx.engine.stop_tracking(conn);
    ctx.engine.end_multi(conn);
    let protected = !ctx.shard().config.requirepass.is_empty();
    let session = ctx.session();
    let asked = flag::REPLY_OFF | flag::REPLY_SKIP | flag::REPLY_SKIP_NEXT;
    session.flags &= !(asked | flag::NO_EVICT | flag::NO_TOUCH);
    session.set(flag::NEED_AUTH, protected);
    session.version = Version::Resp2;
    session.db = 0;
    session.info.name = Vec::new();
    ctx.reply().simple("RESET");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_equal_only_when_they_are() {
        assert!(same_secret(b"abc", b"abc"));
        assert!(!same_secret(b"abd", b"abc"));
        assert!(!same_secret(b"abcabc", b"abc"));
        assert!(!same_secret(b"ab", b"abc"));
        assert!(!same_secret(b"", b"abc"));
        assert!(!same_secret(b"a", b""));
    }
}
