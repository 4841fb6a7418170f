//! LOLWUT: a dove on a ring, and the version.

use crate::command::context::HomeCtx;
use crate::command::error::{Error, Outcome};
use crate::command::spec::{Acl, Flags, Group, Run, Spec};
use crate::resp::number::parse_i64;
use crate::server::boot::VERSION;

pub(super) const SPEC: Spec = Spec {
    name: "lolwut",
    arity: -1,
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Acl::READ.or(Acl::FAST),
    group: Group::Server,
    since: "5.0.0",
    summary: "Displays computer art and the server's version.",
    complexity: "",
    syntax: "[VERSION version:integer]",
    run: Run::Home(lolwut),
    ..Spec::BASE
};

/// Columns and lines of the drawing.
const WIDTH: usize = 58;
const HEIGHT: usize = 17;
/// The bird, whose feet stand on the top of the ring.
const DOVE: [&str; 7] = [
    "        __      ",
    "     __( o)>    ",
    "  .-'   / |     ",
    r"(   ~~~~  /     ",
    r" \ `.__.-'/     ",
    r"  `---.__/      ",
    "      ^ ^       ",
];

fn lolwut(ctx: &mut HomeCtx<'_>) -> Outcome {
    if let [_, word, version, ..] = ctx.args
        && word.eq_ignore_ascii_case(b"version")
        && parse_i64(version).is_none()
    {
        return Err(Error::NOT_INTEGER);
    }
    let seed = ctx.shard().random();
    let shards = ctx.shard().node.shards;
    let text = format!(
        "{}\nA ringdove on its ring of {shards}. Ringdove ver. {VERSION}\n",
        draw(seed, shards)
    );
    ctx.reply().verbatim("txt", text.as_bytes());
    Ok(())
}

/// A ring seen from the side with a pearl for each shard, the dove above it, and stars as the seed
/// scatters them.
fn draw(seed: u64, shards: usize) -> String {
    let mut canvas = [[b' '; WIDTH]; HEIGHT];
    let mut state = seed | 1;
    let mut chance = |below: usize| {
        state = state
            .wrapping_mul(0x5851_F42D_4C95_7F2D)
            .wrapping_add(0x9E37_79B9);
        (state >> 33) as usize % below
    };
    for _ in 0..24 {
        let star = b".'*"[chance(3)];
        canvas[chance(HEIGHT)][chance(WIDTH)] = star;
    }
    // The ring: an ellipse, its middle in the lower part of the drawing.
    let at = |turn: f64| {
        let column = WIDTH as f64 / 2.0 + turn.sin() * 24.0;
        let line = HEIGHT as f64 - 5.5 - turn.cos() * 4.4;
        (
            (line as usize).min(HEIGHT - 1),
            (column as usize).min(WIDTH - 1),
        )
    };
    let steps = 400;
    for step in 0..steps {
        let (line, column) = at(f64::from(step) / f64::from(steps) * std::f64::consts::TAU);
        canvas[line][column] = b"-=~"[chance(3)];
    }
    for pearl in 0..shards {
        let turn = (pearl as f64 + 0.5) / shards as f64 * std::f64::consts::TAU;
        let (line, column) = at(turn);
        canvas[line][column] = b'o';
    }
    let left = (WIDTH - DOVE[0].len()) / 2 + chance(9) - 4;
    for (line, row) in DOVE.iter().enumerate() {
        for (column, b) in row.bytes().enumerate().filter(|(_, b)| *b != b' ') {
            canvas[line][left + column] = b;
        }
    }
    canvas
        .iter()
        .map(|line| String::from_utf8_lossy(line).trim_end().to_string() + "\n")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_seed_and_number_of_shards_makes_a_drawing() {
        for seed in 0..200 {
            let text = draw(seed << 7, 1 + seed as usize * 5);
            assert_eq!(text.lines().count(), HEIGHT);
            assert!(text.contains("o)>"), "{text}");
        }
    }
}
