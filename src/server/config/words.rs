//! The words of a configuration line, as Redis splits and quotes them.
//!
//! A line is a sequence of words apart by blanks. A word may be `"quoted"`, with the escapes
//! `\n \r \t \b \a \xHH` and `\` before any other byte, or `'quoted'`, where only `\'` is an escape.
//! A closing quote must be followed by a blank or by the end of the line.

/// Splits a line into its words. `None` when a quote is not closed, or is closed inside a word.
pub fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        while let [b, tail @ ..] = rest
            && is_space(*b)
        {
            rest = tail;
        }
        // A NUL ends the line, as it ends the C string that Redis reads.
        if matches!(rest, [] | [0, ..]) {
            return Some(words);
        }
        let (word, tail) = word(rest)?;
        words.push(word);
        rest = tail;
    }
}

fn word(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    loop {
        match *rest {
            [] => return Some((word, rest)),
            [b, ..] if is_space(b) || b == 0 => return Some((word, rest)),
            [quote @ (b'"' | b'\''), ref tail @ ..] => {
                let after = if quote == b'"' {
                    double(tail, &mut word)
                } else {
                    single(tail, &mut word)
                }?;
                return match after {
                    [] => Some((word, after)),
                    [b, ..] if is_space(*b) => Some((word, after)),
                    _ => None,
                };
            }
            [b, ref tail @ ..] => {
                word.push(b);
                rest = tail;
            }
        }
    }
}

fn double<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match *rest {
            [] | [0, ..] => return None,
            [b'"', ref tail @ ..] => return Some(tail),
            [b'\\', b'x', high, low, ref tail @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex(high) << 4 | hex(low));
                rest = tail;
            }
            [b'\\', escaped, ref tail @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => other,
                });
                rest = tail;
            }
            [b, ref tail @ ..] => {
                word.push(b);
                rest = tail;
            }
        }
    }
}

fn single<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match *rest {
            [] | [0, ..] => return None,
            [b'\'', ref tail @ ..] => return Some(tail),
            [b'\\', b'\'', ref tail @ ..] => {
                word.push(b'\'');
                rest = tail;
            }
            [b, ref tail @ ..] => {
                word.push(b);
                rest = tail;
            }
        }
    }
}

/// C's `isspace` in the C locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Appends `word` in double quotes, escaped so that [`split`] gives it back byte by byte.
pub fn quote(word: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in word {
        match byte {
            b'\\' | b'"' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            7 => out.extend(b"\\a"),
            8 => out.extend(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => out.extend(format!("\\x{byte:02x}").bytes()),
        }
    }
    out.push(b'"');
}

/// Takes spaces, tabs and line ends off both ends, as Redis does with each line of a file.
pub fn trim(line: &[u8]) -> &[u8] {
    let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
    let from = line.iter().position(|b| !blank(b)).unwrap_or(line.len());
    let to = line
        .iter()
        .rposition(|b| !blank(b))
        .map_or(from, |at| at + 1);
    &line[from..to]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<String>> {
        split(line.as_bytes()).map(|all| {
            all.iter()
                .map(|w| String::from_utf8_lossy(w).into_owned())
                .collect()
        })
    }

    #[test]
    fn splits_as_redis() {
        let some = |list: &[&str]| Some(list.iter().map(|w| w.to_string()).collect::<Vec<_>>());
        assert_eq!(words("port 7000"), some(&["port", "7000"]));
        assert_eq!(words("  a\tb  "), some(&["a", "b"]));
        assert_eq!(words(""), some(&[]));
        assert_eq!(words(r#"save """#), some(&["save", ""]));
        assert_eq!(words(r#"a "b c" 'd e'"#), some(&["a", "b c", "d e"]));
        assert_eq!(words(r#"a "\x41\n\t\q\"""#), some(&["a", "A\n\tq\""]));
        assert_eq!(words(r#"a "\xZZ""#), some(&["a", "xZZ"]));
        assert_eq!(words(r"a 'b\'c\n'"), some(&["a", r"b'c\n"]));
        assert_eq!(
            words(r#"ab"c" d"#),
            some(&["abc", "d"]),
            "a quote may open inside a word"
        );
        assert_eq!(words(r#"a "b"#), None);
        assert_eq!(words(r#"a "b"c"#), None);
        assert_eq!(words("a 'b"), None);
        assert_eq!(words("a 'b'c"), None);
        assert_eq!(words("a \"b\\"), None);
    }

    #[test]
    fn quoting_round_trips_every_byte() {
        let all: Vec<u8> = (0..=255).collect();
        let mut line = b"name ".to_vec();
        quote(&all, &mut line);
        assert_eq!(split(&line), Some(vec![b"name".to_vec(), all]));
    }

    #[test]
    fn trims_line_ends_and_blanks_only() {
        assert_eq!(trim(b" \t# x \r\n"), b"# x");
        assert_eq!(trim(b" \r\n"), b"");
        assert_eq!(trim(b""), b"");
    }
}
