// Keeps the end of what is written in sight, unless one reads further up.

import { byId } from "./dom.js";

const NEAR_END = 80; // pixels from the end at which it is followed

export class Following {
  constructor() {
    this.on = true;
    this.scroller = byId("scroller");
    this.button = byId("to-end");
    document.addEventListener("linnet-math", () => this.update()); // formulas are higher than their source
    this.scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
  }

  get fromEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    return scrollHeight - scrollTop - clientHeight;
  }

  scrolled() {
    this.on = this.fromEnd < NEAR_END;
    this.button.hidden = this.on;
  }

  /** After something has come. */
  update() {
    if (this.on) this.scroller.scrollTop = this.scroller.scrollHeight;
    this.button.hidden = this.fromEnd < NEAR_END;
  }

  toEnd() {
    this.on = true;
    this.update();
  }
}
