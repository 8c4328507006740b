//! The planner: what a refresh does for every way a listing can differ from the last version.

use std::{collections::BTreeMap, sync::Arc};

use vdt_rope::SourceObject;
use vdt_store::{
    plan::{Changes, CommittedFile, Current, Hold, Listed, ListedAt, Plan, Policy, plan},
    source::{Entry, Listing},
};
use vdt_table::{Artifact, FileGroup, Layout, SourceContext};

const NOW_MS: i64 = 1_700_000_000_000;
const SOURCE_ID: &str = "00112233aabbccdd";
const OLD_MS: i64 = NOW_MS - 3_600_000;
const LISTED_AT: ListedAt = at(NOW_MS, NOW_MS);
const POLICY: Policy = Policy {
    settle_ms: 2_000,
    hold_shrunk: true,
};

const fn at(began_ms: i64, ended_ms: i64) -> ListedAt {
    ListedAt { began_ms, ended_ms }
}

fn context(name: &str) -> Arc<SourceContext> {
    Arc::new(SourceContext {
        name: name.into(),
        id: SOURCE_ID.into(),
        prefix: String::new(),
        url_prefix: "file:///papers/".to_owned(),
        etag_is_checksum: false,
    })
}

fn entry(key: &str, etag: &str) -> Entry {
    entry_of(key, etag, OLD_MS)
}

fn entry_of(key: &str, etag: &str, last_modified_ms: i64) -> Entry {
    Entry {
        object: Arc::new(SourceObject {
            source: SOURCE_ID.into(),
            key: key.into(),
            size: 10,
            etag: Some(etag.into()),
            last_modified_ms,
            version: None,
        }),
        storage_class: None,
        archived: false,
    }
}

fn listing(mut entries: Vec<Entry>) -> Listing {
    entries.sort_by(|a, b| a.object.key.cmp(&b.object.key));
    Listing {
        entries,
        ..Listing::default()
    }
}

fn listed(name: &str, entries: Vec<Entry>) -> Listed {
    Listed {
        context: context(name),
        listing: Some(listing(entries)),
        relay: false,
        edited: false,
    }
}

/// What the table holds once a plan has been carried out.
fn carried_out(plan: &Plan) -> Current {
    let committed = |group: &FileGroup, number: usize| CommittedFile {
        path: format!(
            "{number}-{}-{}-{}.parquet",
            plan.next_id,
            group.artifacts[0].object.key,
            group.artifacts.len()
        ),
        size: 1,
        source: group.source.name.clone(),
        artifacts: group.artifacts.clone(),
    };
    let added = (plan.add.iter().chain(&plan.merge.add))
        .enumerate()
        .map(|(number, group)| committed(group, number));
    Current {
        files: plan.keep.iter().cloned().chain(added).collect(),
        next_id: plan.next_id,
        ..Current::default()
    }
}

/// What a refresh does that lists these of a table's only source.
fn refreshed(current: Current, entries: Vec<Entry>) -> Plan {
    let listed = vec![listed("a", entries)];
    plan(current, listed, &Layout::default(), POLICY, LISTED_AT)
}

fn first(entries: Vec<Entry>) -> Current {
    carried_out(&refreshed(Current::default(), entries))
}

fn ids(current: &Current) -> BTreeMap<String, i64> {
    let rows = current.files.iter().flat_map(|file| &file.artifacts);
    rows.map(|row: &Artifact| (row.object.key.to_string(), row.id))
        .collect()
}

#[test]
fn ids_are_dense_and_in_key_order() {
    let current = first(vec![entry("c", "1"), entry("a", "1"), entry("b", "1")]);
    let expected = [("a", 0), ("b", 1), ("c", 2)];
    assert_eq!(
        ids(&current),
        expected.map(|(key, id)| (key.to_owned(), id)).into()
    );
    assert_eq!(current.next_id, 3);
}

