use super::*;

fn declared(generation: i64, interval: u32) -> Declared {
    let manifest = format!(
        "apiVersion: vdt.io/v1alpha1\nkind: VirtualTable\nmetadata: {{name: t, namespace: docs, generation: {generation}}}\n\
         spec:\n  sources: [{{name: a, type: File, file: {{path: a}}}}]\n  refresh: {{intervalSeconds: {interval}}}\n"
    );
    Declared {
        table: vdt_crds::parse(manifest.as_bytes())
            .expect("it parses")
            .remove(0),
        env: SourceEnv::default(),
        origin: "t.yaml".to_owned(),
    }
}

#[test]
fn flags_are_for_what_has_no_manifest() {
    let given = GivenArgs {
        refresh_seconds: Some(7),
        on_shrink: Some(OnShrink::Apply),
    };
    let mut folder = declared(1, 60);
    folder.table = VirtualTable::for_folder(Path::new("/a"));
    let mut both = [folder, declared(1, 60)];
    apply(&given, &mut both[..1]).expect("a folder takes both");
    let refresh = &both[0].table.spec.refresh;
    assert_eq!(refresh.interval_seconds, 7);
    assert_eq!(refresh.on_shrink, vdt_crds::OnShrink::Apply);
    apply(&GivenArgs::default(), &mut both).expect("nothing is given");
    let refused = apply(&given, &mut both).expect_err("a manifest says it itself");
    assert_eq!(
        refused.to_string(),
        "--refresh-seconds is for folders and buckets given as such; in the manifest t.yaml write spec.refresh.intervalSeconds"
    );
}

#[test]
fn a_folder_is_the_one_that_its_path_leads_to_whenever_it_is_listed() {
    let base = tempfile::tempdir().expect("a folder");
    let base = base.path().canonicalize().expect("it is there");
    fs::create_dir_all(base.join("releases/one/papers")).expect("made");
    std::os::unix::fs::symlink("releases/one", base.join("current")).expect("made");
    let args = SourceArgs {
        sources: Vec::new(),
        manifests: None,
        secrets_dir: None,
        claims_dir: None,
    };
    for (given, folder, name) in [
        ("current", "current", "current"),
        ("current/./papers/", "current/papers", "papers"),
        ("current/..", "releases", "releases"),
        ("current/papers/../../one", "releases/one", "one"),
    ] {
        let given = base.join(given).display().to_string();
        let one = load_one(&given, &args).expect("a folder").remove(0);
        let folder = base.join(folder);
        assert_eq!(one.env.base_dir, folder, "{given}");
        assert_eq!(one.table.table_name(), name, "{given}");
        assert_eq!(one.table.owner(), format!("folder:{}", folder.display()));
    }
}

#[tokio::test]
async fn a_folder_whose_link_is_switched_is_listed_as_the_new_one() {
    let base = tempfile::tempdir().expect("a folder");
    let base = base.path();
    let link = base.join("current");
    for name in ["one", "two"] {
        fs::create_dir(base.join(name)).expect("made");
        fs::write(base.join(name).join(name), "text").expect("written");
    }
    std::os::unix::fs::symlink("one", &link).expect("made");
    let args = SourceArgs {
        sources: vec![link.display().to_string()],
        manifests: None,
        secrets_dir: None,
        claims_dir: None,
    };
    let one = load(&args).expect("a folder").remove(0);
    let definition = vdt_store::Definition::open(&one.table, &one.env).expect("it opens");
    let listed = async || {
        let listing = definition.sources[0].list(&|_, _| {}).await;
        let entries = listing.expect("it is listed").entries;
        let keys = entries.iter().map(|entry| entry.object.key.to_string());
        keys.collect::<Vec<_>>()
    };
    assert_eq!(listed().await, ["one"]);
    fs::remove_file(&link).expect("it was there");
    std::os::unix::fs::symlink("two", &link).expect("made");
    assert_eq!(listed().await, ["two"]);
}

#[test]
fn an_edit_and_an_edit_taken_back_are_both_taken() {
    assert!(declared(3, 60).is_same(&declared(3, 60)));
    assert!(!declared(3, 60).is_same(&declared(4, 30)));
    // What was said between may be committed already: only who has the last edition overrules it.
    assert!(!declared(3, 60).is_same(&declared(5, 60)));
}
