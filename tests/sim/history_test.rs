//! The checker finds what is wrong, and only that: a history for each anomaly, and its cure.

use crate::history::{Anomaly, End, Key, Step, Txn, Value, check};

fn read(key: Key, list: &[Value]) -> Step {
    Step::Read(key, Some(list.to_vec()))
}

fn txn(connection: u64, invoked: u64, done: u64, steps: &[Step]) -> Txn {
    Txn {
        connection,
        invoked,
        end: End::Done(done),
        steps: steps.to_vec(),
    }
}

use Step::{Append, Exists, Flush};

#[track_caller]
fn cycle_of(history: &[Txn], mut expected: Vec<usize>) {
    let Err(Anomaly::Cycle(cycle)) = check(history) else {
        panic!("no cycle: {:?}", check(history));
    };
    let mut found: Vec<usize> = cycle.iter().map(|&(index, _)| index).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected, "{cycle:?}");
}

#[test]
fn a_serial_history_is_fine() {
    let history = [
        txn(1, 1, 2, &[Append(1, 10), Append(2, 11)]),
        txn(
            2,
            3,
            4,
            &[read(1, &[10]), Append(1, 12), read(1, &[10, 12])],
        ),
        txn(1, 5, 6, &[Exists(1, Some(true)), Exists(2, Some(true))]),
        txn(
            1,
            7,
            8,
            &[
                read(1, &[10, 12]),
                read(2, &[11]),
                Flush,
                Append(1, 13),
                Append(2, 14),
            ],
        ),
        txn(2, 9, 10, &[Append(1, 15)]),
        txn(3, 20, 21, &[read(1, &[13, 15]), read(2, &[14])]),
    ];
    assert_eq!(check(&history), Ok(()));
}

#[test]
fn concurrent_requests_may_take_either_order() {
    let history = [
        txn(1, 1, 10, &[Append(1, 10)]),
        txn(2, 2, 9, &[read(1, &[])]),
        txn(3, 3, 8, &[read(1, &[10])]),
        txn(4, 20, 21, &[read(1, &[10])]),
    ];
    assert_eq!(check(&history), Ok(()));
}

#[test]
fn a_stale_read_breaks_real_time() {
    let history = [
        txn(1, 1, 2, &[Append(1, 10)]),
        txn(2, 3, 4, &[read(1, &[])]),
        txn(3, 20, 21, &[read(1, &[10])]),
    ];
    cycle_of(&history, vec![0, 1]);
}

#[test]
fn a_later_reader_must_not_see_less() {
    // The write is still under way, so only the two reads contradict each other.
    let history = [
        txn(1, 1, 10, &[Append(1, 10)]),
        txn(2, 2, 3, &[read(1, &[10])]),
        txn(3, 4, 5, &[read(1, &[])]),
        txn(4, 20, 21, &[read(1, &[10])]),
    ];
    cycle_of(&history, vec![0, 1, 2]);
}

#[test]
fn half_a_transaction_is_seen() {
    let history = [
        txn(1, 1, 10, &[Append(1, 10), Append(2, 11)]),
        txn(2, 1, 10, &[read(1, &[10]), read(2, &[])]),
        txn(3, 20, 21, &[read(1, &[10]), read(2, &[11])]),
    ];
    cycle_of(&history, vec![0, 1]);
}

#[test]
fn an_intermediate_state_is_seen() {
    let history = [
        txn(1, 1, 10, &[Append(1, 10), Append(1, 11)]),
        txn(2, 1, 10, &[read(1, &[10])]),
        txn(3, 20, 21, &[read(1, &[10, 11])]),
    ];
    cycle_of(&history, vec![0, 1]);
}

#[test]
fn write_skew_and_the_long_fork_are_cycles() {
    let skew = [
        txn(1, 1, 10, &[read(1, &[]), Append(2, 10)]),
        txn(2, 1, 10, &[read(2, &[]), Append(1, 11)]),
        txn(3, 20, 21, &[read(1, &[11]), read(2, &[10])]),
    ];
    cycle_of(&skew, vec![0, 1]);
    let fork = [
        txn(1, 1, 10, &[Append(1, 10)]),
        txn(2, 1, 10, &[Append(2, 11)]),
        txn(3, 1, 10, &[read(1, &[10]), read(2, &[])]),
        txn(4, 1, 10, &[read(1, &[]), read(2, &[11])]),
        txn(5, 20, 21, &[read(1, &[10]), read(2, &[11])]),
    ];
    cycle_of(&fork, vec![0, 1, 2, 3]);
}

