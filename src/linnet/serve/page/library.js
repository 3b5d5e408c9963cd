// The documents that are answered from: how far reading them is, which there are, adding some by dropping
// them on the page or choosing them, and removing them.

import { confirmed, dialog, toast } from "./dialogs.js";
import { listOf, remove, restore, statusOf, upload } from "./documents.js";
import { byId, count, element, icon, iconButton, size } from "./dom.js";

const LOOK_WORKING = 1000; // milliseconds
const LOOK_IDLE = 10_000;
const LISTED = 100;
const MOST_FILES = 2000; // of a folder that is dropped

const STATES = { searchable: "Searchable", reading: "Being read", unreadable: "Could not be read", removed: "Taken out" };
const RUNNING = { waiting: "○", running: "…", done: "✓", unchanged: "✓", skipped: "–", failed: "!" };
const SAID = { waiting: "waits", running: "is being done", done: "done", unchanged: "done", skipped: "left out", failed: "failed" };

export class Library {
  /** `changed()`: called when the status has been looked up; `attachments`: what takes dropped files where no documents do. */
  constructor(changed, attachments) {
    this.changed = changed;
    this.attachments = attachments;
    this.model = null;
    this.status = null;
    this.uploads = []; // {name, share, error, abort, file}
    byId("documents").addEventListener("click", () => this.show());
    document.addEventListener("visibilitychange", () => document.hidden || this.look());
    this.listenToDrops();
  }

  /** The documents of a model, or of none. */
  of(model) {
    if (model === this.model) return;
    this.model = model;
    this.status = null;
    this.showButton();
    this.look();
  }

  async look() {
    clearTimeout(this.looking);
    const { model } = this;
    if (!model) return;
    let status = null;
    try {
      status = await statusOf(model);
    } catch (error) {
      if (error.code === "no_documents") return this.showButton(); // documents of another program
    }
    if (model !== this.model) return;
    if (status) this.take(status);
    const soon = status?.working || this.uploads.length;
    if (!document.hidden) this.looking = setTimeout(() => this.look(), soon ? LOOK_WORKING : LOOK_IDLE);
  }

  take(status) {
    const listed = JSON.stringify([status.documents, status.working]);
    this.status = status;
    this.showButton();
    this.changed();
    if (!this.dialog?.isConnected) return;
    this.showWork();
    if (listed !== this.listed) this.list();
    this.listed = listed;
  }

  showButton() {
    const button = byId("documents");
    const { status } = this;
    button.hidden = !status?.can_list;
    if (!status) return;
    const number = status.documents.searchable;
    const label = status.working ? "Documents, being worked on" : "Documents";
    button.setAttribute("aria-label", `${label}: ${count(number)} searchable`);
    const spinner = element("span", { class: "spinner", "aria-hidden": "true" });
    button.replaceChildren(icon("document"), element("span", {}, count(number)), status.working ? spinner : "");
  }

  /** What is to be known below the message box; "" where nothing is. */
  get line() {
    const { status } = this;
    if (!status) return "";
    if (status.problem) return status.problem;
    const step = status.steps.find(({ state }) => state === "running");
    if (!status.answers) return `You can ask as soon as the documents are read. ${step ? progressOf(step) : ""}`;
    if (!step) return "";
    return status.documents.reading ? `New documents are being read. ${progressOf(step)}` : `Answers are getting better: ${progressOf(step)}`;
  }

  // The dialog

  show() {
    if (this.dialog?.isConnected || document.querySelector("dialog[open]")) return;
    const { status } = this;
    this.work = element("div", { class: "work", "aria-live": "off" });
    this.arriving = element("ul", { class: "arriving" });
    this.entries = element("ul", { class: "documents" });
    this.more = element("button", { type: "button", class: "button", hidden: true, click: () => this.list({ further: true }) }, "Show more");
    this.said = element("p", { class: "unseen", role: "status" });
    const find = element("input", { type: "search", placeholder: "Find", "aria-label": "Find documents", autocomplete: "off" });
    find.addEventListener("input", () => {
      clearTimeout(this.finding);
      this.finding = setTimeout(() => this.list(), 150);
    });
    this.find = find;
    const content = [status?.can_change && this.adding(), this.arriving, this.work, find, this.entries, this.more, this.said];
    this.dialog = dialog("Documents", { name: "side library", content: content.filter(Boolean) });
    this.showWork();
    this.showArriving();
    this.list();
    this.look();
  }

  adding() {
    const input = element("input", { type: "file", multiple: true, class: "unseen", tabindex: "-1", "aria-hidden": "true" });
    input.addEventListener("change", () => {
      this.add([...input.files].map((file) => ({ name: file.name, file })));
      input.value = "";
    });
    const choose = element("button", { type: "button", class: "button main-button", click: () => input.click() }, icon("plus"), "Add documents");
    const line = `or drop files on this page, up to ${Math.floor(this.status.largest_file / 1e6)} MB each`;
    return element("div", { class: "adding" }, choose, element("span", { class: "help" }, line), input);
  }

