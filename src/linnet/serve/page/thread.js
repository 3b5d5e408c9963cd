// The messages of a conversation, as they are shown.
//
// Each is an article; while it is written only its own text changes. Screen readers are told when an
// answer is finished (app.js), not of every piece.

import { told, toldPrompt } from "./answering.js";
import { CitedView } from "./cited.js";
import { apart, asText, path, versions } from "./conversation.js";
import { copy, element, flash, iconButton } from "./dom.js";
import { MarkdownView } from "./markdown.js";

export class Thread {
  /** `act`: what the buttons do: again(node), resend(node, text), choose(node), sendAgain(),
   *  openSource(node, list, at, button), judge(node, good). */
  constructor(container, act) {
    this.container = container;
    this.act = act;
    this.views = new Map(); // of the messages shown, by id
  }

  /** Show a conversation; `writing`: the message that is being written, or null. */
  show(conversation, writing) {
    this.conversation = conversation;
    const nodes = path(conversation);
    const views = new Map();
    const children = [];
    nodes.forEach((node, k) => {
      const view = this.views.get(node.id) ?? new MessageView(node, this.act);
      view.show(node, { writing: node === writing, all: versions(conversation, node), last: k === nodes.length - 1 });
      views.set(node.id, view);
      children.push(view.article);
      if (node.leftOut && !nodes[k + 1]?.leftOut) children.push(this.leftOutLine());
    });
    // What stands in its place is not moved: that would lose the focus.
    children.forEach((child, k) => {
      if (this.container.children[k] !== child) this.container.insertBefore(child, this.container.children[k] ?? null);
    });
    while (this.container.children.length > children.length) this.container.lastElementChild.remove();
    this.views = views;
  }

  /** Show what has been added to the message that is being written. */
  update(node) {
    this.views.get(node.id)?.showText(node, true);
  }

  edit(node) {
    this.views.get(node.id)?.edit();
  }

  leftOutLine() {
    return element(
      "div",
      { class: "left-out-line" },
      element("span", {}, "The model no longer reads what stands above."),
      element("button", { type: "button", class: "link-button", click: () => this.act.sendAgain() }, "Let it read it again"),
    );
  }
}

class MessageView {
  constructor(node, act) {
    this.node = node;
    this.act = act;
    this.body = element("div", { class: "body" });
    this.foot = element("div", { class: "foot" });
    this.name = element("h2", { class: node.role === "user" ? "unseen" : "who" });
    this.article = element("article", { class: `message ${node.role}` }, this.name, this.body, this.foot);
    this.markdown = node.role === "assistant" ? new MarkdownView() : null;
  }

  show(node, { writing, all, last }) {
    this.node = node;
    this.all = all;
    this.name.textContent = node.role === "user" ? "You" : node.model || "Model";
    this.article.classList.toggle("left-out", node.leftOut === true);
    this.article.classList.toggle("last", last);
    this.article.setAttribute("aria-busy", String(writing));
    if (!this.editing) this.showText(node, writing);
    const state = JSON.stringify([writing, all.length, all.indexOf(node), node.facts, node.finish, this.editing ?? false, node.evidence?.good]);
    if (state === this.state) return;
    this.state = state;
    this.foot.replaceChildren(...(writing || this.editing ? [] : this.tools()));
  }

  showText(node, writing) {
    this.article.classList.toggle("writing", writing);
    if (!this.markdown) {
      if (this.shownText !== node.text) this.body.replaceChildren(element("p", { class: "said" }, node.text));
      this.shownText = node.text;
      return;
    }
    const { thought, text } = apart(node);
    this.showThought(thought, writing && !text);
    if (node.evidence) {
      this.cited ??= new CitedView(this.act);
      if (this.body.lastChild !== this.cited.container) this.body.append(this.cited.container);
      this.markdown.container.remove();
      this.cited.show(node, text, writing);
      this.article.classList.toggle("waiting-documents", writing && !text);
      return;
    }
    this.cited?.container.remove();
    if (this.body.lastChild !== this.markdown.container) this.body.append(this.markdown.container);
    this.markdown.show(text);
    this.article.classList.toggle("waiting", writing && !text && !thought);
  }

  showThought(thought, open) {
    if (!thought) {
      this.thought?.remove();
      this.thought = null;
      return;
    }
    if (!this.thought) {
      this.thoughtText = element("div", { class: "thought-text" });
      this.thought = element("details", { class: "thought" }, element("summary"), this.thoughtText);
      this.body.prepend(this.thought);
    }
    this.thought.firstChild.textContent = open ? "Thinking…" : "Thoughts";
    this.thoughtText.textContent = thought.trim();
  }

  tools() {
    const { node, act } = this;
    const tools = [];
    if (this.all.length > 1) tools.push(this.pager());
    const copyButton = iconButton("copy", "Copy", async () => {
      if (await copy(asText(node))) flash(copyButton, "check", "Copied");
    });
    tools.push(copyButton);
    if (node.role === "user") tools.push(iconButton("edit", "Edit and send again", () => this.edit()));
    else tools.push(iconButton("again", "Answer again", () => act.again(node)));
    if (node.evidence?.outcome?.id) {
      const pressed = (good) => ({ "aria-pressed": String(node.evidence.good === good) });
      tools.push(iconButton("good", "Good answer", () => act.judge(node, true), pressed(true)));
      tools.push(iconButton("bad", "Bad answer", () => act.judge(node, false), pressed(false)));
    }
    const facts = told(node.facts, node.finish);
    if (facts) tools.push(element("span", { class: "facts", title: toldPrompt(node.facts) || null }, facts));
    return tools;
  }

  /** Between the versions of a message. */
  pager() {
    const at = this.all.indexOf(this.node);
    const turn = (by) => () => this.act.choose(this.all[at + by]);
    return element(
      "span",
      { class: "pager", role: "group", "aria-label": "Versions" },
      iconButton("left", "Previous version", turn(-1), { disabled: at === 0 }),
      element("span", { class: "page" }, `${at + 1} / ${this.all.length}`),
      iconButton("right", "Next version", turn(1), { disabled: at === this.all.length - 1 }),
    );
  }

  edit() {
    if (this.editing) return;
    const area = element("textarea", { "aria-label": "Your message", rows: "1" });
    area.value = this.node.text;
    const grown = element("div", { class: "grown" }, area);
    const grow = () => (grown.dataset.text = area.value);
    grow();
    const leave = () => {
      this.editing = false;
      this.shownText = this.state = null;
      this.show(this.node, { writing: false, all: this.all, last: this.article.classList.contains("last") });
      this.foot.querySelector("[aria-label^='Edit']")?.focus();
    };
    const send = () => {
      const text = area.value.trim();
      if (!text) return;
      this.editing = false;
      this.shownText = this.state = null;
      this.act.resend(this.node, text);
    };
    area.addEventListener("input", grow);
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.stopPropagation();
        leave();
      } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        send();
      }
    });
    this.editing = true;
    this.foot.replaceChildren();
    this.body.replaceChildren(
      element(
        "div",
        { class: "editor" },
        grown,
        element(
          "div",
          { class: "editor-foot" },
          element("button", { type: "button", class: "button", click: leave }, "Cancel"),
          element("button", { type: "button", class: "button main-button", click: send }, "Send"),
        ),
      ),
    );
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }
}
