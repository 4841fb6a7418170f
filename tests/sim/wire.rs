//! The protocol as the simulated clients speak it: RESP2, written here anew, so that the server's own
//! code is not judged by itself.

use crate::model::Answer;

/// Writes a command as clients do.
pub(crate) fn put_command(out: &mut Vec<u8>, args: &[Vec<u8>]) {
    out.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// Words as arguments.
pub(crate) fn words(text: &str) -> Vec<Vec<u8>> {
    text.split(' ').map(|w| w.as_bytes().to_vec()).collect()
}

/// One reply from the front of `bytes`, and its length. `None`: it is not whole.
pub(crate) fn parse(bytes: &[u8]) -> Option<(Answer, usize)> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let line = String::from_utf8_lossy(&bytes[1..end]).into_owned();
    let number = || line.parse::<i64>().expect("a number");
    let mut at = end + 2;
    let answer = match bytes[0] {
        b'+' => Answer::Simple(line),
        b'-' => Answer::Error(line),
        b':' => Answer::Number(number()),
        b'$' if number() < 0 => Answer::Null,
        b'*' if number() < 0 => Answer::NullArray,
        b'$' => {
            let length = number() as usize;
            let value = bytes.get(at..at + length)?.to_vec();
            bytes.get(at + length..at + length + 2)?;
            at += length + 2;
            Answer::Bulk(value)
        }
        b'*' => {
            let mut all = Vec::new();
            for _ in 0..number() {
                let (one, length) = parse(&bytes[at..])?;
                all.push(one);
                at += length;
            }
            Answer::Array(all)
        }
        other => Answer::Error(format!("no reply begins with {}", char::from(other))),
    };
    Some((answer, at))
}