#[test]
fn ids_of_many_new_artifacts_are_dense_and_in_key_order() {
    // One entry in a hundred is too young.
    let entries = (0..100_003).map(|number| {
        let time_ms = if number % 100 == 7 { NOW_MS } else { OLD_MS };
        entry_of(&format!("{number:07}"), &number.to_string(), time_ms)
    });
    let current = first(entries.collect());
    let rows: Vec<&Artifact> = current
        .files
        .iter()
        .flat_map(|file| &file.artifacts)
        .collect();
    assert_eq!(rows.len(), 99_003);
    assert_eq!(current.next_id, 99_003);
    let settled = (0..100_003).filter(|number| number % 100 != 7);
    for ((id, number), row) in (0..).zip(settled).zip(rows) {
        assert_eq!(row.id, id);
        assert_eq!(*row.object.key, *format!("{number:07}"));
        assert_eq!(row.object.etag.as_deref(), Some(&*number.to_string()));
    }
}

#[test]
fn ids_follow_source_names_first() {
    let sources = vec![
        listed("z", vec![entry("a", "1")]),
        listed("b", vec![entry("x", "1")]),
    ];
    let plan = plan(
        Current::default(),
        sources,
        &Layout::default(),
        POLICY,
        LISTED_AT,
    );
    let order: Vec<_> = plan
        .add
        .iter()
        .map(|group| (&*group.source.name, group.artifacts[0].id))
        .collect();
    assert_eq!(order, [("b", 0), ("z", 1)]);
}

#[test]
fn nothing_changed_is_an_empty_plan() {
    let entries = vec![entry("a", "1"), entry("b", "1")];
    let again = plan(
        first(entries.clone()),
        vec![listed("a", entries)],
        &Layout::default(),
        POLICY,
        LISTED_AT,
    );
    assert!(again.is_empty());
    assert_eq!(again.artifacts(), 2);
}

#[test]
fn a_new_artifact_goes_to_a_new_file_and_touches_no_other() {
    let current = first(vec![entry("a", "1"), entry("c", "1")]);
    let next = plan(
        current,
        vec![listed(
            "a",
            vec![entry("a", "1"), entry("b", "1"), entry("c", "1")],
        )],
        &Layout::default(),
        POLICY,
        LISTED_AT,
    );
    assert!(next.remove.is_empty());
    assert_eq!(next.add.len(), 1);
    assert_eq!(&*next.add[0].artifacts[0].object.key, "b");
    assert_eq!(next.add[0].artifacts[0].id, 2);
    assert_eq!(next.changes.new, 1);
}

#[test]
fn a_changed_artifact_keeps_its_id_and_re_lays_its_file_only() {
    let current = first(vec![entry("a", "1"), entry("b", "1")]);
    let path = current.files[0].path.clone();
    let next = plan(
        current,
        vec![listed("a", vec![entry("a", "1"), entry("b", "2")])],
        &Layout::default(),
        POLICY,
        LISTED_AT,
    );
    assert_eq!(next.remove.iter().collect::<Vec<_>>(), [&path]);
    let after = carried_out(&next);
    assert_eq!(ids(&after)["b"], 1);
    assert_eq!(after.next_id, 2);
    assert_eq!(next.changes.changed, 1);
}

#[test]
fn a_deleted_artifact_gives_up_its_id_for_ever() {
    let current = first(vec![entry("a", "1"), entry("b", "1"), entry("c", "1")]);
    let without = plan(
        current,
        vec![listed("a", vec![entry("a", "1"), entry("c", "1")])],
        &Layout::default(),
        POLICY,
        LISTED_AT,
    );
    assert_eq!(without.changes.deleted, 1);
    let back = plan(
        carried_out(&without),
        vec![listed(
            "a",
            vec![entry("a", "1"), entry("b", "1"), entry("c", "1")],
        )],
        &Layout::default(),
        POLICY,
        LISTED_AT,
    );
    assert_eq!(ids(&carried_out(&back))["b"], 3);
}

