//! A shard by itself, whose commands are called without protocol or network.

use ringdove::command::FAMILIES;
use ringdove::command::context::{Caller, Ctx, OwnedArgs};
use ringdove::command::registry::{Registry, Route};
use ringdove::command::spec::Run;
use ringdove::mesh::ShardId;
use ringdove::resp::Version;
use ringdove::resp::encode::{Output, Reply};
use ringdove::server::config::Config;
use ringdove::shard::node::Node;
use ringdove::shard::{Shard, Ticks};
use std::sync::Arc;

/// A shard without anybody else, and where its replies go.
pub struct Alone {
    /// The shard.
    pub shard: Shard,
    /// The reply to the last call.
    pub out: Output,
}

impl Alone {
    /// An empty one.
    pub fn new() -> Self {
        let config = Config {
            shards: 1,
            ..Config::default()
        };
        let node = Node::new(config, [1, 2], String::new(), 0, vec![0], |_| {});
        let registry = Arc::new(Registry::new(FAMILIES));
        let ticks = Ticks {
            read: || 0,
            per_us: 1,
        };
        let mut shard = Shard::new(ShardId(0), Arc::new(node), registry, ticks, None);
        shard.now_ms = 1_700_000_000_000;
        Self {
            shard,
            out: Output::default(),
        }
    }

    /// Runs a command, which must succeed.
    pub fn call(&mut self, args: &[&[u8]]) {
        let id = self.shard.registry.resolve(args).expect("a known command");
        let row = self.shard.registry.row(id);
        let Run::Keyed(function) = row.spec.run else {
            panic!("runs at a shard")
        };
        let pos = match row.route {
            Route::OneKey(at) => self.shard.pos(args[usize::from(at)]),
            _ => Default::default(),
        };
        self.out.clear();
        let caller = Caller {
            client: 1,
            db: 0,
            flags: 0,
            home: self.shard.id,
        };
        function(&mut Ctx {
            shard: &mut self.shard,
            args,
            reply: Reply::new(&mut self.out, Version::Resp2),
            caller,
            pos,
            row: id,
            large: OwnedArgs {
                first: 0,
                owned: &mut Vec::new(),
            },
        })
        .expect("a command that works");
    }
}

/// Writes the last digits of a number over the whole text.
pub fn put_digits(text: &mut [u8], mut n: usize) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (n % 10) as u8;
        n /= 10;
    }
}
