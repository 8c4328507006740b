//! The log as clients see it: what is committed, how it is opened, what a lookup touches.

use std::{fs, sync::Arc};

use deltalake::DeltaTableBuilder;
use futures::TryStreamExt;
use object_store::{Error, ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;
use vdt_crds::VirtualTable;
use vdt_rope::{RopeStore, RopeStoreOptions, testing::Altered};
use vdt_store::{
    Clock, Definition, OpenMode, Origin, SourceEnv, StateStore, TableRefresh, log::TableLog,
};

/// A folder, a state store in memory, and what serves them.
struct Lab {
    folder: TempDir,
    state: StateStore,
    definition: Arc<Definition>,
    origin: Arc<Origin>,
    files: RopeStore,
}

impl Lab {
    async fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let state =
            StateStore::from_store(Arc::new(InMemory::new()), "memory", OpenMode::ReadWrite)
                .await
                .expect("memory opens");
        let mut table = VirtualTable::for_folder(std::path::Path::new("/papers"));
        table.spec.refresh.settle_seconds = 0;
        let env = SourceEnv {
            base_dir: folder.path().to_owned(),
            ..SourceEnv::default()
        };
        let definition = Arc::new(Definition::open(&table, &env).expect("a folder opens"));
        let origin = Arc::new(Origin::new(state.clone()));
        origin.add_source(definition.sources[0].clone());
        let files = RopeStore::new(origin.clone(), RopeStoreOptions::default());
        Self {
            folder,
            state,
            definition,
            origin,
            files,
        }
    }

    fn put(&self, name: &str, bytes: usize) {
        fs::write(self.folder.path().join(name), vec![b'x'; bytes]).expect("written");
    }

    async fn refresh(&self) -> vdt_store::RefreshReport {
        let clock: Clock = Arc::new(|| 1_900_000_000_000);
        TableRefresh::new(self.definition.clone(), self.state.clone(), clock)
            .run(None)
            .await
            .expect("it refreshes")
    }

    async fn log(&self) -> Vec<String> {
        let found: Vec<_> = self
            .files
            .list(Some(&Path::from("main/default/papers/_delta_log")))
            .try_collect()
            .await
            .expect("it lists");
        found
            .iter()
            .map(|meta| meta.location.filename().unwrap_or_default().to_owned())
            .collect()
    }

    async fn read(&self, path: &str) -> Vec<u8> {
        self.files
            .get(&Path::from(path))
            .await
            .expect("it opens")
            .bytes()
            .await
            .expect("it reads")
            .to_vec()
    }

    async fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.read(path).await).expect("it is JSON")
    }

    /// Opens the table with deltalake through what clients are shown: versions, files, bytes.
    async fn opened(&self) -> (u64, usize, i64) {
        let url = Url::parse("memory:///main/default/papers/").expect("a URL");
        let store: Arc<dyn ObjectStore> = Arc::new(self.files.clone());
        let table = DeltaTableBuilder::from_url(url.clone())
            .expect("a table")
            .with_storage_backend(store, url)
            .load()
            .await
            .expect("it opens");
        let snapshot = table.snapshot().expect("a snapshot");
        let files: Vec<_> = snapshot.log_data().iter().map(|file| file.size()).collect();
        (snapshot.version(), files.len(), files.iter().sum())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_created_without_reading_an_artifact() {
    let lab = Lab::new().await;
    (0..50).for_each(|number| lab.put(&format!("{number:02}.pdf"), 10_000));
    let report = lab.refresh().await;
    assert_eq!(
        (report.artifacts, report.artifact_bytes),
        (50, Some(500_000))
    );
    assert_eq!(lab.origin.source_reads().bytes, 0);
    assert_eq!(lab.origin.source_reads().requests, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_one_page_touches_one_artifact() {
    let lab = Lab::new().await;
    (0..20).for_each(|number| lab.put(&format!("{number:02}.pdf"), 100_000));
    lab.refresh().await;
    let listed: Vec<_> = lab
        .files
        .list(Some(&Path::from("main/default/papers")))
        .try_collect()
        .await
        .expect("it lists");
    let file = listed
        .iter()
        .find(|meta| meta.location.extension() == Some("parquet"))
        .expect("one file");
    let body = lab
        .files
        .get(&file.location)
        .await
        .expect("it opens")
        .bytes()
        .await
        .expect("it reads");
    let start = body
        .windows(64)
        .position(|window| window == [b'x'; 64])
        .expect("the first artifact") as u64;
    let before = lab.origin.source_reads();
    let page = lab
        .files
        .get_range(&file.location, start..start + 100_000)
        .await
        .expect("it reads");
    let after = lab.origin.source_reads();
    assert_eq!(&page[..], vec![b'x'; 100_000]);
    assert_eq!(
        (after.requests - before.requests, after.bytes - before.bytes),
        (1, 100_000)
    );
    lab.files
        .get_range(&file.location, file.size - 262_144..file.size)
        .await
        .expect("the tail reads");
    assert_eq!(
        lab.origin.source_reads(),
        after,
        "a blind tail read of 256 KiB touches no artifact"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_folder_is_a_valid_empty_table() {
    let lab = Lab::new().await;
    let report = lab.refresh().await;
    assert_eq!((report.version, report.artifacts), (0, 0));
    assert_eq!(lab.opened().await, (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_checksum_file_tells_the_snapshot() {
    let lab = Lab::new().await;
    lab.put("a.pdf", 1_000);
    lab.refresh().await;
    let checksum = lab
        .json("main/default/papers/_delta_log/00000000000000000000.crc")
        .await;
    let (_, files, bytes) = lab.opened().await;
    assert_eq!(checksum["numFiles"], files);
    assert_eq!(checksum["tableSizeBytes"], bytes);
    assert_eq!(checksum["protocol"]["minReaderVersion"], 1);
    assert!(
        checksum["metadata"]["schemaString"]
            .as_str()
            .is_some_and(|schema| schema.contains("filename"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_in_the_log_tells_where_the_state_lies() {
    let lab = Lab::new().await;
    lab.put("a.pdf", 1_000);
    lab.refresh().await;
    let commit = String::from_utf8(
        lab.read("main/default/papers/_delta_log/00000000000000000000.json")
            .await,
    )
    .expect("text");
    assert!(!commit.contains("memory:"), "{commit}");
    assert!(!commit.contains("location"), "{commit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_do_not_pile_up_and_the_hint_names_what_is_listed() {
    let lab = Lab::new().await;
    for number in 0..14 {
        lab.put(&format!("{number:02}.pdf"), 1_000);
        lab.refresh().await;
        let log = lab.log().await;
        let checkpoints: Vec<_> = log
            .iter()
            .filter(|name| name.ends_with(".checkpoint.parquet"))
            .collect();
        let hint = lab
            .files
            .get(&Path::from(
                "main/default/papers/_delta_log/_last_checkpoint",
            ))
            .await;
        match checkpoints.last() {
            None => assert!(matches!(hint, Err(object_store::Error::NotFound { .. }))),
            Some(newest) => {
                let hint = lab
                    .json("main/default/papers/_delta_log/_last_checkpoint")
                    .await;
                let version = hint["version"].as_u64().expect("a version");
                assert_eq!(**newest, format!("{version:020}.checkpoint.parquet"));
                assert_eq!(
                    hint["size"].as_u64(),
                    Some(version + 4),
                    "protocol, metaData, txn and every add"
                );
            }
        }
        let (version, files, _) = lab.opened().await;
        assert_eq!((version, files), (number, number as usize + 1));
    }
    let log = lab.log().await;
    let newest = log
        .iter()
        .filter(|name| name.ends_with(".checkpoint.parquet"))
        .count();
    assert_eq!(newest, 1, "one checkpoint for fourteen commits: {log:?}");
    assert_eq!(log.iter().filter(|name| name.ends_with(".crc")).count(), 14);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_is_compressed() {
    let lab = Lab::new().await;
    for number in 0..12 {
        lab.put(&format!("{number:02}.pdf"), 1_000);
        lab.refresh().await;
    }
    let log = lab.log().await;
    let name = log
        .iter()
        .find(|name| name.ends_with(".checkpoint.parquet"))
        .expect("a checkpoint");
    let body = lab
        .read(&format!("main/default/papers/_delta_log/{name}"))
        .await;
    let metadata = parquet::file::metadata::ParquetMetaDataReader::new()
        .parse_and_finish(&bytes::Bytes::from(body))
        .expect("Parquet");
    let codec = metadata.row_group(0).column(0).compression();
    assert!(
        matches!(codec, parquet::basic::Compression::ZSTD(_)),
        "{codec}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_rope_is_named_by_the_refresh() {
    let lab = Lab::new().await;
    lab.put("a.pdf", 1_000);
    lab.refresh().await;
    let state: Vec<_> = lab
        .state
        .objects()
        .list(Some(&Path::from("main/default/papers")))
        .try_collect()
        .await
        .expect("it lists");
    let rope = state
        .iter()
        .find(|meta| meta.location.extension() == Some("rope"))
        .expect("a rope")
        .location
        .clone();
    let stored = lab
        .state
        .objects()
        .get(&rope)
        .await
        .expect("there")
        .bytes()
        .await
        .expect("reads");
    let mut flipped = stored.to_vec();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    lab.state
        .objects()
        .put(&rope, flipped.into())
        .await
        .expect("put");
    lab.put("b.pdf", 1_000);
    let clock: Clock = Arc::new(|| 1_900_000_000_000);
    let refresh = TableRefresh::new(lab.definition.clone(), lab.state.clone(), clock);
    let error = refresh.run(None).await.expect_err("the rope is corrupt");
    let text = vdt_crds::chain(&error);
    assert!(text.contains(rope.as_ref()), "{text}");
    lab.state
        .objects()
        .put(&rope, stored.into())
        .await
        .expect("put back");
    assert_eq!(lab.refresh().await.artifacts, 2, "nothing was lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stores_own_files_are_hidden() {
    let lab = Lab::new().await;
    lab.put("a.pdf", 1_000);
    lab.refresh().await;
    let all: Vec<_> = lab.files.list(None).try_collect().await.expect("it lists");
    let shown: Vec<&str> = all.iter().map(|meta| meta.location.as_ref()).collect();
    assert!(
        shown
            .iter()
            .all(|path| !path.contains("_vdt") && !path.contains("store.json")),
        "{shown:?}"
    );
    for hidden in ["main/default/papers/_vdt/owner.json", "store.json", "lock"] {
        let found = lab.files.get(&Path::from(hidden)).await;
        assert!(
            matches!(found, Err(object_store::Error::NotFound { .. })),
            "{hidden}"
        );
    }
}

/// What a commit says, without what differs between runs: hashes, sizes of literals, and times of the machine's files.
fn masked(line: &str) -> Value {
    let mut action: Value = serde_json::from_str(line).expect("JSON");
    for pointer in [
        "/metaData/id",
        "/metaData/schemaString",
        "/metadata/id",
        "/metadata/schemaString",
        "/add/path",
        "/add/size",
        "/add/stats",
        "/remove/path",
        "/remove/size",
        "/commitInfo/operationMetrics/numOutputBytes",
        "/tableSizeBytes",
    ] {
        if let Some(value) = action.pointer_mut(pointer) {
            *value = match value {
                Value::String(_) => "text".into(),
                Value::Number(_) => 0.into(),
                other => panic!("{pointer} is {other}"),
            };
        }
    }
    for pointer in ["/metaData/configuration", "/metadata/configuration"] {
        let entries = action.pointer_mut(pointer).and_then(Value::as_object_mut);
        for value in entries.into_iter().flat_map(|entries| entries.values_mut()) {
            assert!(value.is_string(), "Delta's values are texts: {value}");
            *value = "text".into();
        }
    }
    action
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_and_its_checksum_say_this_and_no_more() {
    const AT: i64 = 1_900_000_000_000;
    let lab = Lab::new().await;
    lab.put("a.pdf", 10);
    lab.refresh().await;
    lab.put("a.pdf", 20);
    lab.refresh().await;
    let log = "main/default/papers/_delta_log";
    let commit = async |version: u64| {
        let text = lab.read(&format!("{log}/{version:020}.json")).await;
        let text = String::from_utf8(text).expect("text");
        assert!(text.ends_with('\n'), "a line an action");
        text.lines().map(masked).collect::<Vec<_>>()
    };
    let metadata = json!({
        "id": "text",
        "format": {"provider": "parquet", "options": {}},
        "schemaString": "text",
        "partitionColumns": [],
        "configuration": {
            "vdt.layout": "text",
            "vdt.layoutForm": "text",
            "vdt.place.folder": "text",
            "vdt.source.folder": "text",
        },
        "createdTime": AT,
    });
    let info = |operation: &str, removed: &str| {
        json!({"commitInfo": {
            "timestamp": AT,
            "operation": operation,
            "operationParameters": {"mode": "Append", "partitionBy": "[]"},
            "operationMetrics": {
                "numFiles": "1",
                "numRemovedFiles": removed,
                "numOutputRows": "1",
                "numOutputBytes": "text",
            },
            "engineInfo": concat!("vdt/", env!("CARGO_PKG_VERSION")),
        }})
    };
    let protocol = json!({"minReaderVersion": 1, "minWriterVersion": 2});
    let next_id = json!({"txn": {"appId": "vdt", "version": 1, "lastUpdated": AT}});
    let add = json!({"add": {
        "path": "text",
        "partitionValues": {},
        "size": 0,
        "modificationTime": AT,
        "dataChange": true,
        "stats": "text",
    }});
    let remove = json!({"remove": {
        "path": "text",
        "deletionTimestamp": AT,
        "dataChange": true,
        "extendedFileMetadata": true,
        "partitionValues": {},
        "size": 0,
    }});
    let first = [
        info("CREATE TABLE", "0"),
        json!({"protocol": &protocol}),
        json!({"metaData": &metadata}),
        next_id.clone(),
        add.clone(),
    ];
    assert_eq!(commit(0).await, first);
    assert_eq!(
        commit(1).await,
        [info("REPLACE FILES", "1"), next_id, remove, add]
    );
    // Of a later version the metadata is that of the snapshot, which names what it does not have.
    let mut metadata = metadata;
    metadata["name"] = Value::Null;
    metadata["description"] = Value::Null;
    let checksum = lab.read(&format!("{log}/{:020}.crc", 1)).await;
    assert_eq!(
        masked(str::from_utf8(&checksum).expect("text")),
        json!({
            "tableSizeBytes": 0,
            "numFiles": 1,
            "numMetadata": 1,
            "numProtocol": 1,
            "metadata": metadata,
            "protocol": protocol,
        })
    );
}

fn refused(path: &Path, code: &str) -> Error {
    Error::PermissionDenied {
        path: path.to_string(),
        source: format!("403: <Code>{code}</Code>").into(),
    }
}

fn denied(path: &Path) -> Error {
    refused(path, "AccessDenied")
}

fn gone(path: &Path) -> Error {
    Error::NotFound {
        path: path.to_string(),
        source: "404".into(),
    }
}

#[tokio::test]
async fn a_log_that_the_state_does_not_give_is_not_called_damaged() {
    let rejected = |path: &Path| refused(path, "InvalidAccessKeyId");
    // As a directory says it.
    let closed = |_: &Path| Error::Generic {
        store: "LocalFileSystem",
        source: std::io::Error::from(std::io::ErrorKind::PermissionDenied).into(),
    };
    let lab = Lab::new().await;
    for (version, name) in ["a.pdf", "b.pdf"].iter().enumerate() {
        lab.put(name, 10);
        assert_eq!(lab.refresh().await.version, version as u64);
    }
    type Answer = fn(&Path) -> Error;
    let answers: [(Answer, _); 4] = [
        (denied, "AccessDenied"),
        (rejected, "CredentialsRejected"),
        (closed, "StateUnavailable"),
        (gone, "StateCorrupt"),
    ];
    let table = Path::from("main/default/papers");
    for (answer, reason) in answers {
        let inner = Altered::new(lab.state.objects().clone(), table.as_ref());
        let inner = inner.failing(move |path, _| {
            let is_first = path.as_ref().ends_with("00000000000000000000.json");
            is_first.then(|| answer(path))
        });
        let state = StateStore::from_store(Arc::new(inner), "memory", OpenMode::ReadWrite);
        let state = state.await.expect("it opens");
        let log = TableLog::new(state, table.clone());
        let error = log.snapshot().await.expect_err("it cannot be read");
        assert_eq!(error.reason(), reason, "{error:?}");
    }
}

#[tokio::test]
async fn only_what_a_version_may_be_read_of_says_why_it_is_not() {
    let lab = Lab::new().await;
    for version in 0..13 {
        lab.put(&format!("{version}.pdf"), 10);
        assert_eq!(lab.refresh().await.version, version);
    }
    let table = Path::from("main/default/papers");
    for (is_denied, reason) in [(true, "AccessDenied"), (false, "StateCorrupt")] {
        let inner = Altered::new(lab.state.objects().clone(), table.as_ref());
        let inner = inner.failing(move |path, _| {
            let name = path.filename().unwrap_or_default();
            match name == "00000000000000000000.json" {
                true if is_denied => Some(denied(path)),
                true => Some(gone(path)),
                // What is not read for it says nothing of it.
                false => path.as_ref().contains("_delta_log/0").then(|| denied(path)),
            }
        });
        let state = StateStore::from_store(Arc::new(inner), "memory", OpenMode::ReadWrite);
        let state = state.await.expect("it opens");
        let log = TableLog::new(state, table.clone());
        let files = log.files().await.expect("it is listed");
        assert!(files.checkpoint.is_some(), "the version lies before it");
        let error = log.snapshot_at(0).await.expect_err("it cannot be read");
        assert_eq!(error.reason(), reason, "{error:?}");
    }
}

/// Reason of what is read of a log whose only commit is empty.
async fn of_an_empty_commit(has_checksum: bool) -> &'static str {
    let lab = Lab::new().await;
    lab.put("a.pdf", 10);
    assert_eq!(lab.refresh().await.version, 0);
    let log = "main/default/papers/_delta_log/00000000000000000000";
    let objects = lab.state.objects();
    let commit = Path::from(format!("{log}.json"));
    let cut = objects.put(&commit, Vec::new().into()).await;
    cut.expect("it is cut");
    if !has_checksum {
        let removed = objects.delete(&Path::from(format!("{log}.crc"))).await;
        removed.expect("nothing else says what the table is");
    }
    let log = TableLog::new(lab.state.clone(), Path::from("main/default/papers"));
    let error = log.snapshot().await.expect_err("it cannot be read");
    error.reason()
}

#[tokio::test]
async fn an_empty_commit_is_damage_and_not_a_table_without_files() {
    assert_eq!(of_an_empty_commit(false).await, "StateCorrupt");
    assert_eq!(of_an_empty_commit(true).await, "StateCorrupt");
}

#[tokio::test]
async fn a_checksum_that_says_otherwise_is_believed_unless_it_is_older_than_its_commit() {
    let lab = Lab::new().await;
    lab.put("a.pdf", 10);
    assert_eq!(lab.refresh().await.version, 0);
    let objects = lab.state.objects();
    let file = |kind: &str| {
        Path::from(format!(
            "main/default/papers/_delta_log/00000000000000000000.{kind}"
        ))
    };
    let other = br#"{"numFiles": 7, "tableSizeBytes": 1}"#.to_vec();
    let put = objects.put(&file("crc"), other.into()).await;
    put.expect("written");
    let log = TableLog::new(lab.state.clone(), Path::from("main/default/papers"));
    let error = log.snapshot().await.expect_err("files are missing");
    assert_eq!(error.reason(), "StateCorrupt", "{error:?}");
    // Somebody took the commit away, and it was made again.
    let commit = lab.read(file("json").as_ref()).await;
    let put = objects.put(&file("json"), commit.into()).await;
    put.expect("written");
    let read = log.snapshot().await.expect("it is read");
    assert_eq!(read.expect("a version").files.len(), 1);
}

/// As a restore of a backup does it, while others go on.
#[tokio::test]
async fn a_log_that_went_back_is_read_and_goes_on_from_there() {
    let lab = Lab::new().await;
    for version in 0..13 {
        lab.put(&format!("{version}.pdf"), 10);
        assert_eq!(lab.refresh().await.version, version);
    }
    let log = TableLog::new(lab.state.clone(), Path::from("main/default/papers"));
    let files = log.files().await.expect("it is listed");
    assert!(
        files.checkpoint.is_some(),
        "what came before it is not listed any more"
    );
    for name in lab.log().await {
        if name.as_str() >= "00000000000000000004" {
            let file = Path::from(format!("main/default/papers/_delta_log/{name}"));
            lab.state.objects().delete(&file).await.expect("it is gone");
        }
    }
    let files = log.files().await.expect("it is listed");
    assert_eq!((files.newest, files.checkpoint), (Some(3), None));
    assert_eq!(lab.refresh().await.version, 4);
}

/// Else a listing that is older than a version that somebody else commits meanwhile would undo that.
#[tokio::test]
async fn a_version_is_read_before_the_sources_are_listed() {
    let lab = Lab::new().await;
    lab.put("a.pdf", 10);
    assert_eq!(lab.refresh().await.version, 0);
    let late = lab.folder.path().join("late.pdf");
    let inner = Altered::new(lab.state.objects().clone(), "main/default/papers");
    let inner = inner.failing(move |path, _| {
        // Comes while the log is read.
        let is_log = path.as_ref().contains("_delta_log");
        if is_log && !late.exists() {
            fs::write(&late, b"late").expect("written");
        }
        None
    });
    let state = StateStore::from_store(Arc::new(inner), "memory", OpenMode::ReadWrite);
    let state = state.await.expect("it opens");
    let clock: Clock = Arc::new(|| 1_900_000_000_000);
    let refresh = TableRefresh::new(lab.definition.clone(), state, clock);
    let report = refresh.run(None).await.expect("it refreshes");
    assert_eq!((report.version, report.artifacts), (1, 2));
}
