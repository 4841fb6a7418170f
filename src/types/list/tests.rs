//! Models of the large list against a deque.
use super::*;

fn text(random: &mut fastrand::Rng) -> Vec<u8> {
    match random.u8(..20) {
        0..6 => random.i64(-40..40).to_string().into_bytes(),
        6 => vec![b'L'; random.usize(3000..6000)],
        _ => vec![b'a' + random.u8(..3); random.usize(..60)],
    }
}

fn all(list: &LargeList) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    list.range(0, list.len(), |element| found.push(element.to_vec()));
    found
}

#[test]
fn it_agrees_with_the_model() {
    for seed in 0..6 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut list = LargeList::default();
        let mut model: VecDeque<Vec<u8>> = VecDeque::new();
        for step in 0..12_000 {
            let element = text(&mut random);
            let index = random.usize(..=model.len());
            // First it mostly grows.
            let grows = step < 7000;
            match random.u8(..20) {
                0..5 if grows => {
                    list.push(End::Left, Element::of(&element));
                    model.push_front(element);
                }
                5..10 if grows => {
                    list.push(End::Right, Element::of(&element));
                    model.push_back(element);
                }
                10..13 => {
                    list.insert(index, Element::of(&element));
                    model.insert(index, element);
                }
                13 => {
                    let mut popped = None;
                    list.pop(End::Left, |e| popped = Some(e.to_vec()));
                    assert_eq!(popped, model.pop_front());
                }
                14 => {
                    let mut popped = None;
                    list.pop(End::Right, |e| popped = Some(e.to_vec()));
                    assert_eq!(popped, model.pop_back());
                }
                15 if step % 50 == 0 => {
                    let count = random.usize(..3);
                    let end = if random.bool() { End::Left } else { End::Right };
                    let removed = list.remove_equal(Element::of(&element), count, end);
                    let mut left = count;
                    let mut wanted = 0;
                    let mut keep = |e: &Vec<u8>| {
                        let goes = left > 0 && *e == element;
                        left -= usize::from(goes);
                        wanted += usize::from(goes);
                        !goes
                    };
                    if end == End::Left {
                        model.retain(&mut keep);
                    } else {
                        let kept: Vec<_> = model.drain(..).rev().filter(&mut keep).collect();
                        model = kept.into_iter().rev().collect();
                    }
                    assert_eq!(removed, wanted);
                }
                16 if step % 100 == 0 => {
                    let count = random.usize(..=model.len().min(300));
                    if random.bool() {
                        list.trim(End::Left, count);
                        model.drain(..count);
                    } else {
                        list.trim(End::Right, count);
                        model.truncate(model.len() - count);
                    }
                }
                17 if index < model.len() => {
                    list.set(index, Element::of(&element));
                    model[index] = element;
                }
                18..20 if index < model.len() => {
                    assert_eq!(
                        list.get(index).map(|e| e.to_vec()),
                        Some(model[index].clone())
                    );
                    list.remove(index);
                    model.remove(index);
                }
                _ => {}
            }
            assert_eq!(list.len(), model.len());
            if step % 500 == 0 {
                list.verify();
                assert!(all(&list).iter().eq(model.iter()));
                let mut back = Vec::new();
                list.backward(list.len().wrapping_sub(1), |e| {
                    back.push(e.to_vec());
                    true
                });
                assert!(back.iter().eq(model.iter().rev()));
            }
        }
        let count = list.len();
        list.trim(End::Right, count);
        list.verify();
        assert!(list.is_empty());
    }
}

#[test]
fn an_index_is_found_in_a_long_list() {
    let mut list = LargeList::default();
    for n in 0..1_000_000i64 {
        list.push(End::Right, Element::Int(n));
    }
    list.verify();
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..1000 {
        let n = random.i64(0..1_000_000);
        assert_eq!(list.get(n as usize), Some(Element::Int(n)));
    }
    let each = list.heap_bytes() as f64 / list.len() as f64;
    assert!(each < 5.5, "{each}");
    let mut slices = 0;
    while list.free_some(100) {
        slices += 1;
    }
    assert!(slices > 5);
}

#[test]
fn one_end_grows_while_the_other_shrinks() {
    let mut list = LargeList::default();
    let mut next = 0;
    for n in 0..200_000i64 {
        list.push(End::Left, Element::Int(n));
        if n > 1000 {
            assert!(list.pop(End::Right, |e| assert_eq!(e, Element::Int(next))));
            next += 1;
        }
    }
    list.verify();
    assert!(list.heap_bytes() < 20_000);
}

#[test]
fn what_replaces_an_element_needs_its_room_only() {
    let mut list = LargeList::default();
    for n in 0..100_000 {
        list.push(End::Right, Element::of(format!("e{n:015}").as_bytes()));
    }
    let before = (list.blocks, list.heap_bytes());
    for n in 0..100_000 {
        list.set(n, Element::of(format!("f{n:015}").as_bytes()));
    }
    list.verify();
    assert_eq!((list.blocks, list.heap_bytes()), before);
    for long in [b"x".repeat(3000), b"x".repeat(300)] {
        for n in 0..2000 {
            list.set(n, Element::of(&long));
        }
        list.verify();
        for n in 0..2000 {
            list.set(n, Element::of(b"e000000000000000"));
        }
        list.verify();
        assert!(list.heap_bytes() < before.1 * 102 / 100);
    }
}