#[test]
fn an_artifact_being_written_is_held_back_until_it_settles() {
    let young = entry_of("b", "1", NOW_MS - 500);
    let held = plan(
        first(vec![entry("a", "1")]),
        vec![listed("a", vec![entry("a", "1"), young.clone()])],
        &Layout::default(),
        POLICY,
        LISTED_AT,
    );
    assert!(held.is_empty());
    assert_eq!(held.changes.unsettled, 1);
    let later = plan(
        carried_out(&held),
        vec![listed("a", vec![entry("a", "1"), young])],
        &Layout::default(),
        POLICY,
        at(NOW_MS + 2_000, NOW_MS + 2_000),
    );
    assert_eq!(later.changes.new, 1);
}

#[test]
fn what_was_young_when_it_was_listed_is_held_back_however_long_the_listing_took() {
    // Seen half written in the first of thirty seconds, or as late as the last.
    for modified_ms in [NOW_MS - 500, NOW_MS + 100, NOW_MS + 29_900] {
        let held = plan(
            first(vec![entry("a", "1")]),
            vec![listed(
                "a",
                vec![entry("a", "1"), entry_of("b", "1", modified_ms)],
            )],
            &Layout::default(),
            POLICY,
            at(NOW_MS, NOW_MS + 30_000),
        );
        assert!(held.is_empty(), "{modified_ms}");
        assert_eq!(held.changes.unsettled, 1, "{modified_ms}");
    }
}

#[test]
fn a_young_artifact_of_another_place_takes_the_row_of_the_one_before() {
    let mut young = entry_of("a", "2", NOW_MS - 500);
    let object = SourceObject {
        source: "ffeeddccbbaa9988".into(),
        ..(*young.object).clone()
    };
    young.object = Arc::new(object);
    let moved = Listed {
        edited: true,
        relay: true,
        ..listed("a", vec![young.clone()])
    };
    let next = plan(
        first(vec![entry("a", "1")]),
        vec![moved],
        &Layout::default(),
        POLICY,
        LISTED_AT,
    );
    let rows: Vec<&Artifact> = next.add.iter().flat_map(|group| &group.artifacts).collect();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].id, &rows[0].object), (0, &young.object));
}

#[test]
fn a_clock_far_ahead_does_not_hide_an_artifact_for_ever() {
    let ahead = entry_of("a", "1", NOW_MS + 86_400_000);
    assert_eq!(ids(&first(vec![ahead])).len(), 1);
}

#[test]
fn a_source_that_was_not_listed_stays_as_it_was() {
    let missing = Listed {
        listing: None,
        ..listed("a", Vec::new())
    };
    let kept = plan(
        first(vec![entry("a", "1")]),
        vec![missing],
        &Layout::default(),
        POLICY,
        LISTED_AT,
    );
    assert!(kept.is_empty());
    assert_eq!(kept.held["a"], Hold::NotListed);
}

#[test]
fn a_listing_that_lost_more_than_half_is_held_and_half_is_not() {
    let current = || first(["a", "b", "c", "d"].map(|key| entry(key, "1")).into());
    let with = |keys: &[&str], policy: Policy| {
        let entries = keys.iter().map(|key| entry(key, "1")).collect();
        plan(
            current(),
            vec![listed("a", entries)],
            &Layout::default(),
            policy,
            LISTED_AT,
        )
    };
    assert_eq!(
        with(&["a"], POLICY).held["a"],
        Hold::Shrunk {
            dropped: 3,
            known: 4
        }
    );
    assert_eq!(
        with(&[], POLICY).held["a"],
        Hold::Shrunk {
            dropped: 4,
            known: 4
        }
    );
    assert_eq!(with(&["a", "b"], POLICY).changes.deleted, 2);
    let apply = Policy {
        hold_shrunk: false,
        ..POLICY
    };
    assert_eq!(with(&[], apply).changes.deleted, 4);
}

#[test]
fn an_edited_source_may_shrink() {
    let edited = Listed {
        edited: true,
        relay: true,
        ..listed("a", vec![entry("a", "1")])
    };
    let current = first(["a", "b", "c", "d"].map(|key| entry(key, "1")).into());
    let next = plan(current, vec![edited], &Layout::default(), POLICY, LISTED_AT);
    assert_eq!(next.changes.deleted, 3);
    assert!(next.held.is_empty());
}

