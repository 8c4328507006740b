//! What is told of sources.

use super::*;

#[test]
fn a_missing_secret_is_the_sources_problem_and_names_it() {
    let pods = [pod(0, true), pod(1, true)];
    let reports = [says(ConditionStatus::True)];
    let mut seen = observed(&pods, &reports);
    seen.missing = Some((
        "SecretNotFound",
        "Secret corp-ro does not exist in this namespace".to_owned(),
    ));
    let status = compute_new(&seen);
    assert_eq!(lines(&status)[0], "Ready=False/SecretNotFound");
    let sources = status
        .conditions
        .iter()
        .find(|one| one.type_ == "SourcesReady")
        .unwrap();
    assert!(sources.message.contains("corp-ro"));
}

/// A report of these sources: name, status, reason and message.
fn sources_say(sources: &[(&str, ConditionStatus, &str, &str)]) -> PodReport {
    let mut report = says(ConditionStatus::True);
    let sources = sources.iter().map(|(name, status, reason, message)| {
        let source = json!({"name": name, "status": status, "reason": reason, "message": message});
        serde_json::from_value(source).unwrap()
    });
    report.tables.as_mut().unwrap()[0].sources = sources.collect();
    report
}

#[test]
fn what_sources_say_waits_its_turn_unless_they_change() {
    let pods = [pod(0, true), pod(1, true)];
    let of = |reports: &[PodReport], last: &VirtualTableStatus, may_count| {
        let mut seen = observed(&pods, reports);
        seen.may_count = may_count;
        compute(&seen, last, Timestamp::UNIX_EPOCH)
    };
    let messages = |status: &VirtualTableStatus| -> Vec<String> {
        let sources = status.sources.iter();
        sources.map(|one| one.message.clone().unwrap()).collect()
    };
    let (yes, no) = (ConditionStatus::True, ConditionStatus::False);
    let first = [sources_say(&[
        ("a", yes, "Listed", "1"),
        ("b", yes, "Listed", "1"),
    ])];
    let last = of(&first, &VirtualTableStatus::default(), false);
    assert_eq!(messages(&last), ["1", "1"]);
    let later = [sources_say(&[
        ("a", yes, "Listed", "2"),
        ("b", no, "AccessDenied", "2"),
    ])];
    assert_eq!(messages(&of(&later, &last, false)), ["1", "2"]);
    assert_eq!(messages(&of(&later, &last, true)), ["2", "2"]);
}

#[test]
fn what_pods_say_of_sources_and_conditions_fits_the_definition() {
    let (pods, yes) = ([pod(0, true), pod(1, true)], ConditionStatus::True);
    let long = "x".repeat(5000);
    let mut report = sources_say(&[("a", yes, &long, &long), ("a", yes, "Listed", "twice")]);
    let table = &mut report.tables.as_mut().unwrap()[0];
    table.conditions[1].reason = String::new();
    *table = gather::bounded(table.clone());
    let status = compute_new(&observed(&pods, &[report]));
    let [source] = &status.sources[..] else {
        panic!("{:?}", status.sources)
    };
    assert!(source.message.as_ref().unwrap().len() < 4096);
    assert!(source.reason.as_ref().unwrap().len() < 1100);
    assert!(status.conditions.iter().all(|one| !one.reason.is_empty()));
}
