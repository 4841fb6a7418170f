use super::sparse::{Hint, Raised};
use super::*;
use smallvec::SmallVec;

type Text = SmallVec<[u8; 64]>;

fn add(string: &mut Text, index: usize, value: u8, hint: &mut Hint) -> Raised {
    sparse::raise(string, index, value, u64::MAX, hint).expect("sound")
}

#[test]
fn both_forms_hold_what_was_raised() {
    let mut state = 7u64;
    let mut next = |end: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % end
    };
    for elements in [1, 10, 1_000, 30_000] {
        let mut string = Text::from_slice(&empty());
        let mut registers = vec![0; dense::BYTES];
        let mut model = [0u8; REGISTERS];
        for _ in 0..elements {
            // Near each other, so that runs are split and joined in all ways.
            let index = next(if elements > 100 { REGISTERS } else { 40 });
            let value = 1 + next(5) as u8 * next(7) as u8;
            let expected = value > model[index];
            model[index] = model[index].max(value);
            assert_eq!(dense::raise(&mut registers, index, value), expected);
            let raised = add(&mut string, index, value, &mut Hint::default());
            assert_eq!(raised == Raised::Yes, expected);
        }
        let mut merged = [0; REGISTERS];
        merge(&mut merged, &string, Encoding::Sparse).expect("sound");
        assert_eq!(merged, model);
        assert_eq!(to_dense(&string).expect("sound")[HEAD_BYTES..], registers);
        dense::merge(&mut merged, &registers);
        assert_eq!(merged, model);
        for (index, value) in model.iter().enumerate() {
            assert_eq!(dense::get(&registers, index), *value);
        }
        let histogram = sparse::histogram(&string[HEAD_BYTES..]).expect("sound");
        assert_eq!(histogram, dense::histogram(&registers));
        // In ascending order, with and without a hint, the same bytes come out.
        let mut hint = Hint::default();
        let (mut hinted, mut plain) = (Text::from_slice(&empty()), Text::from_slice(&empty()));
        for (index, value) in model.iter().enumerate().filter(|(_, value)| **value > 0) {
            add(&mut hinted, index, *value, &mut hint);
            add(&mut plain, index, *value, &mut Hint::default());
        }
        assert_eq!(hinted, plain);
    }
}

#[test]
fn hashes_and_places_are_redis_ones() {
    // PFDEBUG GETREG of redis-server 7.0 after PFADD of these elements.
    for (element, expected) in KNOWN_PLACES {
        assert_eq!(place(element.as_bytes()), *expected, "{element:?}");
    }
}

const KNOWN_PLACES: &[(&str, (usize, u8))] = &[
    ("", (5938, 2)),
    ("a", (12711, 2)),
    ("hello", (9216, 1)),
    ("12345678", (10579, 3)),
    ("123456789", (9293, 2)),
    ("0123456789abcdef", (5949, 1)),
    ("0123456789abcdef012", (15130, 1)),
    ("héllo\n", (13340, 2)),
];

#[test]
fn hostile_strings_are_refused() {
    let string = empty();
    assert_eq!(encoding_of(&string), Some(Encoding::Sparse));
    assert_eq!(encoding_of(&string[..15]), None);
    let mut dense = to_dense(&string).expect("sound");
    assert_eq!(encoding_of(&dense), Some(Encoding::Dense));
    dense.push(0);
    assert_eq!(encoding_of(&dense), None);
    for runs in [
        &b"\x7f"[..],
        b"",
        b"\x7f\xfe",
        b"\x7f\xff\x00",
        b"\x00\x7f\xff",
        b"\x80\x7f\xff",
    ] {
        let mut bad = string[..HEAD_BYTES].to_vec();
        bad.extend_from_slice(runs);
        assert_eq!(to_dense(&bad), Err(Corrupt), "{runs:?}");
        assert!(histogram(&bad, Encoding::Sparse).is_err());
        let mut bad = Text::from_slice(&bad);
        // It may be raised where its runs reach that far, and never panics.
        for index in [0, 5, REGISTERS - 1] {
            let _ = sparse::raise(&mut bad, index, 3, 100, &mut Hint::default());
        }
    }
}

#[test]
fn counts_are_near() {
    let mut registers = vec![0; dense::BYTES];
    for n in 1..=200_000u64 {
        let (index, value) = place(&n.to_le_bytes());
        dense::raise(&mut registers, index, value);
        if n.is_multiple_of(20_000) {
            let counted = estimate(&dense::histogram(&registers));
            assert!(counted.abs_diff(n) * 33 < n, "{counted} instead of {n}");
        }
    }
    assert_eq!(estimate(&dense::histogram(&vec![0; dense::BYTES])), 0);
}