#[test]
fn a_source_that_left_the_manifest_leaves_the_table() {
    let current = first(vec![entry("a", "1"), entry("b", "1")]);
    let next = plan(current, Vec::new(), &Layout::default(), POLICY, LISTED_AT);
    assert_eq!(next.artifacts(), 0);
    assert_eq!(next.changes.deleted, 2);
}

#[test]
fn a_re_lay_keeps_every_id() {
    let entries = vec![entry("a", "1"), entry("b", "1"), entry("c", "1")];
    let current = first(entries.clone());
    let before = ids(&current);
    let relay = Listed {
        relay: true,
        ..listed("a", entries)
    };
    let next = plan(current, vec![relay], &Layout::default(), POLICY, LISTED_AT);
    assert_eq!(next.remove.len(), 1);
    assert_eq!(ids(&carried_out(&next)), before);
}

#[test]
fn a_table_that_grows_by_one_artifact_at_a_time_has_few_files_and_lays_a_row_out_a_few_times() {
    let (mut current, mut entries) = (Current::default(), Vec::new());
    let (mut merged, mut most) = (0, 0);
    for number in 0..2_000 {
        // Neither in the order of keys nor against it.
        entries.push(entry(&format!("{:05}", number * 7_919 % 10_007), "1"));
        let known = ids(&current);
        let plan = refreshed(current, entries.clone());
        assert!(plan.remove.is_empty() && plan.artifacts() == number + 1);
        merged += plan
            .merge
            .add
            .iter()
            .map(|group| group.artifacts.len())
            .sum::<usize>();
        current = carried_out(&plan);
        most = most.max(current.files.len());
        let now = ids(&current);
        assert!(known.iter().all(|(key, id)| now[key] == *id));
        assert_eq!(now[&*entries[entries.len() - 1].object.key], number as i64);
    }
    for file in &current.files {
        assert!(
            file.artifacts
                .is_sorted_by(|a, b| a.object.key < b.object.key)
        );
    }
    assert!(most <= 3 * 16, "{most} files");
    assert!(merged <= 2 * 2_000, "{merged} rows laid out again");
}

#[test]
fn files_are_merged_with_those_of_their_source_and_of_their_size() {
    let files = |source: &str, count: u32, rows: u32| {
        (0..count)
            .map(move |number| CommittedFile {
                path: format!("{source}-{number}-of-{rows}.parquet"),
                size: 1,
                source: source.into(),
                artifacts: (0..rows)
                    .map(|row| Artifact {
                        id: i64::from(number * rows + row),
                        object: entry(&format!("{rows}/{number:03}/{row:05}"), "1").object,
                        storage_class: None,
                        archived: false,
                    })
                    .collect(),
            })
            .collect::<Vec<_>>()
    };
    for (one, other, removed) in [
        (files("a", 16, 1), vec![], 16),
        (files("a", 15, 1), vec![], 0),
        (files("a", 15, 1), files("a", 15, 20), 0),
        (files("a", 15, 1), files("b", 15, 1), 0),
        (files("a", 15, 1), files("a", 16, 20), 16),
        // Full.
        (files("a", 17, 4_000), vec![], 0),
    ] {
        let all: Vec<_> = one.into_iter().chain(other).collect();
        let entries = |source: &str| {
            let files = all.iter().filter(|file| &*file.source == source);
            let rows = files.flat_map(|file| &file.artifacts);
            let keys = rows.map(|row| entry(&row.object.key, "1"));
            listed(source, keys.collect())
        };
        let listed = vec![entries("a"), entries("b")];
        let rows = all
            .iter()
            .map(|file| file.artifacts.len() as u64)
            .sum::<u64>();
        let current = Current {
            files: all,
            next_id: 1_000_000,
            ..Current::default()
        };
        let plan = plan(current, listed, &Layout::default(), POLICY, LISTED_AT);
        assert_eq!(plan.merge.remove.len(), removed);
        assert_eq!(plan.merge.add.len(), usize::from(removed > 0));
        assert_eq!((plan.artifacts(), plan.is_empty()), (rows, removed == 0));
        assert_eq!(plan.changes, Changes::default());
    }
}

