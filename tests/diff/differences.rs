//! Known, deliberate differences from redis-server 7.0.15: one list, each with its reason.

/// A difference that is wanted.
struct Known {
    /// The command's first words, in capitals.
    command: &'static str,
    /// One of these words is among the arguments; empty where that does not matter.
    with: &'static [&'static str],
    /// The reference's reply begins with this.
    redis_says: &'static str,
    /// Why Ringdove answers otherwise; printed with the number of replies that it explained.
    reason: &'static str,
}

const KNOWN: &[Known] = &[
    Known {
        command: "SET",
        with: &["IFEQ", "IFNE", "IFDEQ", "IFDNE"],
        redis_says: "-ERR syntax error",
        reason: "SET's newer conditions (newer/strings.txt)",
    },
    Known {
        command: "BITOP",
        with: &["DIFF", "DIFF1", "ANDOR", "ONE"],
        redis_says: "-ERR syntax error",
        reason: "BITOP's newer operations (newer/bitmaps.txt)",
    },
];

/// Why Ringdove deliberately does not answer this command as the reference did, where so.
pub(crate) fn reason(args: &[Vec<u8>], redis_reply: &str) -> Option<&'static str> {
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
                && (known.with.is_empty() || words.iter().any(|w| known.with.contains(&&w[..])))
        })
        .map(|known| known.reason)
}
