//! Completions in kubectl's protocol: candidates, one a line, then a directive (cobra's ShellCompDirective: 4 is "no files", 0 is "files").
//!
//! kubectl runs `kubectl_complete-vt WORDS...`, a script that runs this. What cannot be found out is not completed; nothing is said about it.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{CommandFactory, ValueEnum};
use kube::ResourceExt;

use crate::{
    args::{Cli, ClusterArgs, CompleteArgs, Format},
    cluster::Cluster,
    output,
};

/// A shell waits for this long.
const PATIENCE: u64 = 3;

/// What stands at the cursor.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Commands,
    Flags(String),
    Tables,
    Namespaces,
    Formats,
    Files,
    Nothing,
}

/// Completes the last word.
pub(crate) async fn run(args: &CompleteArgs) -> anyhow::Result<ExitCode> {
    let last = args.words.last().map_or("", String::as_str);
    let found = match asked(&args.words) {
        Asked::Commands => commands(),
        Asked::Flags(command) => flags(&command),
        Asked::Formats => Format::value_variants()
            .iter()
            .filter_map(|format| Some(format.to_possible_value()?.get_name().to_owned()))
            .collect(),
        Asked::Tables => names(&args.words, false).await,
        Asked::Namespaces => names(&args.words, true).await,
        Asked::Files => {
            output::print(":0\n")?;
            return Ok(ExitCode::SUCCESS);
        }
        Asked::Nothing => Vec::new(),
    };
    let mut text: String = found
        .iter()
        .filter(|word| word.starts_with(last))
        .map(|word| format!("{word}\n"))
        .collect();
    text.push_str(":4\n");
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn asked(words: &[String]) -> Asked {
    let last = words.last().map_or("", String::as_str);
    let before = words
        .len()
        .checked_sub(2)
        .map_or("", |index| words[index].as_str());
    match before {
        "-n" | "--namespace" => return Asked::Namespaces,
        "-o" | "--output" => return Asked::Formats,
        "-f" | "--filename" | "--kubeconfig" => return Asked::Files,
        flag if takes_value(flag) => return Asked::Nothing,
        _ => {}
    }
    let done = &words[..words.len().saturating_sub(1)];
    let mut plain = Vec::new();
    let mut index = 0;
    while let Some(word) = done.get(index) {
        match word.starts_with('-') {
            true => index += usize::from(takes_value(word)),
            false => plain.push(word),
        }
        index += 1;
    }
    match plain.as_slice() {
        [] if last.starts_with('-') => Asked::Flags(String::new()),
        [] => Asked::Commands,
        [command, ..] if last.starts_with('-') => Asked::Flags((*command).clone()),
        [_] => Asked::Tables,
        _ => Asked::Nothing,
    }
}

/// Whether the word after a flag is its value.
fn takes_value(flag: &str) -> bool {
    let root = Cli::command();
    let all = root
        .get_subcommands()
        .flat_map(clap::Command::get_arguments);
    all.chain(root.get_arguments()).any(|arg| {
        let long = arg
            .get_long()
            .is_some_and(|long| flag.strip_prefix("--") == Some(long));
        let short = arg
            .get_short()
            .is_some_and(|short| flag == format!("-{short}"));
        (long || short) && arg.get_action().takes_values()
    })
}

fn commands() -> Vec<String> {
    let root = Cli::command();
    let shown = root
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    shown.map(|command| command.get_name().to_owned()).collect()
}

fn flags(command: &str) -> Vec<String> {
    let root = Cli::command();
    let own = root.find_subcommand(command);
    own.into_iter()
        .flat_map(clap::Command::get_arguments)
        .chain(root.get_arguments())
        .filter_map(|arg| Some(format!("--{}", arg.get_long()?)))
        .collect()
}

async fn names(words: &[String], namespaces: bool) -> Vec<String> {
    let value = |long: &str, short: Option<&str>| {
        let at = words
            .iter()
            .position(|word| word == long || Some(word.as_str()) == short)?;
        words.get(at + 1).cloned()
    };
    let args = ClusterArgs {
        namespace: value("--namespace", Some("-n")).filter(|_| !namespaces),
        context: value("--context", None),
        cluster: value("--cluster", None),
        user: value("--user", None),
        kubeconfig: value("--kubeconfig", None).map(PathBuf::from),
        request_timeout: PATIENCE,
        ..ClusterArgs::default()
    };
    let look = async {
        let cluster = Cluster::connect(&args).await.ok()?;
        let names: Vec<String> = match namespaces {
            true => {
                let api =
                    kube::Api::<k8s_openapi::api::core::v1::Namespace>::all(cluster.client.clone());
                let found = cluster.list("list Namespaces", &api, "").await.ok()?;
                found.iter().map(ResourceExt::name_any).collect()
            }
            false => {
                let found = cluster.list_tables(false).await.ok()?;
                found.iter().map(ResourceExt::name_any).collect()
            }
        };
        Some(names)
    };
    let found = tokio::time::timeout(Duration::from_secs(PATIENCE), look).await;
    found.ok().flatten().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_the_cursor_is_understood() {
        for (line, expected) in [
            ("", Asked::Commands),
            ("sta", Asked::Commands),
            ("status ", Asked::Tables),
            ("-n docs status ma", Asked::Tables),
            ("status -n ", Asked::Namespaces),
            ("top -o ", Asked::Formats),
            ("plan -f ", Asked::Files),
            ("status --", Asked::Flags("status".to_owned())),
            ("status manuals ", Asked::Nothing),
            ("status --context ", Asked::Nothing),
            ("status -A ", Asked::Tables),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(asked(&words), expected, "{line:?}");
        }
    }

    #[test]
    fn commands_and_flags_are_those_of_the_command_line() {
        assert_eq!(commands(), ["status", "plan", "snippets", "refresh", "top"]);
        let flags = flags("plan");
        for flag in ["--filename", "--namespace", "--output"] {
            assert!(flags.contains(&flag.to_owned()), "{flag}");
        }
    }
}
