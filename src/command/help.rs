//! The reply of the HELP subcommands.
use crate::resp::encode::Reply;

/// Writes what `COMMAND HELP` replies: a heading, the lines, and HELP itself.
pub fn reply(reply: &mut Reply<'_>, command: &str, lines: &[&str]) {
    reply.array(lines.len() + 3);
    reply.simple(&format!(
        "{command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    ));
    lines.iter().for_each(|line| reply.simple(line));
    reply.simple("HELP");
    reply.simple("    Prints this help.");
}