#[test]
fn writes_in_different_orders_on_two_keys() {
    let history = [
        txn(1, 1, 10, &[Append(1, 10), Append(2, 11)]),
        txn(2, 1, 10, &[Append(1, 12), Append(2, 13)]),
        txn(3, 20, 21, &[read(1, &[10, 12]), read(2, &[13, 11])]),
    ];
    cycle_of(&history, vec![0, 1]);
}

#[test]
fn a_lost_update_is_a_cycle_and_a_lost_write_is_lost() {
    let update = [
        txn(1, 1, 10, &[read(1, &[]), Append(1, 10)]),
        txn(2, 1, 10, &[read(1, &[]), Append(1, 11)]),
        txn(3, 20, 21, &[read(1, &[10, 11])]),
    ];
    assert!(matches!(check(&update), Err(Anomaly::Forked(1, ..))));
    let blind = [
        txn(1, 1, 10, &[Append(1, 10)]),
        txn(2, 1, 10, &[Append(1, 11)]),
        txn(3, 20, 21, &[read(1, &[11])]),
    ];
    assert_eq!(check(&blind), Err(Anomaly::Lost(1, 10)));
}

#[test]
fn what_was_refused_or_never_written_must_not_be_seen() {
    let mut history = vec![
        txn(1, 1, 2, &[Append(1, 10)]),
        txn(3, 20, 21, &[read(1, &[10])]),
    ];
    history[0].end = End::Refused(2);
    assert_eq!(check(&history), Err(Anomaly::Invented(1, 10)));
    history[0].end = End::Unknown;
    assert_eq!(check(&history), Ok(()));
    history[1].steps = vec![read(1, &[])];
    assert_eq!(check(&history), Ok(()));
    history[1].steps = vec![read(1, &[77])];
    assert_eq!(check(&history), Err(Anomaly::Invented(1, 77)));
    history[1].steps = vec![read(1, &[10, 10])];
    assert_eq!(check(&history), Err(Anomaly::Twice(1, 10)));
}

#[test]
fn half_of_a_lost_connections_transaction_is_seen() {
    let mut history = vec![
        txn(1, 1, 2, &[Append(1, 10), Append(2, 11)]),
        txn(3, 20, 21, &[read(1, &[10]), read(2, &[])]),
        txn(3, 30, 31, &[read(1, &[10]), read(2, &[11])]),
    ];
    history[0].end = End::Unknown;
    cycle_of(&history, vec![0, 1]);
}

#[test]
fn a_transaction_sees_its_own_writes() {
    let history = [
        txn(1, 1, 2, &[Append(1, 10), read(1, &[])]),
        txn(3, 20, 21, &[read(1, &[10])]),
    ];
    assert_eq!(check(&history), Err(Anomaly::Inconsistent(0, 1)));
}

#[test]
fn a_pipelines_writes_are_seen_in_order() {
    // Both were sent at once, so real time says nothing: their order does.
    let history = [
        txn(1, 1, 10, &[Append(1, 10)]),
        txn(1, 1, 10, &[Append(2, 11)]),
        txn(2, 1, 10, &[read(2, &[11]), read(1, &[])]),
        txn(3, 20, 21, &[read(1, &[10]), read(2, &[11])]),
    ];
    cycle_of(&history, vec![0, 1, 2]);
    let own = [
        txn(1, 1, 10, &[Append(1, 10)]),
        txn(1, 1, 10, &[read(1, &[])]),
        txn(3, 20, 21, &[read(1, &[10])]),
    ];
    cycle_of(&own, vec![0, 1]);
}

#[test]
fn a_flush_takes_all_keys_at_once() {
    let history = |seen: &[Value]| {
        [
            txn(1, 1, 2, &[Append(1, 10), Append(2, 11)]),
            txn(
                2,
                3,
                10,
                &[
                    read(1, &[10]),
                    read(2, &[11]),
                    Flush,
                    Append(1, 12),
                    Append(2, 13),
                ],
            ),
            txn(3, 3, 10, &[read(1, &[10]), read(2, seen)]),
            txn(4, 20, 21, &[read(1, &[12]), read(2, &[13])]),
        ]
    };
    assert_eq!(check(&history(&[11])), Ok(()));
    cycle_of(&history(&[13]), vec![1, 2]);
    assert!(check(&history(&[])).is_err());
}

#[test]
fn keys_is_a_read_of_every_key() {
    let history = [
        txn(1, 1, 10, &[Append(1, 10), Append(2, 11)]),
        txn(2, 1, 10, &[Exists(1, Some(true)), Exists(2, Some(false))]),
        txn(3, 20, 21, &[read(1, &[10]), read(2, &[11])]),
    ];
    cycle_of(&history, vec![0, 1]);
}
