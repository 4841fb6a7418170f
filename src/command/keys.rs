//! Finding the keys among a command's arguments by its key specs.
use super::spec::{Begin, Find, Flags, KeyFlags, KeySpec, Spec};

/// A key's place among the arguments and what the command does with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyAt {
    /// Index into the arguments.
    pub index: usize,
    /// The spec's flags.
    pub flags: KeyFlags,
}

/// Appends the keys of a command to `found`. False: the arguments do not tell (a bad number of
/// keys, say), and the command will answer with an error of its own.
pub fn keys_of(spec: &Spec, args: &[&[u8]], found: &mut Vec<KeyAt>) -> bool {
    if spec.flags.has(Flags::MOVABLEKEYS) && spec.name == "migrate" {
        // An option's value or a key may be the word that the key specs look for.
        let keys = super::generic::migrate::keys_at(args);
        let flags = spec.keys[0].flags;
        found.extend(keys.map(|index| KeyAt { index, flags }));
        return true;
    }
    spec.keys
        .iter()
        .all(|key_spec| keys_of_spec(key_spec, args, found))
}

fn keys_of_spec(spec: &KeySpec, args: &[&[u8]], found: &mut Vec<KeyAt>) -> bool {
    let argc = args.len();
    let begin = match spec.begin {
        Begin::Index(at) => usize::from(at),
        Begin::Keyword(word, from) => match find_keyword(word, from, args) {
            Some(at) => at,
            None => return true, // an optional part that is not there
        },
        Begin::Unknown => {
            // The only such key that arguments tell is the one that SORT stores under.
            if spec.flags.has(KeyFlags::OW)
                && let Some(index) = super::sort::store_key(args)
            {
                let flags = spec.flags;
                found.push(KeyAt { index, flags });
            }
            return true;
        }
    };
    if begin >= argc {
        return true;
    }
    let (first, last, step) = match spec.find {
        Find::Range { last, step, limit } => {
            let last = if last >= 0 {
                begin + last as usize
            } else if limit <= 1 {
                match argc.checked_sub(usize::from(last.unsigned_abs())) {
                    Some(last) => last,
                    None => return false,
                }
            } else {
                begin
                    + ((argc - begin) / usize::from(limit))
                        .saturating_sub(usize::from(last.unsigned_abs()))
            };
            (begin, last, usize::from(step))
        }
        Find::KeyNum { at, first, step } => {
            let Some(count) = args
                .get(begin + usize::from(at))
                .and_then(|a| crate::resp::number::parse_i64(a))
            else {
                return false;
            };
            let first = begin + usize::from(first);
            let step = usize::from(step);
            if count <= 0 || (count as usize) > argc || first + (count as usize - 1) * step >= argc
            {
                return false;
            }
            (first, first + (count as usize - 1) * step, step)
        }
        Find::Unknown => return true,
    };
    if last >= argc || last < first {
        return true; // the command's own checks will refuse it
    }
    found.extend((first..=last).step_by(step).map(|index| KeyAt {
        index,
        flags: spec.flags,
    }));
    true
}

fn find_keyword(word: &str, from: i16, args: &[&[u8]]) -> Option<usize> {
    let is = |at: &usize| args[*at].eq_ignore_ascii_case(word.as_bytes());
    let at = if from >= 0 {
        (usize::from(from.unsigned_abs())..args.len()).find(is)
    } else {
        let start = args.len().checked_sub(usize::from(from.unsigned_abs()))?;
        (1..=start).rev().find(is)
    };
    at.map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(keys: &'static [KeySpec], line: &str) -> Option<Vec<usize>> {
        let spec = Spec { keys, ..Spec::BASE };
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let mut out = Vec::new();
        keys_of(&spec, &args, &mut out).then(|| out.iter().map(|k| k.index).collect())
    }

    #[test]
    fn ranges_numbers_and_keywords() {
        const ALL: &[KeySpec] = &[KeySpec::range(1, -1, 1, KeyFlags::RO)];
        const PAIRS: &[KeySpec] = &[KeySpec::range(1, -1, 2, KeyFlags::OW)];
        const NUM: &[KeySpec] = &[KeySpec {
            flags: KeyFlags::RO,
            begin: Begin::Index(1),
            find: Find::KeyNum {
                at: 0,
                first: 1,
                step: 1,
            },
        }];
        const STREAMS: &[KeySpec] = &[KeySpec {
            flags: KeyFlags::RO,
            begin: Begin::Keyword("STREAMS", 1),
            find: Find::Range {
                last: -1,
                step: 1,
                limit: 2,
            },
        }];
        assert_eq!(found(ALL, "mget a b c"), Some(vec![1, 2, 3]));
        assert_eq!(found(PAIRS, "mset a 1 b 2"), Some(vec![1, 3]));
        assert_eq!(found(NUM, "zunion 2 a b weights 1 2"), Some(vec![2, 3]));
        assert_eq!(found(NUM, "zunion x a"), None);
        assert_eq!(found(NUM, "zunion 9 a"), None);
        assert_eq!(
            found(STREAMS, "xread count 2 streams a b 0 0"),
            Some(vec![4, 5])
        );
    }
}
