//! `vdt inspect`: looks into a state store, beside a running server too: nothing is locked, nothing is written.

mod destination;

use std::{fmt::Write as _, io::Write as _, path::Path as FsPath, sync::Arc};

use anyhow::{Context, bail};
use chrono::DateTime;
use futures::StreamExt;
use object_store::{ObjectStoreExt, path::Path};
use serde::Serialize;
use vdt_rope::{FileName, Rope, RopeStore, RopeStoreOptions, Segment};
use vdt_store::{
    Definition, OpenMode, Origin, StateStore,
    log::{AddedFile, TableLog},
};

use crate::{
    args::{InspectArgs, Output, SourceArgs},
    manifests::{self, Declared},
    state, stdout, units,
};
use vdt_sidecar::exit::BadInput;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TableSummary {
    table: String,
    version: u64,
    files: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TableDetail {
    table: String,
    version: u64,
    metadata: serde_json::Value,
    files: Vec<FileSummary>,
}

#[derive(Debug, Serialize)]
struct FileSummary {
    path: String,
    bytes: u64,
}

#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
enum Piece {
    Literal {
        start: u64,
        bytes: u64,
    },
    Zeros {
        start: u64,
        bytes: u64,
    },
    Reference {
        start: u64,
        bytes: u64,
        source: String,
        key: String,
        offset: u64,
        etag: Option<String>,
        modified: String,
    },
}

/// Runs the command.
///
/// # Errors
/// Unknown tables, versions and files, and a state that cannot be read.
pub(crate) async fn run(args: InspectArgs) -> anyhow::Result<()> {
    let declared = match args.sources.is_empty() {
        true => Vec::new(),
        false => manifests::load(&SourceArgs {
            sources: args.sources.clone(),
            manifests: None,
            secrets_dir: args.secrets_dir.clone(),
            claims_dir: args.claims_dir.clone(),
        })?,
    };
    let state = match &args.state {
        Some(state) => state::open(state, OpenMode::ReadOnly).await?,
        None => {
            let folder = state::default_folder(&args.sources, None)?;
            state::open_folder(&folder, OpenMode::ReadOnly).await?
        }
    };
    let Some(table) = &args.table else {
        return tables(&state, args.output).await;
    };
    let log = TableLog::new(state.clone(), table_path(table)?);
    let Some(newest) = log.files().await?.newest else {
        return Err(BadInput::new(format!(
            "there is no table {table:?} in {}; `vdt inspect --state {}` lists them",
            state.location(),
            state.location()
        ))
        .into());
    };
    if let Some(at) = args.at.filter(|at| *at > newest) {
        return Err(
            BadInput::new(format!("there is no version {at}; the newest is {newest}")).into(),
        );
    }
    let snapshot = log.snapshot_at(args.at.unwrap_or(newest)).await?;
    let Some(wanted) = &args.file else {
        let detail = TableDetail {
            table: log.table().to_string(),
            version: snapshot.version,
            metadata: snapshot.metadata,
            files: snapshot
                .files
                .into_iter()
                .map(|AddedFile { path, size, .. }| FileSummary { path, bytes: size })
                .collect(),
        };
        return print_table(&detail, args.output);
    };
    let name = find_file(wanted, &snapshot.files)?;
    match &args.materialize {
        Some(target) => materialize(&state, &declared, log.table(), name, target).await,
        None => draw(&state, log.table(), name, args.output).await,
    }
}

fn table_path(table: &str) -> anyhow::Result<Path> {
    let parts: Vec<&str> = table.split(['/', '.']).collect();
    match parts.as_slice() {
        [catalog, schema, name] if parts.iter().all(|part| !part.is_empty()) => {
            Ok(Path::from_iter([*catalog, schema, name]))
        }
        _ => Err(BadInput::new(format!(
            "{table:?} is no table name; give <catalog>/<schema>/<table>"
        ))
        .into()),
    }
}

fn find_file(wanted: &str, files: &[AddedFile]) -> anyhow::Result<FileName> {
    let found: Vec<&AddedFile> = files
        .iter()
        .filter(|file| file.path.starts_with(wanted))
        .collect();
    match found.as_slice() {
        [file] => FileName::parse_parquet_file(&file.path)
            .with_context(|| format!("{} is no virtual file", file.path)),
        [] => Err(BadInput::new(format!("no file of this version begins with {wanted:?}")).into()),
        _ => Err(BadInput::new(format!(
            "{} files of this version begin with {wanted:?}; give more of the name",
            found.len()
        ))
        .into()),
    }
}

async fn tables(state: &StateStore, output: Output) -> anyhow::Result<()> {
    let mut found = Vec::new();
    for catalog in folders(state, None).await? {
        for schema in folders(state, Some(&catalog)).await? {
            for table in folders(state, Some(&schema)).await? {
                let log = TableLog::new(state.clone(), table);
                if let Some(snapshot) = log.snapshot().await? {
                    found.push(TableSummary {
                        table: log.table().to_string(),
                        version: snapshot.version,
                        files: snapshot.files.len() as u64,
                        bytes: snapshot.files.iter().map(|file| file.size).sum(),
                    });
                }
            }
        }
    }
    if output == Output::Json {
        return stdout::print_json(&found);
    }
    let mut text = String::new();
    for table in &found {
        let _ = writeln!(
            text,
            "{}  version {}  {}  {}",
            table.table,
            table.version,
            units::count(table.files, "file"),
            units::bytes(table.bytes)
        );
    }
    stdout::print(&text)
}

async fn folders(state: &StateStore, below: Option<&Path>) -> anyhow::Result<Vec<Path>> {
    Ok(state
        .objects()
        .list_with_delimiter(below)
        .await?
        .common_prefixes)
}

fn print_table(detail: &TableDetail, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return stdout::print_json(detail);
    }
    let mut text = format!("{} version {}\n", detail.table, detail.version);
    for file in &detail.files {
        let _ = writeln!(text, "  {}  {}", file.path, units::bytes(file.bytes));
    }
    stdout::print(&text)
}

