//! CLIENT LIST and CLIENT INFO.

use super::filter::{Filter, Use};
use super::tracking::redirect_of;
use crate::command::context::{HomeCtx, MergeCtx, PartCtx};
use crate::command::error::{Error, Outcome};
use crate::command::registry::{Registry, RowId};
use crate::net::session::{Peer, Session, Stall, flag};
use crate::net::tracking::Mode;
use crate::resp::Version;
use crate::shard::Shard;
use crate::shard::channels::Class;

/// What the connection that asks is just doing.
struct Asking<'a> {
    args: &'a [&'a [u8]],
    row: RowId,
}

/// CLIENT INFO
pub(super) fn info(ctx: &mut HomeCtx<'_>) -> Outcome {
    let asking = Asking {
        args: ctx.args,
        row: ctx.row,
    };
    let now_ms = ctx.shard().now_ms as i64;
    let registry = ctx.shard().registry.clone();
    let mut line = Vec::new();
    write_line(&mut line, ctx.session(), now_ms, &registry, Some(&asking));
    put_shard(&mut line, ctx.shard());
    ctx.reply().verbatim("txt", &line);
    Ok(())
}

/// CLIENT LIST: whether the filters are right.
pub(super) fn list(ctx: &mut HomeCtx<'_>) -> Outcome {
    if ctx.args.len() == 3 {
        return Err(Error::SYNTAX);
    }
    let databases = ctx.shard().keyspace.databases();
    Filter::parse(&ctx.args[2..], Use::List, databases)?;
    ctx.shard().node.begin_survey();
    Ok(())
}

/// The lines of a shard's connections, those on their way to another one included, each behind its
/// client's id, a byte that says whether it has left, and its length.
pub(super) fn list_part(ctx: &mut PartCtx<'_>) -> Outcome {
    let shard = &ctx.engine.shard;
    let filter = Filter::parse(&ctx.args[2..], Use::List, shard.keyspace.databases())?;
    let now_ms = shard.now_ms as i64;
    let row = shard.registry.resolve(ctx.args).unwrap_or_default();
    let asking = Asking {
        args: ctx.args,
        row,
    };
    let mut line = Vec::new();
    let here = ctx.engine.sessions().map(|(_, session)| (session, false));
    let departed = ctx.engine.departed().map(|session| (session, true));
    for (session, has_left) in here.chain(departed) {
        if !session.is_alive() || !filter.matches(session, ctx.caller.client, now_ms) {
            continue;
        }
        line.clear();
        let own = (session.id == ctx.caller.client).then_some(&asking);
        write_line(&mut line, session, now_ms, &shard.registry, own);
        put_shard(&mut line, shard);
        let out = &mut ctx.out.buf;
        out.extend_from_slice(&session.id.to_le_bytes());
        out.push(u8::from(has_left));
        out.extend_from_slice(&(line.len() as u32).to_le_bytes());
        out.extend_from_slice(&line);
    }
    Ok(())
}

/// All lines, one for each client, by their ids: of two the one from where it is.
pub(super) fn list_merge(ctx: &mut MergeCtx<'_>) -> Outcome {
    ctx.engine.shard.node.end_survey();
    let mut lines: Vec<(u64, u8, &[u8])> = Vec::new();
    for part in ctx.parts.iter() {
        let mut rest = &part.buf[..];
        while let Some((id, after)) = rest.split_first_chunk::<8>() {
            let ([has_left], after) = after.split_first_chunk::<1>().expect("a byte");
            let (length, after) = after.split_first_chunk::<4>().expect("a length");
            let (line, after) = after.split_at(u32::from_le_bytes(*length) as usize);
            lines.push((u64::from_le_bytes(*id), *has_left, line));
            rest = after;
        }
    }
    lines.sort_by_key(|(id, has_left, _)| (*id, *has_left));
    lines.dedup_by_key(|(id, ..)| *id);
    let text: Vec<u8> = lines.iter().flat_map(|(.., line)| *line).copied().collect();
    ctx.reply.verbatim("txt", &text);
    Ok(())
}

/// The letters that CLIENT LIST prints.
pub(super) fn flags_of(session: &Session) -> String {
    let blocked = session.is(flag::BLOCKED) || session.stall == Stall::Paused;
    let tracker = session.info.tracker.as_deref();
    let letters = [
        ('O', session.is(flag::MONITOR)),
        ('P', session.is(flag::PUBSUB)),
        ('x', session.is(flag::MULTI)),
        ('b', blocked),
        ('t', tracker.is_some()),
        ('R', tracker.is_some_and(|tracker| tracker.broken)),
        (
            'B',
            tracker.is_some_and(|tracker| tracker.mode == Mode::Broadcast),
        ),
        ('c', session.is(flag::CLOSE_AFTER_REPLY)),
        ('U', matches!(session.peer, Peer::Unix(_))),
        ('e', session.is(flag::NO_EVICT)),
        ('T', session.is(flag::NO_TOUCH)),
    ];
    let text: String = letters.iter().filter(|l| l.1).map(|l| l.0).collect();
    if text.is_empty() { "N".into() } else { text }
}

