// A text that a base model continues: the person writes, the model goes on, both may go over it.
//
// A text area lies over a copy of its text. The copy gives it its height and shows by colour what the
// model wrote; the text area is an ordinary one for everything else.

import { rewrite, written } from "./conversation.js";
import { element } from "./dom.js";

export class TextView {
  /** `edited()`: called when the person changed the text. */
  constructor(container, edited) {
    this.container = container;
    this.mirror = element("div", { class: "mirror", "aria-hidden": "true" });
    this.area = element("textarea", {
      class: "paper", id: "paper", "aria-label": "The text. The model goes on from its end.", spellcheck: "true",
      placeholder: "Begin a text here. The model goes on from where you stop.",
    });
    this.area.addEventListener("input", () => {
      rewrite(this.conversation, this.area.value);
      this.color();
      edited();
    });
    container.append(element("div", { class: "sheet" }, this.mirror, this.area));
  }

  show(conversation, writing) {
    this.conversation = conversation;
    // While the model writes, a change in the middle would be overrun by what comes.
    this.area.readOnly = writing;
    this.container.classList.toggle("writing", writing);
    const text = written(conversation);
    if (this.area.value !== text) this.area.value = text;
    this.color();
  }

  /** Show what the model has added. */
  update() {
    const { scrollTop } = this.area;
    this.area.value = written(this.conversation);
    this.area.scrollTop = scrollTop;
    this.color();
  }

  color() {
    const pieces = this.conversation.pieces;
    const shown = this.mirror.children;
    pieces.forEach(({ by, text }, k) => {
      const span = shown[k] ?? this.mirror.appendChild(element("span"));
      span.className = by;
      if (span.textContent !== text) span.textContent = text;
    });
    while (shown.length > pieces.length) this.mirror.lastElementChild.remove();
  }

  focus() {
    this.area.focus();
    this.area.setSelectionRange(this.area.value.length, this.area.value.length);
  }
}
