//! `--check-rdb FILE`: reads a snapshot as the start would, and says what is in it, or what is wrong
//! with it and where.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::config::Config;
use crate::keyspace::Hasher;
use crate::rdb::{Built, Item, Limits, Reader, Value};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Checks a file. Whether it is right; what there is to say was printed.
pub fn run(path: &Path) -> bool {
    match check(path) {
        Ok(report) => {
            print!("{report}");
            true
        }
        Err(why) => {
            eprintln!("{}: {why}", path.display());
            false
        }
    }
}

fn type_name(value: &Value<'_>) -> &'static str {
    match value {
        Value::String(_) | Value::Built(Built::Int(_) | Built::Bytes(_)) => "string",
        Value::Built(Built::Packed(kind, _)) => kind.name(),
        Value::Built(Built::Object(object)) => object.kind().name(),
    }
}

/// What a file holds, or what is wrong with it.
pub fn check(path: &Path) -> Result<String, String> {
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    // Positions are not looked at, so any seed will do.
    let limits = Limits::of(&Config::default(), Hasher::new([1, 2]));
    let mut reader = Reader::new(&limits, true);
    let mut chunk = vec![0; CHUNK_BYTES];
    let (mut types, mut expires, mut about) = (BTreeMap::new(), 0u64, String::new());
    loop {
        let bytes = file.read(&mut chunk).map_err(|error| error.to_string())?;
        if bytes == 0 {
            reader.end().map_err(|error| error.to_string())?;
            break;
        }
        reader.feed(&chunk[..bytes]);
        while let Some(item) = reader.next_item().map_err(|error| error.to_string())? {
            match item {
                Item::Entry(entry) => {
                    *types.entry(type_name(&entry.value)).or_insert(0u64) += 1;
                    expires += u64::from(entry.expiry.is_some());
                }
                Item::Aux(name, value) => {
                    let (name, value) = (name.escape_ascii(), value.escape_ascii());
                    about.push_str(&format!("{name}: {value}\n"));
                }
                Item::Function(_) => *types.entry("library of functions").or_insert(0) += 1,
                Item::Empty(_) => *types.entry("empty").or_insert(0) += 1,
                Item::End => {}
            }
        }
    }
    let mut report = format!("version: {}\n{about}", reader.version());
    for (name, count) in &types {
        report.push_str(&format!("{name}: {count}\n"));
    }
    report.push_str(&format!("keys that expire: {expires}\n"));
    report.push_str(&format!("{} bytes, and all is well\n", reader.offset()));
    Ok(report)
}
