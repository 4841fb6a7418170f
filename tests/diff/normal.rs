//! Where two right replies need not be equal: order, time and chance, declared by command.
use ringdove_rig::Value;

/// How the replies of a command are compared when their bytes differ.
#[derive(Clone, Copy)]
enum Rule {
    /// The same elements in any order.
    AnyOrder,
    /// The same type; the content is chance, a time, or the server's own.
    SameType,
    /// Integers that differ by at most so much.
    Near(i64),
    /// The same names in the first column of each `a=b` or `a:b` text.
    SameFields,
    /// Times in milliseconds, and ages, may be a little apart. Consumers that nothing is pending of
    /// are left out, and when others were seen is not compared: since 7.2 a consumer is made, and
    /// seen, by every command that names it.
    Times,
    /// A SCAN reply: the cursor's value is the server's own.
    Cursor,
}

/// The command (and subcommand) that a rule is for, in capitals; `$` at the end: without arguments.
const RULES: &[(&str, Rule)] = &[
    ("KEYS", Rule::AnyOrder),
    ("COMMAND$", Rule::SameType),
    ("COMMAND INFO$", Rule::SameType),
    // Flags and subcommands come in the order of hash tables.
    ("COMMAND INFO", Rule::AnyOrder),
    ("COMMAND LIST", Rule::SameType),
    ("COMMAND COUNT", Rule::SameType),
    ("COMMAND DOCS", Rule::SameType),
    ("CONFIG GET", Rule::AnyOrder),
    ("SMEMBERS", Rule::AnyOrder),
    ("SINTER", Rule::AnyOrder),
    ("SUNION", Rule::AnyOrder),
    ("SDIFF", Rule::AnyOrder),
    ("SSCAN", Rule::Cursor),
    ("SRANDMEMBER", Rule::SameType),
    ("SPOP", Rule::AnyOrder),
    ("SCAN", Rule::Cursor),
    ("ZSCAN", Rule::Cursor),
    ("ZRANDMEMBER", Rule::SameType),
    ("RANDOMKEY", Rule::SameType),
    ("HGETALL", Rule::AnyOrder),
    ("HKEYS", Rule::AnyOrder),
    ("HVALS", Rule::AnyOrder),
    ("HSCAN", Rule::AnyOrder),
    ("HRANDFIELD", Rule::SameType),
    ("TIME", Rule::SameType),
    ("TTL", Rule::Near(1)),
    ("PTTL", Rule::Near(200)),
    ("EXPIRETIME", Rule::Near(1)),
    ("PEXPIRETIME", Rule::Near(200)),
    ("OBJECT IDLETIME", Rule::Near(1)),
    ("OBJECT FREQ", Rule::SameType),
    ("DEBUG OBJECT", Rule::SameType),
    ("DEBUG SDSLEN", Rule::SameType),
    ("DEBUG HTSTATS", Rule::SameType),
    ("MEMORY USAGE", Rule::SameType),
    ("MEMORY STATS", Rule::SameType),
    ("MEMORY DOCTOR", Rule::SameType),
    ("MEMORY MALLOC-STATS", Rule::SameType),
    ("LASTSAVE", Rule::SameType),
    ("LOLWUT", Rule::SameType),
    ("INFO", Rule::SameType),
    ("CLIENT ID", Rule::SameType),
    ("CLIENT INFO", Rule::SameFields),
    ("CLIENT LIST", Rule::SameFields),
    ("HELLO", Rule::SameType),
    ("LATENCY HISTOGRAM", Rule::SameType),
    ("LATENCY DOCTOR", Rule::SameType),
    ("SLOWLOG GET", Rule::SameType),
    ("SLOWLOG LEN", Rule::SameType),
    ("ACL GENPASS", Rule::SameType),
    ("XPENDING", Rule::Times),
    ("XINFO CONSUMERS", Rule::Times),
    ("XINFO GROUPS", Rule::Times),
    ("XINFO STREAM", Rule::Times),
];

/// Whether two replies to this command are as good as equal.
pub(crate) fn same(args: &[Vec<u8>], left: &Value, right: &Value) -> bool {
    let word = |i: usize| {
        let text = args
            .get(i)
            .map(|a| String::from_utf8_lossy(a).to_uppercase());
        text.unwrap_or_default()
    };
    let (one, two) = (word(0), format!("{} {}", word(0), word(1)));
    let whole = match args.len() {
        1 => format!("{one}$"),
        2 => format!("{two}$"),
        _ => String::new(),
    };
    let rule = RULES
        .iter()
        .find(|(name, _)| *name == two || *name == one || *name == whole);
    match (left, right, rule) {
        // Errors are compared as they stand, whatever the command.
        (Value::Error(_), _, _) | (_, Value::Error(_), _) => false,
        (_, _, None) => false,
        (l, r, Some((_, rule))) => holds(*rule, l, r),
    }
}

