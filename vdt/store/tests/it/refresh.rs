//! Model test of refresh: whatever happens between, the table ends in the folder's state.
//!
//! A seed drives edits of a folder, edits of the manifest, and refreshes by three refreshers on one state store, some of
//! which are dropped at an arbitrary await (a crash) or meet a state store that fails. Some begin anew, others go on with what they know
//! of the table from rounds before. After each round the whole table is read
//! back through the composed files and compared, byte for byte, with the folder. The seed is printed with every failure;
//! `VDT_TEST_SEED` repeats one, `VDT_TEST_ROUNDS` sets how long each runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use deltalake::{
    arrow::{
        array::{Array, AsArray, RecordBatch},
        datatypes::Int64Type,
    },
    parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder,
};
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory};
use tempfile::TempDir;
use vdt_rope::{RopeStore, RopeStoreOptions};
use vdt_store::{
    Clock, Definition, OpenMode, Origin, SourceEnv, StateStore, TableRefresh,
    log::{APP_ID, APP_ID_META, TableLog},
};

use crate::{faults::FlakyStore, random::Random};

const COLUMNS: [&str; 3] = [
    "",
    "  schema:\n    columns:\n    - {name: id, from: {artifact: Id}}\n    - {name: filename, from: {artifact: Filename}}\n    - {name: data, from: {artifact: Data}}\n",
    "  schema:\n    pathPattern: '{part}/**'\n    columns:\n    - {name: part, type: string, from: {path: part}}\n    - {name: id, from: {artifact: Id}}\n    - {name: data, from: {artifact: Data}}\n    - {name: filename, from: {artifact: Filename}}\n",
];

fn definition(folder: &TempDir, columns: usize) -> Arc<Definition> {
    let manifest = format!(
        "apiVersion: vdt.io/v1alpha1\nkind: VirtualTable\nmetadata: {{name: model}}\nspec:\n  \
         sources:\n  - {{name: here, type: File, file: {{path: .}}}}\n  \
         refresh: {{intervalSeconds: 0, settleSeconds: 0, onShrink: Apply}}\n  \
         layout: {{fileTargetBytes: 1Mi, rowGroupTargetBytes: 4Ki}}\n{}",
        COLUMNS[columns]
    );
    let table = vdt_crds::parse(manifest.as_bytes())
        .expect("the manifest parses")
        .remove(0);
    let env = SourceEnv {
        base_dir: folder.path().to_owned(),
        ..SourceEnv::default()
    };
    Arc::new(Definition::open(&table, &env).expect("the manifest is valid"))
}

fn clock() -> Clock {
    Arc::new(|| 1_900_000_000_000)
}

/// Rows of a table as a client sees them: filename to id and bytes (no bytes in `t_meta`).
type Rows = BTreeMap<String, (i64, Option<Vec<u8>>)>;

async fn read_table(state: &StateStore, definition: &Definition, log: &TableLog) -> Rows {
    let origin = Origin::new(state.clone());
    for source in &definition.sources {
        origin.add_source(source.clone());
    }
    let store = RopeStore::new(Arc::new(origin), RopeStoreOptions::default());
    let snapshot = log
        .snapshot()
        .await
        .expect("the log reads")
        .expect("there is a version");
    let mut rows = Rows::new();
    for file in snapshot.files {
        let path = log.table().clone().join(file.path.as_str());
        let body = store
            .get(&path)
            .await
            .expect("the file opens")
            .bytes()
            .await
            .expect("the file reads");
        assert_eq!(body.len() as u64, file.size, "add.size is exact");
        let reader = ParquetRecordBatchReaderBuilder::try_new(body)
            .expect("it is Parquet")
            .build()
            .expect("it reads");
        for batch in reader {
            read_batch(&batch.expect("the batch decodes"), &mut rows);
        }
    }
    rows
}

fn read_batch(batch: &RecordBatch, rows: &mut Rows) {
    let ids = batch
        .column_by_name("id")
        .expect("id")
        .as_primitive::<Int64Type>();
    let names = batch
        .column_by_name("filename")
        .expect("filename")
        .as_string::<i32>();
    let data = batch
        .column_by_name("data")
        .map(|data| data.as_binary::<i32>());
    for row in 0..batch.num_rows() {
        let bytes = data
            .filter(|data| data.is_valid(row))
            .map(|data| data.value(row).to_vec());
        let doubled = rows.insert(names.value(row).to_owned(), (ids.value(row), bytes));
        assert!(doubled.is_none(), "{} is there twice", names.value(row));
    }
}

