//! From the command line to declared tables: folders, buckets and manifest files.

#[cfg(test)]
mod tests;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use vdt_crds::{VirtualTable, chain};
use vdt_store::{SourceEnv, StoreError, source::without_parents};

use vdt_sidecar::{
    exit::BadInput,
    files::{is_manifest, manifests_in, read_manifest},
};

use crate::{
    args::{GivenArgs, OnShrink, SourceArgs},
    tables::Problem,
};

/// A table as declared, and where its relative paths and secrets are looked up.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    /// The manifest, or what stands for it when a folder or bucket was given.
    pub(crate) table: VirtualTable,
    /// Base folder and secrets.
    pub(crate) env: SourceEnv,
    /// What was given, for messages.
    pub(crate) origin: String,
}

impl Declared {
    /// Whether the other one declares the same table in the same way, in the same edition: a later one that says the same again still
    /// overrules what was said between. What only the API server or a person reads of `metadata` is not looked at.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let relative = |one: &Self| {
            let mut files = one
                .table
                .spec
                .sources
                .iter()
                .filter_map(|source| source.file.as_ref());
            // Kubernetes mounts links to files of folders that come and go; there nothing is relative to them.
            files
                .any(|file| file.claim_name.is_none())
                .then(|| one.env.base_dir.clone())
        };
        self.table.spec == other.table.spec
            && self.table.owner() == other.table.owner()
            && self.table.metadata.uid == other.table.metadata.uid
            && self.table.metadata.generation == other.table.metadata.generation
            && relative(self) == relative(other)
    }
}

/// Reads everything that `args` names, and checks it by the laptop's rules.
///
/// # Errors
/// [`BadInput`] with every violation of every manifest.
pub(crate) fn load(args: &SourceArgs) -> anyhow::Result<Vec<Declared>> {
    let mut declared = Vec::new();
    for given in &args.sources {
        declared.extend(load_one(given, args)?);
    }
    if let Some(folder) = &args.manifests {
        let files = manifest_files(folder)?;
        if files.is_empty() {
            return Err(BadInput::new(format!(
                "--manifests {folder:?} holds no .yaml, .yml or .json file"
            ))
            .into());
        }
        for file in files {
            declared.extend(load_manifest(&file, args)?);
        }
    }
    check(&declared)?;
    Ok(declared)
}

/// What is told where a table cannot be opened. What its manifest says wrongly is bad input.
pub(crate) fn refused(problem: StoreError) -> anyhow::Error {
    match problem.is_of_manifest() {
        true => BadInput::new(chain(&problem)).into(),
        false => problem.into(),
    }
}

/// Has the tables of folders and buckets follow them as `given` says.
///
/// # Errors
/// [`BadInput`] where something is given that a manifest says itself.
pub(crate) fn apply(given: &GivenArgs, declared: &mut [Declared]) -> Result<(), BadInput> {
    let flags = [
        (
            given.refresh_seconds.is_some(),
            "--refresh-seconds",
            "spec.refresh.intervalSeconds",
        ),
        (
            given.on_shrink.is_some(),
            "--on-shrink",
            "spec.refresh.onShrink",
        ),
    ];
    for one in declared {
        if one.table.spec.given.is_none() {
            let Some((_, flag, field)) = flags.iter().find(|(is_given, ..)| *is_given) else {
                continue;
            };
            return Err(BadInput::new(format!(
                "{flag} is for folders and buckets given as such; in the manifest {} write {field}",
                one.origin
            )));
        }
        let refresh = &mut one.table.spec.refresh;
        if let Some(seconds) = given.refresh_seconds {
            refresh.interval_seconds = seconds;
        }
        match given.on_shrink {
            None => {}
            Some(OnShrink::Hold) => refresh.on_shrink = vdt_crds::OnShrink::Hold,
            Some(OnShrink::Apply) => refresh.on_shrink = vdt_crds::OnShrink::Apply,
        }
    }
    Ok(())
}

/// What could be read of everything that was named.
#[derive(Debug, Clone, Default)]
pub(crate) struct Loaded {
    /// What can be served.
    pub(crate) declared: Vec<Declared>,
    /// What cannot, and why.
    pub(crate) problems: Vec<Problem>,
    /// Of the latter, what is refused for nothing but that one before it declares the same table.
    pub(crate) doubles: Vec<Declared>,
}