  showWork() {
    const { status } = this;
    if (!status) return;
    const rows = status.steps.map((step) =>
      element(
        "li",
        { class: `work-${step.state}` },
        element("span", { class: "work-mark", role: "img", "aria-label": SAID[step.state] }, RUNNING[step.state] ?? ""),
        element("span", {}, step.title),
        step.state === "running" && step.total ? meter(step) : null,
        element("span", { class: "help" }, step.state === "running" ? amountOf(step) : step.text),
      ),
    );
    const open = this.work.querySelector("details")?.open ?? status.working;
    const summary = status.working ? "Being worked on" : status.steps.some(({ state }) => state === "failed") ? "Something failed" : "All is done";
    const problem = status.problem && element("p", { class: "source-note" }, status.problem);
    const list = rows.length > 0 && element("details", { class: "steps", open }, element("summary", {}, summary), element("ul", {}, ...rows));
    const focused = this.work.contains(document.activeElement);
    this.work.replaceChildren(...[problem, list].filter(Boolean));
    if (focused) this.work.querySelector("summary")?.focus();
  }

  async list({ further = false } = {}) {
    const asked = (this.asked = {});
    const after = further ? (this.last ?? "") : "";
    let found;
    try {
      found = await listOf(this.model, { find: this.find.value.trim(), after, limit: LISTED });
    } catch (error) {
      this.entries.replaceChildren(element("li", { class: "none" }, error.message));
      return;
    }
    if (asked !== this.asked) return;
    const nodes = found.data.map((each) => this.entry(each));
    if (further) this.entries.append(...nodes);
    else this.replaceEntries(nodes);
    this.last = found.data.at(-1)?.name;
    this.more.hidden = !found.has_more;
    if (!found.data.length && !further) this.entries.append(element("li", { class: "none" }, "No documents found."));
  }

  replaceEntries(nodes) {
    const focused = document.activeElement?.closest?.("[data-name]")?.dataset.name;
    this.entries.replaceChildren(...nodes);
    if (focused) nodes.find((node) => node.dataset.name === focused)?.querySelector("button")?.focus();
  }

  entry(each) {
    const file = each.name.split("/").at(-1);
    const folder = each.name.split("/").slice(0, -1).join(" › ");
    const several = each.documents > 1 ? `${count(each.documents)} parts` : "";
    const state = [STATES[each.state], each.reason].filter(Boolean).join(": ");
    const facts = [each.state === "searchable" && !each.reason ? "" : state, several, size(each.bytes)].filter(Boolean).join(" · ");
    const act = each.state === "removed"
      ? iconButton("undo", `Search ${file} again`, () => this.change(() => restore(this.model, each.name), `${file} is searched again.`))
      : iconButton("delete", `Remove ${file}`, () => this.remove(each, file));
    return element(
      "li",
      { class: `document ${each.state}`, "data-name": each.name },
      element(
        "div",
        {},
        element("span", { class: "document-name", dir: "auto", title: each.name }, file),
        element("span", { class: "help" }, [folder, facts].filter(Boolean).join(" · ")),
      ),
      this.status?.can_change && act,
    );
  }

  async remove(each, file) {
    const explanation = each.is_added
      ? "It was added here: its file is deleted, and answers no longer use it."
      : "Answers no longer use it. The file stays where it is, and can be taken in again.";
    if (await confirmed(`Remove ${file}?`, explanation, "Remove")) {
      await this.change(() => remove(this.model, each.name), `${file} is removed.`);
    }
  }

  async change(act, said) {
    try {
      await act();
      this.tell(said);
    } catch (error) {
      toast(error.message);
    }
    this.list();
    this.look();
  }

  tell(text) {
    if (this.said) this.said.textContent = text;
  }

  // Adding

  /** Add files, each {name, file}; asks where there is another one of that name. */
  async add(files) {
    if (!this.status?.can_change || !files.length) return;
    if (files.length > MOST_FILES) toast(`The first ${count(MOST_FILES)} of ${count(files.length)} files are added.`);
    const added = files.slice(0, MOST_FILES).map(({ name, file }) => ({ name, file, share: 0, error: null, abort: new AbortController() }));
    this.uploads.push(...added);
    this.show();
    this.showArriving();
    let done = 0;
    for (const each of added) done += await this.send(each);
    if (done) this.tell(`${count(done)} document${done === 1 ? "" : "s"} added; being read.`);
    if (this.dialog?.isConnected) this.list();
    this.look();
  }

