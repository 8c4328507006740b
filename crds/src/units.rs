//! Numbers for people, as every binary writes them.

/// Bytes as a number below 1024 and how many times it was divided by 1024 for that, at most `most` times.
#[must_use]
pub fn scaled(bytes: u64, most: usize) -> (f64, usize) {
    let mut value = bytes as f64;
    let mut power = 0;
    while value >= 1024.0 && power < most {
        value /= 1024.0;
        power += 1;
    }
    (value, power)
}

/// A count with its noun: `1 artifact`, `412 artifacts`.
#[must_use]
pub fn count(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}
