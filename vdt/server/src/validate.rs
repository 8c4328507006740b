//! `vdt validate`: checks manifests and says everything that is wrong with them.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    args::{Output, Profile, ValidateArgs},
    manifests::{manifest_files, parse_file},
    stdout,
};
use vdt_crds::{Violation, VirtualTable};
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
            true => {
                let found = manifest_files(given)?;
                if found.is_empty() {
                    return Err(BadInput::new(format!(
                        "the folder {given:?} holds no .yaml, .yml or .json file"
                    ))
                    .into());
                }
                files.extend(found);
            }
            false => files.push(given.clone()),
        }
    }
    let (mut checked, tables): (Vec<Checked>, Vec<_>) = files
        .iter()
        .map(|file: &PathBuf| check(file, profile))
        .unzip();
    if args.profile == Profile::Laptop {
        // One process serves them all; in a cluster each has its own.
        mark_doubles(&mut checked, &tables);
    }
    match args.output {
        Output::Json => stdout::print_json(&checked)?,
        Output::Text => stdout::print(&text(&checked))?,
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

/// Adds to each file what its tables have in common with those before them.
fn mark_doubles(checked: &mut [Checked], tables: &[Vec<VirtualTable>]) {
    let files: Vec<String> = checked.iter().map(|file| file.file.clone()).collect();
    let all = tables.iter().zip(&files).enumerate();
    let all: Vec<_> = all
        .flat_map(|(index, (tables, file))| tables.iter().map(move |table| (index, table, file)))
        .collect();
    let doubles = vdt_crds::doubles(all.iter().map(|(_, table, file)| (*table, file.as_str())));
    for ((index, ..), double) in all.iter().zip(doubles) {
        if let Some(file) = checked.get_mut(*index) {
            file.violations.extend(double);
        }
    }
}

fn check(file: &Path, profile: vdt_crds::Profile) -> (Checked, Vec<VirtualTable>) {
    let origin = file.display().to_string();
    let mut checked = Checked {
        file: origin.clone(),
        tables: Vec::new(),
        violations: Vec::new(),
        unsupported: Vec::new(),
    };
    match parse_file(file) {
        Err(error) => {
            match error.downcast::<BadInput>() {
                Ok(bad) => checked.violations = bad.lines,
                Err(other) => checked.violations.push(format!("{origin}: {other:#}")),
            }
            (checked, Vec::new())
        }
        Ok(tables) => {
            let line = |violation: &Violation| format!("{origin}: {violation}");
            for table in &tables {
                checked.tables.push(format!(
                    "{}.{}.{}",
                    table.catalog(),
                    table.schema_name(),
                    table.table_name()
                ));
                let violations = vdt_crds::validate(table, profile);
                checked.violations.extend(violations.iter().map(line));
                let unsupported = vdt_crds::unsupported(table);
                checked.unsupported.extend(unsupported.iter().map(line));
            }
            (checked, tables)
        }
    }
}

fn text(checked: &[Checked]) -> String {
    let mut text = String::new();
    for file in checked {
        if file.violations.is_empty() {
            let _ = writeln!(text, "{}: ok ({})", file.file, file.tables.join(", "));
        }
        for line in &file.unsupported {
            let _ = writeln!(
                text,
                "{line} (valid, but `vdt serve` of this version refuses it)"
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_files_that_declare_one_table_are_told_at_the_later() {
        let folder = tempfile::tempdir().expect("a folder");
        let table = |file: &str| {
            let path = folder.path().join(file);
            let text = "apiVersion: vdt.io/v1alpha1\nkind: VirtualTable\nmetadata: {name: t}\nspec: {sources: [{name: a, type: File, file: {path: a}}]}\n";
            std::fs::write(&path, text).expect("written");
            path
        };
        let args = |files| ValidateArgs {
            files,
            profile: Profile::Laptop,
            output: Output::Json,
        };
        let (one, two) = (table("one.yaml"), table("two.yaml"));
        run(&args(vec![one.clone()])).expect("it is good");
        let refused = run(&args(vec![one.clone(), two.clone()])).expect_err("twice");
        let wanted = format!(
            "{}: table main.default.t is declared by {} too; give one of them another spec.table",
            two.display(),
            one.display()
        );
        assert_eq!(refused.to_string(), wanted);
    }

    #[test]
    fn a_folder_without_manifests_is_no_success() {
        let folder = tempfile::tempdir().expect("a folder");
        let args = ValidateArgs {
            files: vec![folder.path().to_owned()],
            profile: Profile::Laptop,
            output: Output::Json,
        };
        let refused = run(&args).expect_err("nothing to check");
        assert!(refused.to_string().contains("holds no .yaml"), "{refused}");
    }
}
