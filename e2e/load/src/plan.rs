//! Which request comes next, and when it is due.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::Instant;

/// Ranges of paths.
#[derive(Debug)]
pub(crate) struct Targets(Vec<Target>);

#[derive(Debug)]
struct Target {
    path: String,
    start: u64,
    end: u64,
}

impl Targets {
    /// Reads a file of lines `<path> <start> <end>`.
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file)?;
        let targets: Vec<Target> = text
            .lines()
            .enumerate()
            .map(|(number, line)| {
                parse(line).with_context(|| {
                    format!(
                        "line {}: write <path> <start> <end>, not {line:?}",
                        number + 1
                    )
                })
            })
            .collect::<anyhow::Result<_>>()?;
        if targets.is_empty() {
            bail!("the file has no target");
        }
        Ok(Self(targets))
    }
}

fn parse(line: &str) -> anyhow::Result<Target> {
    let mut parts = line.split_whitespace();
    let mut part = || parts.next().context("too few parts");
    let target = Target {
        path: part()?.to_owned(),
        start: part()?.parse()?,
        end: part()?.parse()?,
    };
    if target.start >= target.end {
        bail!("an empty range");
    }
    Ok(target)
}

/// One request.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) path: &'a str,
    /// First and last byte, both included, as a Range header has them.
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) due: Instant,
}

/// The order of requests, shared by all connections.
#[derive(Debug)]
pub(crate) struct Plan {
    targets: Vec<Target>,
    /// Cumulative weights of the targets; empty when uniform.
    weights: Vec<f64>,
    range: Option<u64>,
    period: Option<Duration>,
    once: bool,
    begin: Instant,
    number: Cell<u64>,
    random: RefCell<SplitMix>,
}

impl Plan {
    pub(crate) fn new(
        targets: Targets,
        range: Option<u64>,
        zipf: f64,
        rate: Option<f64>,
        once: bool,
        begin: Instant,
        seed: u64,
    ) -> Self {
        let mut sum = 0.0;
        let weights = if zipf > 0.0 {
            (1..=targets.0.len())
                .map(|rank| {
                    sum += (rank as f64).powf(-zipf);
                    sum
                })
                .collect()
        } else {
            Vec::new()
        };
        Self {
            targets: targets.0,
            weights,
            range,
            period: rate.map(|rate| Duration::from_secs_f64(1.0 / rate)),
            once,
            begin,
            number: Cell::new(0),
            random: RefCell::new(SplitMix(seed)),
        }
    }

    /// Whether requests are due at times of their own.
    pub(crate) fn is_open_loop(&self) -> bool {
        self.period.is_some()
    }

    /// The next request; `None` when each target was asked for once and that was all.
    pub(crate) fn next(&self) -> Option<Request<'_>> {
        let number = self.number.replace(self.number.get() + 1);
        let mut random = self.random.borrow_mut();
        let target = if self.once {
            self.targets.get(usize::try_from(number).ok()?)?
        } else if let Some(sum) = self.weights.last() {
            let point = random.unit() * sum;
            let index = self.weights.partition_point(|weight| *weight <= point);
            &self.targets[index.min(self.targets.len() - 1)]
        } else {
            &self.targets[random.below(self.targets.len() as u64) as usize]
        };
        let bytes = target.end - target.start;
        let length = self.range.unwrap_or(bytes).min(bytes);
        let first = target.start + random.below(bytes - length + 1);
        let due = match self.period {
            Some(period) => self.begin + period.mul_f64(number as f64),
            None => self.begin,
        };
        Some(Request {
            path: &target.path,
            first,
            last: first + length - 1,
            due,
        })
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014): seeded, so that runs repeat.
#[derive(Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
