//! Who is asked by how many requests, and read ahead by how much.

use futures::FutureExt;

use super::*;

fn source(limits: &Limits, id: &str) -> Arc<Limit> {
    limits.of(&Path::from(format!("sources/{id}/a/b")))
}

fn limits_of(all: usize, ahead: usize) -> Limits {
    Limits::new(all, ahead, 32)
}

/// Takes permits while there are any.
fn take(limit: &Arc<Limit>) -> Vec<Permit> {
    std::iter::from_fn(|| limit.permit().now_or_never().flatten()).collect()
}

/// Answers until it has as many permits as a source can have.
fn earn(limit: &Arc<Limit>) {
    for _ in 0..100 {
        let mut permit = one(limit);
        permit.answered();
    }
}

/// A permit, of which some are free.
fn one(limit: &Arc<Limit>) -> Permit {
    let permit = limit.permit().now_or_never().flatten();
    permit.expect("one is free")
}

#[test]
fn sources_that_hang_leave_permits_to_others_and_to_the_state() {
    let limits = limits_of(64, 32);
    let hung = [source(&limits, "a"), source(&limits, "b")];
    let held: Vec<_> = hung.iter().map(take).collect();
    assert!(held.iter().all(|permits| permits.len() == 16));
    assert_eq!(take(&source(&limits, "c")).len(), 8);
    assert_eq!(take(&limits.of(&Path::from("log/c/s/t/x.rope"))).len(), 16);
}

#[test]
fn a_source_that_answers_earns_permits_and_loses_them_when_it_does_not() {
    let limits = limits_of(64, 32);
    let limit = source(&limits, "a");
    for _ in 0..100 {
        let mut permit = one(&limit);
        // One request earns one permit, however many chunks it brings.
        permit.answered();
        permit.answered();
    }
    let mut held = take(&limit);
    assert_eq!(held.len(), 32);
    assert_eq!(take(&source(&limits, "b")).len(), 8, "what it leaves");
    // Some are cut short, others never answered.
    for permit in &mut held[..8] {
        permit.answered();
        permit.failed();
    }
    drop(held);
    assert_eq!(take(&limit).len(), 16);
}

#[test]
fn a_source_can_ask_while_others_that_hang_hold_all_that_is_shared() {
    let limits = limits_of(64, 32);
    let hung = source(&limits, "a");
    earn(&hung);
    let more = ["b", "c", "d", "e"].map(|id| source(&limits, id));
    let held: Vec<_> = std::iter::once(&hung).chain(&more).map(take).collect();
    let counts: Vec<_> = held.iter().map(Vec::len).collect();
    assert_eq!(counts, [32, 8, 2, 2, 2]);
    let other = source(&limits, "f");
    let mut asking = take(&other);
    assert_eq!(asking.len(), 2);
    // Whoever waits comes next, by what becomes free first: of its own, of the reserve, or of all.
    let mut waiting = std::pin::pin!(other.permit());
    assert!(waiting.as_mut().now_or_never().is_none());
    asking.pop();
    let other_asks = waiting.now_or_never().expect("one has become free");
    // All is taken: the seventh waits until a request of anybody ends.
    let seventh = source(&limits, "g");
    let mut waiting = std::pin::pin!(seventh.permit());
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(other_asks);
    assert!(waiting.now_or_never().is_some());
    drop(asking);
    drop(held);
    assert_eq!(take(&other).len(), 16);
}

#[test]
fn the_reserve_is_for_sources_that_hold_less_than_a_part_of_it() {
    let limits = limits_of(64, 32);
    let most = source(&limits, "most");
    earn(&most);
    let some = source(&limits, "some");
    let (_of_most, mut of_some) = (take(&most), take(&some));
    assert_eq!(of_some.len(), 8);
    of_some.pop();
    let last = source(&limits, "last");
    let mut of_last = take(&last);
    assert_eq!(of_last.len(), 2, "one of all, one in reserve");
    assert!(some.permit().now_or_never().is_none(), "it has seven");
    assert_eq!(limits.of_sources.reserve.available_permits(), 7);
    // Whoever waits has the like when what its source holds has ended.
    let mut waiting = [Box::pin(last.permit()), Box::pin(last.permit())];
    for waiting in &mut waiting {
        assert!(waiting.as_mut().now_or_never().is_none());
    }
    of_last.clear();
    let got = waiting.map(|waiting| waiting.now_or_never().flatten());
    assert!(got.iter().all(Option::is_some));
    assert_eq!(limits.of_sources.reserve.available_permits(), 7);
}

#[test]
fn read_ahead_that_hangs_leaves_permits_to_those_who_ask() {
    let ahead = |limit: &Arc<Limit>| -> Vec<Ahead> {
        std::iter::from_fn(|| limit.ahead().now_or_never()).collect()
    };
    let limits = limits_of(64, 32);
    let limit = source(&limits, "a");
    let mut hung = ahead(&limit);
    assert_eq!(hung.len(), 8);
    let of_ahead: Vec<_> = hung.iter().map(|_| one(&limit)).collect();
    assert_eq!(take(&limit).len(), 8);
    // One that ends leaves its place to one that waits.
    let waiting = limit.ahead();
    let mut waiting = std::pin::pin!(waiting);
    assert!(waiting.as_mut().now_or_never().is_none());
    hung.pop();
    assert!(waiting.now_or_never().is_some());
    drop((hung, of_ahead));
    // What answers is read ahead by more.
    earn(&limit);
    assert_eq!(ahead(&limit).len(), 24);
    assert_eq!(ahead(&source(&limits_of(2, 1), "a")).len(), 1);
}

#[test]
fn sources_of_which_nothing_is_under_way_are_forgotten() {
    let limits = limits_of(64, 32);
    let kept = source(&limits, "kept");
    let _permit = one(&kept);
    for number in 0..1000 {
        source(&limits, &number.to_string());
    }
    assert!(limits.sources.lock().len() <= SOURCES_KNOWN);
    assert!(Arc::ptr_eq(&kept, &source(&limits, "kept")));
}

#[test]
fn the_fewest_permits_are_one_for_the_state_and_one_for_the_sources() {
    let limits = limits_of(2, 1);
    assert_eq!(take(&limits.state).len(), 1);
    let held = take(&source(&limits, "a"));
    assert_eq!((held.len(), take(&source(&limits, "b")).len()), (1, 0));
}

#[test]
fn a_source_leaves_others_room_to_read_ahead() {
    let limits = limits_of(64, 32);
    // As much as there is for it, in windows of a quarter of all.
    let fill = |id: &str| -> Vec<Room> { std::iter::from_fn(|| limits.room(id, 8, 1)).collect() };
    let units = |rooms: &[Room]| rooms.iter().map(Room::units).sum::<usize>();
    let slow = fill("slow");
    assert_eq!(units(&slow), 24);
    assert!(limits.room("one", 8, 7).is_none(), "it has six");
    let (one, two) = (fill("one"), fill("two"));
    assert_eq!((units(&one), units(&two)), (6, 1));
    drop((slow, two));
    assert_eq!(units(&fill("two")), 19, "three times what it leaves");
    drop(one);
    assert_eq!(units(&fill("two")), 24, "alone");
}
