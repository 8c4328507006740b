//! The syntax of `schema.pathPattern`.
//!
//! ```text
//! pattern  segment *( "/" segment )
//! segment  "**" | 1*( "{" name "}" | "*" | literal )     two names need a literal between them
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
    let (mut rest, mut follows_name) = (segment, false);
    while !rest.is_empty() {
        let Some(after) = rest.strip_prefix('{') else {
            let end = rest.find('{').unwrap_or(rest.len());
            let (literal, after) = rest.split_at(end);
            if literal.contains('}') {
                return Err(format!(
                    "has a closing brace without an opening one in {segment:?}"
                ));
            }
            (rest, follows_name) = (after, false);
            continue;
        };
        let Some((name, after)) = after.split_once('}') else {
            return Err(format!(
                "has an opening brace without a closing one in {segment:?}"
            ));
        };
        if !is_name(name) {
            return Err(format!(
                "{name:?} cannot be the name of a part: write letters, digits and _, not beginning with a digit"
            ));
        }
        if follows_name {
            return Err(format!(
                "two parts need something between them in {segment:?}: where one ends could not be told"
            ));
        }
        if names.contains(&name) {
            return Err(format!("names the part {name:?} twice"));
        }
        names.push(name);
        (rest, follows_name) = (after, true);
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
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
            "x{a}*/{b}",
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
            ("{a}/{a}", "twice"),
        ] {
            let found = check(pattern).expect_err(pattern);
            assert!(found.contains(why), "{pattern}: {found}");
        }
    }
}
