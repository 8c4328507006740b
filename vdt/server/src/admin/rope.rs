//! A rope drawn in a bounded number of spans. Pure.
//!
//! Every segment is a span of its own until there are too many. From then on neighbours share a span while both are shorter than a 511th of the file:
//! at most 511 spans are that long, and of two neighbours one is, so there are at most 1,023.

use vdt_crds::api::{KindBytes, RopeReport, RopeSpan, SPANS_MAX, SpanKind};
use vdt_rope::Segment;

/// A file under the pencil.
pub(super) struct Drawing {
    bytes: u64,
    at: u64,
    segments: u64,
    total: KindBytes,
    spans: Vec<RopeSpan>,
    /// Shorter spans share; 0 as long as there are few.
    share_below: u64,
}

impl Drawing {
    /// Begins a file of `bytes` bytes.
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            bytes,
            at: 0,
            segments: 0,
            total: KindBytes::default(),
            spans: Vec::new(),
            share_below: 0,
        }
    }

    /// Draws the next segments.
    pub(super) fn extend(&mut self, segments: &[Segment]) {
        for segment in segments {
            let length = segment.len();
            let span = RopeSpan {
                kind: match segment {
                    Segment::Literal(_) => SpanKind::Literal,
                    Segment::Zeros(_) => SpanKind::Zeros,
                    Segment::Reference(_) => SpanKind::Reference,
                },
                offset: self.at,
                length,
                of: None,
                references: u64::from(matches!(segment, Segment::Reference(_))),
                key: match segment {
                    Segment::Reference(reference) => Some(reference.object.key.to_string()),
                    Segment::Literal(_) | Segment::Zeros(_) => None,
                },
            };
            self.segments += 1;
            self.at += length;
            add(&mut self.total, span.kind, length);
            self.push(span);
        }
    }

    fn push(&mut self, span: RopeSpan) {
        if self.share_below == 0 {
            self.spans.push(span);
            if self.spans.len() > SPANS_MAX {
                self.share_below = self.bytes.div_ceil(SPANS_MAX as u64 / 2 - 1).max(1);
                for span in std::mem::take(&mut self.spans) {
                    self.push(span);
                }
            }
            return;
        }
        match self.spans.last_mut() {
            Some(last) if last.length.max(span.length) < self.share_below => share(last, span),
            _ => self.spans.push(span),
        }
    }

    /// The drawing, under the name of the file.
    pub(super) fn finish(self, name: &str) -> RopeReport {
        RopeReport {
            name: name.to_owned(),
            bytes: self.bytes,
            segments: self.segments,
            total: self.total,
            spans: self.spans,
        }
    }
}

fn share(span: &mut RopeSpan, next: RopeSpan) {
    let parts = |span: &RopeSpan| {
        span.of.unwrap_or_else(|| {
            let mut of = KindBytes::default();
            add(&mut of, span.kind, span.length);
            of
        })
    };
    let (mut of, more) = (parts(span), parts(&next));
    of.literal += more.literal;
    of.zeros += more.zeros;
    of.reference += more.reference;
    span.kind = if of.reference >= of.literal.max(of.zeros) {
        SpanKind::Reference
    } else if of.literal >= of.zeros {
        SpanKind::Literal
    } else {
        SpanKind::Zeros
    };
    span.of = Some(of);
    span.length += next.length;
    span.references += next.references;
    if span.key.is_none() {
        span.key = next.key;
    }
}

fn add(of: &mut KindBytes, kind: SpanKind, bytes: u64) {
    match kind {
        SpanKind::Literal => of.literal += bytes,
        SpanKind::Zeros => of.zeros += bytes,
        SpanKind::Reference => of.reference += bytes,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vdt_rope::{Reference, SourceObject};

    use super::*;

    fn reference(number: u64, bytes: u64) -> Segment {
        Segment::Reference(Reference::whole(Arc::new(SourceObject {
            source: "s".into(),
            key: format!("a/{number}").into(),
            size: bytes,
            etag: Some("e".into()),
            last_modified_ms: 0,
            version: None,
        })))
    }

    fn drawn(segments: &[Segment]) -> RopeReport {
        let mut drawing = Drawing::new(segments.iter().map(Segment::len).sum());
        drawing.extend(segments);
        drawing.finish("f")
    }

    fn check(report: &RopeReport) {
        let mut at = 0;
        let mut total = KindBytes::default();
        for span in &report.spans {
            assert_eq!(span.offset, at);
            at += span.length;
            match span.of {
                Some(of) => {
                    assert_eq!(of.literal + of.zeros + of.reference, span.length);
                    total.literal += of.literal;
                    total.zeros += of.zeros;
                    total.reference += of.reference;
                }
                None => add(&mut total, span.kind, span.length),
            }
        }
        assert_eq!((at, total), (report.bytes, report.total));
        assert!(report.spans.len() <= SPANS_MAX, "{}", report.spans.len());
    }

    #[test]
    fn few_segments_are_drawn_one_by_one() {
        let report = drawn(&[
            Segment::Literal(vec![1; 20].into()),
            reference(1, 5000),
            Segment::Zeros(100),
        ]);
        check(&report);
        let kinds: Vec<_> = report.spans.iter().map(|span| span.kind).collect();
        assert_eq!(
            kinds,
            [SpanKind::Literal, SpanKind::Reference, SpanKind::Zeros]
        );
        assert_eq!(report.spans[1].key.as_deref(), Some("a/1"));
        assert_eq!(report.spans[1].references, 1);
    }

    #[test]
    fn many_segments_share_spans_and_lose_nothing() {
        for sizes in [[1, 1], [5000, 5000], [1, 1_000_000], [3, 40_000]] {
            let segments: Vec<_> = (0..20_000_u64)
                .flat_map(|number| {
                    let header = Segment::Literal(vec![0; 17].into());
                    [
                        header,
                        reference(number, sizes[usize::from(number % 50 == 0)]),
                    ]
                })
                .collect();
            let report = drawn(&segments);
            check(&report);
            assert_eq!(report.segments, 40_000);
            let references: u64 = report.spans.iter().map(|span| span.references).sum();
            assert_eq!(references, 20_000);
        }
    }
}