fn holds(rule: Rule, left: &Value, right: &Value) -> bool {
    match rule {
        Rule::AnyOrder => sorted(left) == sorted(right),
        Rule::SameType => std::mem::discriminant(left) == std::mem::discriminant(right),
        Rule::Near(n) => match (left, right) {
            (Value::Int(l), Value::Int(r)) => *l >= 0 && *r >= 0 && l.abs_diff(*r) <= n as u64,
            _ => false,
        },
        Rule::SameFields => fields(left).is_superset(&fields(right)),
        Rule::Times => near_in_time(left, right),
        Rule::Cursor => match (left, right) {
            (Value::Array(l), Value::Array(r)) => {
                l.len() == 2
                    && r.len() == 2
                    && matches!((&l[0], &l[1]), (Value::Bulk(_), Value::Array(_)))
            }
            _ => false,
        },
    }
}

/// Milliseconds that two servers' times may be apart.
const APART_MS: u64 = 10_000;
/// Integers from here on are points in time.
const TIME_MIN: i64 = 1_000_000_000_000;

/// Rule::Times.
fn near_in_time(left: &Value, right: &Value) -> bool {
    let near = |l: i64, r: i64| l.abs_diff(r) <= APART_MS;
    match (left, right) {
        (Value::Int(l), Value::Int(r)) => l == r || (l.min(r) > &TIME_MIN && near(*l, *r)),
        (Value::Array(_) | Value::Map(_), Value::Array(_) | Value::Map(_)) => {
            let (left, right) = (flat(left), flat(right));
            let is_pending = matches!(
                &right[..],
                [Value::Bulk(_), Value::Bulk(_), Value::Int(_), Value::Int(_)]
            );
            left.len() == right.len()
                && (0..left.len()).all(|i| {
                    let name = match i.checked_sub(1).map(|i| &right[i]) {
                        Some(Value::Bulk(name)) => &name[..],
                        _ => b"",
                    };
                    match (&left[i], &right[i], name) {
                        (Value::Int(_), Value::Int(_), b"consumers" | b"idle" | b"seen-time") => {
                            true
                        }
                        (Value::Int(l), Value::Int(r), _) if is_pending && i == 2 => near(*l, *r),
                        (l, r, _) => near_in_time(l, r),
                    }
                })
        }
        (left, right) => left == right,
    }
}

/// What an array or a map holds, without what 7.0 does not have: consumers that nothing is pending
/// of, and fields of later versions.
fn flat(value: &Value) -> Vec<Value> {
    let all: Vec<Value> = match value {
        Value::Map(pairs) => pairs.iter().flat_map(|(k, v)| [k, v]).cloned().collect(),
        Value::Array(values) => values.clone(),
        _ => Vec::new(),
    };
    let mut kept = Vec::new();
    let mut rest = all.into_iter();
    while let Some(value) = rest.next() {
        if matches!(&value, Value::Bulk(b) if b == b"active-time" || b == b"inactive") {
            rest.next();
        } else if !is_idle_consumer(&value) {
            kept.push(value);
        }
    }
    kept
}

fn is_idle_consumer(value: &Value) -> bool {
    let parts = match value {
        Value::Map(_) => flat(value),
        Value::Array(parts) => parts.clone(),
        _ => return false,
    };
    let pending = parts.windows(2).find(
        |pair| matches!(&pair[0], Value::Bulk(name) if name == b"pending" || name == b"pel-count"),
    );
    let of_consumer = parts
        .iter()
        .any(|part| matches!(part, Value::Bulk(name) if name == b"idle" || name == b"seen-time"));
    of_consumer && matches!(pending, Some([_, Value::Int(0)]))
}

/// The same elements in one order, at every depth.
fn sorted(value: &Value) -> Value {
    let mut all: Vec<Value> = match value {
        Value::Map(pairs) => pairs
            .iter()
            .map(|(k, v)| Value::Array(vec![k.clone(), sorted(v)]))
            .collect(),
        Value::Array(v) | Value::Set(v) => v.iter().map(sorted).collect(),
        other => return other.clone(),
    };
    all.sort();
    match value {
        Value::Array(_) => Value::Array(all),
        _ => Value::Set(all),
    }
}

fn fields(value: &Value) -> std::collections::BTreeSet<String> {
    let text = match value {
        Value::Bulk(_) | Value::Verbatim(_) => value.text(),
        _ => return Default::default(),
    };
    text.split_ascii_whitespace()
        .filter_map(|word| word.split_once('=').map(|(name, _)| name.to_owned()))
        .collect()
}
