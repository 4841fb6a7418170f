//! Values of every type and size through the format, and what is wrong with it.

use super::encode::{put_aux, put_database, put_length, put_signature};
use super::format::{Kind, opcode};
use super::payload;
use super::*;
use crate::keyspace::{Hasher, NewValue, OwnedEntry, Value};
use crate::server::config::Config;
use crate::types::digest;
use crate::types::packed::Element;
use crate::types::stream::{BlockLimits, Group, NewId, Pending, Stream, StreamId};
use fastrand::Rng;

fn limits() -> Limits {
    Limits::of(&Config::default(), Hasher::new([3, 4]))
}

fn entry_of(key: &[u8], built: Built) -> OwnedEntry {
    built.store(|value| OwnedEntry::new(key, None, 0, value))
}

fn text(rng: &mut Rng) -> Vec<u8> {
    match rng.u32(..8) {
        0..3 => rng.i32(-200..200).to_string().into_bytes(),
        3 => rng.i64(..).to_string().into_bytes(),
        4 => vec![rng.u8(..); rng.usize(..300)],
        5 if rng.u32(..20) == 0 => (0..rng.usize(..9000)).map(|_| rng.u8(..)).collect(),
        _ => (0..rng.usize(..40)).map(|_| rng.u8(..)).collect(),
    }
}

/// How many elements: mostly few, sometimes more than a block has.
fn size(rng: &mut Rng) -> usize {
    match rng.u32(..6) {
        0 => rng.usize(100..700),
        _ => rng.usize(1..20),
    }
}

fn score(rng: &mut Rng) -> f64 {
    match rng.u32(..5) {
        0 => f64::INFINITY,
        1 => f64::from(rng.i32(..)),
        2 => f64::from(rng.i32(-9999..9999)) / 100.0,
        3 => -1e300 * rng.f64(),
        _ => rng.f64(),
    }
}

fn stream(rng: &mut Rng) -> Stream {
    let mut stream = Stream::default();
    let limits = BlockLimits {
        bytes: 4096,
        entries: 10,
    };
    let mut ids = Vec::new();
    for ms in 0..size(rng) as u64 {
        let mut pairs: Vec<Vec<u8>> = vec![b"name".to_vec(), text(rng), b"7".to_vec(), text(rng)];
        if rng.u32(..4) == 0 {
            pairs.extend([text(rng), text(rng)]);
        }
        let pairs: Vec<&[u8]> = pairs.iter().map(|part| &part[..]).collect();
        let id = NewId::Given(StreamId { ms: ms + 1, seq: 5 });
        ids.push(stream.log.append(id, &pairs, limits).expect("it is later"));
    }
    for id in &ids {
        if rng.u32(..5) == 0 {
            stream.log.delete(*id);
        }
    }
    for name in [&b"a"[..], b"other", b"17"].iter().take(rng.usize(..4)) {
        let mut group = Group::new(name, ids[0], rng.bool().then_some(3));
        let consumers = [
            group.create(b"x", 1000).expect("it is new"),
            group.create(b"y", 2000).expect("it is new"),
        ];
        group.was_active(consumers[0], 1000);
        group.was_active(consumers[1], 2000);
        for id in &ids {
            if rng.bool() {
                let pending = Pending {
                    consumer: consumers[rng.usize(..2)],
                    delivered_ms: 77,
                    deliveries: rng.u64(..3),
                };
                group.set_pending(*id, pending);
            }
        }
        stream.add_group(group);
    }
    stream.verify();
    stream
}

