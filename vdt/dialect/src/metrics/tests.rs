//! What is shown before anything has happened, and while something is refused.

use prometheus_client::encoding::text::encode;

use super::*;

#[test]
fn what_may_be_refused_is_shown_before_anything_was() {
    let mut registry = Registry::default();
    let metrics = HttpMetrics::register(&mut registry);
    metrics.manifests_need_restart();
    let mut text = String::new();
    encode(&mut text, &registry).expect("a String takes everything");
    for (what, outcome, count) in [
        ("Certificate", "Refused", 0),
        ("Keys", "Refused", 0),
        ("Manifests", "Taken", 0),
        ("Manifests", "Refused", 0),
        ("Manifests", "RestartNeeded", 1),
    ] {
        let series =
            format!("vdt_http_reloads_total{{what=\"{what}\",outcome=\"{outcome}\"}} {count}\n");
        assert!(text.contains(&series), "{series} is not in {text}");
    }
}

#[test]
fn what_is_refused_is_so_until_something_is_taken() {
    let mut registry = Registry::default();
    let metrics = HttpMetrics::register(&mut registry);
    let refused = |what: &str| {
        let mut text = String::new();
        encode(&mut text, &registry).expect("a String takes everything");
        let series = format!("vdt_http_reload_refused{{what=\"{what}\"}} 1\n");
        text.contains(&series)
    };
    assert!(!refused("Certificate"));
    metrics.certificate_refused(true);
    assert!(refused("Certificate") && !refused("Keys"));
    metrics.certificate_refused(false);
    assert!(!refused("Certificate"));
    metrics.manifests_reloaded(false);
    assert!(refused("Manifests"));
    metrics.manifests_need_restart();
    assert!(!refused("Manifests"));
}

#[test]
fn bodies_that_are_cut_are_counted_from_nothing_on() {
    let mut registry = Registry::default();
    let _metrics = HttpMetrics::register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).expect("a String takes everything");
    for (dialect, by) in [("S3", "Store"), ("Http", "Client")] {
        let series = format!("vdt_http_bodies_cut_total{{dialect=\"{dialect}\",by=\"{by}\"}} 0\n");
        assert!(text.contains(&series), "{series} is not in {text}");
    }
}
