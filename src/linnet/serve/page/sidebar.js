// The list of conversations: find, open, rename, delete, export one.

import { written } from "./conversation.js";
import { element, icon, iconButton } from "./dom.js";

const WAIT_TO_SEARCH = 250; // milliseconds
const DAY = 24 * 60 * 60 * 1000;

export class Sidebar {
  /** `act`: open(id), rename(id, title), remove(id), exportOne(id), search(text): ids that the server finds, or null. */
  constructor(container, search, act) {
    this.container = container;
    this.search = search;
    this.act = act;
    this.renaming = null;
    search.addEventListener("input", () => {
      this.foundThere = null;
      this.show(this.conversations, this.state);
      clearTimeout(this.searching);
      if (search.value.trim()) this.searching = setTimeout(() => this.searchThere(), WAIT_TO_SEARCH);
    });
    search.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown") this.container.querySelector("a")?.focus();
    });
    container.addEventListener("keydown", (event) => this.step(event));
  }

  /** Have the server look into what has not been fetched. */
  async searchThere() {
    const text = this.search.value.trim();
    let found = null;
    try {
      found = await this.act.search(text);
    } catch (error) {
      if (!error.kind) throw error; // the server is gone: what is here is searched
    }
    if (!found || text !== this.search.value.trim()) return;
    this.foundThere = found;
    this.shown = null;
    this.show(this.conversations, this.state);
  }

  /** `state`: {current: id or null, running: set of ids that are being answered}. */
  show(conversations, state) {
    Object.assign(this, { conversations, state });
    if (this.renaming || this.container.querySelector(".menu")) return; // shown when that is done
    const wanted = this.search.value.trim().toLowerCase();
    const found = conversations.filter((conversation) => matches(conversation, wanted) || this.foundThere?.has(conversation.id));
    const listed = found.map(({ id, title }) => [id, title, id === state.current, state.running.has(id)]);
    const shown = JSON.stringify([wanted, new Date().toDateString(), listed]);
    if (shown === this.shown) return;
    this.shown = shown;
    const focused = document.activeElement?.closest?.("[data-id]")?.dataset.id;
    const groups = grouped(found).map(([name, members]) =>
      element(
        "section",
        {},
        element("h2", {}, name),
        element("ul", {}, ...members.map((conversation) => this.entry(conversation))),
      ),
    );
    if (!found.length) {
      const line = wanted ? "Nothing found." : "Your conversations will be listed here.";
      groups.push(element("p", { class: "none" }, line));
    }
    this.container.replaceChildren(...groups);
    if (focused) this.container.querySelector(`[data-id="${focused}"] a`)?.focus();
  }

  entry(conversation) {
    const { id } = conversation;
    const title = conversation.title || "Untitled";
    const current = id === this.state.current;
    const link = element(
      "a",
      { href: `#${id}`, "aria-current": current ? "page" : null, title },
      element("span", { class: "entry-title", dir: "auto" }, title),
      this.state.running.has(id) && element("span", { class: "spinner", role: "img", "aria-label": "is being answered" }),
    );
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      this.act.open(id);
    });
    const entry = element("li", { class: current ? "entry current" : "entry", "data-id": id }, link);
    const menu = iconButton("more", `More for ${title}`, () => this.menu(entry, conversation, menu), {
      "aria-haspopup": "menu", "aria-expanded": "false", class: "icon-button entry-menu",
    });
    entry.append(menu);
    return entry;
  }

  menu(entry, conversation, button) {
    const open = document.querySelector(".menu");
    open?.close();
    if (open?.parentElement === entry) return;
    const choice = (picture, label, chosen) =>
      element("button", { type: "button", role: "menuitem", click: () => (menu.close(), chosen()) }, icon(picture), label);
    const menu = element(
      "div",
      { class: "menu", role: "menu" },
      choice("edit", "Rename", () => this.rename(entry, conversation)),
      choice("export", "Export as Markdown", () => this.act.exportOne(conversation.id)),
      choice("delete", "Delete", () => this.act.remove(conversation.id)),
    );
    const outside = (event) => {
      if (!menu.contains(event.target) && event.target !== button) menu.close();
    };
    menu.close = () => {
      menu.remove();
      button.setAttribute("aria-expanded", "false");
      document.removeEventListener("pointerdown", outside);
      this.show(this.conversations, this.state);
    };
    menu.addEventListener("keydown", (event) => {
      const items = [...menu.children];
      const at = items.indexOf(document.activeElement);
      const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
      if (event.key === "Escape" || event.key === "Tab") {
        menu.close();
        button.focus();
      } else if (next !== undefined) items.at(next % items.length).focus();
      if (event.key !== "Enter" && event.key !== " ") event.preventDefault();
      event.stopPropagation();
    });
    document.addEventListener("pointerdown", outside);
    button.setAttribute("aria-expanded", "true");
    entry.append(menu);
    menu.firstChild.focus();
  }

  rename(entry, conversation) {
    const input = element("input", { type: "text", class: "rename", "aria-label": "New name", maxlength: "200" });
    input.value = conversation.title;
    this.renaming = input;
    const done = (keep) => {
      if (this.renaming !== input) return;
      this.renaming = this.shown = null;
      const title = input.value.trim();
      if (keep && title) this.act.rename(conversation.id, title);
      else this.show(this.conversations, this.state);
      this.container.querySelector(`[data-id="${conversation.id}"] a`)?.focus();
    };
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") done(true);
      if (event.key === "Escape") done(false);
      event.stopPropagation();
    });
    input.addEventListener("blur", () => done(true));
    entry.replaceChildren(input);
    input.select();
  }

  /** Up and down through the list; F2 and Delete as file managers have them. */
  step(event) {
    const id = event.target.closest?.("[data-id]")?.dataset.id;
    if (!id || event.target.tagName !== "A") return;
    const links = [...this.container.querySelectorAll("a")];
    const at = links.indexOf(event.target);
    if (event.key === "ArrowDown") links[at + 1]?.focus();
    else if (event.key === "ArrowUp") (links[at - 1] ?? this.search).focus();
    else if (event.key === "F2") this.rename(event.target.parentElement, this.conversations.find((c) => c.id === id));
    else if (event.key === "Delete") {
      this.act.remove(id);
      (this.container.querySelectorAll("a")[at] ?? this.search).focus();
    } else return;
    event.preventDefault();
  }
}

function matches(conversation, wanted) {
  if (!wanted) return true;
  if (conversation.title.toLowerCase().includes(wanted)) return true;
  if (written(conversation).toLowerCase().includes(wanted)) return true;
  return Object.values(conversation.nodes).some((node) => node.text.toLowerCase().includes(wanted));
}

function grouped(conversations) {
  const today = new Date().setHours(0, 0, 0, 0);
  const groups = [["Today", today], ["Yesterday", today - DAY], ["Last 7 days", today - 7 * DAY], ["Older", -Infinity]];
  return groups
    .map(([name, from], k) => [
      name,
      conversations.filter((c) => c.changed >= from && (k === 0 || c.changed < groups[k - 1][1])),
    ])
    .filter(([, members]) => members.length);
}
