// Whether the server answers, and which models it has.

import { askForKey, toast } from "./dialogs.js";
import { byId, element } from "./dom.js";
import { key, models } from "./server.js";

const CHOOSER = "auto";
const LOOK_AGAIN = 3000; // milliseconds, while the server is gone
const LOOK_SOON = 300;

export class Connection {
  /** `changed()`: called when the models or the state have been looked up. */
  constructor(changed) {
    this.changed = changed;
    this.models = [];
    this.select = byId("model");
  }

  /** Ask for the models, with a key from the person where one is wanted; whether the server told them. */
  async look() {
    let error = null;
    try {
      const found = await models();
      this.models = found.models;
      byId("show-dashboard").hidden = !found.dashboard;
      this.show("connected");
    } catch (raised) {
      error = raised;
    }
    if (error?.kind === "key") {
      this.show("locked");
      if (await this.ask()) return this.look();
    } else if (error) this.failed(error.kind === "gone" ? error : { kind: "gone" });
    this.changed();
    return error === null;
  }

  /** Whether the person gave a key. */
  async ask() {
    if (this.asking) return false;
    this.asking = true;
    const given = await askForKey(key.get() !== "");
    this.asking = false;
    if (given) key.set(given);
    return given !== null;
  }

  /** After a request that failed: where that may mean that the server is gone, look until it is back. */
  failed(error) {
    if (error.kind === "gone") this.show("gone");
    if (error.kind !== "gone" && error.kind !== "broken") return;
    clearTimeout(this.looking);
    this.looking = setTimeout(() => this.lookAgain(), error.kind === "gone" ? LOOK_AGAIN : LOOK_SOON);
  }

  async lookAgain() {
    const wasGone = this.state === "gone";
    if ((await this.look()) && wasGone) toast("The server is back.");
  }

  /** `state`: connected, gone (nothing answers) or locked (a key is wanted). */
  show(state) {
    if (state === this.state) return;
    this.state = state;
    const shown = byId("connection");
    shown.className = `connection ${state}`;
    shown.replaceChildren(...(state === "gone" ? ["Not connected"] : []));
    if (state === "locked") {
      shown.append(element("button", { type: "button", click: () => this.look() }, "Enter the key"));
    }
  }

  /** The model that is chosen: {id, chat, context}, or null. */
  get model() {
    return this.models.find(({ id }) => id === this.select.value) ?? null;
  }

  /** List the models, with one of them chosen if it is there, and the second one beside it, if that can be. */
  list(wanted, rival) {
    const options = this.models.map((each) => element("option", { value: each.id }, this.labelOf(each)));
    if (!options.length) options.push(element("option", { value: "" }, "No model"));
    this.select.replaceChildren(...options);
    this.select.disabled = this.models.length === 0;
    const first = this.models.some(({ id }) => id === wanted) ? wanted : this.chooser?.id;
    if (first) this.select.value = first;
    const rivals = this.rivals;
    byId("rival").replaceChildren(...rivals.map(({ id }) => element("option", { value: id }, id)));
    if (rivals.some(({ id }) => id === rival)) byId("rival").value = rival;
  }

  labelOf({ id, chat, place }) {
    if (!chat) return `${id} · continues texts`;
    if (id === this.chooser?.id) return `${id} · chooses`;
    return { network: `${id} · in this network`, elsewhere: `${id} · outside this network` }[place] ?? id;
  }

  /** What chooses between the server's own model and those elsewhere; undefined where nothing does. */
  get chooser() {
    return this.models.find(({ id, routes }) => id === CHOOSER && routes);
  }

  find(name) {
    return this.models.find(({ id }) => id === name);
  }

  /** The models that can be asked beside the chosen one. */
  get rivals() {
    return this.model?.chat ? this.models.filter(({ id, chat }) => chat && id !== this.model.id) : [];
  }
}
