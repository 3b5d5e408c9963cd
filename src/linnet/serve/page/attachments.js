// Files that go with a message. The server reads them (PDF, Office, web pages, tables, mail, ...) and gives
// back their text, which becomes part of the message; nothing of a file is kept but that.
//
// Whether it all fits is counted before it is sent, in the model's own tokens.

import * as conversations from "./conversation.js";
import { dialog, toast } from "./dialogs.js";
import { byId, count, element, icon, iconButton, size } from "./dom.js";
import { countTokens, readFile } from "./server.js";

const MOST_FILES = 20; // of a message
const WAIT_TO_COUNT = 400; // milliseconds after the last change
const LEAST_ANSWER = 512; // tokens that shortening leaves for the answer, or a quarter of the context
const TRIES = 8;
const NEARLY = 0.9; // of what fits: nearer need not be
const NEVER_FITS = 12; // characters a token; texts have fewer

export class Attachments {
  /** `page`: messages(text, attachments): what would be sent, model(): the chosen one, changed(). */
  constructor(page) {
    this.page = page;
    this.files = []; // {name, bytes, attachment or null, error, abort}
    this.input = byId("attach-input");
    byId("attach").addEventListener("click", () => this.input.click());
    this.input.addEventListener("change", () => {
      this.add([...this.input.files]);
      this.input.value = "";
    });
    byId("message").addEventListener("paste", (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (!files.length || !this.isPossible) return;
      event.preventDefault();
      this.add(files);
    });
    byId("message").addEventListener("input", () => this.files.length && this.countSoon());
  }

  /** Whether the model can be given files now: those that answer from documents cannot. */
  get isPossible() {
    const model = this.page.model();
    return model !== null && !model.documents && byId("app").dataset.mode === "chat";
  }

  /** What a message would carry. */
  get ready() {
    return this.files.filter(({ attachment }) => attachment).map(({ attachment }) => attachment);
  }

  get isReading() {
    return this.files.some(({ attachment, error }) => !attachment && !error);
  }

  /** Show the files of another conversation's draft, or none. */
  set(files) {
    this.files = files;
    this.forecast = null;
    this.show();
    if (files.length) this.countSoon();
  }

  /** What was attached, which is not in the box any more. */
  take() {
    const taken = this.ready;
    for (const { abort } of this.files) abort.abort();
    this.set([]);
    return taken;
  }

  async add(files) {
    const left = MOST_FILES - this.files.length;
    if (files.length > left) toast(`A message can have ${MOST_FILES} files: ${files.length - Math.max(0, left)} are left out.`);
    const added = files.slice(0, Math.max(0, left)).map((file) => ({ name: file.name || "pasted", bytes: file.size, attachment: null, error: null, abort: new AbortController() }));
    const shown = this.files;
    shown.push(...added);
    this.show();
    for (const [k, each] of added.entries()) {
      await this.read(each, files[k]);
      if (shown === this.files) this.show(); // and not another conversation's
    }
    if (shown === this.files) this.countSoon();
  }

  async read(each, file) {
    try {
      const { name, kind, text, characters, left_out, more_left_out } = await readFile(file, each.name, each.abort.signal);
      each.attachment = { name, kind, text, characters };
      each.leftOut = [...left_out.map(({ part, reason }) => (part ? `${part}: ${reason}` : reason)), more_left_out && `and ${count(more_left_out)} more`].filter(Boolean);
    } catch (error) {
      if (each.abort.signal.aborted) return;
      if (!error.kind) throw error;
      each.error = error.message;
    }
  }

  remove(each) {
    each.abort.abort();
    this.files.splice(this.files.indexOf(each), 1);
    this.forecast = null;
    this.show();
    if (this.files.length) this.countSoon();
    byId(this.files.length ? "attach" : "message").focus();
  }

  show() {
    const shown = this.files.map((each) => {
      const { attachment, error } = each;
      const about = error ?? (attachment ? told(attachment, each.leftOut) : `is being read (${size(each.bytes)})`);
      const name = element("span", { class: "attached-name", dir: "auto" }, each.name);
      const label = element("span", { class: "attached-label" }, name, element("span", { class: "help", role: error ? "alert" : null }, about));
      const body = attachment
        ? element("button", { type: "button", class: "attached-open", title: "Show its text", click: () => showText(attachment, each.leftOut) }, icon("document"), label)
        : element("span", { class: "attached-open" }, error ? icon("warning") : element("span", { class: "spinner", "aria-hidden": "true" }), label);
      return element("li", { class: error ? "attached failed" : "attached" }, body, iconButton("close", `Remove ${each.name}`, () => this.remove(each)));
    });
    byId("attached").replaceChildren(...(shown.length ? [element("ul", { "aria-label": "Attached files" }, ...shown)] : []));
    this.showForecast();
    this.page.changed();
  }

  // Whether it fits

  countSoon() {
    clearTimeout(this.counting);
    this.counting = setTimeout(() => this.count(), WAIT_TO_COUNT);
  }

  async count() {
    const model = this.page.model();
    if (!model || !this.ready.length) return;
    const asked = (this.asked = {});
    const counted = await this.tokensOf(this.ready);
    if (asked !== this.asked || !this.files.length) return;
    this.forecast = counted && { ...counted, context: model.context };
    this.showForecast();
    this.page.changed();
  }

