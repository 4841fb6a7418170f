//! Scripts: one command on a line, quoted as in redis-cli.
//!
//! | line | meaning |
//! | --- | --- |
//! | `# text` | nothing |
//! | `GET key` | sent to both, replies compared |
//! | `@wait 20` | waits so many milliseconds, for what expires |
//! | `=> reply` | after a command: the reply that must come, as `Value` prints it |
use ringdove_rig::{Server, inline_args};
use std::time::Duration;

/// One step of a script.
#[derive(Debug)]
pub(crate) enum Step {
    /// A command, the line it stands on, and the reply where the script names one.
    Command {
        /// Number of the line, from 1.
        line: usize,
        /// The command's arguments.
        args: Vec<Vec<u8>>,
        /// The reply that the script names.
        wanted: Option<String>,
    },
    /// Lets time pass on both servers.
    Wait(Duration),
}

/// Reads a script.
pub(crate) fn parse(name: &str, text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(reply) = line.strip_prefix("=> ") {
            match steps.last_mut() {
                Some(Step::Command { wanted, .. }) => *wanted = Some(reply.to_owned()),
                _ => panic!("{name}:{}: a reply without a command", i + 1),
            }
        } else if let Some(time) = line.strip_prefix("@wait ") {
            let ms = time.parse().expect("milliseconds");
            steps.push(Step::Wait(Duration::from_millis(ms)));
        } else {
            steps.push(Step::Command {
                line: i + 1,
                args: inline_args(line),
                wanted: None,
            });
        }
    }
    steps
}

/// Runs a script that names its replies against one server.
pub(crate) fn check(server: &Server, name: &str, steps: &[Step]) {
    let mut conn = server.connect();
    let mut wrong = Vec::new();
    for step in steps {
        match step {
            Step::Wait(time) => std::thread::sleep(*time),
            Step::Command { line, args, wanted } => {
                let reply = format!("{:?}", conn.call(args));
                if let Some(wanted) = wanted
                    && *wanted != reply
                {
                    let command = crate::duel::shown(args);
                    wrong.push(format!(
                        "{name}:{line}: {command}\n    documented {wanted}\n    got        {reply}"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
