// Conversations that the server keeps (linnet serve --conversations FILE), as OpenAI's interface has them
// and a list that can be searched: /v1/conversations.
//
// A message is an item of its own, with all that this page knows of it in the item's `linnet`, so that other
// programs read the words and this page finds its tree again. What else there is of a conversation (its
// settings, which versions are shown) is with the newest item; the last one counts. Of the list only titles
// are fetched; a conversation is a stub until it is opened. What other programs put there is shown as a line
// of messages.

import { checked, create, newId, written } from "./conversation.js";
import { request, ServerError } from "./server.js";
import { conversationsIn, fileOf } from "./store.js";

const PATH = "v1/conversations";
const LISTED = 100;
const MOST_LISTED = 5000;
const MOST_ITEMS = 20_000;
const WAIT = 300; // milliseconds after a change
const WAIT_WRITING = 2000; // while a text is written
const WAIT_AGAIN = 10_000; // after a failure
const SENT_TOGETHER = 50; // items
const CHARACTERS_TOGETHER = 2_000_000;
const TEXT = "text"; // the item of a text that a model goes on with
const LONGEST_TITLE = 500;
const FROM_PAGE = /^[\da-f]{24}$/;

/** The server's store, or null where it keeps nothing beyond its own end. */
export async function serverStore(page) {
  let found;
  try {
    found = await asked("?limit=1");
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    return null;
  }
  if (found?.linnet?.stored !== "file") return null;
  const store = new ServerStore(page, found.linnet.keep_days);
  await store.refresh();
  return store;
}

class ServerStore {
  /** `page`: isRunning(conversation), isWriting(node), changed(id), failed(text). */
  constructor(page, keepDays) {
    this.page = page;
    this.keepDays = keepDays;
    this.lasting = true;
    this.conversations = new Map(); // by this page's id
    this.kept = new Map(); // by this page's id {id: the server's, updated, metadata, state, items: node -> {id, json}, others: items of other kinds, surplus: [ids], source: whose messages these are}
    this.waiting = new Set(); // ids of what has changed
    this.work = Promise.resolve();
    this.channel = "BroadcastChannel" in window ? new BroadcastChannel("linnet-server") : null;
    this.channel?.addEventListener("message", ({ data }) => this.changedElsewhere(data));
  }

  get place() {
    return this.keepDays ? `on this server, until ${this.keepDays} day${this.keepDays === 1 ? "" : "s"} after their last use` : "on this server";
  }

  all() {
    return [...this.conversations.values()].sort((a, b) => b.changed - a.changed);
  }

  get(id) {
    return this.conversations.get(id) ?? null;
  }

  /** Read the list. What has not changed stays as it is here. */
  async refresh() {
    const seen = new Set();
    for (let after = ""; seen.size < MOST_LISTED; ) {
      const { data, has_more, last_id } = await asked(`?${new URLSearchParams({ limit: LISTED, ...(after && { after }) })}`);
      for (const entry of data) seen.add(this.listed(entry));
      if (!has_more) break;
      after = last_id;
    }
    for (const id of this.kept.keys()) {
      if (seen.has(id) || this.waiting.has(id) || seen.size >= MOST_LISTED) continue;
      this.conversations.delete(id);
      this.kept.delete(id);
    }
  }

  listed({ id, created_at, metadata, linnet }) {
    const own = FROM_PAGE.test(metadata?.page_id) ? metadata.page_id : id;
    const before = this.kept.get(own);
    const updated = linnet?.updated_at ?? created_at;
    if (before?.id === id) {
      // What this page has added itself is no change by others.
      const isOurs = before.source !== null && linnet?.items === before.items.size + before.others + before.surplus.length;
      if (isOurs) before.updated = updated;
      if (before.updated === updated || this.waiting.has(own)) return own;
    }
    const stub = create({ mode: metadata?.mode === "text" ? "text" : "chat", model: "", settings: {} });
    const title = metadata?.title || linnet?.preview || "";
    Object.assign(stub, { id: own, title, created: 1000 * created_at, changed: 1000 * updated, named: metadata?.named === "yes", isStub: true });
    const running = this.conversations.get(own);
    if (!running || !this.page.isRunning(running)) this.conversations.set(own, stub);
    this.kept.set(own, { id, updated, metadata: metadata ?? {}, items: new Map(), others: 0, surplus: [], source: null });
    return own;
  }

  /** A conversation with its messages. Throws a ServerError. */
  async load(id) {
    const found = this.get(id);
    if (!found?.isStub) return found;
    const kept = this.kept.get(id);
    const items = await itemsAt(kept.id);
    const conversation = this.read(items, found, kept);
    this.conversations.set(id, conversation);
    return conversation;
  }