#[test]
fn a_table_of_many_small_files_is_merged_by_and_by_and_neighbours_with_each_other() {
    for (count, rows_each, most) in [(10_000, 1, 4_096), (150, 3_900, 67)] {
        let key = |file: u32, row: u32| format!("{file:05}/{row:05}");
        let files = (0..count).map(|number| CommittedFile {
            // Names are hashes: they tell nothing of the keys.
            path: format!("{:05}.parquet", number * 7_919 % 10_007),
            size: 1,
            source: "a".into(),
            artifacts: (0..rows_each)
                .map(|row| Artifact {
                    id: i64::from(number * rows_each + row),
                    object: entry(&key(number, row), "1").object,
                    storage_class: None,
                    archived: false,
                })
                .collect(),
        });
        let mut current = Current {
            files: files.collect(),
            next_id: i64::from(count * rows_each),
            ..Current::default()
        };
        current.files.sort_by(|a, b| a.path.cmp(&b.path));
        let known = ids(&current);
        let entries: Vec<_> = known.keys().map(|key| entry(key, "1")).collect();
        let mut versions = 0;
        loop {
            let plan = refreshed(current, entries.clone());
            let merged = plan.merge.remove.len();
            let laid_out = plan.merge.add.iter().map(|group| group.artifacts.len());
            assert!(merged <= most && laid_out.sum::<usize>() <= 262_144);
            // Of a version that the last one was not.
            assert!(versions > 0 || merged == most, "{merged}");
            let is_done = plan.is_empty();
            current = carried_out(&plan);
            if is_done {
                break;
            }
            versions += 1;
        }
        assert!(versions > 2, "{versions}");
        assert_eq!(ids(&current), known);
        assert!(current.files.len() < 3 * 16, "{}", current.files.len());
        let mut ranges: Vec<_> = current
            .files
            .iter()
            .map(|file| {
                let mut keys = file.artifacts.iter().map(|row| &row.object.key);
                (keys.next(), keys.next_back())
            })
            .collect();
        ranges.sort();
        let apart = |pair: &[(Option<_>, Option<_>)]| pair[0].1.or(pair[0].0) < pair[1].0;
        assert!(ranges.windows(2).all(apart));
    }
}

#[test]
fn files_that_change_are_merged_among_themselves_and_those_of_a_source_that_is_not_listed_never() {
    let keys = |range: std::ops::Range<u32>| range.map(|n| format!("{n:03}"));
    let mut current = Current::default();
    for end in 1..=15 {
        let entries = keys(0..end).map(|key| entry(&key, "1")).collect();
        current = carried_out(&refreshed(current, entries));
    }
    assert_eq!(current.files.len(), 15);
    // All are rewritten between any two refreshes, and one comes.
    for end in 16..40 {
        let etag = end.to_string();
        let entries = keys(0..end).map(|key| entry(&key, &etag)).collect();
        let plan = refreshed(current, entries);
        assert!(plan.merge.remove.is_empty(), "rows change with all of them");
        current = carried_out(&plan);
        assert!(current.files.len() <= 18, "{}", current.files.len());
    }
    assert_eq!(ids(&current).len(), 39);

    let many = (0..20).map(|number| CommittedFile {
        path: format!("{number}.parquet"),
        size: 1,
        source: "a".into(),
        artifacts: first(vec![entry(&format!("{number:03}"), "1")])
            .files
            .remove(0)
            .artifacts,
    });
    let current = Current {
        files: many.collect(),
        next_id: 20,
        ..Current::default()
    };
    let away = Listed {
        listing: None,
        ..listed("a", Vec::new())
    };
    let shrunk = listed("a", vec![entry("000", "1")]);
    for held in [away, shrunk] {
        let plan = plan(
            current.clone(),
            vec![held],
            &Layout::default(),
            POLICY,
            LISTED_AT,
        );
        assert!(plan.is_empty() && plan.keep.len() == 20);
    }
}