/// Polls `task` at most `polls` times, then drops it where it stands.
async fn crash_after<T>(task: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut task = pin!(task);
    for _ in 0..polls {
        let once = std::future::poll_fn(|context| Poll::Ready(task.as_mut().poll(context)));
        match once.await {
            Poll::Ready(value) => return Some(value),
            Poll::Pending => tokio::task::yield_now().await,
        }
        tokio::time::sleep(std::time::Duration::from_micros(200)).await;
    }
    let mut context = Context::from_waker(Waker::noop());
    drop(task.as_mut().poll(&mut context));
    None
}

/// The folder and what the model knows of the table.
struct Model {
    folder: TempDir,
    files: BTreeMap<String, Vec<u8>>,
    /// Ids of keys that have existed in every round since they got it.
    ids: BTreeMap<String, i64>,
    /// Ids that were ever given, which no other key may get.
    given: BTreeMap<i64, String>,
}

impl Model {
    fn new() -> Self {
        Self {
            folder: TempDir::new().expect("a folder"),
            files: BTreeMap::new(),
            ids: BTreeMap::new(),
            given: BTreeMap::new(),
        }
    }

    /// Adds, changes and removes files, few of many keys where the table `grows`.
    fn edit(&mut self, random: &mut Random, grows: bool) {
        let (edits, keys) = if grows { (3, 4_000) } else { (8, 40) };
        for _ in 0..random.below(edits) {
            let key = format!("{}/{}.pdf", random.below(3), random.below(keys));
            if random.below(3) == 0 {
                if self.files.remove(&key).is_some() {
                    fs::remove_file(self.folder.path().join(&key)).expect("removed");
                    self.ids.remove(&key);
                }
                continue;
            }
            let body: Vec<u8> = (0..random.below(3_000))
                .map(|_| random.next() as u8)
                .collect();
            let path = self.folder.path().join(&key);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            let staged = self.folder.path().with_extension("staged");
            fs::write(&staged, &body).expect("written");
            fs::rename(&staged, &path).expect("renamed");
            self.files.insert(key, body);
        }
    }

    /// Compares a table with the folder and its ids with those given before.
    fn check(&mut self, rows: &Rows, seed: u64) {
        let bytes: BTreeMap<&str, &[u8]> = rows
            .iter()
            .map(|(name, row)| (name.as_str(), row.1.as_deref().expect("data")))
            .collect();
        let expected: BTreeMap<&str, &[u8]> = self
            .files
            .iter()
            .map(|(name, body)| (name.as_str(), body.as_slice()))
            .collect();
        assert!(
            bytes == expected,
            "seed {seed}: the table is not the folder"
        );
        let ids: BTreeSet<i64> = rows.values().map(|row| row.0).collect();
        assert_eq!(ids.len(), rows.len(), "seed {seed}: an id is there twice");
        for (name, (id, _)) in rows {
            let kept = self.ids.entry(name.clone()).or_insert(*id);
            assert_eq!(kept, id, "seed {seed}: {name} changed its id");
            let owner = self.given.entry(*id).or_insert_with(|| name.clone());
            assert_eq!(owner, name, "seed {seed}: id {id} was given twice");
        }
    }
}

