//! A set of tables, by path, and what it means for folders above them.

use std::collections::BTreeSet;

/// Tables that may be read, each as `<catalog>/<schema>/<name>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// With a slash at the end, so that their order is that of the keys below them.
    paths: BTreeSet<String>,
}

impl Tables {
    /// The set of these tables.
    pub fn new(paths: impl IntoIterator<Item = String>) -> Self {
        Self {
            paths: paths.into_iter().map(|path| path + "/").collect(),
        }
    }

    /// Reports whether there is no table.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Adds the tables of another set.
    pub fn extend(&mut self, other: &Self) {
        self.paths.extend(other.paths.iter().cloned());
    }

    /// Reports whether a path is a table of the set or lies below one.
    pub(crate) fn contains(&self, path: &str) -> bool {
        // The greatest table that is not greater than the path is the only one that it can lie below.
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.paths
            .range(..=folder.clone())
            .next_back()
            .is_some_and(|table| folder.starts_with(table.as_str()))
    }

    /// Reports whether a path is a table, lies below one, or is a folder above one. The empty path is above all.
    pub(crate) fn may_name(&self, path: &str) -> bool {
        path.is_empty() || self.contains(path) || self.below(path).next().is_some()
    }

    /// The tables below a folder, each with its slash, in the order of their keys. All of them below the empty path.
    pub(crate) fn below(&self, folder: &str) -> impl Iterator<Item = &str> {
        let folder = if folder.is_empty() {
            String::new()
        } else {
            format!("{}/", folder.trim_end_matches('/'))
        };
        self.paths
            .range(folder.clone()..)
            .take_while(move |table| table.starts_with(&folder))
            .map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(names: &[&str]) -> Tables {
        Tables::new(names.iter().map(|name| (*name).to_owned()))
    }

    #[test]
    fn a_table_is_no_prefix_of_its_neighbours() {
        let tables = tables(&["main/docs/a", "main/docs/a-b", "other/x/y"]);
        for path in [
            "main/docs/a",
            "main/docs/a/",
            "main/docs/a/f",
            "main/docs/a-b/_delta_log/0",
            "other/x/y/z",
        ] {
            assert!(tables.contains(path), "{path}");
        }
        for path in [
            "",
            "main",
            "main/docs",
            "main/docs/",
            "main/docs/ab",
            "main/docs/a_meta/f",
            "main/docs/a-/f",
            "other/x/yy",
        ] {
            assert!(!tables.contains(path), "{path}");
        }
    }

    #[test]
    fn folders_above_a_table_may_be_named() {
        let tables = tables(&["main/docs/a", "main/docs/b"]);
        for path in ["", "main", "main/", "main/docs", "main/docs/b/x"] {
            assert!(tables.may_name(path), "{path}");
        }
        for path in ["mai", "main/doc", "main/other", "main/docs/c"] {
            assert!(!tables.may_name(path), "{path}");
        }
        assert!(!Tables::default().may_name("main"));
    }

    #[test]
    fn tables_come_in_the_order_of_their_keys() {
        let tables = tables(&["m/d/a", "m/d/a-b", "m/d/a_b", "m/e/a"]);
        assert_eq!(
            tables.below("m/d").collect::<Vec<_>>(),
            ["m/d/a-b/", "m/d/a/", "m/d/a_b/"]
        );
        assert_eq!(tables.below("").count(), 4);
        assert_eq!(tables.below("m/d/a").collect::<Vec<_>>(), ["m/d/a/"]);
    }

    proptest::proptest! {
        #[test]
        fn folders_and_tables_are_what_a_search_through_all_finds(
            names in proptest::collection::btree_set("[ab-]{1,2}/[a_]{1,2}/[a.-]{1,3}", 0..8),
            path in "([ab-]{1,2}(/[a_]{1,2}(/[a.-]{1,3}(/[a-]{1,2})?)?)?)?",
        ) {
            let tables = Tables::new(names.iter().cloned());
            let folder = format!("{path}/");
            let within = names.iter().any(|name| folder.starts_with(&format!("{name}/")));
            let below: Vec<String> = names
                .iter()
                .map(|name| format!("{name}/"))
                .filter(|name| path.is_empty() || name.starts_with(&folder))
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect();
            proptest::prop_assert_eq!(tables.contains(&path), within);
            proptest::prop_assert_eq!(tables.below(&path).collect::<Vec<_>>(), below.clone());
            proptest::prop_assert_eq!(
                tables.may_name(&path),
                path.is_empty() || within || !below.is_empty()
            );
        }
    }
}