/// Where connections may move, the line ends with the shard that they are on.
fn put_shard(line: &mut Vec<u8>, shard: &Shard) {
    if shard.config.connection_migration {
        assert_eq!(line.pop(), Some(b'\n'), "a line");
        line.extend_from_slice(format!(" shard={}\n", shard.id.0).as_bytes());
    }
}

/// One connection as Redis 7.4 prints it, with the traffic counters of Redis 8 at the end.
fn write_line(
    line: &mut Vec<u8>,
    session: &Session,
    now_ms: i64,
    registry: &Registry,
    asking: Option<&Asking<'_>>,
) {
    let info = &session.info;
    let since = |then_ms: i64| now_ms / 1000 - then_ms / 1000;
    let row = asking.map_or(info.last_row, |asking| asking.row);
    let command = if row == RowId::UNKNOWN {
        "NULL"
    } else {
        &registry.row(row).full_name
    };
    let args = asking.map_or(&[][..], |asking| asking.args);
    let arg_bytes: usize = args.iter().map(|arg| arg.len()).sum();
    let asked_bytes = asking.map_or(0, |asking| encoded_bytes(asking.args));
    let kept = session.kept.as_ref();
    let input_free = kept.map_or(0, |kept| kept.buf.capacity() - kept.buf.len());
    let output_buffer = session.out.buf.capacity();
    let waiting = session.output_bytes();
    let chunks = match asking {
        Some(_) => 0,
        None => usize::from(info.backlog_bytes > 0) + session.held.len(),
    };
    let memory = size_of::<Session>()
        + size_of_val(&**info)
        + info.name.capacity()
        + info.lib_name.capacity()
        + info.lib_ver.capacity()
        + kept.map_or(0, |kept| kept.buf.capacity())
        + output_buffer
        + waiting;
    let version = if session.version == Version::Resp3 {
        3
    } else {
        2
    };
    let own = info.subscriptions.as_deref();
    let subscriptions = |class| own.map_or(0, |own| own.len(class));
    let redirect = redirect_of(session);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let head = format!(
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} \
         multi={} watch={} qbuf={} qbuf-free={input_free} argv-mem={arg_bytes} multi-mem={} \
         rbs={output_buffer} rbp={output_buffer} obl={} oll={chunks} omem={} tot-mem={memory} \
         events={} cmd={command} user=default redir={redirect} resp={version} lib-name={} lib-ver={} \
         tot-net-in={} tot-net-out={} tot-cmds={}\n",
        session.id,
        session.peer.addr(),
        session.peer.laddr(),
        session.fd,
        text(&info.name),
        since(info.created_ms),
        since(info.active_ms),
        flags_of(session),
        session.db,
        subscriptions(Class::Channel),
        subscriptions(Class::Pattern),
        subscriptions(Class::Shard),
        session.queued(),
        session.watches(),
        session.input_bytes() + asked_bytes,
        session.queued_bytes(),
        if asking.is_some() {
            0
        } else {
            session.out.buf.len()
        },
        if asking.is_some() {
            0
        } else {
            waiting - session.out.buf.len()
        },
        if info.backlog_bytes > 0 { "rw" } else { "r" },
        text(&info.lib_name),
        text(&info.lib_ver),
        info.bytes_in,
        info.bytes_out,
        info.commands,
    );
    line.extend_from_slice(head.as_bytes());
}

/// Bytes of a command as an array of bulk strings.
fn encoded_bytes(args: &[&[u8]]) -> usize {
    let digits = |n: usize| n.checked_ilog10().unwrap_or(0) as usize + 1;
    let bulk = |arg: &&[u8]| 1 + digits(arg.len()) + 2 + arg.len() + 2;
    1 + digits(args.len()) + 2 + args.iter().map(bulk).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_as_long_as_it_was_sent() {
        assert_eq!(encoded_bytes(&[b"client", b"list"]), 26);
        let long = [b'x'; 100];
        assert_eq!(encoded_bytes(&[&long, b""]), 4 + 1 + 3 + 2 + 100 + 2 + 6);
    }
}