async fn draw(
    state: &StateStore,
    table: &Path,
    name: FileName,
    output: Output,
) -> anyhow::Result<()> {
    let path = table.clone().join(name.rope_file());
    let stored = state.objects().get(&path).await?.bytes().await?;
    let (rope, _) = vdt_rope::decode(&stored).with_context(|| format!("reading {path}"))?;
    let pieces = pieces(&rope);
    if output == Output::Json {
        return stdout::print_json(&pieces);
    }
    let mut text = format!(
        "{}  {} stored in {}\n",
        name.parquet_file(),
        units::bytes(name.size),
        units::bytes(stored.len() as u64)
    );
    for piece in &pieces {
        let _ = match piece {
            Piece::Literal { start, bytes } => {
                writeln!(text, "{start:>16} {bytes:>12}  literal")
            }
            Piece::Zeros { start, bytes } => writeln!(text, "{start:>16} {bytes:>12}  zeros"),
            Piece::Reference {
                start,
                bytes,
                source,
                key,
                offset,
                ..
            } => writeln!(
                text,
                "{start:>16} {bytes:>12}  {source}/{key} from {offset}"
            ),
        };
    }
    stdout::print(&text)
}

fn pieces(rope: &Rope) -> Vec<Piece> {
    let mut start = 0;
    let mut pieces = Vec::new();
    for segment in rope.segments() {
        let bytes = segment.len();
        pieces.push(match segment {
            Segment::Literal(_) => Piece::Literal { start, bytes },
            Segment::Zeros(_) => Piece::Zeros { start, bytes },
            Segment::Reference(reference) => Piece::Reference {
                start,
                bytes,
                source: reference.object.source.to_string(),
                key: reference.object.key.to_string(),
                offset: reference.offset,
                etag: reference.object.etag.as_deref().map(str::to_owned),
                modified: DateTime::from_timestamp_millis(reference.object.last_modified_ms)
                    .map_or_else(String::new, |time| time.to_rfc3339()),
            },
        });
        start += bytes;
    }
    pieces
}

async fn materialize(
    state: &StateStore,
    declared: &[Declared],
    table: &Path,
    name: FileName,
    target: &FsPath,
) -> anyhow::Result<()> {
    let origin = Origin::new(state.clone());
    for one in declared {
        for source in Definition::open(&one.table, &one.env)?.sources {
            origin.add_source(source);
        }
    }
    let store = RopeStore::new(Arc::new(origin), RopeStoreOptions::default());
    let found = store
        .get(&table.clone().join(name.parquet_file()))
        .await
        .context(
            "opening the file; artifacts are read from their source, so name it with --source",
        )?;
    let mut body = found.into_stream();
    let mut out = destination::Destination::open(target)
        .with_context(|| format!("creating {}", target.display()))?;
    let mut written = 0_u64;
    while let Some(chunk) = body.next().await {
        let chunk = chunk.context("reading the file")?;
        match out.write_all(&chunk) {
            // Nobody reads what is piped on.
            Err(error) if target == FsPath::new("-") && stdout::is_closed(&error) => return Ok(()),
            wrote => wrote.context("writing the file")?,
        }
        written += chunk.len() as u64;
    }
    if written != name.size {
        bail!("the file has {written} bytes instead of {}", name.size);
    }
    out.finish().context("writing the file")?;
    eprintln!("wrote {} to {}", units::bytes(written), target.display());
    Ok(())
}
