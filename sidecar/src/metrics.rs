//! Families of metrics that are read off something at each scrape.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

/// A value and its labels.
pub(crate) type Series = (Vec<(&'static str, &'static str)>, u64);

/// A value without labels.
pub(crate) fn one(value: u64) -> Vec<Series> {
    vec![(Vec::new(), value)]
}

/// Encodes a family of counters.
pub(crate) fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: Vec<Series>,
) -> fmt::Result {
    family(
        encoder,
        (name, help),
        MetricType::Counter,
        series,
        |value, encoder| ConstCounter::new(value).encode(encoder),
    )
}

/// Encodes a family of gauges.
pub(crate) fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: Vec<Series>,
) -> fmt::Result {
    family(
        encoder,
        (name, help),
        MetricType::Gauge,
        series,
        |value, encoder| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder),
    )
}

fn family(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    kind: MetricType,
    series: Vec<Series>,
    encode: impl Fn(u64, MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in series {
        if labels.is_empty() {
            return encode(value, family);
        }
        encode(value, family.encode_family(&labels)?)?;
    }
    Ok(())
}
