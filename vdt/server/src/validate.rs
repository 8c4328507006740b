//! `vdt validate`: checks manifests and says everything that is wrong with them.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{
    args::{Output, Profile, ValidateArgs},
    manifests::{line, manifest_files, parse_file},
};
use vdt_sidecar::exit::BadInput;

#[derive(Debug, Serialize)]
struct Checked {
    file: String,
    tables: Vec<String>,
    violations: Vec<String>,
    /// What is valid but not built yet, so that `vdt serve` refuses it.
    unsupported: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// [`BadInput`] with every violation, after all files have been checked.
pub(crate) fn run(args: &ValidateArgs) -> anyhow::Result<()> {
    let profile = match args.profile {
        Profile::Laptop => vdt_crds::Profile::Laptop,
        Profile::Cluster => vdt_crds::Profile::Cluster,
    };
    let mut files = Vec::new();
    for given in &args.files {
        match given.is_dir() {
            true => files.extend(manifest_files(given)?),
            false => files.push(given.clone()),
        }
    }
    let checked: Vec<Checked> = files
        .iter()
        .map(|file: &PathBuf| check(file, profile))
        .collect();
    match args.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&checked)?),
        Output::Text => print(&checked),
    }
    let lines: Vec<String> = checked
        .into_iter()
        .flat_map(|file| file.violations)
        .collect();
    match lines.is_empty() {
        true => Ok(()),
        false => Err(BadInput { lines }.into()),
    }
}

fn check(file: &Path, profile: vdt_crds::Profile) -> Checked {
    let origin = file.display().to_string();
    let mut checked = Checked {
        file: origin.clone(),
        tables: Vec::new(),
        violations: Vec::new(),
        unsupported: Vec::new(),
    };
    match parse_file(file) {
        Err(error) => match error.downcast::<BadInput>() {
            Ok(bad) => checked.violations = bad.lines,
            Err(other) => checked.violations.push(format!("{origin}: {other:#}")),
        },
        Ok(tables) => {
            for table in &tables {
                checked.tables.push(format!(
                    "{}.{}.{}",
                    table.catalog(),
                    table.schema_name(),
                    table.table_name()
                ));
                let violations = vdt_crds::validate(table, profile);
                checked
                    .violations
                    .extend(violations.iter().map(|one| line(&origin, one)));
                let unsupported = vdt_crds::unsupported(table);
                checked
                    .unsupported
                    .extend(unsupported.iter().map(|one| line(&origin, one)));
            }
        }
    }
    checked
}

fn print(checked: &[Checked]) {
    for file in checked {
        if file.violations.is_empty() {
            println!("{}: ok ({})", file.file, file.tables.join(", "));
        }
        for line in &file.unsupported {
            println!("{line} (valid, but `vdt serve` of this version refuses it)");
        }
    }
}
