// Where conversations are kept: this browser's database. Nothing of them is sent anywhere but to the
// model, when it is asked.
//
// A browser that offers no database (some private windows) keeps them while the page is open; `lasting`
// tells. Tabs of one browser hear of each other's changes.

import { checked } from "./conversation.js";

const DATABASE = "linnet";
const TABLE = "conversations";
const FORMAT = "linnet-conversations";
const LARGEST_FILE = 64 * 1024 * 1024;

export class Store {
  constructor() {
    this.conversations = new Map();
    this.lasting = false;
    this.channel = "BroadcastChannel" in window ? new BroadcastChannel("linnet") : null;
  }

  /** Read what is kept. `changed(id)`: what another tab did. */
  async open(changed) {
    try {
      this.database = await opened();
      this.lasting = true;
    } catch {
      return;
    }
    for (const found of await this.ask("readonly", (table) => table.getAll())) this.conversations.set(found.id, found);
    this.channel?.addEventListener("message", async ({ data: id }) => {
      const found = await this.ask("readonly", (table) => table.get(id));
      if (found) this.conversations.set(id, found);
      else this.conversations.delete(id);
      changed(id);
    });
  }

  /** All of them, the one that changed last first. */
  all() {
    return [...this.conversations.values()].sort((a, b) => b.changed - a.changed);
  }

  get(id) {
    return this.conversations.get(id) ?? null;
  }

  async save(conversation) {
    this.conversations.set(conversation.id, conversation);
    await this.write(conversation.id, (table) => table.put(conversation));
  }

  async remove(id) {
    this.conversations.delete(id);
    await this.write(id, (table) => table.delete(id));
  }

  async removeAll() {
    for (const id of [...this.conversations.keys()]) await this.remove(id);
  }

  /** A conversation with its messages; all that is here has them. */
  async load(id) {
    return this.get(id);
  }

  async write(id, work) {
    if (!this.lasting) return;
    try {
      await this.ask("readwrite", work);
      this.channel?.postMessage(id);
    } catch (error) {
      throw new Error(`The browser could not keep this conversation: ${error?.message ?? "its storage failed"}`);
    }
  }

  ask(mode, work) {
    return new Promise((resolve, reject) => {
      const transaction = this.database.transaction(TABLE, mode);
      const request = work(transaction.objectStore(TABLE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
  }

  get place() {
    return this.lasting ? "in this browser" : "";
  }

  /** All conversations as the text of a file. */
  exported() {
    return fileOf(this.all());
  }

  /** Take over the conversations of a file; how many there were. One that is here already stays if it is newer. */
  async take(file) {
    const found = await conversationsIn(file);
    for (const conversation of found) {
      if ((this.get(conversation.id)?.changed ?? -1) < conversation.changed) await this.save(conversation);
    }
    return found.length;
  }
}

export function fileOf(conversations) {
  return JSON.stringify({ format: FORMAT, version: 1, conversations }, null, 1);
}

/** The conversations of a file. Throws an Error that says what is wrong with it. */
export async function conversationsIn(file) {
  if (file.size > LARGEST_FILE) throw new Error(`${file.name} is larger than ${LARGEST_FILE >> 20} MB.`);
  let content;
  try {
    content = JSON.parse(await file.text());
  } catch {
    throw new Error(`${file.name} is no JSON.`);
  }
  if (content?.format !== FORMAT || !Array.isArray(content.conversations)) {
    throw new Error(`${file.name} has no conversations that this page exported.`);
  }
  return content.conversations.map(checked).filter((conversation) => conversation !== null);
}

function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(TABLE, { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = request.onblocked = () => reject(request.error);
  });
}
