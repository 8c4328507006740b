use super::*;
use crate::metrics::HttpMetrics;
use tokio::time::advance;

fn limits() -> Limits {
    Limits {
        header_timeout: Duration::from_secs(15),
        idle_timeout: Duration::from_secs(60),
        progress_timeout: Duration::from_secs(30),
        ..Limits::default()
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_fresh_connection_must_ask_and_an_old_one_may_wait() {
    let (traffic, limits) = (Arc::new(Traffic::new(None)), limits());
    advance(14 * SECOND).await;
    assert_eq!(traffic.overdue(&limits), None);
    advance(SECOND).await;
    assert_eq!(traffic.overdue(&limits), Some(Overdue::Header));
    drop(traffic.begin());
    advance(59 * SECOND).await;
    assert_eq!(traffic.overdue(&limits), None);
    advance(SECOND).await;
    assert_eq!(traffic.overdue(&limits), Some(Overdue::Idle));
    let request = traffic.begin();
    advance(600 * SECOND).await;
    assert_eq!(
        traffic.overdue(&limits),
        None,
        "a request takes what it takes"
    );
    drop(request);
    traffic.read();
    advance(15 * SECOND).await;
    assert_eq!(traffic.overdue(&limits), Some(Overdue::Header));
}

#[tokio::test(start_paused = true)]
async fn a_reader_must_take_enough_in_time_however_it_trickles() {
    let (traffic, limits) = (Arc::new(Traffic::new(None)), limits());
    let _request = traffic.begin();
    // The store's pauses are not the client's.
    advance(100 * SECOND).await;
    assert_eq!(traffic.overdue(&limits), None);
    // A byte every ten seconds is no progress.
    for _ in 0..2 {
        traffic.stalled();
        advance(10 * SECOND).await;
        traffic.resumed(false);
        assert_eq!(traffic.overdue(&limits), None);
    }
    traffic.stalled();
    advance(9 * SECOND).await;
    assert_eq!(traffic.overdue(&limits), None);
    advance(SECOND).await;
    assert_eq!(traffic.overdue(&limits), Some(Overdue::Reader));
    // Enough is a new start.
    traffic.resumed(true);
    traffic.stalled();
    advance(29 * SECOND).await;
    assert_eq!(traffic.overdue(&limits), None);
    advance(SECOND).await;
    assert_eq!(traffic.overdue(&limits), Some(Overdue::Reader));
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_not_idle_while_the_end_of_an_answer_is_on_its_way() {
    let limits = Limits {
        idle_timeout: 10 * SECOND,
        ..limits()
    };
    let holding = HttpMetrics::default().holding();
    let traffic = Arc::new(Traffic::new(Some(Arc::clone(&holding.holder))));
    let request = traffic.begin();
    let piece = request.give(Bytes::from_static(b"the last piece"));
    drop(request);
    assert_eq!(traffic.idle(), None, "hyper has it, the client has not");
    traffic.stalled();
    drop(piece);
    assert_eq!(traffic.idle(), None, "TLS has it, the client has not");
    advance(29 * SECOND).await;
    assert_eq!(traffic.overdue(&limits), None);
    advance(SECOND).await;
    assert_eq!(traffic.overdue(&limits), Some(Overdue::Reader));
    traffic.resumed(true);
    assert_eq!(traffic.idle(), Some((true, 0)));
    advance(10 * SECOND).await;
    assert_eq!(traffic.overdue(&limits), Some(Overdue::Idle));
}

#[tokio::test(start_paused = true)]
async fn what_is_written_without_a_request_does_not_keep_a_connection() {
    let limits = limits();
    let holding = HttpMetrics::default().holding();
    let traffic = Arc::new(Traffic::new(Some(Arc::clone(&holding.holder))));
    traffic.ready(true);
    drop(traffic.begin());
    for _ in 0..5 {
        advance(10 * SECOND).await;
        traffic.read();
        traffic.resumed(false);
        assert_eq!(traffic.overdue(&limits), None);
    }
    advance(10 * SECOND).await;
    traffic.resumed(false);
    assert_eq!(traffic.overdue(&limits), Some(Overdue::Idle));
}

#[tokio::test(start_paused = true)]
async fn the_last_piece_of_an_answer_has_the_time_of_any_reader_and_no_more() {
    let limits = Limits {
        idle_timeout: 10 * SECOND,
        ..limits()
    };
    let holding = HttpMetrics::default().holding();
    let traffic = Arc::new(Traffic::new(Some(Arc::clone(&holding.holder))));
    traffic.ready(true);
    let last = || {
        let request = traffic.begin();
        request.hand(request.give(Bytes::from_static(b"the last piece")))
    };
    let taken = last();
    advance(29 * SECOND).await;
    traffic.resumed(false);
    assert_eq!((traffic.idle(), traffic.overdue(&limits)), (None, None));
    drop(taken);
    assert_eq!(traffic.idle(), Some((true, 0)));
    // Neither answers to PING nor other requests are progress of a piece that is not taken.
    let _kept = last();
    for _ in 0..2 {
        advance(10 * SECOND).await;
        traffic.resumed(false);
        drop(last());
        assert_eq!((traffic.idle(), traffic.overdue(&limits)), (None, None));
    }
    advance(10 * SECOND).await;
    assert_eq!(traffic.overdue(&limits), Some(Overdue::Reader));
}

#[tokio::test(start_paused = true)]
async fn over_http2_each_body_has_its_clock() {
    let (traffic, limits) = (Arc::new(Traffic::new(None)), limits());
    traffic.ready(true);
    let (one, two) = (traffic.begin(), traffic.begin());
    let piece = || Bytes::from_static(b"a piece");
    let (first, second) = (one.hand(piece()), two.hand(piece()));
    advance(20 * SECOND).await;
    drop((first, second));
    let second = two.hand(piece());
    advance(20 * SECOND).await;
    assert_eq!(traffic.overdue(&limits), None);
    advance(10 * SECOND).await;
    assert_eq!(traffic.overdue(&limits), Some(Overdue::Reader));
    drop(second);
    assert_eq!(traffic.overdue(&limits), None);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_of_many_bodies_over_http2_is_not_cut() {
    let (traffic, limits) = (Arc::new(Traffic::new(None)), limits());
    traffic.ready(true);
    let piece = |request: &RequestGuard| request.hand(Bytes::from_static(b"a piece"));
    let requests: Vec<_> = (0..16).map(|_| traffic.begin()).collect();
    // All of it is handed on at once, and each body gets its turn once in 64 s.
    let mut ahead: Vec<Vec<Bytes>> = requests
        .iter()
        .map(|request| (0..6).map(|_| piece(request)).collect())
        .collect();
    for _ in 0..6 {
        for body in &mut ahead {
            advance(4 * SECOND).await;
            assert_eq!(traffic.overdue(&limits), None);
            body.pop();
        }
    }
    assert_eq!(traffic.oldest_handed(), None);
    // What is taken of one body does not keep another for ever.
    let _kept = piece(&requests[0]);
    let mut seconds = 0;
    while traffic.overdue(&limits).is_none() {
        let taken = piece(&requests[1]);
        advance(SECOND).await;
        drop(taken);
        seconds += 1;
    }
    assert_eq!(seconds, 60);
}
