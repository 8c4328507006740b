//! Which generation is observed, by what the pods follow.

use vdt_crds::api::{RESTART_NEEDED, RefusedManifest};

use super::*;

#[test]
fn a_pod_on_its_way_out_need_not_follow() {
    let last = last_of_generation_1();
    let mut pods = [pod(0, true), pod(1, true), pod(2, true)];
    pods[2].is_terminating = true;
    let mut behind = follows(1, None);
    behind.pod = "t-2".to_owned();
    let reports = [follows(2, None), behind];
    let status = compute(&observed(&pods, &reports), &last, Timestamp::UNIX_EPOCH);
    assert_eq!(status.observed_generation, Some(2));
    pods[2].is_terminating = false;
    let status = compute(&observed(&pods, &reports), &last, Timestamp::UNIX_EPOCH);
    assert_eq!(status.observed_generation, Some(1));
}

#[test]
fn the_generation_of_a_table_that_is_paused_stays() {
    let last = last_of_generation_1();
    let pods = [pod(0, true), pod(1, true)];
    let reports = [follows(1, None), follows(1, None)];
    let mut seen = observed(&pods, &reports);
    // What a look makes of it.
    (seen.held, seen.generation) = (Some(Held::Paused), last.observed_generation);
    let status = compute(&seen, &last, Timestamp::UNIX_EPOCH);
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(lines(&status)[0], "Ready=True/Paused");
    assert_eq!(status.conditions[0].observed_generation, Some(1));
}

fn follows(generation: i64, refused: Option<RefusedManifest>) -> PodReport {
    let mut report = says(ConditionStatus::True);
    for table in report.tables.iter_mut().flatten() {
        table.manifest = Some(vdt_crds::api::ManifestReport {
            generation: Some(generation),
            refused: refused.clone(),
        });
    }
    report
}

fn last_of_generation_1() -> VirtualTableStatus {
    let (pods, reports) = ([pod(0, true), pod(1, true)], [says(ConditionStatus::True)]);
    let mut seen = observed(&pods, &reports);
    seen.generation = Some(1);
    compute_new(&seen)
}

#[test]
fn a_generation_is_observed_when_every_pod_follows_it() {
    let last = last_of_generation_1();
    let pods = [pod(0, true), pod(1, true)];
    for (reports, generation, following) in [
        (vec![follows(2, None), follows(1, None)], 1, true),
        (vec![follows(2, None), follows(2, None)], 2, false),
        // A pod that was told more than was looked at.
        (vec![follows(3, None)], 2, false),
        // Pods of before say nothing of it.
        (vec![says(ConditionStatus::True)], 2, false),
    ] {
        let status = compute(&observed(&pods, &reports), &last, Timestamp::UNIX_EPOCH);
        assert_eq!(status.observed_generation, Some(generation));
        assert!(
            status
                .conditions
                .iter()
                .all(|one| one.observed_generation == Some(generation))
        );
        assert_eq!(lines(&status)[0], "Ready=True/Serving");
        let told = lines(&status).contains(&"Reconciling=True/Following".to_owned());
        assert_eq!(told, following);
    }
}

#[test]
fn a_manifest_that_pods_refuse_stalls_and_names_the_field() {
    let last = last_of_generation_1();
    let pods = [pod(0, true), pod(1, true)];
    let refused = |reason: &str, generation| RefusedManifest {
        generation,
        reason: reason.to_owned(),
        message: "spec.x: is 1; write 2".to_owned(),
    };
    let reports = [
        follows(2, None),
        follows(1, Some(refused("InvalidSpec", Some(2)))),
    ];
    let status = compute(&observed(&pods, &reports), &last, Timestamp::UNIX_EPOCH);
    let lines_of = |status: &VirtualTableStatus| lines(status).join(" ");
    assert!(
        lines_of(&status).contains("Ready=False/InvalidSpec"),
        "{:?}",
        lines(&status)
    );
    assert!(lines_of(&status).contains("SchemaAccepted=False/InvalidSpec Cache"));
    assert!(lines_of(&status).contains("Stalled=True/InvalidSpec"));
    assert_eq!(status.observed_generation, Some(2));
    assert!(status.conditions[0].message.contains("spec.x"));
    // Refused before the edit that is looked at now: that one is on its way.
    let reports = [follows(1, Some(refused("InvalidSpec", Some(1))))];
    let status = compute(&observed(&pods, &reports), &last, Timestamp::UNIX_EPOCH);
    assert!(lines_of(&status).contains("Reconciling=True/Following"));
    // A roll is on its way.
    let reports = [follows(1, Some(refused(RESTART_NEEDED, Some(2))))];
    let mut seen = observed(&pods, &reports);
    (seen.outdated, seen.updated) = (1, Some(1));
    let status = compute(&seen, &last, Timestamp::UNIX_EPOCH);
    assert!(lines_of(&status).contains("Reconciling=True/RollingOut"));
    assert!(!lines_of(&status).contains("Stalled"));
}
