//! Sources of the origin that come and go with manifests, and what its listings and hints ask of the state.

use std::{fs, path::Path as FsPath, sync::Arc};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{Error, ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use parquet::{
    data_type::ByteArrayType,
    errors::ParquetError,
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};
use vdt_crds::VirtualTable;
use vdt_rope::testing::{Recording, Request};
use vdt_store::{OpenMode, Origin, Source, SourceEnv, StateStore};

const LOG: &str = "main/docs/t/_delta_log";

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

/// An origin over memory, and what its state is asked for.
async fn recorded() -> (Arc<InMemory>, Arc<Recording>, Origin) {
    let memory = Arc::new(InMemory::new());
    let recording = Arc::new(Recording::new(memory.clone()));
    let state = StateStore::from_store(recording.clone(), "memory", OpenMode::ReadWrite);
    let origin = Origin::new(state.await.expect("memory opens"));
    recording.take();
    (memory, recording, origin)
}

async fn put(memory: &InMemory, path: &str, body: Bytes) {
    let path = Path::parse(path).expect("a path");
    memory.put(&path, body.into()).await.expect("it is put");
}

/// A Parquet file of so many actions, all of them null.
fn checkpoint(actions: usize) -> Bytes {
    let write = || -> Result<_, ParquetError> {
        let schema = parse_message_type("message action { optional binary json; }")?;
        let mut bytes = Vec::new();
        let properties = Arc::new(WriterProperties::new());
        let mut file = SerializedFileWriter::new(&mut bytes, schema.into(), properties)?;
        let mut rows = file.next_row_group()?;
        let mut column = rows.next_column()?.expect("the schema has one");
        let levels = vec![0; actions];
        column
            .typed::<ByteArrayType>()
            .write_batch(&[], Some(&levels), None)?;
        column.close()?;
        rows.close()?;
        file.close()?;
        Ok(bytes)
    };
    write().expect("it is written").into()
}

/// Where each listing of the log began.
fn listings(recording: &Recording) -> Vec<Option<String>> {
    let offset = |request| match request {
        Request::List { offset, .. } => Some(offset.map(|path| path.to_string())),
        Request::Get { .. } | Request::Head { .. } => None,
    };
    recording.take().into_iter().filter_map(offset).collect()
}

#[tokio::test]
async fn a_hint_is_in_a_log_and_nowhere_else() {
    let (memory, recording, origin) = recorded().await;
    for folder in [
        "main/docs/t",
        "main/docs/t/x",
        "main/docs",
        "main/docs/t/x/_delta_log",
    ] {
        let file = format!("{folder}/00000000000000000010.checkpoint.parquet");
        put(&memory, &file, checkpoint(0)).await;
        let hint = Path::from(format!("log/{folder}/_last_checkpoint"));
        let error = origin.get(&hint).await.expect_err(folder);
        assert!(matches!(error, Error::NotFound { .. }), "{folder}: {error}");
    }
    assert_eq!(recording.take(), [], "nothing is asked for");
}

#[tokio::test]
async fn a_hint_is_these_very_bytes() {
    let (memory, _, origin) = recorded().await;
    let checkpoint = checkpoint(3);
    let bytes = checkpoint.len();
    let file = format!("{LOG}/00000000000000000020.checkpoint.parquet");
    put(&memory, &file, checkpoint).await;
    let hint = Path::from(format!("log/{LOG}/_last_checkpoint"));
    let found = origin.get(&hint).await.expect("a hint");
    let tag = format!("\"checkpoint-20-{bytes}\"");
    assert_eq!(found.meta.e_tag, Some(tag));
    let body = found.bytes().await.expect("read");
    assert_eq!(
        str::from_utf8(&body).expect("text"),
        format!(r#"{{"version":20,"size":3,"sizeInBytes":{bytes}}}"#)
    );
}

#[tokio::test]
async fn a_hint_is_looked_for_from_the_newest_checkpoint_on_that_was_met() {
    let (memory, recording, origin) = recorded().await;
    let file = |version: u64| format!("{LOG}/{version:020}.checkpoint.parquet");
    let version = async || {
        let hint = Path::from(format!("log/{LOG}/_last_checkpoint"));
        let hint = origin.get(&hint).await.ok()?.bytes().await.expect("read");
        let hint: serde_json::Value = serde_json::from_slice(&hint).expect("JSON");
        hint["version"].as_u64()
    };
    let after = |version: u64| Some(format!("{LOG}/{version:020}"));

    assert_eq!(version().await, None);
    put(&memory, &file(10), checkpoint(0)).await;
    assert_eq!(version().await, Some(10));
    assert_eq!(listings(&recording), [None, None]);
    put(&memory, &file(20), checkpoint(0)).await;
    assert_eq!(version().await, Some(20));
    assert_eq!(listings(&recording), [after(10)]);
    // A listing that passes tells as well.
    put(&memory, &file(30), checkpoint(0)).await;
    let log = Path::from(format!("log/{LOG}"));
    let listed: Vec<_> = origin.list(Some(&log)).try_collect().await.expect("listed");
    assert_eq!(listed.len(), 3);
    recording.take();
    assert_eq!(version().await, Some(30));
    assert_eq!(listings(&recording), [after(30)]);
    // The table is made anew.
    for gone in [20, 30] {
        let gone = Path::from(file(gone));
        memory.delete(&gone).await.expect("deleted");
    }
    assert_eq!(version().await, Some(10));
    assert_eq!(listings(&recording), [after(30), None]);
}

#[tokio::test]
async fn a_log_is_listed_from_where_it_is_asked_for_and_a_tree_from_its_beginning() {
    let (memory, recording, origin) = recorded().await;
    for version in 0..3 {
        put(&memory, &format!("{LOG}/{version:020}.json"), Bytes::new()).await;
    }
    put(&memory, "main/docs/t/_vdt/owner.json", Bytes::new()).await;
    let first = Path::from(format!("log/{LOG}/{:020}.json", 0));
    for (folder, offset) in [
        (format!("log/{LOG}"), Some(format!("{LOG}/{:020}.json", 0))),
        ("log/main/docs/t".to_owned(), None),
    ] {
        let folder = Path::from(folder);
        let listed = origin.list_with_offset(Some(&folder), &first);
        let listed: Vec<_> = listed.try_collect().await.expect("listed");
        let names: Vec<_> = listed
            .iter()
            .map(|meta| meta.location.to_string())
            .collect();
        let expected = [1, 2].map(|version| format!("log/{LOG}/{version:020}.json"));
        assert_eq!(names, expected);
        assert_eq!(listings(&recording), [offset]);
    }
}
