// What lies below the messages: the box to write in, the buttons, and how full the model's context is.

import { told, toldPrompt } from "./answering.js";
import * as conversations from "./conversation.js";
import { byId, count, element, icon } from "./dom.js";

const NEARLY_FULL = 0.85;

export class Composer {
  /** `act`: takeBack(), tryAgain(); `attachments`: the files that go with the message. */
  constructor(act, attachments) {
    this.act = act;
    this.attachments = attachments;
    this.box = byId("message");
    this.box.addEventListener("input", () => this.grow());
  }

  get text() {
    return this.box.value;
  }

  set text(text) {
    this.box.value = text;
    this.grow();
  }

  grow() {
    byId("grown").dataset.text = this.box.value;
    this.enable();
  }

  enable() {
    const { ready, isReading, isTooLong } = this.attachments;
    const isEmpty = !this.isText && !this.box.value.trim() && !ready.length;
    byId("send").disabled = !this.model || isEmpty || (!this.isText && (isReading || isTooLong));
  }

  /** `model`: the one that is chosen, or null; `running`: whether it is writing in this conversation. */
  show(conversation, { model, running }) {
    this.model = model;
    this.isText = conversation.mode === "text";
    const send = byId("send");
    for (const id of ["grown", "attached"]) byId(id).hidden = this.isText;
    byId("attach").hidden = !this.attachments.isPossible;
    byId("text-tools").hidden = !this.isText;
    send.hidden = running;
    byId("stop").hidden = !running;
    send.classList.toggle("worded", this.isText);
    send.replaceChildren(icon("send"), ...(this.isText ? ["Continue"] : []));
    send.setAttribute("aria-label", this.isText ? "Continue the text" : "Send");
    send.title = this.isText ? "Continue the text" : "Send";
    const addressed = model?.documents ? `Ask ${model.id}` : `Message ${model?.id}`;
    this.box.placeholder = model ? addressed : "Message";
    this.enable();
    if (this.isText) this.showTools(!running && conversations.canTakeBack(conversation));
    this.showGauge(conversation);
  }

  showTools(possible) {
    const tool = (picture, label, click) =>
      element(
        "button",
        { type: "button", class: "button quiet", title: label, disabled: !possible, click },
        icon(picture),
        element("span", { class: "tool-label" }, label),
      );
    byId("text-tools").replaceChildren(
      tool("undo", "Take back", this.act.takeBack),
      tool("again", "Try again", this.act.tryAgain),
    );
  }

  /** How full the model's context was with the last answer, and, under a text, how fast it came. */
  showGauge(conversation) {
    const last = this.isText ? conversation : conversations.path(conversation).findLast((node) => node.facts);
    const facts = last?.facts;
    const used = !facts?.prompt ? null : facts.prompt + facts.written;
    const context = this.model?.context;
    const { forecast } = this.attachments;
    if (!this.isText && forecast) {
      const tokens = `${forecast.isLeast ? "over " : ""}${count(forecast.tokens)}`;
      byId("gauge").textContent = forecast.context ? `${tokens} of ${count(forecast.context)} tokens with this` : `${tokens} tokens with this`;
      byId("gauge").title = "What the model would read, and what it can read at once.";
      byId("gauge").classList.toggle("full", this.attachments.isTooLong);
      return;
    }
    const full = used === null ? "" : context ? `${count(used)} of ${count(context)} tokens` : `${count(used)} tokens`;
    const speed = this.isText ? told(facts, last?.finish) : "";
    const gauge = byId("gauge");
    const meaning = full && "What the model read and wrote last, and what it can read at once.";
    const end = this.isText && conversation.unread ? "reads the end only" : "";
    gauge.textContent = [speed, full, end].filter(Boolean).join(" · ");
    gauge.title = [meaning, toldPrompt(facts)].filter(Boolean).join(" ");
    gauge.classList.toggle("full", Boolean(context) && used > NEARLY_FULL * context);
  }
}
