//! Resources that declare one table.

use object_store::{
    ObjectStoreExt,
    throttle::{ThrottleConfig, ThrottledStore},
};

use super::*;

/// What is told of such a manifest that is used.
const USED: &str = "it is used, though another one declares the table too: declared twice";

/// What is there.
fn folder_that_is_there() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/serve/supervisor")
}

#[tokio::test]
async fn of_two_that_declare_one_table_its_owner_goes_on_after_a_start_too() {
    let mut bed = Bed::of(twins("copy", "manuals")).await;
    assert_eq!(bed.shown(), Visibility::Visible);
    let table = bed.table();
    let told = table.manifest().refused.map(|refused| refused.message);
    assert_eq!(told.as_deref(), Some(USED));
    assert_eq!(*bed.tables.problems(), []);
    let owners = bed.supervisor.resources().map(VirtualTable::owner);
    assert_eq!(owners.collect::<Vec<_>>(), ["docs/manuals"]);
    // It is the same one when the manifests are read again, and when the other one is gone.
    for loaded in [twins("copy", "manuals"), all(&["manuals"])] {
        bed.supervisor.apply(loaded).await;
        assert!(Arc::ptr_eq(&table, &bed.table()));
        assert_eq!(bed.shown(), Visibility::Visible);
    }
    assert_eq!(table.manifest().refused, None);
    bed.end().await;
}

#[tokio::test]
async fn the_owner_of_a_table_takes_it_over_from_another_that_is_there_already() {
    for (before, loaded) in [
        (&["copy"][..], twins("copy", "manuals")),
        (&["copy"], twins("manuals", "copy")),
        (&[], twins("copy", "manuals")),
        (&[], twins("manuals", "copy")),
    ] {
        let mut bed = Bed::new(before).await;
        let other = bed.tables.served().first().cloned();
        let as_at_a_start = Bed::of(loaded.clone()).await;
        assert_eq!(bed.supervisor.apply(loaded.clone()).await, Taken::Whole);
        for bed in [&bed, &as_at_a_start] {
            let first = loaded.declared[0].table.owner();
            assert_eq!(bed.shown(), Visibility::Visible, "{before:?}, {first}");
            let owners = bed.supervisor.resources().map(VirtualTable::owner);
            assert_eq!(owners.collect::<Vec<_>>(), ["docs/manuals"]);
            let told = bed.table().manifest().refused;
            let told = told.map(|refused| refused.message);
            let others = bed.tables.problems();
            match first == "docs/manuals" {
                true => assert_eq!((told, &*others), (None, &loaded.problems[..])),
                false => assert_eq!((told.as_deref(), others.len()), (Some(USED), 0)),
            }
        }
        if let Some(other) = other {
            assert!(!Arc::ptr_eq(&other, &bed.table()));
            assert_eq!(other.whose(), Claim::Unclaimed);
        }
        let table = bed.table();
        bed.supervisor.apply(loaded).await;
        assert!(Arc::ptr_eq(&table, &bed.table()));
        bed.end().await;
        as_at_a_start.end().await;
    }
}

#[tokio::test]
async fn the_owner_comes_though_the_one_before_it_is_refused_itself() {
    for (name, shown) in [
        ("manuals", Visibility::Visible),
        ("copy", Visibility::Unknown),
    ] {
        let invalid = Problem {
            message: "invalid".to_owned(),
            ..twice("a")
        };
        let loaded = Loaded {
            declared: vec![],
            problems: vec![invalid.clone(), twice(name)],
            doubles: vec![declared(name)],
        };
        let mut comes = Bed::new(&[]).await;
        comes.supervisor.apply(loaded.clone()).await;
        for bed in [comes, Bed::of(loaded).await] {
            assert_eq!(bed.shown(), shown, "{name}");
            if shown == Visibility::Visible {
                let told = bed.table().manifest().refused;
                assert_eq!(told.map(|refused| refused.message).as_deref(), Some(USED));
                assert!(bed.tables.problems().iter().eq([&invalid]));
            }
            bed.end().await;
        }
    }
}

