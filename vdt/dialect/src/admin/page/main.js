// Asks, draws, and asks again: every few seconds while somebody looks, ever more seldom while nobody answers.

import { drawCache } from "./cache.js";
import { h, put } from "./dom.js";
import { seconds } from "./format.js";
import { Tables } from "./tables.js";

const EVERY_SECONDS = 5;
const SELDOM_SECONDS = 60;
const ANSWER_SECONDS = 10;
/** Ropes are asked for one after another, so that the page never crowds out clients. */
let ropes = Promise.resolve();

const at = (id) => document.getElementById(id);
const api = {
  files: (table, after, limit) => {
    const query = new URLSearchParams({ limit, ...(after ? { after } : {}) });
    return ask(`api/v1/tables/${path(table)}/files?${query}`);
  },
  rope: (table, name) => {
    const asked = ropes.then(() => ask(`api/v1/tables/${path(table)}/files/${encodeURIComponent(name)}`));
    ropes = asked.catch(() => {});
    return asked;
  },
  refresh,
};
const tables = new Tables(at("table-list"), api);

const path = (table) => table.split("/").map(encodeURIComponent).join("/");

async function ask(url, options = {}) {
  const signal = AbortSignal.timeout((options.seconds ?? ANSWER_SECONDS) * 1000);
  const response = await fetch(url, { ...options, signal, cache: "no-store" });
  const body = await response.json().catch(() => ({}));
  if (response.ok) return body;
  throw Object.assign(new Error(body.error ?? `answered ${response.status}`), { status: response.status });
}

/** The cache's report; null of a process without one. */
async function cache() {
  try {
    return await ask("api/v1/cache");
  } catch (failed) {
    if (failed.status === 404) return null;
    throw failed;
  }
}

let failures = 0;
/** The cache is told by the front door, the tables by the server behind it. */
let away = false;
let timer = null;
let updated = null;

async function update() {
  clearTimeout(timer);
  const [reports, report] = await Promise.allSettled([ask("api/v1/tables"), cache()]);
  const shown = report.value;
  if (report.status === "fulfilled") {
    put(at("cache-body"), shown ? drawCache(shown) : h("p", { class: "quiet" }, "This process has no cache."));
  }
  if (reports.status === "fulfilled") {
    tables.update(reports.value);
    updated = Date.now();
  }
  away = report.status === "fulfilled" && reports.reason?.status === 503;
  const failed = away ? undefined : (reports.reason ?? report.reason);
  failures = failed ? failures + 1 : 0;
  if (failed) console.debug(failed);
  const wait = failures ? Math.min(2 ** failures, SELDOM_SECONDS) : EVERY_SECONDS;
  tell(wait);
  if (!document.hidden) timer = setTimeout(update, wait * 1000);
}

function tell(wait) {
  const state = at("state");
  state.className = failures || away ? "state bad" : "state";
  const since = updated ? `, as of ${seconds((Date.now() - updated) / 1000)} ago` : "";
  if (away) return put(state, `The server is away${updated ? `: tables${since.slice(1)}` : ""}; what the cache holds is served`);
  put(state, failures ? `No answer${since}. Again in ${wait} s` : `Updated ${new Date(updated).toLocaleTimeString()}`);
}

async function refresh(table, button) {
  const notice = at("notice");
  button.disabled = true;
  try {
    const query = new URLSearchParams({ wait: "true", ...(table ? { table } : {}) });
    const reports = await ask(`refresh?${query}`, { method: "POST", seconds: 600 });
    const told = ({ table, outcome, version, added, changed, removed, message }) =>
      [`${table}: ${outcome.toLowerCase()}`, version == null ? "" : `, version ${version}`,
        outcome === "Committed" ? `, ${added} new, ${changed} changed, ${removed} gone` : "", message ? `. ${message}` : ""].join("");
    put(notice, reports.map((report) => h("span", {}, told(report))));
  } catch (failed) {
    put(notice, `Not refreshed: ${failed.message}`);
  }
  notice.hidden = false;
  button.disabled = false;
  await update();
}

at("refresh").addEventListener("click", (event) => refresh(null, event.currentTarget));
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : update()));
update();