/// A value of any type.
fn value(rng: &mut Rng) -> Built {
    let limits = limits();
    let count = size(rng);
    let (mut list, mut set) = (
        build::ListBuilder::new(&limits),
        build::SetBuilder::new(&limits),
    );
    let (mut zset, mut hash) = (
        build::ZSetBuilder::new(&limits),
        build::HashBuilder::new(&limits),
    );
    match rng.u32(..8) {
        0 => return Built::string(&text(rng)),
        1 => return Built::string(&text(rng).repeat(rng.usize(1..60))),
        2 => {
            (0..count).for_each(|_| list.push(Element::of(&text(rng))));
            list.finish()
        }
        3 => {
            (0..count).for_each(|_| drop(set.add(Element::Int(rng.i64(..) >> rng.u32(..64)))));
            set.finish()
        }
        4 => {
            (0..count).for_each(|_| drop(set.add(Element::of(&text(rng)))));
            set.finish()
        }
        5 => {
            (0..count).for_each(|_| drop(zset.add(&text(rng), score(rng))));
            zset.finish()
        }
        6 => {
            let expires = rng.bool();
            for _ in 0..count {
                let expiry = (expires && rng.bool()).then(|| rng.u64(1..1 << 45));
                let (field, value) = (text(rng), text(rng));
                let _ = hash.add(Element::of(&field), Element::of(&value), expiry);
            }
            hash.finish()
        }
        _ => return Built::Object(Box::new(stream(rng))),
    }
    .expect("it has elements")
}

fn dumped(entry: &OwnedEntry, compress: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(compress);
    payload::dump(&mut encoder, &entry.entry().value(), &mut bytes);
    bytes
}

fn restored(bytes: &[u8]) -> Result<Built, Bad> {
    Payload::open(bytes, true)?.value(&limits())
}

#[test]
fn payloads_come_back() {
    let mut rng = Rng::with_seed(11);
    for round in 0..600 {
        let entry = entry_of(b"key", value(&mut rng));
        let bytes = dumped(&entry, round % 2 == 0);
        let again =
            restored(&bytes).unwrap_or_else(|bad| panic!("round {round}, {bad}: {entry:?}"));
        let again = entry_of(b"key", again);
        let digests = [&entry, &again].map(|e| digest::of_key(&e.entry()).to_hex());
        assert_eq!(digests[0], digests[1], "{entry:?}");
        assert_eq!(entry.entry().encoding(), again.entry().encoding());
        if let Value::Object(object) = again.entry().value()
            && let Some(stream) = object.as_any().downcast_ref::<Stream>()
        {
            stream.verify();
            // Neither groups nor what has gone are in the digest.
            assert_eq!(dumped(&again, round % 2 == 0), bytes);
        }
    }
}

#[test]
fn damaged_payloads_are_refused_or_sound() {
    let mut rng = Rng::with_seed(12);
    for _ in 0..400 {
        let entry = entry_of(b"key", value(&mut rng));
        let whole = dumped(&entry, rng.bool());
        for _ in 0..30 {
            let mut bytes = whole.clone();
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(..bytes.len());
                match rng.u32(..4) {
                    0 => bytes[at] = rng.u8(..),
                    1 => bytes[at] ^= 1 << rng.u32(..8),
                    2 => bytes.truncate(at.max(10)),
                    _ => bytes.insert(at, rng.u8(..)),
                }
            }
            assert!(Payload::open(&bytes, true).is_err() || bytes == whole);
            // With a footer that is right.
            let body = bytes.len() - 10;
            bytes[body..body + 2].copy_from_slice(&[[10, 0], [12, 0], [80, 0]][rng.usize(..3)]);
            let crc = crc64::crc64(0, &bytes[..body + 2]);
            bytes[body + 2..].copy_from_slice(&crc.to_le_bytes());
            if let Ok(built) = restored(&bytes) {
                let entry = entry_of(b"key", built);
                let _ = digest::of_key(&entry.entry());
                restored(&dumped(&entry, true)).expect("what was taken can be given");
            }
        }
    }
}

