//! Glob matching as Redis does it: `*`, `?`, `[a-z]`, `[^a]` and `\` before a character.
//!
//! KEYS, SCAN, PSUBSCRIBE, CONFIG GET and ACL patterns share this one matcher, and a client chooses
//! the pattern: so the time is bounded. Every element of a pattern but `*` takes exactly one byte,
//! therefore going back to the last `*` alone is complete, and the work is at most the product of
//! both lengths, never exponential.
//!
//! Redis's own corners are kept, for a client that sees them there must see them here:
//! - an empty text is matched by the empty pattern alone, not even by `*`;
//! - a class that is not closed ends with the pattern, and `[^]` matches any byte;
//! - the bounds of a range are compared as signed bytes, and are swapped when out of order;
//! - inside a class, an escaped byte keeps its case even when case is ignored.

/// Says whether `text` matches `pattern`; `nocase` ignores the case of ASCII letters.
pub fn matches(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    // Where to go on after a mismatch: behind the last star, one byte further in the text.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            while p < pattern.len() && pattern[p] == b'*' {
                p += 1;
            }
            if p == pattern.len() {
                return true;
            }
            t = match skip_to_literal(&pattern[p..], text, t, nocase) {
                Some(at) => at,
                None => return false,
            };
            retry = Some((p, t));
        }
        match step(pattern, p, text[t], nocase) {
            Some(next) => {
                p = next;
                t += 1;
            }
            None => {
                let Some((star, from)) = retry else {
                    return false;
                };
                let Some(at) = skip_to_literal(&pattern[star..], text, from + 1, nocase) else {
                    return false;
                };
                retry = Some((star, at));
                p = star;
                t = at;
            }
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// Says whether `pattern` has a byte with a meaning of its own, so that it must be matched, not
/// looked up. Redis looks for `[`, `*` and `?` alone, and so a lone `\` does not count.
pub fn has_wildcards(pattern: &[u8]) -> bool {
    pattern
        .iter()
        .any(|byte| matches!(byte, b'[' | b'*' | b'?'))
}

/// Matches one byte against the element at `p`; gives the place of the next element.
#[inline]
fn step(pattern: &[u8], p: usize, byte: u8, nocase: bool) -> Option<usize> {
    match *pattern.get(p)? {
        b'?' => Some(p + 1),
        b'[' => class(pattern, p + 1, byte, nocase),
        b'\\' if p + 1 < pattern.len() => same(pattern[p + 1], byte, nocase).then_some(p + 2),
        literal => same(literal, byte, nocase).then_some(p + 1),
    }
}

#[inline]
fn same(a: u8, b: u8, nocase: bool) -> bool {
    a == b || (nocase && a.eq_ignore_ascii_case(&b))
}

/// Matches one byte against the class whose first byte is at `p`; gives the place behind the class.
fn class(pattern: &[u8], mut p: usize, byte: u8, nocase: bool) -> Option<usize> {
    let negated = pattern.get(p) == Some(&b'^');
    if negated {
        p += 1;
    }
    let mut found = false;
    loop {
        match pattern[p..] {
            [] => break,
            [b'\\', escaped, ..] => {
                found |= escaped == byte;
                p += 2;
            }
            [b']', ..] => {
                p += 1;
                break;
            }
            [low, b'-', high, ..] => {
                found |= in_range(low, high, byte, nocase);
                p += 3;
            }
            [member, ..] => {
                found |= same(member, byte, nocase);
                p += 1;
            }
        }
    }
    (found != negated).then_some(p)
}

fn in_range(low: u8, high: u8, byte: u8, nocase: bool) -> bool {
    let (low, high) = if (low as i8) > (high as i8) {
        (high, low)
    } else {
        (low, high)
    };
    let fold = |b: u8| (if nocase { b.to_ascii_lowercase() } else { b }) as i8;
    (fold(low)..=fold(high)).contains(&fold(byte))
}

/// The first place from `from` on where `rest` can start: a literal's next occurrence, or `from`
/// itself when `rest` starts with something else. `None` when the text has no such place.
#[inline]
fn skip_to_literal(rest: &[u8], text: &[u8], from: usize, nocase: bool) -> Option<usize> {
    let tail = text.get(from..).filter(|tail| !tail.is_empty())?;
    match rest[0] {
        b'?' | b'[' | b'\\' | b'*' => Some(from),
        literal => tail
            .iter()
            .position(|&b| same(literal, b, nocase))
            .map(|at| from + at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(pattern: &str, text: &str) -> bool {
        matches(pattern.as_bytes(), text.as_bytes(), false)
    }

    /// Redis's own algorithm written down plainly, exponential as it is: the reference.
    fn reference(p: &[u8], t: &[u8], nocase: bool) -> bool {
        if t.is_empty() {
            return p.is_empty();
        }
        if p.first() == Some(&b'*') {
            let rest = &p[p.iter().take_while(|&&b| b == b'*').count()..];
            return rest.is_empty() || (0..t.len()).any(|at| reference(rest, &t[at..], nocase));
        }
        match step(p, 0, t[0], nocase) {
            None => false,
            Some(next) if t.len() == 1 => p[next..].iter().all(|&b| b == b'*'),
            Some(next) => reference(&p[next..], &t[1..], nocase),
        }
    }

    #[test]
    fn the_examples_of_the_keys_command() {
        for (pattern, text, expected) in [
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "hllo", true),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("h\\*llo", "h*llo", true),
            ("h\\*llo", "hxllo", false),
            ("*", "anything", true),
            ("a*", "a", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*ab", "aab", true),
            ("user:*:name", "user:1:name", true),
            ("user:*:name", "user:1:names", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn redis_corners() {
        assert!(!glob("*", ""));
        assert!(glob("", ""));
        assert!(!glob("", "a"));
        assert!(glob("[abc", "b"));
        assert!(!glob("[abc", "d"));
        assert!(!glob("[]", "a"));
        assert!(glob("[^]", "a"));
        assert!(glob("[a-]", "`"), "the bracket is the upper bound here");
        assert!(
            glob("a\\", "a\\"),
            "a backslash at the end stands for itself"
        );
        assert!(glob("[\\]]", "]"));
        assert!(
            matches(b"[a-\xff]", b"\x10", false),
            "signed bounds, swapped"
        );
        assert!(matches(b"SLAVE*", b"slave-priority", true));
        assert!(
            !matches(b"[\\A]", b"a", true),
            "an escaped member keeps its case"
        );
        assert!(matches(b"[A-C]", b"b", true));
    }

    #[test]
    fn agrees_with_the_plain_algorithm() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        for _ in 0..200_000 {
            let pattern: Vec<u8> = (0..next(9))
                .map(|_| b"aAb*?[]^-\\\xe9"[next(11) as usize])
                .collect();
            let text: Vec<u8> = (0..next(9))
                .map(|_| b"aAb]-\xe9"[next(6) as usize])
                .collect();
            let nocase = next(2) == 1;
            assert_eq!(
                matches(&pattern, &text, nocase),
                reference(&pattern, &text, nocase),
                "{pattern:?} {text:?} {nocase}"
            );
        }
    }

    #[test]
    fn a_hostile_pattern_is_bounded() {
        // Exponential matching would not end within the age of the universe.
        let pattern = b"a*"
            .repeat(5_000)
            .into_iter()
            .chain(*b"b")
            .collect::<Vec<u8>>();
        assert!(!matches(&pattern, &b"a".repeat(20_000), false));
        assert!(!matches(&b"?*".repeat(5_000), b"short", false));
    }
}
