//! One shard on which the unit tests of the families run commands.
use std::sync::Arc;

use super::FAMILIES;
use super::context::{Caller, Ctx, OwnedArgs};
use super::registry::{Registry, Route};
use super::spec::Run;
use crate::mesh::ShardId;
use crate::resp::Version;
use crate::resp::encode::{Output, Reply};
use crate::server::config::Config;
use crate::shard::node::Node;
use crate::shard::{Shard, Ticks};

/// A shard whose clock stands still until it is moved.
pub(crate) struct Fixture {
    pub(crate) shard: Shard,
}

impl Fixture {
    pub(crate) const CALLER: Caller = Caller {
        client: 1,
        db: 0,
        flags: 0,
        home: ShardId(0),
    };

    pub(crate) fn new() -> Self {
        let registry = Arc::new(Registry::new(FAMILIES));
        let config = Config {
            shards: 1,
            ..Config::default()
        };
        let node = Node::new(config, [1, 2], String::new(), 0, vec![0], |_| {});
        let ticks = Ticks {
            read: || 0,
            per_us: 1,
        };
        let mut shard = Shard::new(ShardId(0), Arc::new(node), registry, ticks, None);
        shard.now_ms = 1_000_000;
        Self { shard }
    }

    /// Runs a command given as words; the reply with `\r\n` shown as a blank.
    pub(crate) fn run(&mut self, line: &str) -> String {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let reply = self.run_args(&args);
        let text: String = reply.iter().map(|byte| char::from(*byte)).collect();
        text.trim_end().replace("\r\n", " ")
    }

    /// Runs a command; the reply as it is sent.
    pub(crate) fn run_args(&mut self, args: &[&[u8]]) -> Vec<u8> {
        let row = self.shard.registry.resolve(args).expect("a known command");
        let (spec, route) = {
            let row = self.shard.registry.row(row);
            (row.spec, row.route)
        };
        assert!(spec.arity_fits(args.len()), "wrong number of arguments");
        let Run::Keyed(function) = spec.run else {
            panic!("{} does not run at a shard", spec.name)
        };
        let pos = match route {
            Route::OneKey(at) => self.shard.pos(args[usize::from(at)]),
            _ => Default::default(),
        };
        let changes = self.shard.changes_so_far();
        let mut out = Output::default();
        let outcome = function(&mut Ctx {
            shard: &mut self.shard,
            args,
            reply: Reply::new(&mut out, Version::Resp2),
            caller: Self::CALLER,
            pos,
            row,
            large: OwnedArgs {
                first: 0,
                owned: &mut Vec::new(),
            },
        });
        if self.shard.effects.is_on() {
            self.shard.command_ended(row, spec, 0, pos, args, changes);
        }
        if let Err(error) = outcome {
            out.clear();
            Reply::new(&mut out, Version::Resp2).error(error.text());
        }
        let mut bytes = Vec::new();
        let mut from = 0;
        for (at, shared) in &out.shared {
            bytes.extend_from_slice(&out.buf[from..*at]);
            bytes.extend_from_slice(shared);
            from = *at;
        }
        bytes.extend_from_slice(&out.buf[from..]);
        bytes
    }

    /// What OBJECT ENCODING says of a key.
    pub(crate) fn encoding(&mut self, key: &str) -> Option<&'static str> {
        let pos = self.shard.pos(key.as_bytes());
        let entry = self.shard.peek(Self::CALLER, pos, key.as_bytes())?;
        entry.encoding()
    }
}
