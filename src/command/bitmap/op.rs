//! BITOP.
use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::keyspace::{Expiry, INLINE_BYTES_MAX, NewValue};
use crate::resp::number::I64_TEXT_MAX;
use crate::shard::access::EventClass;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
    /// In the first, and in none of the others.
    Diff,
    /// In any of the others, and not in the first.
    Diff1,
    /// In the first, and in any of the others.
    AndOr,
    /// In exactly one.
    One,
}

impl Operation {
    const ALL: [(&'static str, Self); 8] = [
        ("AND", Self::And),
        ("OR", Self::Or),
        ("XOR", Self::Xor),
        ("NOT", Self::Not),
        ("DIFF", Self::Diff),
        ("DIFF1", Self::Diff1),
        ("ANDOR", Self::AndOr),
        ("ONE", Self::One),
    ];

    fn parse(name: &[u8], sources: usize) -> Result<Self, Error> {
        let is_it = |(known, _): &&(&str, Self)| name.eq_ignore_ascii_case(known.as_bytes());
        let (name, operation) = Self::ALL.iter().find(is_it).ok_or(Error::SYNTAX)?;
        match operation {
            Self::Not if sources != 1 => Err(Error::new(
                "ERR BITOP NOT must be called with a single source key.",
            )),
            Self::Diff | Self::Diff1 | Self::AndOr if sources < 2 => Err(Error::new(format!(
                "ERR BITOP {name} must be called with at least two source keys."
            ))),
            operation => Ok(*operation),
        }
    }
}

/// A result as its sources are added to it one after another; as long as the longest of them. A
/// source that is shorter counts as followed by zeros.
struct Combined {
    operation: Operation,
    bits: Vec<u8>,
    /// DIFF, DIFF1 and ANDOR: the first source, while `bits` has the others. ONE: what several
    /// sources have. Otherwise not used.
    other: Vec<u8>,
}

impl Combined {
    fn new(operation: Operation, len: usize) -> Self {
        use Operation::{AndOr, Diff, Diff1, One};
        let two = matches!(operation, Diff | Diff1 | AndOr | One);
        Self {
            operation,
            bits: vec![0; len],
            other: vec![0; if two { len } else { 0 }],
        }
    }

    fn add(&mut self, index: usize, source: &[u8]) {
        use Operation::{And, AndOr, Diff, Diff1, Not, One, Or, Xor};
        match self.operation {
            And | Not if index == 0 => self.bits[..source.len()].copy_from_slice(source),
            Diff | Diff1 | AndOr if index == 0 => {
                self.other[..source.len()].copy_from_slice(source);
            }
            And => {
                combine(&mut self.bits, source, |bits, byte| bits & byte);
                self.bits[source.len()..].fill(0);
            }
            Or | Diff | Diff1 | AndOr => combine(&mut self.bits, source, |bits, byte| bits | byte),
            Xor => combine(&mut self.bits, source, |bits, byte| bits ^ byte),
            One => {
                for ((bits, other), byte) in self.bits.iter_mut().zip(&mut self.other).zip(source) {
                    *other |= *bits & byte;
                    *bits |= byte;
                }
            }
            Not => unreachable!("it has one source"),
        }
    }

    fn finish(mut self) -> Vec<u8> {
        use Operation::{And, AndOr, Diff, Diff1, Not, One, Or, Xor};
        match self.operation {
            And | Or | Xor => {}
            Not => self.bits.iter_mut().for_each(|bits| *bits = !*bits),
            Diff => combine(&mut self.bits, &self.other, |others, first| first & !others),
            Diff1 | One => combine(&mut self.bits, &self.other, |bits, other| bits & !other),
            AndOr => combine(&mut self.bits, &self.other, |bits, other| bits & other),
        }
        self.bits
    }
}

/// Byte by byte in form, which the compiler does with vectors.
#[inline(always)]
fn combine(bits: &mut [u8], source: &[u8], operation: impl Fn(u8, u8) -> u8) {
    for (bits, byte) in bits.iter_mut().zip(source) {
        *bits = operation(*bits, *byte);
    }
}

/// BITOP
pub(super) fn bitop(ctx: &mut Ctx<'_>) -> Outcome {
    let (caller, target, sources) = (ctx.caller, ctx.args[2], &ctx.args[3..]);
    let operation = Operation::parse(ctx.args[1], sources.len())?;
    let mut len = 0;
    for key in sources {
        let pos = ctx.shard.pos(key);
        let found = ctx.shard.read_string(caller, pos, key)?;
        len = len.max(found.and_then(|value| value.string_len()).unwrap_or(0));
    }
    let mut combined = Combined::new(operation, len);
    for (index, key) in sources.iter().enumerate() {
        let pos = ctx.shard.pos(key);
        let mut text = [0; I64_TEXT_MAX];
        let value = ctx.shard.peek(caller, pos, key).map(|entry| entry.value());
        let bytes = value.and_then(|value| value.bytes(&mut text));
        combined.add(index, bytes.unwrap_or_default());
    }
    let result = combined.finish();
    let pos = ctx.shard.pos(target);
    let (class, event) = if result.is_empty() {
        if !ctx.shard.remove(caller, pos, target) {
            ctx.reply.integer(0);
            return Ok(());
        }
        (EventClass::Generic, "del")
    } else {
        let value = if len > INLINE_BYTES_MAX {
            NewValue::Large(result.into())
        } else {
            NewValue::Str {
                bytes: &result,
                raw: true,
            }
        };
        ctx.shard.store(caller, pos, target, value, Expiry::Clear);
        (EventClass::String, "set")
    };
    ctx.shard.changed(caller.db, pos, target, class, event);
    ctx.reply.integer(len as i64);
    Ok(())
}
