//! Against a fake API server, with time that passes at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use serde_json::json;

use super::*;
use crate::fake_api::{HANGS, fake_api, refusal};

#[tokio::test(start_paused = true)]
async fn a_holder_whose_renewals_hang_stops_before_its_lease_runs_out() {
    let hangs = Arc::new(AtomicBool::new(false));
    let is_hanging = hangs.clone();
    let (client, calls) = fake_api(move |method, _| match method {
        "PUT" if is_hanging.load(Ordering::SeqCst) => (HANGS, json!(null)),
        _ => (200, held_by("me")),
    });
    let duration = Duration::from_secs(15);
    let mut election = Election::new(client, "docs", "leader", "me".to_owned(), duration);
    election.acquire().await;
    hangs.store(true, Ordering::SeqCst);
    let began = Instant::now();
    assert!(!election.hold(&CancellationToken::new()).await);
    assert_eq!(began.elapsed().as_secs(), 10);
    let calls = calls.lock().unwrap();
    assert!(
        calls
            .iter()
            .filter(|(line, _)| line.starts_with("PUT"))
            .count()
            > 1
    );
}

#[tokio::test(start_paused = true)]
async fn a_conflict_ends_only_a_holder_who_is_one_no_more() {
    for (holder, still_holds) in [("me", true), ("another one", false)] {
        let puts = Arc::new(AtomicUsize::new(0));
        let (client, _) = fake_api(move |method, _| match method {
            // The second one: a renewal.
            "PUT" if puts.fetch_add(1, Ordering::SeqCst) == 1 => refusal(409, "Conflict"),
            _ if puts.load(Ordering::SeqCst) == 2 => (200, held_by(holder)),
            _ => (200, held_by("me")),
        });
        let duration = Duration::from_secs(15);
        let mut election = Election::new(client, "docs", "leader", "me".to_owned(), duration);
        election.acquire().await;
        let cancel = CancellationToken::new();
        let later = cancel.clone();
        tokio::spawn(async move {
            sleep(duration * 2).await;
            later.cancel();
        });
        assert_eq!(election.hold(&cancel).await, still_holds);
    }
}

fn held_by(holder: &str) -> serde_json::Value {
    let metadata = json!({"name": "leader", "resourceVersion": "1"});
    let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": 15});
    json!({"metadata": metadata, "spec": spec})
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_given_up_is_taken_when_the_watch_tells() {
    let looked = Arc::new(AtomicBool::new(false));
    let (client, _) = fake_api(move |method, path| match method {
        "GET" if path.ends_with("/leases") => {
            (200, json!({"type": "MODIFIED", "object": held_by("")}))
        }
        "GET" if !looked.swap(true, Ordering::SeqCst) => (200, held_by("another one")),
        _ => (200, held_by("")),
    });
    let duration = Duration::from_secs(15);
    let mut election = Election::new(client, "docs", "leader", "me".to_owned(), duration);
    let began = Instant::now();
    election.acquire().await;
    assert!(
        began.elapsed() < Duration::from_millis(100),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_not_renewed_is_taken_within_its_duration_also_without_a_watch() {
    for watch in [HANGS, 403] {
        let (client, _) = fake_api(move |method, path| match method {
            "GET" if path.ends_with("/leases") => match watch {
                HANGS => (HANGS, json!(null)),
                code => refusal(code, "Forbidden"),
            },
            _ => (200, held_by("another one")),
        });
        let duration = Duration::from_secs(15);
        let mut election = Election::new(client, "docs", "leader", "me".to_owned(), duration);
        let began = Instant::now();
        election.acquire().await;
        let took = began.elapsed();
        assert!(
            took >= duration * 24 / 25 && took <= duration,
            "{watch}: {took:?}"
        );
    }
}
