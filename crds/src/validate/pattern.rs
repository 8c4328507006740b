//! The syntax of `schema.pathPattern`.
//!
//! ```text
//! pattern  segment *( "/" segment )
//! segment  "**" | 1*( "{" name "}" | "*" | literal )     a literal between any two of { } and *
//! name     letter or _ , then letters, digits and _ ; each name once
//! ```

/// Says what is wrong with a pattern.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    let mut names = Vec::new();
    for segment in pattern.split('/') {
        if segment.is_empty() {
            return Err(
                "has an empty segment; write it without leading, doubled or trailing slashes"
                    .to_owned(),
            );
        }
        if segment == "**" {
            continue;
        }
        if segment.contains("**") {
            return Err(format!(
                "** stands for whole segments; it cannot be a part of {segment:?}"
            ));
        }
        check_segment(segment, &mut names)?;
    }
    Ok(())
}

fn check_segment<'a>(segment: &'a str, names: &mut Vec<&'a str>) -> Result<(), String> {
    let (mut rest, mut follows_wildcard) = (segment, false);
    while let Some(first) = rest.chars().next() {
        let is_wildcard = matches!(first, '{' | '*');
        if is_wildcard && follows_wildcard {
            return Err(format!(
                "two parts or * need something between them in {segment:?}: where one ends could not be told"
            ));
        }
        follows_wildcard = is_wildcard;
        let after = &rest[first.len_utf8()..];
        rest = match first {
            '{' => {
                let Some((name, after)) = after.split_once('}') else {
                    return Err(format!(
                        "has an opening brace without a closing one in {segment:?}"
                    ));
                };
                add_name(name, names)?;
                after
            }
            '}' => {
                return Err(format!(
                    "has a closing brace without an opening one in {segment:?}"
                ));
            }
            _ => after,
        };
    }
    Ok(())
}

fn add_name<'a>(name: &'a str, names: &mut Vec<&'a str>) -> Result<(), String> {
    if !is_name(name) {
        return Err(format!(
            "{name:?} cannot be the name of a part: write at most 63 letters, digits and _, not beginning with a digit"
        ));
    }
    if names.contains(&name) {
        return Err(format!("names the part {name:?} twice"));
    }
    names.push(name);
    Ok(())
}

fn is_name(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn good_patterns_pass() {
        for pattern in [
            "{customer}/{year}/**",
            "**",
            "*",
            "a/b",
            "{year}-{month}.pdf",
            "x{a}-*/{b}",
            "{_}/**/{file}",
            "ü/{a}",
        ] {
            assert_eq!(check(pattern), Ok(()), "{pattern}");
        }
    }

    #[test]
    fn bad_patterns_say_why() {
        for (pattern, why) in [
            ("", "empty segment"),
            ("/{a}", "empty segment"),
            ("{a}//b", "empty segment"),
            ("{a}/", "empty segment"),
            ("{a}/x**", "whole segments"),
            ("{a", "without a closing"),
            ("a}", "without an opening"),
            ("{}", "cannot be the name"),
            ("{1a}", "cannot be the name"),
            ("{{a}}", "cannot be the name"),
            ("{a/b}", "without a closing"),
            ("{a}{b}", "between them"),
            ("{a}*", "between them"),
            ("*{a}", "between them"),
            ("{a}/{a}", "twice"),
        ] {
            let found = check(pattern).expect_err(pattern);
            assert!(found.contains(why), "{pattern}: {found}");
        }
    }
}