/// Reads what can be read of everything that `args` names; the rest is told.
pub(crate) fn load_what_can_be(args: &SourceArgs) -> Loaded {
    let (mut declared, mut problems) = (Vec::new(), Vec::new());
    let mut take = |given: String, loaded: anyhow::Result<Vec<Declared>>| match loaded {
        Ok(loaded) => declared.extend(loaded),
        Err(error) => problems.push(Problem {
            manifest: given.clone(),
            origin: given,
            message: vdt_crds::chain(error.as_ref()),
            may_pass: error.chain().any(<dyn std::error::Error>::is::<io::Error>),
        }),
    };
    for given in &args.sources {
        take(given.clone(), load_one(given, args));
    }
    if let Some(folder) = &args.manifests {
        match manifest_files(folder) {
            Ok(files) => {
                for file in files {
                    take(file.display().to_string(), load_manifest(&file, args));
                }
            }
            Err(error) => take(folder.display().to_string(), Err(error)),
        }
    }
    let refused = refusals(&declared);
    let doubled = vdt_crds::doubles(declared.iter().map(place));
    let mut loaded = Loaded {
        problems,
        ..Loaded::default()
    };
    for ((one, lines), double) in declared.into_iter().zip(refused).zip(doubled) {
        if lines.is_empty() {
            loaded.declared.push(one);
            continue;
        }
        loaded.problems.push(Problem {
            manifest: one.table.table_path(),
            origin: one.origin.clone(),
            message: lines.join("\n"),
            may_pass: false,
        });
        if double.is_some() && lines.len() == 1 {
            loaded.doubles.push(one);
        }
    }
    loaded
}

/// What is looked at again while the process runs: everything in `args` that is a file or a folder of manifests.
pub(crate) fn watched(args: &SourceArgs) -> Vec<PathBuf> {
    let given = args.sources.iter().map(PathBuf::from);
    let files = given.filter(|path| is_manifest(path));
    files.chain(args.manifests.clone()).collect()
}

/// The manifest files directly in `folder`, by name.
///
/// # Errors
/// [`BadInput`] when it cannot be read.
pub(crate) fn manifest_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    manifests_in(folder).map_err(|error| {
        let told = BadInput::new(format!("cannot read the folder {folder:?}: {error}"));
        anyhow::Error::new(error).context(told)
    })
}

fn load_one(given: &str, args: &SourceArgs) -> anyhow::Result<Vec<Declared>> {
    if given.starts_with("s3://") {
        let table =
            VirtualTable::for_s3_url(given).map_err(|error| BadInput::new(error.to_string()))?;
        return Ok(vec![declared(table, PathBuf::from("."), given, args)]);
    }
    if given.contains("://") {
        return Err(BadInput::new(format!(
            "{given:?} is neither a folder nor an s3:// URL; this version reads folders and S3 buckets"
        ))
        .into());
    }
    let path = Path::new(given);
    if path.is_dir() {
        // Its name and its owner are those of the path as it was given; where a link on it leads is followed by each listing.
        let folder = without_parents(path)
            .map_err(|error| BadInput::new(format!("cannot open the folder {given:?}: {error}")))?;
        let table = VirtualTable::for_folder(&folder);
        return Ok(vec![declared(table, folder, given, args)]);
    }
    if is_manifest(path) {
        return load_manifest(path, args);
    }
    let problem = match path.try_exists() {
        Ok(true) => format!("{given:?} is neither a folder nor a manifest (.yaml, .yml, .json)"),
        Ok(false) => format!("there is no folder or manifest {given:?}"),
        Err(error) => format!("cannot open {given:?}: {error}"),
    };
    Err(BadInput::new(problem).into())
}

fn load_manifest(path: &Path, args: &SourceArgs) -> anyhow::Result<Vec<Declared>> {
    let tables = parse_file(path)?;
    let base = fs::canonicalize(path)
        .ok()
        .and_then(|path| path.parent().map(Path::to_owned))
        .unwrap_or_else(|| PathBuf::from("."));
    let origin = path.display().to_string();
    Ok(tables
        .into_iter()
        .map(|table| declared(table, base.clone(), &origin, args))
        .collect())
}

fn declared(table: VirtualTable, base_dir: PathBuf, origin: &str, args: &SourceArgs) -> Declared {
    Declared {
        env: SourceEnv {
            base_dir,
            secrets_dir: args.secrets_dir.clone(),
            claims_dir: args.claims_dir.clone(),
            namespace: table.namespace().to_owned(),
        },
        table,
        origin: origin.to_owned(),
    }
}

/// Parses one manifest file; `-` is standard input.
///
/// # Errors
/// [`BadInput`] with everything that is wrong in the file.
pub(crate) fn parse_file(path: &Path) -> anyhow::Result<Vec<VirtualTable>> {
    let read = if path == Path::new("-") {
        read_manifest(io::stdin().lock())
    } else {
        fs::File::open(path).and_then(read_manifest)
    };
    let text = read.map_err(|error| {
        let told = BadInput::new(format!("cannot read {}: {error}", path.display()));
        anyhow::Error::new(error).context(told)
    })?;
    vdt_crds::parse(&text).map_err(|error| {
        let lines = error.lines(&path.display().to_string());
        BadInput { lines }.into()
    })
}

/// Every rule that a laptop checks, over all tables together.
fn check(declared: &[Declared]) -> anyhow::Result<()> {
    let lines = refusals(declared).concat();
    if lines.is_empty() {
        return Ok(());
    }
    Err(BadInput { lines }.into())
}

/// What is wrong with each table, a line each.
fn refusals(declared: &[Declared]) -> Vec<Vec<String>> {
    vdt_crds::refusals(declared.iter().map(place))
}

/// A resource, and the place that it comes with.
fn place(declared: &Declared) -> (&VirtualTable, &str) {
    (&declared.table, &declared.origin)
}
