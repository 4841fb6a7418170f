//! Every error text that a command answers with, as Redis writes it.
use std::borrow::Cow;

/// An error reply: the line without its dash, code first. Bytes, because it may quote what a client
/// has sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error(Cow<'static, [u8]>);

/// Bytes of an unknown name, and of the list of its arguments, that an error quotes.
const QUOTED_BYTES_MAX: usize = 128;

/// What a command's function returns; its reply has been written when it is `Ok`.
pub type Outcome = Result<(), Error>;

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        impl Error { $($(#[$doc])* pub const $name: Self = Self::fixed($text);)* }
    };
}

texts! {
    /// An argument where none, or another one, belongs.
    SYNTAX = "ERR syntax error";
    /// A key of another type.
    WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value";
    /// Not a 64-bit integer.
    NOT_INTEGER = "ERR value is not an integer or out of range";
    /// Not a 32-bit integer.
    NOT_INT32 = "ERR value is out of range, value must between -2147483648 and 2147483647";
    /// Not a number.
    NOT_FLOAT = "ERR value is not a valid float";
    /// A number that must not be negative.
    NOT_POSITIVE = "ERR value is out of range, must be positive";
    /// An increment that overflows.
    OVERFLOW = "ERR increment or decrement would overflow";
    /// An index past the end.
    INDEX_OUT_OF_RANGE = "ERR index out of range";
    /// A key that must exist.
    NO_SUCH_KEY = "ERR no such key";
    /// A database number that is none.
    DB_OUT_OF_RANGE = "ERR DB index is out of range";
    /// Commands before AUTH.
    NO_AUTH = "NOAUTH Authentication required.";
    /// A monitor that touches keys.
    MONITOR_KEYSPACE = "ERR Replica can't interact with the keyspace";
    /// A wrong user or password.
    WRONG_PASS = "WRONGPASS invalid username-password pair or user is disabled.";
    /// A string that would grow over `proto-max-bulk-len`.
    STRING_TOO_LONG = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    /// COPY and others onto itself.
    SAME_OBJECT = "ERR source and destination objects are the same";
    /// The end of a wait by CLIENT UNBLOCK.
    UNBLOCKED = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
    /// A cursor that is no number.
    BAD_CURSOR = "ERR invalid cursor";
    /// A write after a snapshot has failed.
    MISCONF_RDB = "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that may modify the data set are disabled, because this instance is configured to report errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB error.";
    /// What needs the dataset while it is loaded.
    LOADING = "LOADING Redis is loading the dataset in memory";
    /// Keys that a cluster could not serve together.
    CROSS_SLOT = "CROSSSLOT Keys in request don't hash to the same slot";
    /// What only a node of a cluster answers.
    NO_CLUSTER = "ERR This instance has cluster support disabled";
    /// A write while memory is short.
    OOM = "OOM command not allowed when used memory > 'maxmemory'.";
}

impl Error {
    /// An error with a text of its own.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(match text.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        })
    }

    /// An error with a text that never changes; usable in constants.
    pub const fn fixed(text: &'static str) -> Self {
        Self(Cow::Borrowed(text.as_bytes()))
    }

    /// An error with a text of bytes.
    pub fn of_bytes(text: Vec<u8>) -> Self {
        Self(Cow::Owned(text))
    }

    /// An error that quotes what the client has sent, whatever bytes that are.
    pub fn quoting(before: &str, quoted: &[u8], after: &str) -> Self {
        Self::of_bytes([before.as_bytes(), quotable(quoted), after.as_bytes()].concat())
    }

    /// The same of two arguments, with texts before, between and after them.
    pub fn quoting_two(texts: [&str; 3], quoted: [&[u8]; 2]) -> Self {
        let [before, between, after] = texts.map(str::as_bytes);
        let [first, second] = quoted.map(quotable);
        Self::of_bytes([before, first, between, second, after].concat())
    }

    /// The line, without its dash.
    pub fn text(&self) -> &[u8] {
        &self.0
    }

    /// A command that does not exist: its name and arguments, shortened as on Redis.
    pub fn unknown_command(args: &[&[u8]]) -> Self {
        let mut list = Vec::new();
        for arg in &args[1..] {
            let Some(room) = QUOTED_BYTES_MAX.checked_sub(list.len()).filter(|n| *n > 0) else {
                break;
            };
            let shown = quotable(arg);
            list.push(b'\'');
            list.extend_from_slice(&shown[..shown.len().min(room)]);
            list.extend_from_slice(b"' ");
        }
        let text: [&[u8]; 4] = [
            b"ERR unknown command '",
            shortened(args[0]),
            b"', with args beginning with: ",
            &list,
        ];
        Self::of_bytes(text.concat())
    }

    /// The wrong number of arguments for a command or subcommand (`config|get`).
    pub fn arity(command: &str) -> Self {
        Self::new(format!(
            "ERR wrong number of arguments for '{command}' command"
        ))
    }

    /// A command that a RESP2 connection with subscriptions may not use.
    pub fn subscribed(command: &str) -> Self {
        Self::new(format!(
            "ERR Can't execute '{command}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
             RESET are allowed in this context"
        ))
    }

    /// A time to live that is none.
    pub fn invalid_expire(command: &str) -> Self {
        Self::new(format!("ERR invalid expire time in '{command}' command"))
    }

    /// A subcommand that does not exist.
    pub fn unknown_subcommand(subcommand: &[u8], container: &str) -> Self {
        let help = format!("'. Try {} HELP.", container.to_ascii_uppercase());
        Self::quoting("ERR unknown subcommand '", shortened(subcommand), &help)
    }

    /// A subcommand that refuses its number of arguments by itself.
    pub fn wrong_arguments(subcommand: &[u8], container: &str) -> Self {
        Self::quoting(
            "ERR unknown subcommand or wrong number of arguments for '",
            shortened(subcommand),
            &format!("'. Try {container} HELP."),
        )
    }

    /// The error's code: its first word.
    pub fn code(&self) -> &str {
        let code = self.0.split(|b| *b == b' ').next();
        code.and_then(|code| std::str::from_utf8(code).ok())
            .unwrap_or("ERR")
    }
}

/// What an error quotes of bytes: those before the first zero, since Redis prints them as a C
/// string.
fn quotable(bytes: &[u8]) -> &[u8] {
    bytes.split(|b| *b == 0).next().unwrap_or_default()
}

/// A name as it is quoted, at most [`QUOTED_BYTES_MAX`] of it.
fn shortened(name: &[u8]) -> &[u8] {
    let shown = quotable(name);
    &shown[..shown.len().min(QUOTED_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_first_words() {
        assert_eq!(Error::WRONG_TYPE.code(), "WRONGTYPE");
        assert_eq!(Error::arity("config|get").code(), "ERR");
    }

    #[test]
    fn quoted_bytes_are_kept_up_to_the_first_zero() {
        let error = Error::quoting_two(["<", "|", ">"], [b"a\xff\0b", b"\x01"]);
        assert_eq!(error.text(), b"<a\xff|\x01>");
        let error = Error::unknown_command(&[b"no\xff", b"a\0b", &[b'x'; 200]]);
        let mut text = b"ERR unknown command 'no\xff', with args beginning with: 'a' '".to_vec();
        text.extend_from_slice(&[b'x'; 124]);
        text.extend_from_slice(b"' ");
        assert_eq!(error.text(), text);
        let error = Error::unknown_subcommand(b"a\xfe\0", "config");
        let text: &[u8] = b"ERR unknown subcommand 'a\xfe'. Try CONFIG HELP.";
        assert_eq!(error.text(), text);
    }
}