#[tokio::test]
async fn what_is_edited_of_an_owner_that_is_not_read_first_is_followed() {
    let mut bed = Bed::of(twins("copy", "manuals")).await;
    let table = bed.table();
    let edited = |path: PathBuf| {
        let mut loaded = twins("copy", "manuals");
        let file = loaded.doubles[0].table.spec.sources[0].file.as_mut();
        file.unwrap().path = Some(path.display().to_string());
        loaded
    };
    let told = || table.manifest().refused.unwrap().message;
    let good = edited(folder_that_is_there());
    assert_eq!(bed.supervisor.apply(good.clone()).await, Taken::Whole);
    assert!(Arc::ptr_eq(&table, &bed.table()));
    let runs = bed.supervisor.resources().next().unwrap().spec.clone();
    assert_eq!(runs, good.doubles[0].table.spec);
    assert_eq!(told(), USED);
    // One that cannot be opened leaves the last good one in use.
    let bad = edited(folder().join("other"));
    assert_eq!(bed.supervisor.apply(bad).await, Taken::TryAgain);
    let runs = bed.supervisor.resources().next().unwrap().spec.clone();
    assert_eq!(runs, good.doubles[0].table.spec);
    assert!(told().contains("does not exist"), "{}", told());
    bed.end().await;
}

#[tokio::test]
async fn the_owner_comes_though_the_file_of_the_other_cannot_be_read() {
    let mut bed = Bed::new(&["copy"]).await;
    let unreadable = Problem {
        manifest: "copy.yaml".to_owned(),
        ..twice("copy")
    };
    let mut loaded = all(&["manuals"]);
    loaded.problems.push(unreadable);
    bed.supervisor.apply(loaded).await;
    assert_eq!(bed.shown(), Visibility::Visible);
    bed.end().await;
}

#[tokio::test]
async fn a_state_that_does_not_say_whose_a_table_is_is_asked_again() {
    let mut bed = Bed::new(&[]).await;
    let owner = Path::from(format!("{TABLE}/_vdt/owner.json"));
    let objects = bed.supervisor.stores.state.objects().clone();
    let said = objects.get(&owner).await.unwrap().bytes().await.unwrap();
    objects.put(&owner, "no JSON".into()).await.unwrap();
    let twins = || twins("copy", "manuals");
    assert_eq!(bed.supervisor.apply(twins()).await, Taken::TryAgain);
    assert_eq!(bed.shown(), Visibility::Unknown);
    objects.put(&owner, said.into()).await.unwrap();
    assert_eq!(bed.supervisor.apply(twins()).await, Taken::Whole);
    assert_eq!(bed.shown(), Visibility::Visible);
    bed.end().await;
}

#[tokio::test]
async fn a_state_that_does_not_answer_holds_up_no_other_manifest() {
    let objects = Arc::new(ThrottledStore::new(
        InMemory::new(),
        ThrottleConfig::default(),
    ));
    let mut bed = Bed::on(objects.clone(), all(&[])).await;
    objects.config_mut(|config| config.wait_get_per_call = Duration::MAX);
    bed.supervisor.claim_wait = Duration::ZERO;
    let loaded = || twins("copy", "manuals");
    let wait = Duration::from_secs(20);
    let applied = timeout(wait, bed.supervisor.apply(loaded())).await;
    assert_eq!(applied, Ok(Taken::TryAgain));
    assert_eq!(bed.shown(), Visibility::Unknown);
    let started = timeout(wait, bed.supervisor.start(loaded())).await;
    assert_eq!(started, Ok(Taken::TryAgain));
    bed.end().await;
}

#[tokio::test]
async fn a_twin_of_which_none_owns_the_table_claims_nothing() {
    let bed = Bed::of(twins("copy", "other")).await;
    assert_eq!(bed.shown(), Visibility::Hidden);
    assert_eq!(bed.table().whose(), Claim::OfAnother);
    bed.end().await;
}

#[tokio::test]
async fn the_problem_of_a_twin_is_told_beside_the_table_that_is_declared() {
    let mut bed = Bed::new(&["manuals"]).await;
    let loaded = twins("manuals", "z");
    bed.supervisor.apply(loaded.clone()).await;
    assert_eq!(*bed.tables.problems(), loaded.problems);
    assert_eq!(bed.table().manifest().refused, None);
    bed.end().await;
}
