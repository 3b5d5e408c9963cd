// The panel beside an answer: a document at the place that is cited, with what stands around it.
//
// On a wide window it is beside the messages; on a narrow one it covers them. It says where the place is
// in the document's own terms, and leads to the other places that the answer cites.

import { byId, element } from "./dom.js";
import { named } from "./evidence.js";
import { sourceOf } from "./documents.js";

const NARROW = matchMedia("(max-width: 52rem)"); // as in documents.css: it covers everything

export class SourcePanel {
  constructor() {
    this.panel = byId("source");
    NARROW.addEventListener("change", () => this.cover());
    byId("source-close").addEventListener("click", () => this.close());
    byId("source-previous").addEventListener("click", () => this.turn(-1));
    byId("source-next").addEventListener("click", () => this.turn(1));
    this.panel.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.stopPropagation();
        this.close();
      } else if (event.altKey && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
        event.preventDefault();
        this.turn(event.key === "ArrowLeft" ? -1 : 1);
      }
    });
  }

  get isOpen() {
    return !this.panel.hidden;
  }

  /** Show one of several places; `model`: that answered; `opener`: what has the focus afterwards. */
  open(model, places, at, opener, title) {
    Object.assign(this, { model, places, opener, kind: title });
    this.panel.hidden = false;
    byId("app").classList.add("source-open");
    this.cover();
    this.go(at);
    byId("source-title").focus();
  }

  close({ quietly = false } = {}) {
    if (!this.isOpen) return;
    this.asked?.abort();
    this.panel.hidden = true;
    byId("app").classList.remove("source-open");
    this.cover();
    if (!quietly && this.opener?.isConnected) this.opener.focus();
  }

  /** What it covers cannot be reached. */
  cover() {
    byId("main").inert = this.isOpen && NARROW.matches;
  }

  turn(by) {
    const at = this.at + by;
    if (at >= 0 && at < this.places.length) this.go(at);
  }

  async go(at) {
    this.at = at;
    const place = this.places[at];
    const few = this.places.length < 2;
    byId("source-title").textContent = place.source.split("/").at(-1);
    byId("source-count").textContent = few ? "" : `${this.kind} ${at + 1} of ${this.places.length}`;
    for (const [id, there] of [["source-previous", at > 0], ["source-next", at < this.places.length - 1]]) {
      byId(id).disabled = !there;
      byId(id).hidden = few;
    }
    byId("source-path").textContent = named(place);
    const body = byId("source-body");
    body.setAttribute("aria-busy", "true");
    if (place.source !== this.shown) body.replaceChildren();
    this.shown = place.source;
    this.asked?.abort();
    const asked = (this.asked = new AbortController());
    let shown;
    try {
      shown = shownSource(await sourceOf(this.model, place, asked.signal));
    } catch (error) {
      if (asked.signal.aborted) return;
      shown = shownAlone(place, error);
    }
    if (asked.signal.aborted) return;
    byId("source-path").textContent = shown.path;
    body.replaceChildren(...shown.nodes);
    body.setAttribute("aria-busy", "false");
    const mark = body.querySelector("mark");
    if (mark) body.scrollTop += mark.getBoundingClientRect().top - body.getBoundingClientRect().top - body.clientHeight / 3;
  }
}

/** What the server gave, as nodes, and the path of titles to it. */
function shownSource(found) {
  const folder = found.source.split("/").slice(0, -1).join(" › ");
  const path = [folder, ...found.headings, found.where].filter(Boolean).join(" › ");
  const nodes = [];
  if (found.is_gone) nodes.push(element("p", { class: "source-note" }, "The file is not where it was read any more. This is its text as it was read then."));
  if (found.before) nodes.push(gap());
  let where = "";
  for (const block of found.blocks) {
    if (block.gap && block.kind !== "table") nodes.push(gap());
    if (/^(page|slide)/.test(block.where) && block.where !== where) {
      where = block.where;
      nodes.push(element("p", { class: "source-where" }, where[0].toUpperCase() + where.slice(1)));
    }
    nodes.push(blockNode(block));
  }
  if (found.after) nodes.push(gap());
  return { path, nodes };
}

/** The citation alone, where its document cannot be opened. */
function shownAlone(place, error) {
  const why = error.code === "document_gone"
    ? "This is not among the documents any more. What was cited:"
    : `The document cannot be opened now (${error.message}). What was cited:`;
  const retold = element("p", { class: "source-plain" }, element("mark", {}, place.text));
  return { path: named(place), nodes: [element("p", { class: "source-note" }, why), retold] };
}

function blockNode(block) {
  if (block.kind === "table") return tableNode(block);
  if (block.kind === "message") return mailNode(block);
  if (block.kind === "heading") return element("p", { class: "source-heading", role: "heading", "aria-level": "3" }, ...parts(block.parts));
  if (block.kind === "code") return element("pre", { tabindex: "0", role: "region", "aria-label": "Code" }, ...parts(block.parts));
  return element("p", { class: `source-plain ${block.kind}`, dir: "auto" }, ...parts(block.parts));
}

function parts(list) {
  return list.map(([text, cited]) => (cited ? element("mark", {}, text) : text));
}

function tableNode({ rows, has_header: hasHeader, gap: left, where }) {
  const [head, rest] = hasHeader ? [rows[0], rows.slice(1)] : [null, rows];
  const numbered = rows.some((row) => /^row/.test(row.where));
  const cells = (row, name) => row.cells.map((cell) => element(name, { dir: "auto" }, ...parts(cell)));
  const number = (row, name) => (numbered ? [element(name, { class: "row-number" }, row.where.replace(/^\D+/, ""))] : []);
  const width = Math.max(...rows.map((row) => row.cells.length)) + (numbered ? 1 : 0);
  return element(
    "div",
    { class: "source-table", tabindex: "0", role: "region", "aria-label": `Table${where ? `, ${where}` : ""}` },
    element(
      "table",
      {},
      head && element("thead", {}, element("tr", { class: head.cited ? "cited-row" : null }, ...number(head, "th"), ...cells(head, "th"))),
      element(
        "tbody",
        {},
        left && element("tr", { class: "row-gap" }, element("td", { colspan: String(width) }, "…")),
        ...rest.map((row) => element("tr", { class: row.cited ? "cited-row" : null }, ...number(row, "td"), ...cells(row, "td"))),
      ),
    ),
  );
}

/** The headers of a mail, one line each. */
function mailNode({ parts: list }) {
  const lines = [[]];
  for (const [text, cited] of list) {
    text.split("\n").forEach((line, k) => {
      if (k) lines.push([]);
      lines.at(-1).push([line, cited]);
    });
  }
  return element("div", { class: "source-mail" }, ...lines.map((line) => element("p", {}, ...parts(line))));
}

function gap() {
  return element("p", { class: "source-gap", "aria-label": "There is more that is not shown" }, "…");
}
