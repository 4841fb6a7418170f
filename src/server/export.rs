//! `--export-rdb FILE`: reads the dataset of a directory as the start would, and writes it as a
//! snapshot that any Redis loads: the way out. Nothing listens meanwhile, and nothing in the
//! directory changes.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::recovery;
use super::snapshot::Target;
use crate::command::registry::Registry;
use crate::mesh::ShardId;
use crate::shard::node::Node;
use crate::shard::{Shard, Ticks};

/// Exports what the node's directory holds; what there is to say. The node has one shard.
pub fn run(
    node: &Arc<Node>,
    registry: &Arc<Registry>,
    ticks: Ticks,
    path: &Path,
) -> Result<String, String> {
    assert!(node.shards == 1, "this thread is the only shard");
    let began = Instant::now();
    let mut loading = recovery::look(node, registry, node.started_ms)?.ok_or_else(|| {
        let dir = &node.config().dir.0;
        format!("There is no dataset in {}", dir.display())
    })?;
    let mut shard = Shard::new(ShardId(0), node.clone(), registry.clone(), ticks, None);
    shard.now_ms = node.started_ms;
    for intake in std::mem::take(&mut loading.intakes) {
        intake.drain(&mut shard);
    }
    loading.end(node)?;
    node.saver.loading.end();
    let keys: usize = shard.keyspace.iter().map(|db| db.len()).sum();
    let target = Target::File(path.to_owned());
    let begun = node
        .saver
        .begin(node, node.started_ms / 1000, false, target)
        .map_err(|error| format!("Cannot write {}: {error}", path.display()))?;
    let run = node.saver.running().filter(|_| begun);
    let run = run.ok_or("It ended before it began")?;
    shard.begin_snapshot(run.clone());
    shard.finish_snapshot();
    if !node.saver.wait(&run) {
        return Err(format!("{} was not written", path.display()));
    }
    let seconds = began.elapsed().as_secs_f64();
    Ok(format!(
        "{keys} keys were written to {} in {seconds:.1} s",
        path.display()
    ))
}