/// A file with a few entries, and the digests of these.
fn file(rng: &mut Rng) -> (Vec<u8>, Vec<String>) {
    let (mut bytes, mut digests) = (Vec::new(), Vec::new());
    put_signature(true, &mut bytes);
    put_aux("redis-ver", b"7.0.15", &mut bytes);
    put_aux("redis-bits", b"64", &mut bytes);
    let mut encoder = Encoder::new(true);
    for db in [0, 3] {
        put_database(db, 5, 2, &mut bytes);
        for key in 0..6 {
            let expiry = rng.bool().then_some(1_900_000_000_000);
            let key = format!("{db}:{key}").into_bytes();
            let entry = entry_of(&key, value(rng)).with_expiry(expiry);
            let access = [
                Access::Unknown,
                Access::IdleSeconds(100_000),
                Access::Frequency(200),
            ][rng.usize(..3)];
            encoder.entry(&entry.entry(), access, &mut bytes);
            digests.push(digest::of_key(&entry.entry()).to_hex());
        }
    }
    bytes.push(opcode::FUNCTION);
    put_length(3, &mut bytes);
    bytes.extend_from_slice(b"lua");
    bytes.push(opcode::END);
    let crc = crc64::crc64(0, &bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    (bytes, digests)
}

/// A value of each kind of which there are long ones.
fn long_values(rng: &mut Rng) -> Vec<Built> {
    let limits = limits();
    let mut list = build::ListBuilder::new(&limits);
    let mut set = build::SetBuilder::new(&limits);
    let mut zset = build::ZSetBuilder::new(&limits);
    let mut hash = build::HashBuilder::new(&limits);
    let mut expiring = build::HashBuilder::new(&limits);
    let mut log = Stream::default();
    let blocks = BlockLimits {
        bytes: 4096,
        entries: 10,
    };
    for n in 0..3000 + rng.u64(..1000) {
        let (one, other) = (format!("{n}"), [b'x'; 300]);
        let (one, value) = (one.as_bytes(), text(rng));
        list.push(Element::of(&value));
        list.push(Element::of(&other));
        let _ = set.add(Element::of(one));
        let _ = zset.add(one, score(rng));
        let _ = hash.add(Element::of(one), Element::of(&value), None);
        let expiry = rng.bool().then(|| rng.u64(1..1 << 45));
        let _ = expiring.add(Element::of(one), Element::of(&value), expiry);
        let id = NewId::Given(StreamId { ms: n + 1, seq: 0 });
        log.log
            .append(id, &[b"field", &value], blocks)
            .expect("later");
    }
    let built = [
        list.finish(),
        set.finish(),
        zset.finish(),
        hash.finish(),
        expiring.finish(),
    ];
    let mut built: Vec<Built> = built.into_iter().map(|b| b.expect("not empty")).collect();
    built.push(Built::Object(Box::new(log)));
    built
}

/// A stream of a few entries of which many groups know, some of them a lot.
fn stream_with_groups(rng: &mut Rng) -> Built {
    let mut stream = Stream::default();
    let blocks = BlockLimits {
        bytes: 4096,
        entries: 100,
    };
    for ms in 1..=5 {
        let id = NewId::Given(StreamId { ms, seq: 0 });
        let appended = stream.log.append(id, &[b"field", b"value"], blocks);
        appended.expect("later");
    }
    for (name, most) in [("a", 0), ("b", 3000), ("c", 32), ("d", 64), ("e", 1)] {
        let read = rng.bool().then_some(7);
        let mut group = Group::new(name.as_bytes(), StreamId { ms: 9, seq: 9 }, read);
        let consumers: Vec<_> = (0..rng.usize(1..6))
            .map(|n| group.create(n.to_string().as_bytes(), 5).expect("new"))
            .collect();
        for ms in 0..most {
            let pending = Pending {
                consumer: consumers[rng.usize(..consumers.len())],
                delivered_ms: rng.u64(..1 << 40),
                deliveries: rng.u64(..1 << 20),
            };
            group.set_pending(StreamId { ms, seq: 1 }, pending);
        }
        assert!(stream.add_group(group));
    }
    Built::Object(Box::new(stream))
}

#[test]
fn the_groups_of_a_stream_come_in_parts() {
    let mut rng = Rng::with_seed(22);
    for _ in 0..20 {
        let entry = entry_of(b"key", stream_with_groups(&mut rng));
        let entry = entry.entry();
        assert!(long::is_long(&entry), "for its groups");
        let mut encoder = Encoder::new(true);
        let (mut wanted, mut bytes) = (Vec::new(), Vec::new());
        encoder.entry(&entry, Access::Unknown, &mut wanted);
        let mut progress = encoder.begin_long(&entry, Access::Unknown, &mut bytes);
        let mut longest = 0;
        loop {
            let before = bytes.len();
            let last = encoder.go_on(&entry.value(), &mut progress, &mut bytes);
            longest = longest.max(bytes.len() - before);
            if last {
                break;
            }
        }
        assert!(bytes == wanted, "the parts are not the whole");
        assert!(longest < 3000, "{longest}");
    }
}

#[test]
fn long_values_come_back_from_parts() {
    let mut rng = Rng::with_seed(21);
    for round in 0..3 {
        let mut encoder = Encoder::new(round % 2 == 0);
        for value in long_values(&mut rng) {
            let entry = entry_of(b"key", value).with_expiry(Some(1_900_000_000_000));
            let entry = entry.entry();
            assert!(long::is_long(&entry), "{:?}", entry.encoding());
            let mut bytes = Vec::new();
            put_signature(true, &mut bytes);
            let mut progress = encoder.begin_long(&entry, Access::Unknown, &mut bytes);
            let (mut parts, mut longest) = (1, 0);
            loop {
                let before = bytes.len();
                let last = encoder.go_on(&entry.value(), &mut progress, &mut bytes);
                longest = longest.max(bytes.len() - before);
                parts += 1;
                if last {
                    break;
                }
            }
            assert!(parts > 8, "{parts}");
            assert!(longest < 700_000, "{:?}: {longest}", entry.encoding());
            bytes.push(opcode::END);
            let crc = crc64::crc64(0, &bytes);
            bytes.extend_from_slice(&crc.to_le_bytes());
            let wanted = digest::of_key(&entry).to_hex();
            assert_eq!(
                read(&bytes, 4096),
                Ok(vec![wanted]),
                "{:?}",
                entry.encoding()
            );
        }
    }
    for _ in 0..100 {
        let short = entry_of(b"key", Built::string(&text(&mut rng)));
        assert!(!long::is_long(&short.entry()));
    }
}

/// Reads a file in chunks of so many bytes; the digests of its entries.
fn read(bytes: &[u8], chunk: usize) -> Result<Vec<String>, Error> {
    let mut reader = Reader::new(&limits(), true);
    let mut digests = Vec::new();
    for chunk in bytes.chunks(chunk.max(1)) {
        reader.feed(chunk);
        while let Some(item) = reader.next_item()? {
            if let Item::Entry(entry) = item {
                let expiry = entry.expiry;
                let key = entry.key;
                let owned = entry.value.store(|v| OwnedEntry::new(key, expiry, 0, v));
                digests.push(digest::of_key(&owned.entry()).to_hex());
            }
        }
    }
    reader.end()?;
    assert_eq!(reader.offset(), bytes.len() as u64);
    Ok(digests)
}

#[test]
fn a_file_comes_back_however_it_arrives() {
    let mut rng = Rng::with_seed(13);
    for _ in 0..6 {
        let (bytes, wanted) = file(&mut rng);
        for chunk in [1, 7, 4096, bytes.len()] {
            assert_eq!(read(&bytes, chunk).as_ref(), Ok(&wanted));
        }
        for _ in 0..30 {
            let cut = rng.usize(..bytes.len());
            let error = read(&bytes[..cut], 900).expect_err("its end is missing");
            assert_eq!(error.bad, Bad::Truncated);
            let mut damaged = bytes.clone();
            damaged[rng.usize(9..bytes.len())] ^= 1 << rng.u32(..8);
            read(&damaged, 900).expect_err("its checksum is wrong at least");
        }
    }
}

#[test]
fn files_that_are_not_ours_are_named() {
    let bad = |bytes: &[u8]| read(bytes, 64).expect_err("it is wrong").bad;
    assert_eq!(bad(b"PIDEO0010\xff"), Bad::Signature);
    assert_eq!(bad(b"REDIS0013\xff"), Bad::Version(13));
    assert_eq!(bad(b"REDIS0000\xff"), Bad::Version(0));
    assert_eq!(bad(b"REDIS0010\xf2"), Bad::UnknownType(0xf2));
    assert_eq!(bad(b"REDIS0010\x08\x01k"), Bad::UnknownType(8));
    let module = b"REDIS0010\x07\x01k\x81\x00\x00\x00\x00\x00\x00\x04\x00rest of it";
    assert_eq!(
        bad(module).to_string(),
        "a value of the module type 'AAAAAAAAB': modules are not supported"
    );
    assert!(matches!(
        bad(b"REDIS0010\xfe\x00\xff\x01\0\0\0\0\0\0\0"),
        Bad::Checksum { stored: 1, .. }
    ));
    // Without a checksum, as `rdbchecksum no` writes it; and before version 5.
    assert_eq!(
        read(b"REDIS0010\xfe\x00\xff\0\0\0\0\0\0\0\0", 3),
        Ok(vec![])
    );
    assert_eq!(read(b"REDIS0004\xfe\x00\xff", 3), Ok(vec![]));
    assert_eq!(
        read(b"VALKEY080\xfe\x00\xff\0\0\0\0\0\0\0\0", 3),
        Ok(vec![])
    );
}

/// The digest of a value that is said to be of a type.
fn of_type(kind: u8, version: u32, body: &[u8]) -> Result<String, Bad> {
    let kind = Kind::of(kind, version)?;
    let mut decoder = decode::Decoder::new(kind, &limits());
    let mut input = input::Input::new(body);
    match decoder.read(&mut input) {
        Err(input::Stop::Bad(bad)) => return Err(bad),
        outcome => assert_eq!((outcome, input.at()), (Ok(()), body.len())),
    }
    let entry = entry_of(b"", decoder.finish()?);
    Ok(digest::of_value(&entry.entry()).to_hex())
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_length(bytes.len() as u64, &mut out);
    out.extend_from_slice(bytes);
    out
}

/// A ziplist of short strings.
fn ziplist(elements: &[&[u8]]) -> Vec<u8> {
    let (mut body, mut before, mut last) = (Vec::new(), 0, 10);
    for element in elements {
        last = 10 + body.len();
        body.extend_from_slice(&[before, element.len() as u8]);
        body.extend_from_slice(element);
        before = 2 + element.len() as u8;
    }
    let mut out = (11 + body.len() as u32).to_le_bytes().to_vec();
    out.extend_from_slice(&(last as u32).to_le_bytes());
    out.extend_from_slice(&(elements.len() as u16).to_le_bytes());
    out.extend(body);
    out.push(0xff);
    out
}

#[test]
fn what_older_and_newer_servers_wrote() {
    let hash = of_type(4, 10, b"\x02\x01a\x011\x01b\x01x").expect("sound");
    let in_ziplist = string(&ziplist(&[b"a", b"1", b"b", b"x"]));
    assert_eq!(of_type(13, 9, &in_ziplist), Ok(hash.clone()));
    let zipmap = string(b"\x02\x01a\x01\x001\x01b\x01\x02xyy\xff");
    assert_eq!(of_type(9, 2, &zipmap), Ok(hash.clone()));

    let list = of_type(1, 10, b"\x03\x01a\x011\x01b").expect("sound");
    assert_eq!(
        of_type(10, 4, &string(&ziplist(&[b"a", b"1", b"b"]))),
        Ok(list.clone())
    );
    let mut quicklist = vec![2];
    quicklist.extend(string(&ziplist(&[b"a"])));
    quicklist.extend(string(&ziplist(&[b"1", b"b"])));
    assert_eq!(of_type(14, 9, &quicklist), Ok(list.clone()));
    assert_eq!(
        of_type(18, 10, b"\x03\x01\x01a\x01\x011\x01\x01b"),
        Ok(list)
    );

    let zset = of_type(5, 10, b"\x01\x01a\0\0\0\0\0\0\xf8?").expect("sound");
    assert_eq!(of_type(3, 10, b"\x01\x01a\x031.5"), Ok(zset.clone()));
    assert_eq!(of_type(12, 9, &string(&ziplist(&[b"a", b"1.5"]))), Ok(zset));
    let infinite = of_type(5, 10, b"\x01\x01a\0\0\0\0\0\0\xf0\x7f").expect("sound");
    assert_eq!(of_type(3, 10, b"\x01\x01a\xfe"), Ok(infinite));
    assert!(of_type(3, 10, b"\x01\x01a\x041.5x").is_err());

    // One field that expires at 1000, one that does not.
    let mut listpack = Vec::new();
    let mut block = crate::types::packed::EMPTY.to_vec();
    for element in [&b"b"[..], b"x", b"1000", b"a", b"1", b"0"] {
        crate::types::packed::push(&mut block, &[Element::of(element)]);
    }
    blob::put_listpack(&[&block[2..]], 6, &mut listpack);
    let listpack = string(&listpack);
    let expiring = of_type(
        24,
        12,
        b"\x90\x03\0\0\0\0\0\0\x02\x00\x01a\x011\x40\x59\x01b\x01x",
    );
    let wanted = expiring.clone().expect("sound");
    assert_ne!(wanted, hash);
    assert_eq!(
        of_type(22, 12, b"\x02\x00\x01a\x011\x43\xe8\x01b\x01x"),
        expiring
    );
    let valkey = b"\x02\x01a\x011\xff\xff\xff\xff\xff\xff\xff\xff\x01b\x01x\xe8\x03\0\0\0\0\0\0";
    assert_eq!(of_type(22, 80, valkey), expiring);
    assert_eq!(of_type(23, 12, &listpack), expiring);
    let mut with_earliest = 1000u64.to_le_bytes().to_vec();
    with_earliest.extend(&listpack);
    assert_eq!(of_type(25, 12, &with_earliest), expiring);
}

#[test]
fn elements_stand_once_and_collections_are_not_empty() {
    let twice = Err(Bad::Corrupt("an element stands twice in a collection"));
    assert_eq!(of_type(2, 10, b"\x00").unwrap_err(), Bad::Empty);
    for kind in [1, 2, 3, 4, 5, 14, 18] {
        assert_eq!(
            of_type(kind, 10, b"\x00").unwrap_err(),
            Bad::Empty,
            "{kind}"
        );
    }
    let set = string(&ziplist(&[b"a", b"1", b"a", b"2"]));
    let mut decoder = decode::Decoder::new(Kind::HashZiplist, &limits());
    let stopped = decoder.read(&mut input::Input::new(&set));
    assert_eq!(stopped, twice.map_err(input::Stop::Bad));
}

#[test]
fn sizes_that_are_not_there_take_no_memory() {
    for body in [
        &b"\x81\xff\xff\xff\xff\xff\xff\xff\xff"[..],
        b"\x81\x00\x00\x00\x7f\xff\xff\xff\xffab",
        b"\x80\x7f\xff\xff\xff",
    ] {
        for kind in Kind::of(0, 10)
            .into_iter()
            .chain((1..26).filter_map(|n| Kind::of(n, 10).ok()))
        {
            let mut decoder = decode::Decoder::new(kind, &limits());
            decoder
                .read(&mut input::Input::new(body))
                .expect_err("nothing of it is there");
        }
    }
    let bomb = b"\xc3\x03\x80\x7f\xff\xff\xffabc";
    let mut decoder = decode::Decoder::new(Kind::String, &limits());
    let stopped = decoder.read(&mut input::Input::new(bomb));
    assert!(matches!(stopped, Err(input::Stop::Bad(_))));
    let large = Built::string(&vec![b'x'; 1 << 20]);
    large.store(|value| assert!(matches!(value, NewValue::Large(_))));
}
