// An answer from documents, as it is shown: its text with numbers that open what they cite, or a plain
// "I don't know" with the nearest passages; its sources; how sure it is; what was searched.

import { element, icon } from "./dom.js";
import { named, sureness } from "./evidence.js";
import { MarkdownView } from "./markdown.js";

// Characters of no meaning (Unicode's private use), which stand for marks while a text becomes nodes.
const [OPEN, CLOSE, DOUBT] = ["\ue000", "\ue001", "\ue002"];
const MARK = /\ue000(\d+)\ue001|\ue002/g;
const MOST_NEAREST = 5;

export class CitedView {
  /** `act`: openSource(node, list, at, button), list being "citations" or "passages". */
  constructor(act) {
    this.act = act;
    this.markdown = new MarkdownView();
    this.plain = element("p", { class: "plain" });
    this.text = element("div", { class: "cited-text" });
    this.rest = element("div", { class: "evidence" });
    this.container = element("div", { class: "cited" }, this.text, this.rest);
  }

  show(node, text, writing) {
    this.node = node;
    const { evidence } = node;
    this.showText(marked(text, evidence), evidence);
    const state = JSON.stringify([writing, evidence]);
    if (state === this.state) return;
    this.state = state;
    const open = this.rest.querySelector("details")?.open ?? false;
    this.rest.replaceChildren(...(writing ? this.meanwhile(evidence) : this.whole(evidence, open)));
  }

  showText(text, evidence) {
    if (text === this.shown && this.written === evidence.outcome?.writtenBy) return;
    [this.shown, this.written] = [text, evidence.outcome?.writtenBy];
    // What is taken from documents is shown letter by letter; what a model wrote, as it meant it.
    const view = evidence.outcome?.writtenBy === "model" ? this.markdown.container : this.plain;
    if (view === this.plain) this.plain.textContent = text;
    else this.markdown.show(text);
    this.plain.hidden = !text;
    if (this.text.firstChild !== view) this.text.replaceChildren(view);
    placeMarks(view, (number) => this.markButton(number));
  }

  markButton(number) {
    const place = this.node.evidence.citations[number - 1];
    if (!place) return document.createTextNode("");
    const label = `Source ${number}: ${named(place)}`;
    const button = element("button", { type: "button", class: "cite", "aria-label": label, title: named(place) }, String(number));
    button.addEventListener("click", () => this.act.openSource(this.node, "citations", number - 1, button));
    return button;
  }

  /** While it is written: the last thing that was done. */
  meanwhile({ steps }) {
    const last = steps.at(-1);
    return last && !this.shown ? [element("p", { class: "doing" }, last.text || last.name)] : [];
  }

  whole(evidence, open) {
    const parts = [];
    if (evidence.refusal !== null) parts.push(this.refusal(evidence));
    else if (evidence.citations.length) parts.push(this.list("Sources", evidence.citations, "citations"));
    const sure = evidence.refusal === null ? sureness(evidence.outcome) : "";
    if (sure) {
      const doubtful = evidence.outcome.probability < 0.6;
      const meaning = "As often as answers that looked like this one were right.";
      parts.push(element("p", { class: doubtful ? "sure doubtful" : "sure", title: meaning }, sure));
    }
    if (evidence.doubts.length) {
      const line = evidence.doubts.length === 1 ? "One statement is" : `${evidence.doubts.length} statements are`;
      parts.push(element("p", { class: "sure doubtful" }, `${line} not supported by what is cited; each is marked.`));
    }
    for (const said of evidence.notes) parts.push(element("p", { class: "sure" }, said));
    if (evidence.steps.length) parts.push(this.steps(evidence, open));
    return parts;
  }

  refusal(evidence) {
    const said = evidence.refusal.replace(/^I don[’']t know[:.]?\s*/i, "");
    const sure = sureness(evidence.outcome);
    const line = said ? said[0].toUpperCase() + said.slice(1) : sure;
    const nearest = evidence.passages.slice(0, MOST_NEAREST);
    return element(
      "div",
      { class: "unknown" },
      element("p", { class: "unknown-title" }, "I don’t know"),
      element("p", {}, line),
      sure && sure !== line && element("p", { class: "help" }, sure),
      nearest.length > 0 && this.list("The nearest passages", nearest, "passages"),
    );
  }

  list(title, places, name) {
    const entries = places.map((place, at) => {
      const button = element(
        "button",
        { type: "button", class: "source-entry" },
        element("span", { class: "source-name", dir: "auto" }, named(place)),
        element("span", { class: "source-text", dir: "auto" }, shortened(place.text)),
      );
      button.addEventListener("click", () => this.act.openSource(this.node, name, at, button));
      return element("li", {}, button);
    });
    return element(
      "section",
      { class: "sources", "aria-label": title },
      element("h3", {}, title),
      element(name === "citations" ? "ol" : "ul", {}, ...entries),
    );
  }

  steps({ steps, passages }, open) {
    const searches = steps.filter(({ name }) => name === "search").length;
    const found = passages.length ? `, ${passages.length} passage${passages.length === 1 ? "" : "s"}` : "";
    const summary = searches ? `What was searched (${searches} search${searches === 1 ? "" : "es"}${found})` : "What was done";
    const lines = steps.map(({ name, text }) => element("li", { class: name === "failed" ? "step-failed" : null }, text || name));
    return element("details", { class: "steps", open }, element("summary", {}, summary), element("ol", {}, ...lines));
  }
}

/** An answer's text without marks, as it is read out or copied. */
export function unmarked(text) {
  return text.replace(/[\ue000-\ue002]/g, "\ufffd");
}

/** A text with marks put in: numbers of citations behind what they support. */
function marked(text, { marks, doubts }) {
  const letters = Array.from(unmarked(text)); // offsets count characters, not halves of them
  const at = new Map();
  const put = (end, mark) => at.set(Math.min(end, letters.length), (at.get(Math.min(end, letters.length)) ?? "") + mark);
  for (const { end, number } of marks) put(end, `${OPEN}${number}${CLOSE}`);
  for (const { end } of doubts) put(end, DOUBT);
  let made = "";
  for (let k = 0; k <= letters.length; k++) made += (at.get(k) ?? "") + (letters[k] ?? "");
  return made;
}

/** Put buttons where marks stand. */
function placeMarks(container, button) {
  const walker = document.createTreeWalker(container, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) if (walker.currentNode.data.search(MARK) >= 0) found.push(walker.currentNode);
  for (const node of found) {
    const parts = [];
    let from = 0;
    for (const match of node.data.matchAll(MARK)) {
      parts.push(node.data.slice(from, match.index));
      parts.push(match[1] ? button(Number(match[1])) : doubt());
      from = match.index + match[0].length;
    }
    node.replaceWith(...parts.filter((part) => part !== ""), node.data.slice(from));
  }
}

function doubt() {
  return element("span", { class: "doubt", role: "img", "aria-label": "not supported by what is cited", title: "Not supported by what is cited" }, icon("warning"));
}

function shortened(text) {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length <= 220 ? line : `${line.slice(0, 220).replace(/\s+\S*$/, "")}…`;
}
