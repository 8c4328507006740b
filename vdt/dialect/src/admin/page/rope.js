// A file drawn as a rope: its bytes from left to right, true to scale.

import { h, put, svg } from "./dom.js";
import { bytes, count, many, percent } from "./format.js";

const WIDTH = 1000;
const HEIGHT = 20;
const NAMES = { literal: "made by vdt", zeros: "padding", reference: "artifact" };
const KINDS = ["reference", "literal", "zeros"];

/** Draws a RopeReport. Arrow keys walk along the spans, as the pointer does. */
export function drawRope(report) {
  const { spans, total } = report;
  const size = Math.max(report.bytes, 1);
  const x = (offset) => (offset / size) * WIDTH;
  const marker = svg("rect", { class: "marker", y: 0, height: HEIGHT, width: 0 });
  let odd = false;
  const bars = spans.flatMap((span) => {
    if (span.references) odd = !odd;
    return pieces(span, x, odd);
  });
  const readout = h("output", { class: "readout" });
  const summary = describe(report);
  const show = (index) => {
    const span = spans[index];
    marker.setAttribute("x", span ? x(span.offset) : 0);
    marker.setAttribute("width", span ? Math.max(x(span.length), 2) : 0);
    put(readout, span ? told(span) : summary);
  };
  let at = -1;
  const go = (index) => {
    at = Math.min(Math.max(index, 0), spans.length - 1);
    show(at);
  };
  const keys = { ArrowRight: () => at + 1, ArrowLeft: () => at - 1, Home: () => 0, End: () => spans.length - 1 };
  const rope = svg(
    "svg",
    {
      class: "rope", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", tabindex: 0, role: "img",
      "aria-label": `${summary} Arrow keys tell its parts.`,
      onpointermove: (event) => {
        const box = rope.getBoundingClientRect();
        const byte = ((event.clientX - box.left) / box.width) * size;
        const found = spans.findIndex((span) => byte < span.offset + span.length);
        if (found >= 0) go(found);
      },
      onpointerleave: () => show((at = -1)),
      onblur: () => show((at = -1)),
      onkeydown: (event) => {
        const step = keys[event.key];
        if (!step) return;
        event.preventDefault();
        go(step());
      },
    },
    bars,
    marker,
  );
  show(-1);
  return h("div", { class: "drawn" }, rope, readout, h("span", { class: "share" }, `${percent(total.reference / size)} not copied`));
}

/** The bars of a span: one, or one a kind where several segments share it. Neighbouring artifacts differ in shade. */
function pieces(span, x, odd) {
  const parts = span.of ? KINDS.map((kind) => [kind, span.of[kind]]) : [[span.kind, span.length]];
  let offset = span.offset;
  return parts.filter(([, length]) => length > 0).map(([kind, length]) => {
    const bar = svg("rect", { class: kind === "reference" && odd ? "reference odd" : kind, x: x(offset), y: 0, width: x(length), height: HEIGHT });
    offset += length;
    return bar;
  });
}

function told(span) {
  const what = span.references > 1 ? many(span.references, "artifact") : NAMES[span.kind];
  const key = span.key ? h("bdi", { class: "name" }, span.references > 1 ? `from ${span.key}` : span.key) : null;
  return h("span", {}, `${count(span.offset)} + ${bytes(span.length)}, ${what} `, key);
}

function describe({ segments, total }) {
  return `${many(segments, "segment")}: ${bytes(total.reference)} of artifacts, ${bytes(total.literal)} made, ${bytes(total.zeros)} padding.`;
}
