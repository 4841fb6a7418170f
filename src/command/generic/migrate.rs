//! MIGRATE's arguments. What it does, `net::migrate` says.

use crate::command::context::Ctx;
use crate::command::error::{Error, Outcome};
use crate::resp::number::parse_i64;

/// Where the first option stands.
const OPTIONS_AT: usize = 6;
/// Redis's own, for what is not positive.
const TIMEOUT_MS_DEFAULT: u64 = 1000;

/// How to prove who one is to the target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Login {
    /// The user, if not the default one.
    pub user: Option<Vec<u8>>,
    /// The password.
    pub password: Vec<u8>,
}

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The target's host and port.
    pub host: Vec<u8>,
    /// See above.
    pub port: Vec<u8>,
    /// The target's database.
    pub db: i64,
    /// For how long the target may say nothing, milliseconds.
    pub timeout_ms: u64,
    /// Whether the keys stay here.
    pub copy: bool,
    /// Whether keys of the target are overwritten.
    pub replace: bool,
    /// How to log in, if that is needed.
    pub login: Option<Login>,
    /// The keys: arguments from here on.
    pub keys_at: usize,
    /// So many of them.
    pub keys: usize,
}

impl Request {
    /// Reads a command.
    pub fn parse(args: &[&[u8]]) -> Result<Self, Error> {
        let mut request = Self {
            host: args[1].to_vec(),
            port: args[2].to_vec(),
            db: 0,
            timeout_ms: 0,
            copy: false,
            replace: false,
            login: None,
            keys_at: 3,
            keys: 1,
        };
        let mut at = OPTIONS_AT;
        while at < args.len() {
            let is = |word: &[u8]| args[at].eq_ignore_ascii_case(word);
            let more = args.len() - 1 - at;
            if is(b"copy") {
                request.copy = true;
            } else if is(b"replace") {
                request.replace = true;
            } else if is(b"auth") && more >= 1 {
                request.login = Some(Login {
                    user: None,
                    password: args[at + 1].to_vec(),
                });
                at += 1;
            } else if is(b"auth2") && more >= 2 {
                request.login = Some(Login {
                    user: Some(args[at + 1].to_vec()),
                    password: args[at + 2].to_vec(),
                });
                at += 2;
            } else if is(b"keys") {
                if !args[3].is_empty() {
                    return Err(Error::fixed(
                        "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
                    ));
                }
                (request.keys_at, request.keys) = (at + 1, more);
                break;
            } else {
                return Err(Error::SYNTAX);
            }
            at += 1;
        }
        let timeout = parse_i64(args[5]).ok_or(Error::NOT_INTEGER)?;
        request.db = parse_i64(args[4]).ok_or(Error::NOT_INTEGER)?;
        request.timeout_ms = match u64::try_from(timeout) {
            Ok(ms @ 1..) => ms,
            _ => TIMEOUT_MS_DEFAULT,
        };
        Ok(request)
    }
}

/// Where the keys stand; in what is no right command, some place all the same.
pub fn keys_at(args: &[&[u8]]) -> std::ops::Range<usize> {
    let mut at = OPTIONS_AT;
    while at < args.len() {
        let is = |word: &[u8]| args[at].eq_ignore_ascii_case(word);
        if is(b"keys") && args[3].is_empty() {
            return at + 1..args.len();
        }
        at += if is(b"auth2") {
            3
        } else if is(b"auth") {
            2
        } else {
            1
        };
    }
    3..4
}

/// Passwords are not shown.
pub(super) fn is_secret(args: &[&[u8]], at: usize) -> bool {
    let is = |back: usize, word: &[u8]| {
        let before = at.checked_sub(back).filter(|at| *at >= OPTIONS_AT);
        before.is_some_and(|at| args[at].eq_ignore_ascii_case(word))
    };
    is(1, b"auth") || is(1, b"auth2") || is(2, b"auth2")
}

/// Where nobody can wait for the target: `net` runs it itself wherever it can.
pub(super) fn at_once(_: &mut Ctx<'_>) -> Outcome {
    Err(Error::fixed("ERR MIGRATE has to wait for its target"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Request, Error> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        Request::parse(&args)
    }

    #[test]
    fn options_come_in_any_order() {
        let request = parse("migrate h 1 k 2 -3 replace auth2 u p copy").expect("it is right");
        assert!(request.copy && request.replace);
        assert_eq!((request.db, request.timeout_ms), (2, 1000));
        assert_eq!((request.keys_at, request.keys), (3, 1));
        let login = request.login.expect("given");
        assert_eq!(
            (login.user, login.password),
            (Some(b"u".to_vec()), b"p".to_vec())
        );
        let request = parse("migrate h 1  0 5 auth copy keys a b").expect("it is right");
        assert!(!request.copy && request.login.is_some());
        assert_eq!((request.keys_at, request.keys), (9, 2));
        let args: Vec<&[u8]> = "migrate h 1  0 5 auth keys keys keys b"
            .split(' ')
            .map(str::as_bytes)
            .collect();
        assert_eq!(keys_at(&args), 9..11);
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for line in [
            "migrate h 1 k 0 5 auth",
            "migrate h 1 k 0 5 auth2 u",
            "migrate h 1 k 0 5 what",
            "migrate h 1 k 0 5 keys a",
            "migrate h 1 k x 5",
            "migrate h 1 k 0 x",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn passwords_are_secret() {
        let line = "migrate h 1 k 0 5 copy auth2 u p";
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let secret: Vec<usize> = (0..args.len()).filter(|at| is_secret(&args, *at)).collect();
        assert_eq!(secret, [8, 9]);
    }
}
