// The cache: how full its tiers are, what they saved in the last hour, what is read most, and how the origin is.

import { h, svg } from "./dom.js";
import { ago, bytes, count, many, percent, split } from "./format.js";

const MINUTES = 60;
const BAR = 10;
const HEIGHT = 100;
const BYTES = ["served", "origin"];
const LOOKUPS = ["memory", "disk", "miss"];

/** Draws a CacheReport. */
export function drawCache(report) {
  const hour = report.hour ?? [];
  const sum = (field) => hour.reduce((total, minute) => total + (minute[field] ?? 0), 0);
  const hits = { memory: sum("hitsMemory"), disk: sum("hitsDisk"), miss: sum("misses") };
  const lookups = hits.memory + hits.disk + hits.miss;
  const served = sum("servedBytes");
  const origin = sum("originBytes");
  const rate = lookups ? (hits.memory + hits.disk) / lookups : null;
  return [
    h(
      "div",
      { class: "pair" },
      tier("Memory", report.tiers?.memory ?? {}, hits.memory, lookups),
      tier("Disk", report.tiers?.disk ?? {}, hits.disk, lookups),
    ),
    h(
      "div",
      { class: "pair" },
      h(
        "article",
        { class: "card" },
        h("h3", {}, "Lookups, last hour"),
        h("p", { class: "big" }, rate == null ? "none yet" : `${percent(rate)} hit`, h("small", {}, ` of ${count(lookups)}`)),
        chart(hour, (minute) => [minute.hitsMemory, minute.hitsDisk, minute.misses], LOOKUPS, count,
          `Lookups a minute in the last hour: ${count(hits.memory)} from memory, ${count(hits.disk)} from disk, ${count(hits.miss)} missed.`),
        legend([["memory", `memory ${count(hits.memory)}`], ["disk", `disk ${count(hits.disk)}`], ["miss", `missed ${count(hits.miss)}`]]),
      ),
      h(
        "article",
        { class: "card" },
        h("h3", {}, "Bytes, last hour"),
        h("p", { class: "big" }, bytes(Math.max(served - origin, 0)), h("small", {}, " not read from the origin")),
        chart(hour, (minute) => [Math.max(minute.servedBytes - minute.originBytes, 0), minute.originBytes], BYTES, bytes,
          `Bytes a minute in the last hour: ${bytes(served)} served, ${bytes(origin)} read from the origin.`),
        legend([["served", `served from here ${bytes(Math.max(served - origin, 0))}`], ["origin", `from the origin ${bytes(origin)}`]]),
      ),
    ),
    h("div", { class: "pair" }, hottest(report.hottest ?? []), h("div", { class: "stack" }, originCard(report), classes(report.classes ?? []))),
  ];
}

function tier(name, tier, hits, lookups) {
  const state = tier.state ?? "Off";
  const title = h("div", { class: "head" }, h("h3", {}, name), h("span", { class: `tag ${state.toLowerCase()}` }, state === "Ok" ? "well" : state.toLowerCase()));
  if (state === "Off") return h("article", { class: "card" }, title, h("p", { class: "quiet" }, "Not asked for."));
  const share = tier.capacity ? Math.min(tier.bytes / tier.capacity, 1) : 0;
  return h(
    "article",
    { class: "card" },
    title,
    h("p", { class: "big" }, bytes(tier.bytes), h("small", {}, ` of ${bytes(tier.capacity)}`)),
    h(
      "div",
      { class: "meter", role: "meter", "aria-label": `${name} tier`, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(share * 100), "aria-valuetext": `${percent(share)} full` },
      h("i", { style: { width: `${share * 100}%` } }),
    ),
    h("p", { class: "quiet" }, [
      `${percent(share)} full`, many(tier.entries, "entry").replace("entrys", "entries"),
      lookups ? `${percent(hits / lookups)} of the last hour's lookups` : null,
      tier.evictions ? `${count(tier.evictions)} evicted` : null,
      tier.droppedWrites ? `${count(tier.droppedWrites)} writes dropped` : null,
    ].filter(Boolean).join(", ")),
    tier.message ? h("p", { class: "message" }, `${tier.reason ?? ""}: ${tier.message}`) : null,
  );
}

/** Stacked bars, a minute each, the newest at the right. */
function chart(hour, values, classes, format, label) {
  const last = hour.at(-1)?.minute ?? 0;
  const sums = hour.map((minute) => values(minute).reduce((a, b) => a + (b ?? 0), 0));
  const top = Math.max(...sums, 0);
  const bars = hour.flatMap((minute) => {
    const x = (MINUTES - 1 - (last - minute.minute)) * BAR;
    let y = HEIGHT;
    return values(minute).map((value, index) => {
      const height = top ? ((value ?? 0) / top) * HEIGHT : 0;
      y -= height;
      return height > 0 && x >= 0 ? svg("rect", { class: classes[index], x: x + 1, y, width: BAR - 2, height }) : null;
    });
  });
  return h(
    "figure",
    { class: "chart" },
    svg("svg", { viewBox: `0 0 ${MINUTES * BAR} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label }, bars),
    h("figcaption", {}, h("span", {}, "60 min ago"), h("span", {}, top ? `at most ${format(top)} a minute` : "nothing yet"), h("span", {}, "now")),
  );
}

const legend = (items) => h("ul", { class: "legend" }, items.map(([name, text]) => h("li", {}, h("i", { class: `key ${name}` }), text)));

function hottest(artifacts) {
  const most = Math.max(...artifacts.map((artifact) => artifact.reads), 1);
  const row = (artifact) => {
    const [folder, name] = split(artifact.key);
    return h(
      "li",
      { title: artifact.key },
      h("span", { class: "name" }, h("bdi", { class: "quiet" }, folder), h("bdi", {}, name)),
      h("span", { class: "quiet" }, `${many(artifact.reads, "read")}, ${bytes(artifact.bytes)}`),
      h("i", { class: "heat", "aria-hidden": true, style: { width: `${(artifact.reads / most) * 100}%` } }),
    );
  };
  return h(
    "article",
    { class: "card" },
    h("h3", {}, "Read most"),
    artifacts.length ? h("ol", { class: "hottest" }, artifacts.map(row)) : h("p", { class: "quiet" }, "No artifact has been read yet."),
  );
}

function originCard({ origin = {} }) {
  const up = origin.up;
  return h(
    "article",
    { class: "card" },
    h("div", { class: "head" }, h("h3", {}, "Origin"), h("span", { class: `tag ${up ? "ok" : "degraded"}` }, up ? "up" : "away")),
    h("p", {}, `${many(origin.requests ?? 0, "request")}, ${bytes(origin.bytes)} read`, origin.since ? h("span", { class: "quiet" }, `, ${up ? "up" : "away"} since ${ago(origin.since)}`) : null),
    origin.staleAnswers ? h("p", { class: "quiet" }, `${many(origin.staleAnswers, "answer")} given while it was away`) : null,
    origin.lastError ? h("p", { class: "message" }, `${origin.lastError.message} `, h("span", { class: "quiet" }, ago(origin.lastError.time))) : null,
  );
}

function classes(classes) {
  if (classes.length === 0) return null;
  const cell = (text) => h("td", {}, text);
  return h(
    "article",
    { class: "card" },
    h("h3", {}, "By class"),
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Class"), ["in memory", "hits", "misses"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, classes.map((one) => h("tr", {}, h("th", { scope: "row" }, one.class), cell(bytes(one.memoryBytes)), cell(count((one.hits?.memory ?? 0) + (one.hits?.disk ?? 0))), cell(count(one.misses))))),
    ),
  );
}