  async send(each) {
    if (each.file.size > this.status.largest_file) {
      each.error = `has ${size(each.file.size)}; at most ${size(this.status.largest_file)} can be added`;
      this.showArriving();
      return false;
    }
    let taken = "refuse";
    for (;;) {
      try {
        const progress = (share) => ((each.share = share), this.showShare(each));
        const name = await upload(this.model, each.name, each.file, { taken, progress, signal: each.abort.signal });
        if (!name.endsWith(`/${each.name}`)) toast(`${each.name} is kept as ${name.split("/").at(-1)}.`);
        this.uploads.splice(this.uploads.indexOf(each), 1);
        this.showArriving();
        return true;
      } catch (error) {
        if (error.kind === "busy") {
          await new Promise((resolve) => setTimeout(resolve, LOOK_WORKING));
          continue;
        }
        if (error.code === "name_taken" && taken === "refuse") {
          taken = await askWhich(each.name);
          if (taken) continue;
        }
        if (!taken || error.kind === "stopped") this.uploads.splice(this.uploads.indexOf(each), 1);
        else each.error = error.message;
        this.showArriving();
        return false;
      }
    }
  }

  showArriving() {
    if (!this.dialog?.isConnected) return;
    const dismiss = (each) => () => {
      each.abort.abort();
      const at = this.uploads.indexOf(each);
      if (at >= 0) this.uploads.splice(at, 1);
      this.showArriving();
    };
    const shown = this.uploads.slice(0, 20).map((each) => {
      each.meter = each.error ? null : element("progress", { max: "1", value: String(each.share), "aria-label": `${each.name} is being added` });
      const label = each.error ? `Dismiss ${each.name}` : `Stop adding ${each.name}`;
      return element(
        "li",
        { class: each.error ? "failed" : null },
        element("span", { class: "document-name", dir: "auto" }, each.name),
        each.error ? element("span", { class: "help", role: "alert" }, each.error) : each.meter,
        iconButton("close", label, dismiss(each)),
      );
    });
    const rest = this.uploads.length - shown.length;
    if (rest > 0) shown.push(element("li", { class: "help" }, `and ${count(rest)} more`));
    this.arriving.replaceChildren(...shown);
  }

  showShare(each) {
    if (each.meter) each.meter.value = each.share;
  }

  /** Files may be dropped anywhere. */
  listenToDrops() {
    const veil = byId("drop");
    const line = veil.querySelector("p");
    const possible = () => this.status?.can_change || this.attachments.isPossible;
    const takes = (event) => possible() && [...(event.dataTransfer?.types ?? [])].includes("Files");
    let depth = 0;
    const over = (shown) => {
      veil.hidden = !shown;
      line.textContent = this.status?.can_change ? "Drop the files here to add them to the documents" : "Drop the files here to attach them to your message";
    };
    addEventListener("dragenter", (event) => takes(event) && (event.preventDefault(), depth++, over(true)));
    addEventListener("dragleave", (event) => takes(event) && --depth <= 0 && ((depth = 0), over(false)));
    addEventListener("dragover", (event) => takes(event) && event.preventDefault());
    addEventListener("drop", async (event) => {
      over(false);
      depth = 0;
      if (!takes(event)) return;
      event.preventDefault();
      const isForDocuments = this.status?.can_change;
      const files = await filesOf(event.dataTransfer);
      if (isForDocuments) this.add(files);
      else this.attachments.add(files.map(({ file }) => file));
    });
  }
}

/** The files of a drop, those in folders with the folder's name before theirs. */
async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ name: file.name, file }));
  const found = [];
  const waiting = entries.map((entry) => [entry, ""]);
  while (waiting.length && found.length <= MOST_FILES) {
    const [entry, above] = waiting.shift();
    const name = above + entry.name;
    if (entry.name.startsWith(".")) continue;
    if (entry.isFile) found.push({ name, file: await new Promise((resolve, reject) => entry.file(resolve, reject)) });
    else waiting.push(...(await entriesOf(entry)).map((inner) => [inner, `${name}/`]));
  }
  return found;
}

async function entriesOf(folder) {
  const reader = folder.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // a hundred at a time
    if (!some.length) return found;
    found.push(...some);
  }
}

/** What to do with a file whose name is taken: "replace", "keep", or null. */
function askWhich(name) {
  return new Promise((resolve) => {
    let answer = null;
    const choice = (label, value, kind = "") =>
      element("button", { type: "button", class: `button ${kind}`, click: () => ((answer = value), made.close()) }, label);
    const made = dialog(`There is another ${name}`, {
      name: "narrow",
      content: [element("p", {}, "A different document of this name was added before.")],
      foot: [choice("Cancel", null), choice("Replace it", "replace", "danger"), choice("Keep both", "keep", "main-button")],
    });
    made.addEventListener("close", () => resolve(answer));
  });
}

function progressOf(step) {
  const amount = amountOf(step);
  return `${step.title.replace(/^./, (letter) => letter.toLowerCase())}${amount ? ` (${amount})` : ""}.`;
}

function amountOf({ done, total, unit }) {
  if (!total) return done ? `${count(Math.round(done))} ${unit}`.trim() : "";
  if (unit === "bytes" || unit === "%") return `${Math.round((100 * done) / total)} %`;
  return `${count(Math.round(done))} of ${count(Math.round(total))} ${unit}`.trim();
}

function meter({ done, total, title }) {
  return element("progress", { max: String(total), value: String(Math.min(done, total)), "aria-label": title });
}
