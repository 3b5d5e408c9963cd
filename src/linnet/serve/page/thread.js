// The messages of a conversation, as they are shown.
//
// Each is an article; while it is written only its own text changes. Screen readers are told when an
// answer is finished (app.js), not of every piece.

import { told, toldPrompt } from "./answering.js";
import { attachedList } from "./attachments.js";
import { CitedView } from "./cited.js";
import { apart, asText, canGoOn, path, undecided, versions } from "./conversation.js";
import { copy, element, flash, icon, iconButton } from "./dom.js";
import { MarkdownView } from "./markdown.js";
import { WroteView } from "./routing.js";

export class Thread {
  /** `act`: what the buttons do: again(node), goOn(node), resend(node, text), choose(node), decide(node), remove(node),
   *  isReady(): whether something can be sent, save(node, text), saveAsNew(node, text), sendAgain(), openSource(node, list, at, button), judge(node, good),
   *  mayAskElsewhere(node), askElsewhere(node). */
  constructor(container, act) {
    this.container = container;
    this.act = act;
    this.views = new Map(); // of the messages shown, by id
    this.pair = element("div", { class: "beside", role: "group", "aria-label": "Two answers, of which one can be gone on with" });
  }

  /** Show a conversation; `writing`: the messages that are being written, or null. */
  show(conversation, writing) {
    this.conversation = conversation;
    const nodes = path(conversation);
    const pair = undecided(conversation);
    const views = new Map();
    const children = [];
    const shown = (node, last) => {
      const view = this.views.get(node.id) ?? new MessageView(node, this.act);
      view.show(node, { writing: writing?.has(node) ?? false, all: versions(conversation, node), last, isPaired: pair?.includes(node) ?? false });
      views.set(node.id, view);
      return view.article;
    };
    nodes.forEach((node, k) => {
      const last = k === nodes.length - 1;
      if (last && pair) {
        place(this.pair, pair.map((each) => shown(each, true)));
        children.push(this.pair);
      } else children.push(shown(node, last));
      if (node.leftOut && !nodes[k + 1]?.leftOut) children.push(this.leftOutLine());
    });
    place(this.container, children);
    this.container.classList.toggle("comparing", pair !== null);
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

/** Let these be the children. What stands in its place is not moved: that would lose the focus. */
function place(container, children) {
  children.forEach((child, k) => {
    if (container.children[k] !== child) container.insertBefore(child, container.children[k] ?? null);
  });
  while (container.children.length > children.length) container.lastElementChild.remove();
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

  show(node, { writing, all, last, isPaired = false }) {
    Object.assign(this, { node, all, last, isPaired });
    this.name.textContent = node.role === "user" ? "You" : node.wrote?.model || node.model || "Model";
    this.article.classList.toggle("left-out", node.leftOut === true);
    this.article.classList.toggle("last", last);
    this.article.setAttribute("aria-busy", String(writing));
    if (!this.editing) this.showText(node, writing);
    const about = [node.facts, node.finish, node.edited, node.evidence?.good, node.wrote?.good, canGoOn(node)];
    const state = JSON.stringify([writing, all.length, all.indexOf(node), last, isPaired, this.editing ?? false, about]);
    if (state === this.state) return;
    this.state = state;
    this.foot.replaceChildren(...(writing || this.editing ? [] : this.tools()));
  }

  showText(node, writing) {
    this.article.classList.toggle("writing", writing);
    if (!this.markdown) {
      if (this.shownText !== node.text) {
        const said = node.text && element("p", { class: "said" }, node.text);
        this.body.replaceChildren(...[node.attachments && attachedList(node.attachments), said].filter(Boolean));
      }
      this.shownText = node.text;
      return;
    }
    this.showWrote(node, writing);
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

  showWrote(node, writing) {
    if (!node.wrote) return void this.wrote?.container.remove();
    this.wrote ??= new WroteView();
    if (this.foot.previousSibling !== this.wrote.container) this.foot.before(this.wrote.container);
    this.wrote.show(node, writing);
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
    const { node, act, isPaired } = this;
    const tools = [];
    if (isPaired) {
      const label = `Go on with this: ${node.model}`;
      tools.push(element("button", { type: "button", class: "button", "aria-label": label, click: () => act.decide(node) }, icon("check"), "Go on with this"));
    } else if (this.all.length > 1) tools.push(this.pager());
    if (this.last && !isPaired && canGoOn(node)) {
      tools.push(element("button", { type: "button", class: "button", click: () => act.goOn(node) }, icon("right"), "Continue"));
    }
    const copyButton = iconButton("copy", "Copy", async () => {
      if (await copy(asText(node))) flash(copyButton, "check", "Copied");
    });
    tools.push(copyButton);
    if (node.role === "user") tools.push(iconButton("edit", "Edit and send again", () => this.edit()));
    else if (!isPaired) tools.push(...this.answerTools());
    if (node.evidence?.outcome?.id || (node.wrote?.id && act.mayJudge(node))) {
      const said = node.evidence?.outcome?.id ? node.evidence.good : node.wrote.good;
      const pressed = (good) => ({ "aria-pressed": String(said === good) });
      tools.push(iconButton("good", "Good answer", () => act.judge(node, true), pressed(true)));
      tools.push(iconButton("bad", "Bad answer", () => act.judge(node, false), pressed(false)));
    }
    if (!isPaired) tools.push(iconButton("delete", "Delete this message", () => act.remove(node)));
    const facts = [told(node.facts, node.finish), node.edited && "edited"].filter(Boolean).join(" · ");
    const meaning = [toldPrompt(node.facts), isPaired && "Both were written at once, so each was slower than alone."];
    if (facts) tools.push(element("span", { class: "facts", title: meaning.filter(Boolean).join(" ") || null }, facts));
    return tools;
  }

  answerTools() {
    const { node, act } = this;
    const tools = [iconButton("again", "Answer again", () => act.again(node))];
    if (this.last && act.mayAskElsewhere(node)) {
      tools.unshift(element("button", { type: "button", class: "button", click: () => act.askElsewhere(node) }, icon("send"), "Ask a larger model"));
    }
    // What a citation supports is known by its place in the answer as it was.
    if (!node.evidence) tools.push(iconButton("edit", "Edit this answer", () => this.edit()));
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
    const { node, act } = this;
    const isQuestion = node.role === "user";
    const area = element("textarea", { "aria-label": isQuestion ? "Your message" : "The answer", rows: "1" });
    area.value = apart(node).text;
    const grown = element("div", { class: "grown" }, area);
    const grow = () => (grown.dataset.text = area.value);
    grow();
    const leave = () => {
      this.editing = false;
      this.shownText = this.state = null;
    };
    const cancel = () => {
      leave();
      this.body.replaceChildren();
      this.thought = null;
      this.show(node, { writing: false, all: this.all, last: this.last });
      this.foot.querySelector("[aria-label^='Edit']")?.focus();
    };
    const done = (work) => () => {
      const text = area.value.trim();
      if ((!text && !node.attachments) || (work === act.resend && !act.isReady())) return;
      leave();
      this.body.replaceChildren();
      this.thought = null;
      work(node, text);
    };
    const main = done(isQuestion ? act.resend : act.save);
    area.addEventListener("input", grow);
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.stopPropagation();
        cancel();
      } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        main();
      }
    });
    this.editing = true;
    this.foot.replaceChildren();
    const button = (label, click, style = "") => element("button", { type: "button", class: `button ${style}`, click }, label);
    const buttons = isQuestion
      ? [button("Save", done(act.save)), button("Send", main, "main-button")]
      : [button("Save as a new version", done(act.saveAsNew)), button("Save", main, "main-button")];
    this.body.replaceChildren(element("div", { class: "editor" }, grown, element("div", { class: "editor-foot" }, button("Cancel", cancel), ...buttons)));
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
    this.article.scrollIntoView({ block: "nearest" }); // with the buttons below it
  }
}