  read(items, stub, kept) {
    const nodes = new Map();
    const foreign = new Set();
    let state = {};
    let [last, thought] = ["root", ""];
    const remember = (key, item) => {
      if (kept.items.has(key)) kept.surplus.push(kept.items.get(key).id); // the later one counts
      kept.items.set(key, { id: item.id, json: null });
    };
    for (const item of items) {
      const { node, page } = item.linnet ?? {};
      if (page) state = page;
      if (node?.id) {
        if (node.id !== TEXT) nodes.set(node.id, { ...node, text: textOf(item) });
        remember(node.id, item);
        [last, thought] = [node.id, ""];
      } else if (item.type === "reasoning") thought += textOf(item);
      else if (item.role !== "system" && item.role !== "developer") {
        const id = newId();
        const role = item.role === "user" ? "user" : "assistant";
        nodes.set(id, { id, parent: last, role, text: textOf(item), ...(thought && role === "assistant" ? { thought } : {}) });
        kept.items.set(id, { id: item.id, json: null }); // with the next change it becomes one of this page's
        foreign.add(id);
        [last, thought] = [id, ""];
      }
    }
    const ordered = [...nodes.values()].sort((a, b) => (a.at ?? 0) - (b.at ?? 0));
    const conversation = checked({ mode: stub.mode, ...state, title: stub.title, nodes: Object.fromEntries(ordered.map((each) => [each.id, each])) });
    const made = conversation ?? create({ mode: stub.mode, model: "", settings: {} });
    Object.assign(made, { id: stub.id, title: stub.title, named: stub.named, created: stub.created, changed: stub.changed });
    for (const [key, item] of itemsOf(made)) {
      const own = kept.items.get(key);
      if (own && !foreign.has(key)) own.json = JSON.stringify(item);
    }
    kept.state = JSON.stringify(stateOf(made));
    kept.others = items.length - kept.items.size - kept.surplus.length;
    kept.source = made;
    return made;
  }

  /** The conversations in which all of these words stand, as ids of this page. */
  async search(text) {
    const { data } = await asked(`?${new URLSearchParams({ limit: LISTED, query: text.slice(0, 200) })}`);
    return new Set(data.map((entry) => this.listed(entry)));
  }

  /** Keep a conversation, a moment later. */
  async save(conversation, wait = WAIT) {
    this.conversations.set(conversation.id, conversation);
    this.waiting.add(conversation.id);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush(), wait);
  }

  /** Send what has changed. */
  flush() {
    clearTimeout(this.timer);
    this.work = this.work.then(async () => {
      for (const id of [...this.waiting]) {
        const conversation = this.get(id);
        this.waiting.delete(id);
        if (!conversation) continue;
        if (conversation.mode === "text" && this.page.isRunning(conversation)) {
          this.save(conversation, WAIT_WRITING);
          continue;
        }
        try {
          await this.send(conversation);
          this.channel?.postMessage(id);
        } catch (error) {
          this.notKept(conversation, error);
        }
      }
    });
    return this.work;
  }

  notKept(conversation, error) {
    if (!(error instanceof ServerError)) throw error;
    if (error.code === "conversation_not_found") {
      this.kept.delete(conversation.id); // it was deleted elsewhere, and is gone on with here
      this.save(conversation);
      return;
    }
    this.page.failed(`The server could not keep this conversation: ${error.message}`);
    if (["gone", "busy", "failed", "broken"].includes(error.kind)) this.save(conversation, WAIT_AGAIN);
  }

  async send(conversation) {
    const metadata = { page_id: conversation.id, title: (conversation.title || "Untitled").slice(0, LONGEST_TITLE), mode: conversation.mode, ...(conversation.named ? { named: "yes" } : {}) };
    let kept = this.kept.get(conversation.id);
    if (!kept) {
      const made = await asked("", { metadata });
      kept = { id: made.id, updated: made.created_at, metadata, items: new Map(), others: 0, surplus: [], source: conversation };
      this.kept.set(conversation.id, kept);
    } else if (kept.metadata.title !== metadata.title || kept.metadata.page_id !== metadata.page_id) {
      await asked(`/${kept.id}`, { metadata: { ...kept.metadata, ...metadata } });
      kept.metadata = { ...kept.metadata, ...metadata };
    }
    if (conversation.isStub) return; // it was renamed; what is in it has not been fetched
    // What was read since, but is not what is shown here, may have messages of others: these are not to be deleted.
    if (kept.source !== conversation) await this.learn(kept, conversation);
    const wanted = itemsOf(conversation, (node) => this.page.isWriting(node));
    const changed = [];
    for (const [key, item] of wanted) {
      const json = JSON.stringify(item);
      if (kept.items.get(key)?.json !== json) changed.push({ key, item, json });
    }
    const page = stateOf(conversation);
    const state = JSON.stringify(page);
    const newest = changed.at(-1) ?? [...wanted].map(([key, item]) => ({ key, item, json: JSON.stringify(item) })).at(-1);
    if (newest && (changed.length || state !== kept.state)) {
      if (!changed.length) changed.push(newest);
      newest.item = { ...newest.item, linnet: { ...newest.item.linnet, page } };
    }
    // What is new is added before what is old goes: whatever happens in between, nothing is lost.
    for (const some of portions(changed)) {
      const { data } = await asked(`/${kept.id}/items`, { items: some.map(({ item }) => item) });
      some.forEach(({ key, json }, k) => {
        if (kept.items.has(key)) kept.surplus.push(kept.items.get(key).id);
        kept.items.set(key, { id: data[k].id, json });
      });
    }
    kept.state = state;
    for (const [key, { id }] of kept.items) {
      if (key === TEXT || conversation.nodes[key]) continue;
      kept.surplus.push(id);
      kept.items.delete(key);
    }
    while (kept.surplus.length) {
      await gone(`/${kept.id}/items/${encodeURIComponent(kept.surplus[0])}`);
      kept.surplus.shift();
    }
  }

  /** Find out which items a conversation's messages are, after others have changed it meanwhile; theirs stay. */
  async learn(kept, conversation) {
    const items = await itemsAt(kept.id);
    Object.assign(kept, { items: new Map(), surplus: [], state: null });
    for (const { id, linnet } of items) {
      const key = linnet?.node?.id;
      if (key !== TEXT && !conversation.nodes[key]) continue;
      if (kept.items.has(key)) kept.surplus.push(kept.items.get(key).id);
      kept.items.set(key, { id, json: null });
    }
    kept.others = items.length - kept.items.size - kept.surplus.length;
    kept.source = conversation;
  }

  async remove(id) {
    this.conversations.delete(id);
    this.waiting.delete(id);
    await this.work;
    const kept = this.kept.get(id);
    this.kept.delete(id);
    if (kept) await gone(`/${kept.id}`);
    this.channel?.postMessage(id);
  }

  async removeAll() {
    this.waiting.clear();
    await this.work;
    await asked("", undefined, "DELETE");
    this.conversations.clear();
    this.kept.clear();
    this.channel?.postMessage(null);
  }

  /** All conversations as the text of a file. */
  async exported() {
    const found = [];
    for (const { id } of this.all()) found.push(await this.load(id));
    return fileOf(found);
  }

  /** Take over the conversations of a file; how many there were. One that is here already stays if it is newer. */
  async take(file) {
    const found = await conversationsIn(file);
    for (const conversation of found) await this.copy(conversation);
    return found.length;
  }

  /** Take over a conversation, unless it is here and newer. */
  async copy(conversation) {
    if ((this.get(conversation.id)?.changed ?? -1) >= conversation.changed) return;
    if (this.get(conversation.id)?.isStub) await this.load(conversation.id);
    await this.save(conversation);
  }

  async changedElsewhere(id) {
    try {
      await this.refresh();
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      return; // it is seen when the page is opened again
    }
    this.page.changed(id);
  }
}

