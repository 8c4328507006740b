//! Entity tags (RFC 9110 8.8.3), from stores and from clients.

use std::fmt;

/// An entity tag. Its Display is the header's form: quoted, `W/` before a weak one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityTag {
    weak: bool,
    opaque: String,
}

/// A list of entity tags as in If-Match and If-None-Match, or `*`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum EntityTags {
    Any,
    List(Vec<EntityTag>),
}

impl EntityTag {
    /// Takes the tag of a store's metadata, quoted or bare. `None` when it cannot be a header.
    pub fn of_store(text: &str) -> Option<Self> {
        let (weak, rest) = match text.strip_prefix("W/") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let opaque = rest
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or(rest);
        // etagc without obs-text: printable ASCII but the quote.
        let sound = opaque
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'"');
        sound.then(|| Self {
            weak,
            opaque: opaque.to_owned(),
        })
    }

    /// Parses the one tag of a client's header; `None` where it is no tag, or several.
    pub(crate) fn of_client(text: &str) -> Option<Self> {
        match EntityTags::parse(text) {
            EntityTags::List(mut list) if list.len() == 1 => list.pop(),
            EntityTags::List(_) | EntityTags::Any => None,
        }
    }

    /// The tag without quotes.
    pub(crate) fn opaque(&self) -> &str {
        &self.opaque
    }

    /// Reports whether the tag is weak.
    pub(crate) fn is_weak(&self) -> bool {
        self.weak
    }

    /// The header's form.
    pub fn to_header(&self) -> String {
        let mark = if self.weak { "W/" } else { "" };
        [mark, "\"", &self.opaque, "\""].concat()
    }

    /// Compares strongly (RFC 9110 8.8.3.2): equal and both strong.
    pub(crate) fn strong_eq(&self, other: &Self) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// Compares weakly: equal whatever the strength.
    pub(crate) fn weak_eq(&self, other: &Self) -> bool {
        self.opaque == other.opaque
    }
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_header())
    }
}

impl EntityTags {
    /// Parses a header's value. S3 clients also send bare tags, so quotes are not required; but a quoted `*` is a tag like any other.
    pub(crate) fn parse(text: &str) -> Self {
        let mut list = Vec::new();
        let mut rest = text.trim();
        if rest == "*" {
            return Self::Any;
        }
        while !rest.is_empty() {
            let (weak, after) = match rest.strip_prefix("W/") {
                Some(after) => (true, after),
                None => (false, rest),
            };
            let (opaque, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => after.split_once(',').unwrap_or((after, "")),
            };
            let opaque = opaque.trim();
            if !opaque.is_empty() {
                list.push(EntityTag {
                    weak,
                    opaque: opaque.to_owned(),
                });
            }
            rest = after.trim_start_matches([',', ' ', '\t']);
        }
        Self::List(list)
    }

    /// Reports whether the object's tag is among these by `same`. `*` is true of every object that exists.
    pub(crate) fn contain(
        &self,
        tag: Option<&EntityTag>,
        same: fn(&EntityTag, &EntityTag) -> bool,
    ) -> bool {
        match self {
            Self::Any => true,
            Self::List(list) => tag.is_some_and(|tag| list.iter().any(|one| same(one, tag))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(weak: bool, opaque: &str) -> EntityTag {
        EntityTag {
            weak,
            opaque: opaque.to_owned(),
        }
    }

    #[test]
    fn lists_are_parsed_as_clients_write_them() {
        let cases = [
            ("*", EntityTags::Any),
            (" *\t", EntityTags::Any),
            ("\"*\"", EntityTags::List(vec![tag(false, "*")])),
            ("W/*", EntityTags::List(vec![tag(true, "*")])),
            (
                "\"a\", *",
                EntityTags::List(vec![tag(false, "a"), tag(false, "*")]),
            ),
            ("\"a\"", EntityTags::List(vec![tag(false, "a")])),
            ("a", EntityTags::List(vec![tag(false, "a")])),
            (
                "W/\"a\", \"b,c\" ,d",
                EntityTags::List(vec![tag(true, "a"), tag(false, "b,c"), tag(false, "d")]),
            ),
            ("", EntityTags::List(vec![])),
            (",,\"", EntityTags::List(vec![])),
            ("\"open", EntityTags::List(vec![tag(false, "open")])),
            (
                "\"a\"\"b\"",
                EntityTags::List(vec![tag(false, "a"), tag(false, "b")]),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(EntityTags::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_stores_tag_is_quoted_once() {
        for (text, expected) in [
            ("abc", "\"abc\""),
            ("\"abc\"", "\"abc\""),
            ("W/\"abc\"", "W/\"abc\""),
        ] {
            assert_eq!(
                EntityTag::of_store(text)
                    .map(|tag| tag.to_string())
                    .as_deref(),
                Some(expected)
            );
        }
        assert_eq!(EntityTag::of_store("a\r\nb"), None);
    }

    #[test]
    fn a_weak_tag_never_matches_strongly() {
        assert!(!tag(true, "a").strong_eq(&tag(true, "a")));
        assert!(tag(true, "a").weak_eq(&tag(false, "a")));
        assert!(tag(false, "a").strong_eq(&tag(false, "a")));
    }
}
