//! Every error text that a command answers with, as Redis writes it.
use std::borrow::Cow;

/// An error reply: the line without its dash, code first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error(pub Cow<'static, str>);

/// What a command's function returns; its reply has been written when it is `Ok`.
pub type Outcome = Result<(), Error>;

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        impl Error { $($(#[$doc])* pub const $name: Self = Self(Cow::Borrowed($text));)* }
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
    /// A write while memory is short.
    OOM = "OOM command not allowed when used memory > 'maxmemory'.";
}

impl Error {
    /// An error with a text of its own.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(text.into())
    }

    /// The wrong number of arguments for a command or subcommand (`config|get`).
    pub fn arity(command: &str) -> Self {
        Self(format!("ERR wrong number of arguments for '{command}' command").into())
    }

    /// A command that a RESP2 connection with subscriptions may not use.
    pub fn subscribed(command: &str) -> Self {
        Self(
            format!(
                "ERR Can't execute '{command}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / \
                 QUIT / RESET are allowed in this context"
            )
            .into(),
        )
    }

    /// A time to live that is none.
    pub fn invalid_expire(command: &str) -> Self {
        Self(format!("ERR invalid expire time in '{command}' command").into())
    }

    /// A subcommand that does not exist.
    pub fn unknown_subcommand(subcommand: &[u8], container: &str) -> Self {
        let shown = String::from_utf8_lossy(&subcommand[..subcommand.len().min(128)]);
        let container = container.to_ascii_uppercase();
        Self(format!("ERR unknown subcommand '{shown}'. Try {container} HELP.").into())
    }

    /// A subcommand that refuses its number of arguments by itself.
    pub fn wrong_arguments(subcommand: &[u8], container: &str) -> Self {
        let shown = String::from_utf8_lossy(&subcommand[..subcommand.len().min(128)]);
        Self(
            format!(
                "ERR unknown subcommand or wrong number of arguments for '{shown}'. Try {container} HELP."
            )
            .into(),
        )
    }

    /// The error's code: its first word.
    pub fn code(&self) -> &str {
        self.0.split(' ').next().unwrap_or("ERR")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_first_words() {
        assert_eq!(Error::WRONG_TYPE.code(), "WRONGTYPE");
        assert_eq!(Error::arity("config|get").code(), "ERR");
    }
}