async fn run(seed: u64, rounds: u64) {
    // Of every other seed the files are not laid out again: they become many.
    let grows = seed % 2 == 1;
    let rounds = if grows { rounds * 3 } else { rounds };
    let mut random = Random::new(seed);
    let mut model = Model::new();
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let state = StateStore::from_store(memory.clone(), "memory", OpenMode::ReadWrite)
        .await
        .expect("state");
    let mut columns = 0;
    // Those that go on, by their columns and their number.
    let mut lasting: BTreeMap<(usize, usize), TableRefresh> = BTreeMap::new();
    for _ in 0..rounds {
        model.edit(&mut random, grows);
        if !grows && random.below(5) == 0 {
            columns = random.below(COLUMNS.len() as u64) as usize;
        }
        let definition = definition(&model.folder, columns);
        let mut refreshers = tokio::task::JoinSet::new();
        for number in 0..3 {
            let failing: Arc<dyn ObjectStore> =
                Arc::new(FlakyStore::new(memory.clone(), random.next()));
            let definition = definition.clone();
            let (fate, polls) = (random.below(3), random.below(60) as usize);
            let anew = || TableRefresh::new(definition.clone(), state.clone(), clock());
            let lasts = lasting.entry((columns, number)).or_insert_with(anew);
            if random.below(4) == 0 {
                *lasts = anew();
            }
            let lasts = lasts.clone();
            refreshers.spawn(async move {
                let refresh = match fate {
                    0 => {
                        let state = StateStore::from_store(failing, "memory", OpenMode::ReadWrite);
                        let Ok(state) = state.await else { return };
                        TableRefresh::new(definition, state, clock())
                    }
                    _ => lasts,
                };
                match fate {
                    1 => drop(crash_after(refresh.run(None), polls).await),
                    _ => drop(refresh.run(None).await),
                }
            });
        }
        while let Some(ended) = refreshers.join_next().await {
            ended.unwrap_or_else(|error| panic!("seed {seed}: a refresher panicked: {error}"));
        }
        let refresh = lasting[&(columns, random.below(3) as usize)].clone();
        let report = refresh
            .run(None)
            .await
            .unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        assert_eq!(report.artifacts, model.files.len() as u64, "seed {seed}");
        let rows = read_table(&state, &definition, refresh.log()).await;
        model.check(&rows, seed);
        let meta = TableLog::new(state.clone(), definition.meta_path());
        let mirrored = read_table(&state, &definition, &meta).await;
        let names = |rows: &Rows| {
            rows.iter()
                .map(|(name, row)| (name.clone(), row.0))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(&mirrored),
            names(&rows),
            "seed {seed}: t_meta has other rows"
        );
        let (table, mirror) = (refresh.log().snapshot().await, meta.snapshot().await);
        let (table, mirror) = (
            table.expect("t").expect("t"),
            mirror.expect("t_meta").expect("t_meta"),
        );
        assert_eq!(
            mirror.transactions[APP_ID_META], table.version as i64,
            "seed {seed}"
        );
        let largest = model.given.keys().next_back().map_or(0, |id| id + 1);
        assert_eq!(
            table.transactions[APP_ID], largest,
            "seed {seed}: the high-water mark"
        );
        // What was added may be enough to be merged, and what that leaves once more, for a class each.
        let mut merges = 0;
        loop {
            let again = refresh
                .run(None)
                .await
                .unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
            if !again.committed {
                break;
            }
            merges += 1;
            assert!(
                again.merged > 0 && merges <= 4,
                "seed {seed}: a commit although nothing changed"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_history_ends_in_the_state_of_the_folder() {
    let rounds = env::var("VDT_TEST_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(12);
    if let Some(seed) = env::var("VDT_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
    {
        return run(seed, rounds).await;
    }
    let base = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64);
    for seed in (0..6).map(|number| base.wrapping_add(number)) {
        println!("seed {seed}");
        run(seed, rounds).await;
    }
}

#[tokio::test]
async fn small_files_become_fewer_and_the_log_says_that_no_row_changed() {
    for is_new in [false, true] {
        let folder = TempDir::new().expect("a folder");
        let store = Arc::new(InMemory::new());
        let state = StateStore::from_store(store.clone(), "memory", OpenMode::ReadWrite);
        let state = state.await.expect("a state");
        let definition = definition(&folder, 0);
        let refresh = TableRefresh::new(definition.clone(), state.clone(), clock());
        let run = async || refresh.run(None).await.expect("it refreshes");
        let write = |number: u32| {
            let path = folder.path().join(format!("{number}.pdf"));
            fs::write(path, format!("content of {number}")).expect("written");
        };
        for number in 0..16 {
            write(number);
            let report = run().await;
            assert_eq!((report.new, report.merged), (1, 0));
        }
        let meta = TableLog::new(state.clone(), definition.meta_path());
        let files = async |log: &TableLog| {
            let snapshot = log.snapshot().await.expect("it reads").expect("a version");
            snapshot
                .files
                .into_iter()
                .map(|file| file.path)
                .collect::<Vec<_>>()
        };
        let before = read_table(&state, &definition, refresh.log()).await;
        let files_of_meta = files(&meta).await;
        if is_new {
            write(16);
        }
        let new = u64::from(is_new);
        let report = run().await;
        assert!(report.committed);
        assert_eq!((report.version, report.merged, report.new), (16, 16, new));
        assert_eq!(files(refresh.log()).await.len() as u64, 1 + new);
        let mut after = read_table(&state, &definition, refresh.log()).await;
        after.retain(|name, _| before.contains_key(name));
        assert_eq!(after, before);
        assert_eq!(files(&meta).await == files_of_meta, !is_new);

        let path = refresh.log().table().clone().join("_delta_log");
        let commit = store.get(&path.join("00000000000000000016.json")).await;
        let commit = commit.expect("a commit").bytes().await.expect("it reads");
        let text = str::from_utf8(&commit).expect("text");
        let count = |action: &str, data_change: bool| {
            let action = format!("{{\"{action}\":");
            let change = format!("\"dataChange\":{data_change}");
            let lines = text.lines();
            lines
                .filter(|line| line.starts_with(&action) && line.contains(&change))
                .count() as u64
        };
        assert_eq!((count("add", false), count("add", true)), (1, new));
        assert_eq!((count("remove", false), count("remove", true)), (16, 0));
        let operation = if is_new { "WRITE" } else { "OPTIMIZE" };
        assert!(
            text.contains(&format!("\"operation\":\"{operation}\"")),
            "{text}"
        );
        assert!(!run().await.committed, "and then nothing more");
    }
}
