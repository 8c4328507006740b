//! What keeps resources from being served by one process.

use std::collections::{BTreeMap, btree_map::Entry};

use crate::{
    spec::VirtualTable,
    unsupported::unsupported,
    validate::{Profile, validate},
};

/// Returns for each resource, in their order, everything that keeps it from being served beside those before it; none if nothing does. A line begins with
/// the place that the resource comes with. Of two that declare one table the later is refused.
#[must_use]
pub fn refusals<'a>(
    resources: impl IntoIterator<Item = (&'a VirtualTable, &'a str)>,
) -> Vec<Vec<String>> {
    let resources: Vec<_> = resources.into_iter().collect();
    let doubles = doubles(resources.iter().copied());
    let refused = resources
        .iter()
        .zip(doubles)
        .map(|((table, place), double)| {
            validate(table, Profile::Laptop)
                .into_iter()
                .chain(unsupported(table))
                .map(|violation| format!("{place}: {violation}"))
                .chain(double)
                .collect()
        });
    refused.collect()
}

/// Returns for each resource, in their order, that one before it declares the same table, if one does. A line begins with the place that the resource
/// comes with.
#[must_use]
pub fn doubles<'a>(
    resources: impl IntoIterator<Item = (&'a VirtualTable, &'a str)>,
) -> Vec<Option<String>> {
    let mut first: BTreeMap<String, (&VirtualTable, &str)> = BTreeMap::new();
    let doubles =
        resources
            .into_iter()
            .map(|(table, place)| match first.entry(table.table_path()) {
                Entry::Vacant(vacant) => {
                    vacant.insert((table, place));
                    None
                }
                Entry::Occupied(occupied) => Some(double((table, place), *occupied.get())),
            });
    doubles.collect()
}

fn double(
    (table, place): (&VirtualTable, &str),
    (other_table, other): (&VirtualTable, &str),
) -> String {
    let (given, other_given) = (&table.spec.given, &other_table.spec.given);
    if given.is_some() && given == other_given {
        return format!("{place}: is given twice, as {other} too; give it once");
    }
    let remedy = match given.is_some() || other_given.is_some() {
        true => "rename one of them, or write a manifest with spec.table",
        false => "give one of them another spec.table",
    };
    format!(
        "{place}: table {}.{}.{} is declared by {other} too; {remedy}",
        table.catalog(),
        table.schema_name(),
        table.table_name()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(name: &str, spec: &str) -> VirtualTable {
        let manifest = format!(
            "apiVersion: vdt.io/v1alpha1\nkind: VirtualTable\nmetadata: {{name: {name}}}\nspec:\n  sources: [{{name: a, type: File, file: {{path: a}}}}]\n  {spec}\n"
        );
        crate::parse(manifest.as_bytes())
            .expect("it parses")
            .remove(0)
    }

    #[test]
    fn the_later_of_two_is_refused_and_what_is_not_built_too() {
        let all = [
            (resource("a", "suspend: true"), "a.yaml"),
            (resource("b", "checksum: SHA256"), "b.yaml"),
            (resource("c", "table: {name: a}"), "z.yaml"),
            (resource("d", "table: {name: d}"), "z.yaml"),
        ];
        let refused = refusals(all.iter().map(|(table, place)| (table, *place)));
        assert_eq!(
            refused,
            [
                vec![],
                vec![
                    "b.yaml: spec.checksum: computed checksums are not built yet; write Known for what the store tells without a read, or None"
                        .to_owned()
                ],
                vec![
                    "z.yaml: table main.default.a is declared by a.yaml too; give one of them another spec.table"
                        .to_owned()
                ],
                vec![],
            ]
        );
    }

    #[test]
    fn two_folders_of_one_name_and_one_given_twice_have_remedies_of_their_own() {
        let folder = |path: &str| VirtualTable::for_folder(std::path::Path::new(path));
        let all = [
            (folder("/a/papers"), "a/papers"),
            (folder("/b/papers"), "b/papers"),
            (folder("/a/papers"), "./a/papers/"),
        ];
        assert_eq!(
            doubles(all.iter().map(|(table, place)| (table, *place))),
            [
                None,
                Some(
                    "b/papers: table main.default.papers is declared by a/papers too; rename one of them, or write a manifest with spec.table"
                        .to_owned()
                ),
                Some("./a/papers/: is given twice, as a/papers too; give it once".to_owned()),
            ]
        );
    }
}
