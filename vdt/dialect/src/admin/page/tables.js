// Tables: version, lag, conditions, sources, and files drawn as ropes. A table's card lives as long as the page and is told what is new.

import { h, put } from "./dom.js";
import { ago, bytes, count, many, seconds, short } from "./format.js";
import { drawRope } from "./rope.js";

const FILES_AT_ONCE = 8;
const MARKS = { True: "\u2713", False: "!", Unknown: "?" };

export class Tables {
  #list;
  #cards = new Map();
  #api;

  constructor(list, api) {
    this.#list = list;
    this.#api = api;
  }

  update(reports) {
    const known = new Set(reports.map((report) => report.table));
    for (const [table, card] of this.#cards) {
      if (known.has(table)) continue;
      card.element.remove();
      this.#cards.delete(table);
    }
    for (const report of reports) {
      let card = this.#cards.get(report.table);
      if (!card) {
        card = new Card(report.table, this.#api);
        // One table alone shows what it is made of; of many, the reader chooses.
        card.files.open = reports.length === 1;
        this.#cards.set(report.table, card);
        this.#list.append(card.element);
      }
      card.update(report);
    }
    if (reports.length === 0) put(this.#list, h("p", { class: "quiet" }, "No table is served."));
    else this.#list.querySelector(":scope > p")?.remove();
  }
}

class Card {
  #facts = h("dl", { class: "facts" });
  #conditions = h("ul", { class: "conditions" });
  #sources = h("ul", { class: "sources" });

  constructor(table, api) {
    const parts = table.split("/");
    const name = parts.pop();
    this.files = new Files(table, api);
    const refresh = h("button", { type: "button", "aria-label": `Refresh ${table}`, onclick: () => api.refresh(table, refresh) }, "Refresh");
    this.element = h(
      "article",
      { class: "card", "aria-label": table },
      h("div", { class: "head" }, h("h3", {}, h("span", { class: "quiet" }, `${parts.join(".")}.`), name), refresh),
      this.#facts,
      this.#conditions,
      this.#sources,
      this.files.element,
    );
  }

  update(report) {
    const lag = report.lagSeconds == null ? "unknown" : seconds(report.lagSeconds);
    put(
      this.#facts,
      fact("Version", report.version == null ? "none" : String(report.version)),
      fact("Artifacts", report.artifacts == null ? "unknown" : count(report.artifacts)),
      fact("Lag", lag, report.lastSuccess && `last success ${report.lastSuccess}`),
    );
    put(this.#conditions, report.conditions.map(condition));
    put(this.#sources, (report.sources ?? []).map(source));
    this.files.update(report.version);
  }
}

const fact = (name, value, title) => h("div", { title }, h("dt", {}, name), h("dd", {}, value));

function condition({ type, status, reason, message, lastTransitionTime }) {
  const well = status === "True";
  return h(
    "li",
    { class: `chip ${status.toLowerCase()}`, title: `${status} since ${lastTransitionTime}` },
    h("span", { class: "mark", "aria-hidden": true }, MARKS[status] ?? "?"),
    h("span", {}, h("b", {}, type), ` ${well ? reason : `is ${status}: ${reason}`}`, well ? null : h("span", { class: "message" }, message), well ? null : h("span", { class: "quiet" }, ` ${ago(lastTransitionTime)}`)),
  );
}

function source({ name, status, reason, message, artifacts, skipped }) {
  const left = Object.entries(skipped ?? {}).map(([why, number]) => `${count(number)} left out: ${why}`);
  const told = [artifacts == null ? null : many(artifacts, "artifact"), ...left].filter(Boolean).join(", ");
  return h(
    "li",
    {},
    h("span", { class: `mark ${status.toLowerCase()}`, role: "img", "aria-label": status === "True" ? "well" : "not well" }, MARKS[status] ?? "?"),
    h("b", {}, name),
    h("span", { class: "quiet" }, ` ${told}`),
    status === "True" ? null : h("span", { class: "message" }, `${reason ?? ""}: ${message ?? ""}`),
  );
}

/** The files of one table, asked for when they are to be seen. */
class Files {
  #table;
  #api;
  #version = null;
  #shown = null;
  #list = h("ol", { class: "files" });
  #title = h("span", {}, "Files");
  #more = h("button", { type: "button", hidden: true, onclick: () => this.#load(this.#next) }, "More files");
  #next = null;
  #loading = null;

  constructor(table, api) {
    this.#table = table;
    this.#api = api;
    this.element = h("details", { ontoggle: () => this.#look() }, h("summary", {}, this.#title), this.#list, this.#more);
  }

  set open(open) {
    this.element.open = open;
  }

  update(version) {
    this.#version = version;
    this.#look();
  }

  #look() {
    if (this.element.open && this.#version != null && this.#version !== this.#shown) this.#load(null);
  }

  async #load(after) {
    if (this.#loading) return;
    const version = this.#version;
    this.#loading = this.#api.files(this.#table, after, FILES_AT_ONCE);
    try {
      const page = await this.#loading;
      this.#shown = version;
      this.#next = page.next ?? null;
      this.#more.hidden = !page.next;
      put(this.#title, `${many(page.count, "file")}, ${bytes(page.bytes)}`);
      const kept = new Map([...this.#list.children].map((row) => [row.dataset.name, row]));
      const rows = page.files.map((file) => kept.get(file.name) ?? this.#row(file));
      if (after) this.#list.append(...rows);
      else put(this.#list, rows);
    } catch (failed) {
      put(this.#title, `Files: ${failed.message}`);
    } finally {
      this.#loading = null;
    }
  }

  #row(file) {
    const rope = h("div", { class: "drawn waiting" });
    const facts = [bytes(file.bytes), file.rows == null ? null : many(file.rows, "row"), file.rowGroups == null ? null : many(file.rowGroups, "row group")];
    const row = h(
      "li",
      {},
      h("div", { class: "file" }, h("code", { title: file.name }, short(file.name)), h("span", { class: "quiet" }, facts.filter(Boolean).join(", "))),
      rope,
    );
    row.dataset.name = file.name;
    this.#api.rope(this.#table, file.name).then(
      (report) => rope.replaceWith(drawRope(report)),
      (failed) => put(rope, h("span", { class: "quiet" }, failed.message)),
    );
    return row;
  }
}