/** A conversation as items, by the message's id; `isWriting(node)`: not those that are not finished. */
function itemsOf(conversation, isWriting = () => false) {
  const items = new Map();
  for (const node of Object.values(conversation.nodes)) {
    if (isWriting(node)) continue;
    const { text, ...rest } = node;
    items.set(node.id, { type: "message", role: node.role, content: text, linnet: { node: rest } });
  }
  const text = written(conversation);
  if (text) items.set(TEXT, { type: "message", role: "assistant", content: text, linnet: { node: { id: TEXT } } });
  return items;
}

/** What there is of a conversation beside its messages. */
function stateOf({ mode, named, model, settings, chosen, pieces, unread, rival }) {
  return { mode, named, model, settings, chosen, pieces, unread, rival };
}

/** Items in parts that are not too large for one request. */
function* portions(changed) {
  let [some, characters] = [[], 0];
  for (const each of changed) {
    if (some.length && (some.length >= SENT_TOGETHER || characters + each.json.length > CHARACTERS_TOGETHER)) {
      yield some;
      [some, characters] = [[], 0];
    }
    some.push(each);
    characters += each.json.length;
  }
  if (some.length) yield some;
}

/** The words of an item; of a program's call what was called. */
function textOf(item) {
  if (item.type.endsWith("_call")) return `\`${item.name ?? item.type}(${item.arguments ?? item.input ?? ""})\``;
  const parts = item.content ?? item.output ?? item.summary ?? [];
  return typeof parts === "string" ? parts : parts.map((part) => part.text ?? part.refusal ?? "").join("\n");
}

/** All items of a conversation, oldest first. */
async function itemsAt(name) {
  const items = [];
  for (let after = ""; items.length < MOST_ITEMS; ) {
    const { data, has_more, last_id } = await asked(`/${name}/items?${new URLSearchParams({ limit: LISTED, order: "asc", ...(after && { after }) })}`);
    items.push(...data);
    if (!has_more) break;
    after = last_id;
  }
  return items;
}

async function asked(path, body, method = body ? "POST" : "GET") {
  const response = await request(`${PATH}${path}`, { method, ...(body ? { body: JSON.stringify(body) } : {}) });
  return response.json();
}

/** Delete something that may be gone already. */
async function gone(path) {
  try {
    await asked(path, undefined, "DELETE");
  } catch (error) {
    if (!/_not_found$/.test(error.code ?? "")) throw error;
  }
}
