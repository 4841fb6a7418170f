//! Known, deliberate differences from redis-server 7.0.15: one list, each with its reason.

/// A difference that is wanted.
struct Known {
    /// The command's first words, in capitals.
    command: &'static str,
    /// One of these words is among the arguments; empty where that does not matter.
    with: &'static [&'static str],
    /// The reference's reply begins with this.
    redis_says: &'static str,
    /// Ringdove's reply begins with this; empty where that does not matter.
    ours_says: &'static str,
    /// The type of the key, the command's last argument; empty where that does not matter.
    of_type: &'static str,
    /// Why Ringdove answers otherwise; printed with the number of replies that it explained.
    reason: &'static str,
}

const KNOWN: &[Known] = &[
    Known {
        command: "SET",
        with: &["IFEQ", "IFNE", "IFDEQ", "IFDNE"],
        redis_says: "-ERR syntax error",
        ours_says: "",
        of_type: "",
        reason: "SET's newer conditions (newer/strings.txt)",
    },
    Known {
        command: "BITOP",
        with: &["DIFF", "DIFF1", "ANDOR", "ONE"],
        redis_says: "-ERR syntax error",
        ours_says: "",
        of_type: "",
        reason: "BITOP's newer operations (newer/bitmaps.txt)",
    },
    Known {
        command: "BITCOUNT",
        with: &[],
        redis_says: "-ERR syntax error",
        ours_says: "",
        of_type: "",
        reason: "BITCOUNT key start without an end, as Valkey 8.1 has it",
    },
    Known {
        command: "CLIENT KILL",
        with: &["ID"],
        redis_says: "-ERR syntax error",
        ours_says: "",
        of_type: "",
        reason: "several ids, as newer versions take them",
    },
    Known {
        command: "CLIENT HELP",
        with: &[],
        redis_says: "[+CLIENT",
        ours_says: "",
        of_type: "",
        reason: "subcommands and filters of newer versions stand in it",
    },
    Known {
        command: "LOLWUT VERSION",
        with: &[],
        redis_says: "-ERR value is not an integer",
        ours_says: "",
        of_type: "",
        reason: "there is one picture, which takes no numbers",
    },
    Known {
        command: "CONFIG SET LOGLEVEL",
        with: &[],
        redis_says: "-ERR CONFIG SET failed",
        ours_says: "",
        of_type: "",
        reason: "a newer version has the level `nothing`, too",
    },
    Known {
        command: "ZRANK",
        with: &[],
        redis_says: "-ERR wrong number of arguments",
        ours_says: "",
        of_type: "",
        reason: "WITHSCORE of newer versions (newer/zset.txt)",
    },
    Known {
        command: "ZREVRANK",
        with: &[],
        redis_says: "-ERR wrong number of arguments",
        ours_says: "",
        of_type: "",
        reason: "WITHSCORE of newer versions (newer/zset.txt)",
    },
    Known {
        command: "XREAD",
        with: &["+"],
        redis_says: "-ERR Invalid stream ID",
        ours_says: "",
        of_type: "",
        reason: "XREAD's + for the last entry (newer/streams.txt)",
    },
    Known {
        command: "XGROUP CREATECONSUMER",
        with: &[],
        redis_says: ":1",
        ours_says: "",
        of_type: "",
        reason: "since 7.2 a consumer is made by the first command that names it",
    },
    Known {
        command: "OBJECT ENCODING",
        with: &[],
        redis_says: "\"hashtable\"",
        ours_says: "\"listpack\"",
        of_type: "set",
        reason: "small sets are listpacks since 7.2",
    },
    Known {
        command: "OBJECT ENCODING",
        with: &[],
        redis_says: "\"quicklist\"",
        ours_says: "\"listpack\"",
        of_type: "list",
        reason: "small lists are listpacks since 7.2",
    },
    Known {
        command: "OBJECT REFCOUNT",
        with: &[],
        redis_says: ":1",
        ours_says: "",
        of_type: "",
        reason: "values are never shared; a small number counts as shared even where COPY made it",
    },
];

/// Why Ringdove deliberately does not answer this command as the reference did, where so. `type_of`
/// tells the type of the command's last argument, where that is known.
pub(crate) fn reason(
    args: &[Vec<u8>],
    our_reply: &str,
    redis_reply: &str,
    mut type_of: impl FnMut() -> Option<String>,
) -> Option<&'static str> {
    let words: Vec<String> = args
        .iter()
        .map(|a| String::from_utf8_lossy(a).to_uppercase())
        .collect();
    let line = words.join(" ");
    KNOWN
        .iter()
        .find(|known| {
            line.starts_with(known.command)
                && redis_reply.starts_with(known.redis_says)
                && our_reply.starts_with(known.ours_says)
                && (known.of_type.is_empty() || type_of().is_none_or(|t| t == known.of_type))
                && (known.with.is_empty() || words.iter().any(|w| known.with.contains(&&w[..])))
        })
        .map(|known| known.reason)
}
