//! Sources of the origin that come and go with manifests.

use std::{fs, path::Path as FsPath, sync::Arc};

use object_store::{ObjectStoreExt, memory::InMemory, path::Path};
use vdt_crds::VirtualTable;
use vdt_store::{OpenMode, Origin, Source, SourceEnv, StateStore};

fn source(folder: &FsPath, include: &str) -> Arc<Source> {
    let mut spec = VirtualTable::for_folder(folder).spec.sources.remove(0);
    spec.include = vec![include.to_owned()];
    let env = SourceEnv {
        base_dir: folder.to_owned(),
        ..SourceEnv::default()
    };
    Arc::new(Source::open(&spec, &env).expect("a folder opens"))
}

#[tokio::test]
async fn a_place_that_is_declared_no_longer_is_read_for_older_versions_only() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["a.pdf", "a.txt"] {
        fs::write(folder.path().join(name), "content").expect("written");
    }
    let memory = Arc::new(InMemory::new());
    let state = StateStore::from_store(memory, "memory", OpenMode::ReadWrite);
    let origin = Origin::new(state.await.expect("memory opens"));
    let [pdfs, texts] = ["*.pdf", "*.txt"].map(|include| source(folder.path(), include));
    let id = pdfs.id().clone();
    let declared = |origin: &Origin| ["a.pdf", "a.txt"].map(|key| origin.declares(&id, key));
    let read = async |origin: &Origin, key: &str| {
        let path = Path::from(format!("sources/{id}/{key}"));
        origin.get(&path).await.is_ok()
    };

    origin.add_source(pdfs.clone());
    assert_eq!(declared(&origin), [true, false]);
    origin.replace_sources(&[pdfs], std::slice::from_ref(&texts));
    assert_eq!(declared(&origin), [false, true]);
    // Two tables of one place: one goes, the other stays.
    let other = source(folder.path(), "*");
    origin.add_source(other.clone());
    origin.replace_sources(std::slice::from_ref(&texts), &[]);
    assert_eq!(declared(&origin), [true, true]);
    origin.replace_sources(&[other], &[]);
    assert_eq!(declared(&origin), [false, false]);
    assert!(
        read(&origin, "a.pdf").await,
        "an older version may refer to it"
    );
    // Whoever declares the place again takes over.
    origin.replace_sources(&[], &[texts]);
    assert_eq!(declared(&origin), [false, true]);
}