  /** What would be sent as {tokens, isLeast: whether there are more}; null where the server cannot tell. */
  async tokensOf(attachments) {
    const model = this.page.model();
    const messages = this.page.messages(byId("message").value.trim(), attachments);
    const characters = messages.reduce((sum, { content }) => sum + content.length, 0);
    if (model.context && characters > NEVER_FITS * model.context) return { tokens: Math.ceil(characters / NEVER_FITS), isLeast: true };
    try {
      return await countTokens(model.id, messages);
    } catch (error) {
      if (!error.kind) throw error;
      return null;
    }
  }

  get isTooLong() {
    return Boolean(this.forecast?.context) && this.forecast.tokens >= this.forecast.context;
  }

  showForecast() {
    const note = byId("fit");
    note.hidden = !this.isTooLong;
    if (!this.isTooLong) return note.replaceChildren();
    const { tokens, isLeast, context } = this.forecast;
    const amount = `${isLeast ? "more than " : ""}${count(tokens)} tokens`;
    note.replaceChildren(
      element("span", {}, `With the file${this.files.length > 1 ? "s" : ""} this is ${amount}; ${this.page.model()?.id ?? "the model"} reads ${count(context)} at once, its answer included.`),
      element("button", { type: "button", class: "link-button", click: () => this.shorten() }, "Shorten to fit"),
    );
  }

  /** Keep as much of each file's beginning as the model can read, with a share of the context for its answer. */
  async shorten() {
    const { context } = this.page.model();
    const most = context - Math.min(LEAST_ANSWER, Math.ceil(context / 4));
    const whole = this.ready.map(({ text }) => text);
    const bare = await this.tokensOf([]);
    if (bare === null || bare.tokens >= most) return toast("The conversation fills the context without the files: begin a new one.");
    const all = whole.reduce((sum, text) => sum + text.length, 0);
    let counted = this.forecast;
    let characters = all;
    for (let k = 0; k < TRIES && (counted.tokens > most || (k > 0 && characters < all && counted.tokens < NEARLY * most)); k++) {
      const fitting = (most - bare.tokens) / Math.max(1, counted.tokens - bare.tokens);
      characters = Math.min(all, Math.floor(characters * 0.98 * fitting * (counted.isLeast ? 0.5 : 1)));
      const longest = level(whole.map(({ length }) => length), characters);
      this.ready.forEach((each, n) => (each.text = beginning(whole[n], longest)));
      counted = (await this.tokensOf(this.ready)) ?? { tokens: most, isLeast: false };
    }
    this.forecast = { ...counted, context };
    this.show();
    byId("message").focus();
  }
}

/** How long each of several texts may be, for them to have so many characters together: short ones stay whole. */
function level(lengths, characters) {
  let left = characters;
  for (const [k, length] of lengths.toSorted((a, b) => a - b).entries()) {
    const each = left / (lengths.length - k);
    if (length > each) return Math.floor(each);
    left -= length;
  }
  return Infinity;
}

/** A text's beginning of at most so many characters, up to the end of a word. */
function beginning(text, most) {
  return text.length <= most ? text : text.slice(0, most).replace(/\s\S{0,40}$/, "");
}

function told({ text, characters }, leftOut = []) {
  const part = text.length < characters ? `first ${Math.max(1, Math.floor((100 * text.length) / characters))} %` : `${count(characters)} characters`;
  return [part, leftOut.length && `${count(leftOut.length)} part${leftOut.length === 1 ? "" : "s"} left out`].filter(Boolean).join(" · ");
}

function showText(attachment, leftOut = []) {
  const note = leftOut.length > 0 && element("p", { class: "source-note" }, `Left out: ${leftOut.join("; ")}.`);
  const cut = attachment.text.length < attachment.characters && element("p", { class: "source-note" }, `The model is given the first ${count(attachment.text.length)} of ${count(attachment.characters)} characters.`);
  const text = element("pre", { class: "attached-text", tabindex: "0", role: "region", "aria-label": `Text of ${attachment.name}`, dir: "auto" }, attachment.text);
  dialog(attachment.name, { name: "wide", content: [note, cut, text].filter(Boolean) });
}

/** The files of a message that was sent. */
export function attachedList(attachments) {
  const entries = attachments.map((each) => {
    const open = element("button", { type: "button", class: "attached-open", title: "Show its text", click: () => showText(each) });
    open.append(icon("document"), element("span", { class: "attached-label" }, element("span", { class: "attached-name", dir: "auto" }, each.name), element("span", { class: "help" }, told(each))));
    return element("li", { class: "attached" }, open);
  });
  return element("ul", { class: "attached-list", "aria-label": "Attached files" }, ...entries);
}

/** What a message of the box would be, behind a conversation. */
export function messagesWith(conversation, text, attachments) {
  const last = conversations.path(conversation).at(-1);
  const messages = last ? conversations.messagesUpTo(conversation, last) : conversations.messagesUpTo(conversation, null);
  const content = conversations.contentOf({ role: "user", text, attachments });
  const before = messages.at(-1);
  if (before?.role === "user") before.content += `\n\n${content}`;
  else messages.push({ role: "user", content });
  return messages;
}
