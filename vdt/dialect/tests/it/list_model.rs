//! LIST against a naive model: whatever the prefix, delimiter, start and page size, the pages joined are the model's items.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::support::{get, serve, shelf};

/// All items after `start`, in order: keys, and common prefixes once each.
fn model(keys: &[String], prefix: &str, delimiter: &str, start: &str) -> Vec<String> {
    let mut items = BTreeSet::new();
    for key in keys
        .iter()
        .filter(|key| key.starts_with(prefix) && key.as_str() > start)
    {
        let end = match delimiter {
            "" => None,
            _ => key[prefix.len()..]
                .find(delimiter)
                .map(|at| prefix.len() + at + delimiter.len()),
        };
        let item = &key[..end.unwrap_or(key.len())];
        // A common prefix that equals the start was given already.
        if item != start {
            items.insert(item.to_owned());
        }
    }
    items.into_iter().collect()
}

fn texts(body: &str, element: &str) -> Vec<String> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    body.split(&open)
        .skip(1)
        .map(|rest| rest.split(&close).next().unwrap().to_owned())
        .collect()
}

fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// One page of either version: its items in order, and where the next starts.
fn parse(body: &str, version: u8) -> (Vec<String>, Option<String>) {
    let mut items: Vec<String> = texts(body, "Key");
    for group in texts(body, "CommonPrefixes") {
        items.extend(texts(&group, "Prefix"));
    }
    items.sort();
    let next = texts(
        body,
        if version == 2 {
            "NextContinuationToken"
        } else {
            "NextMarker"
        },
    )
    .pop();
    assert_eq!(
        texts(body, "IsTruncated"),
        [next.is_some().to_string()],
        "{body}"
    );
    if version == 2 {
        assert_eq!(texts(body, "KeyCount"), [items.len().to_string()], "{body}");
    }
    (items, next)
}

/// Short names over few letters, so that prefixes, delimiters and starts hit.
fn key() -> impl Strategy<Value = String> {
    prop::collection::vec("[a-c.~-]{1,2}", 1..4)
        .prop_map(|segments| segments.join("/"))
        .prop_filter("a path", |key| {
            !key.split('/').any(|part| part == "." || part == "..")
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn pages_joined_are_the_models_items(
        keys in prop::collection::btree_set(key(), 0..24),
        prefix in prop_oneof![Just(String::new()), "[a-c./~-]{0,3}", key().prop_map(|key| key + "/")],
        delimiter in prop_oneof![3 => Just("/"), 2 => Just(""), 1 => Just("a"), 1 => Just("./")],
        start in prop_oneof![Just(String::new()), "[a-c./~-]{0,5}", key(), key().prop_map(|key| key + "/")],
        max_keys in 1_usize..6,
        version in 1_u8..3,
    ) {
        let keys: Vec<String> = keys.into_iter().collect();
        let expected = model(&keys, &prefix, delimiter, &start);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = runtime.block_on(async {
            // A neighbour that starts alike, and one key that keeps the bucket in being.
            let mut paths: Vec<String> = keys.iter().map(|key| format!("main/{key}")).collect();
            paths.extend(["main/zzz".to_owned(), "main2/a/b".to_owned(), "mai/a".to_owned()]);
            let served = serve(shelf(&paths.iter().map(String::as_str).collect::<Vec<_>>()).await).await;
            let mut found: Vec<String> = Vec::new();
            let mut next: Option<String> = None;
            loop {
                let mut target = format!(
                    "/main?prefix={}&delimiter={}&max-keys={max_keys}", encode(&prefix), encode(delimiter),
                );
                target += &match (version, &next) {
                    // Clients send the start again beside the token, which wins.
                    (2, Some(token)) => format!("&list-type=2&start-after={}&continuation-token={}", encode(&start), encode(token)),
                    (2, None) => format!("&list-type=2&start-after={}", encode(&start)),
                    (_, Some(marker)) => format!("&marker={}", encode(marker)),
                    (_, None) => format!("&marker={}", encode(&start)),
                };
                let reply = get(served.address, &target).await;
                assert_eq!(reply.status, 200, "{target}: {}", reply.text());
                let (items, more) = parse(&reply.text(), version);
                assert!(items.len() <= max_keys);
                assert!(more.is_none() || items.len() == max_keys, "a short page has a next one");
                assert!(found.len() <= 2 * keys.len(), "pages repeat themselves: {found:?}");
                found.extend(items.into_iter().filter(|item| item != "zzz"));
                if more.is_none() {
                    return found;
                }
                next = more;
            }
        });
        prop_assert_eq!(found, expected);
    }
}
