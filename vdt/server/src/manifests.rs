//! From the command line to declared tables: folders, buckets and manifest files.

use std::{
    collections::BTreeMap,
    env, fs,
    io::Read,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use vdt_crds::{ParseError, Profile, Violation, VirtualTable};
use vdt_store::SourceEnv;

use vdt_sidecar::{
    exit::BadInput,
    files::{Manifests, is_manifest, manifests_in},
};

use crate::{args::SourceArgs, tables::Problem};

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

/// Reads what can be read of everything that `args` names; the rest is told.
pub(crate) fn load_what_can_be(args: &SourceArgs) -> (Vec<Declared>, Vec<Problem>) {
    let (mut declared, mut problems) = (Vec::new(), Vec::new());
    let mut take = |given: String, loaded: anyhow::Result<Vec<Declared>>| match loaded {
        Ok(loaded) => declared.extend(loaded),
        Err(error) => problems.push(Problem {
            manifest: given.clone(),
            origin: given,
            message: vdt_crds::chain(error.as_ref()),
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
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    declared.retain(|one: &Declared| {
        let mut lines = violations(one);
        let name = one.table.table_path();
        match names.get(&name) {
            Some(other) => lines.push(declared_twice(one, &full_name(&one.table), other)),
            None => drop(names.insert(name.clone(), one.origin.clone())),
        }
        if lines.is_empty() {
            return true;
        }
        problems.push(Problem {
            manifest: name,
            origin: one.origin.clone(),
            message: lines.join("\n"),
        });
        false
    });
    (declared, problems)
}

/// What is looked at again while the process runs: everything in `args` that is a file or a folder of manifests.
pub(crate) fn watched(args: &SourceArgs) -> Manifests {
    let given = args.sources.iter().map(PathBuf::from);
    let files = given.filter(|path| is_manifest(path));
    Manifests::new(files.chain(args.manifests.clone()).collect())
}

/// The manifest files directly in `folder`, by name.
///
/// # Errors
/// [`BadInput`] when it cannot be read.
pub(crate) fn manifest_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    manifests_in(folder).map_err(|error| {
        BadInput::new(format!("cannot read the folder {folder:?}: {error}")).into()
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
        let folder = fs::canonicalize(path)
            .map_err(|error| BadInput::new(format!("cannot open the folder {given:?}: {error}")))?;
        let table = VirtualTable::for_folder(&folder);
        return Ok(vec![declared(table, folder, given, args)]);
    }
    if is_manifest(path) {
        return load_manifest(path, args);
    }
    Err(BadInput::new(if path.exists() {
        format!("{given:?} is neither a folder nor a manifest (.yaml, .yml, .json)")
    } else {
        format!("there is no folder or manifest {given:?}")
    })
    .into())
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
    let mut text = Vec::new();
    let limit = vdt_crds::parse::MAX_BYTES as u64 + 1;
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut text))
    };
    read.map_err(|error| BadInput::new(format!("cannot read {}: {error}", path.display())))?;
    vdt_crds::parse(&text).map_err(|error| {
        let origin = path.display().to_string();
        let lines = match &error {
            ParseError::Invalid(documents) => documents
                .iter()
                .flat_map(|document| &document.violations)
                .map(|violation| line(&origin, violation))
                .collect(),
            other => vec![format!("{origin}: {other}")],
        };
        BadInput { lines }.into()
    })
}

/// Every rule that a laptop checks, over all tables together.
fn check(declared: &[Declared]) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    let mut names: BTreeMap<String, &str> = BTreeMap::new();
    for one in declared {
        lines.extend(violations(one));
        let name = full_name(&one.table);
        if let Some(other) = names.insert(name.clone(), &one.origin) {
            lines.push(declared_twice(one, &name, other));
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    Err(BadInput { lines }.into())
}

/// What is wrong with one table, a line each.
fn violations(one: &Declared) -> Vec<String> {
    vdt_crds::validate(&one.table, Profile::Laptop)
        .into_iter()
        .chain(vdt_crds::unsupported(&one.table))
        .map(|problem| line(&one.origin, &problem))
        .collect()
}

fn full_name(table: &VirtualTable) -> String {
    format!(
        "{}.{}.{}",
        table.catalog(),
        table.schema_name(),
        table.table_name()
    )
}

fn declared_twice(one: &Declared, name: &str, other: &str) -> String {
    format!(
        "{}: table {name} is declared by {other} too; give one of them another spec.table",
        one.origin
    )
}

/// One line for a violation.
pub(crate) fn line(origin: &str, problem: &Violation) -> String {
    format!("{origin}: {problem}")
}

/// The state directory for these tables when none is given: below `$XDG_STATE_HOME/vdt`, named after what is served.
///
/// # Errors
/// When neither `XDG_STATE_HOME` nor `HOME` is set.
pub(crate) fn default_state(given: &[String], manifests: Option<&Path>) -> anyhow::Result<PathBuf> {
    let base = match env::var_os("XDG_STATE_HOME").filter(|value| !value.is_empty()) {
        Some(base) => PathBuf::from(base),
        None => env::var_os("HOME")
            .map(|home| PathBuf::from(home).join(".local/state"))
            .ok_or_else(|| {
                BadInput::new("neither XDG_STATE_HOME nor HOME is set; give --state".to_owned())
            })?,
    };
    let mut names: Vec<String> = given
        .iter()
        .map(String::as_str)
        .chain(manifests.and_then(Path::to_str))
        .map(|given| match given.contains("://") {
            true => given.trim_end_matches('/').to_owned(),
            false => fs::canonicalize(given)
                .map_or_else(|_| given.to_owned(), |path| path.display().to_string()),
        })
        .collect();
    names.sort();
    let digest = Sha256::digest(names.join("\n"));
    let short: String = digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(base.join("vdt").join(short))
}

#[cfg(test)]
mod tests {
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
    fn an_edit_and_an_edit_taken_back_are_both_taken() {
        assert!(declared(3, 60).is_same(&declared(3, 60)));
        assert!(!declared(3, 60).is_same(&declared(4, 30)));
        // What was said between may be committed already: only who has the last edition overrules it.
        assert!(!declared(3, 60).is_same(&declared(5, 60)));
    }
}
