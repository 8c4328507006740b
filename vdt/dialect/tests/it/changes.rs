//! What changes between our own question for metadata and our own read of the body.

use super::support::{REPLACED, request, serve, shelf};

const CONDITION: (&str, &str) = ("If-None-Match", "\"of another time\"");

#[tokio::test]
async fn an_object_that_is_replaced_is_read_as_it_is_now() {
    for (ranges, status, body) in [
        (None, 200, REPLACED),
        (Some(("Range", "bytes=0-6")), 206, &REPLACED[..7]),
    ] {
        for root in ["", "/v1"] {
            let store = shelf(&["main/docs/t/replaced.bin"]).await;
            let served = serve(store.clone()).await;
            let headers: Vec<_> = [CONDITION].into_iter().chain(ranges).collect();
            let target = format!("{root}/main/docs/t/replaced.bin");
            let reply = request(served.address, "GET", &target, &headers).await;
            assert_eq!(
                (reply.status, reply.text().as_str()),
                (status, body),
                "{target}"
            );
            assert_eq!(store.gets(), 4, "metadata and body, twice");
        }
    }
}

#[tokio::test]
async fn an_object_of_which_a_source_has_changed_is_not_read_again() {
    let store = shelf(&["main/docs/t/changed.bin"]).await;
    let served = serve(store.clone()).await;
    let target = "/main/docs/t/changed.bin";
    let reply = request(served.address, "GET", target, &[CONDITION]).await;
    assert_eq!(reply.status, 412);
    assert_eq!(
        store.gets(),
        3,
        "metadata, body, and whether it is another one"
    );
}
