// The page: what is open and what is shown. Everything else has its own file.

import { Attachments, messagesWith } from "./attachments.js";
import { Composer } from "./composer.js";
import { Connection } from "./connection.js";
import * as conversations from "./conversation.js";
import { confirmed, showShortcuts, toast } from "./dialogs.js";
import { judge } from "./documents.js";
import { byId, count, download } from "./dom.js";
import { Following } from "./follow.js";
import { Frame } from "./frame.js";
import { letInstall } from "./install.js";
import { Library } from "./library.js";
import { spoken } from "./markdown.js";
import { noticeFor } from "./notice.js";
import { askElsewhere } from "./routing.js";
import { judgeCall, key } from "./server.js";
import { defaults, problemOf, setDefaults, showSettings } from "./settings.js";
import { listenToKeys, touches } from "./shortcuts.js";
import { serverStore } from "./serverstore.js";
import { Sidebar } from "./sidebar.js";
import { SourcePanel } from "./source.js";
import { Store } from "./store.js";
import { Talk } from "./talk.js";
import { TextView } from "./text.js";
import { Thread } from "./thread.js";
import { showWelcome } from "./welcome.js";

const BETWEEN_SAVES = 500; // milliseconds, while a text is typed

class Page {
  constructor() {
    this.drafts = new Map(); // per conversation's id {text, files}
    this.removed = new Set(); // ids, of which nothing is to be kept any more
    this.browser = new Store();
    this.store = this.browser; // or the server's, where it keeps conversations
    this.frame = new Frame();
    this.following = new Following();
    this.connection = new Connection(() => this.listModels());
    this.attachments = new Attachments({
      model: () => this.connection.model,
      messages: (text, attachments) => messagesWith(this.current, text, attachments),
      changed: () => this.showComposer(),
    });
    this.library = new Library(() => this.showComposer(), this.attachments);
    this.source = new SourcePanel();
    this.talk = new Talk(this.forTalk());
    this.composer = new Composer({ takeBack: () => this.takeBack(), tryAgain: () => this.takeBack({ andGoOn: true }) }, this.attachments);
    this.text = new TextView(byId("text"), () => this.edited());
    this.sidebar = new Sidebar(byId("conversations"), byId("find"), {
      open: (id) => this.open(id),
      rename: (id, title) => this.rename(id, title),
      remove: (id) => this.remove(id),
      exportOne: (id) => this.exportOne(id),
      search: (text) => this.store.search?.(text) ?? null,
    });
    this.thread = new Thread(byId("thread"), {
      again: (node) => this.begin(() => this.talk.again(this.current, node)),
      isReady: () => this.isReady(),
      resend: (node, text) => this.begin(() => this.talk.resend(this.current, node, text)),
      goOn: (node) => this.begin(() => this.talk.goOnWith(this.current, node)),
      choose: (node) => this.change(() => conversations.choose(this.current, node)),
      decide: (node) => this.decide(node),
      remove: (node) => this.removeMessage(node),
      save: (node, text) => this.change(() => conversations.edit(this.current, node, text)),
      saveAsNew: (node, text) => this.change(() => conversations.addVersion(this.current, node, text)),
      sendAgain: () => this.talk.sendAgain(this.current),
      openSource: (node, list, at, button) => this.openSource(node, list, at, button),
      judge: (node, good) => this.judge(node, good),
      mayJudge: (node) => this.connection.find(node.model)?.feedback === true,
      mayAskElsewhere: (node) => this.mayAskElsewhere(node),
      askElsewhere: (node) => this.askElsewhere(node),
    });
  }

  async start() {
    this.wire();
    this.current = this.fresh();
    const wanted = location.hash.slice(1) || null;
    await this.browser.open((id) => this.store === this.browser && this.changedElsewhere(id));
    this.open(wanted, { quietly: true });
    if (await this.connection.look()) await this.findStore();
    if (wanted && this.store !== this.browser) await this.open(wanted, { quietly: true });
    document.documentElement.dataset.ready = "yes";
    letInstall();
  }

  /** Keep conversations on the server, if it does that, and otherwise here. */
  async findStore() {
    const isOpen = (id) => this.store.get(id) !== null;
    const wasKept = isOpen(this.current.id);
    this.store = (await serverStore({
      isRunning: (conversation) => this.talk.isRunning(conversation),
      isWriting: (node) => [...this.talk.running.values()].flat().some((run) => run.node === node),
      changed: (id) => this.changedElsewhere(id),
      failed: (text) => text !== this.said && toast((this.said = text)), // not every few seconds
    })) ?? this.browser;
    if (wasKept && !isOpen(this.current.id)) this.open(null, { quietly: true });
    else this.show();
  }

  /** What the conversations' logic sees of this page. */
  forTalk() {
    return {
      model: () => byId("model").value,
      rival: (conversation) => this.rivalOf(conversation),
      answersFromDocuments: (model) => this.connection.models.find(({ id }) => id === model)?.documents === true,
      save: (conversation) => this.save(conversation),
      update: (conversation) => (conversation === this.current ? this.show() : this.showSidebar()),
      written: (conversation) => conversation === this.current && this.showSoon(),
      finished: (conversation, node) => this.announce(conversation, node),
      failed: (error) => this.connection.failed(error),
      askForKey: () => this.connection.ask(),
      isConnected: async () => {
        const found = await this.connection.look();
        if (found && this.store === this.browser) await this.findStore();
        return found;
      },
    };
  }

  listModels() {
    this.connection.list(this.current.model || defaults().model, this.current.rival);
    this.fitMode();
  }

  /** The model that answers beside the chosen one in a conversation, or null. */
  rivalOf({ mode, rival }) {
    return mode === "chat" && this.connection.rivals.some(({ id }) => id === rival) ? rival : null;
  }

  /** Ask a second model, too, or no more. */
  compare() {
    this.current.rival = this.current.rival ? "" : byId("rival").value;
    this.saveIfKept();
    this.show();
    byId(this.current.rival ? "rival" : "compare").focus();
  }

  /** A conversation that has not begun is of the kind that its model is made for. */
  fitMode() {
    const { model } = this.connection;
    if (conversations.isEmpty(this.current) && model && !this.modeChosen) {
      this.current.mode = model.chat ? "chat" : "text";
    }
    this.library.of(model?.documents ? model.id : null);
    this.show();
  }

  // Conversations

  fresh() {
    const { model, settings } = defaults();
    this.modeChosen = false;
    return conversations.create({ mode: "chat", model, settings });
  }

  /** Show a conversation; a new one for null. `quietly`: the address is there already. */
  open(id, { quietly = false } = {}) {
    this.opening = id;
    return id && this.store.get(id)?.isStub ? this.fetchAndOpen(id, { quietly }) : this.openNow(id, { quietly });
  }

  async fetchAndOpen(id, options) {
    try {
      await this.store.load(id);
    } catch (error) {
      return toast(error.message);
    }
    if (this.opening === id) this.openNow(id, options); // and no other one since
  }

  openNow(id, { quietly }) {
    this.drafts.set(this.current.id, { text: this.composer.text, files: this.attachments.files });
    const found = id ? this.store.get(id) : null;
    const address = found ? `#${found.id}` : location.pathname + location.search;
    if (quietly) history.replaceState(null, "", address);
    else history.pushState(null, "", address);
    this.source.close({ quietly: true });
    this.current = found ?? this.fresh();
    const draft = this.drafts.get(this.current.id);
    this.composer.text = draft?.text ?? "";
    this.listModels();
    this.attachments.set(draft?.files ?? []);
    this.following.toEnd();
    if (!quietly) this.frame.hideDrawer();
    if (!touches()) this.focusInput();
  }

  save(conversation) {
    const isNew = !this.store.get(conversation.id);
    if (this.removed.has(conversation.id) || (isNew && conversations.isEmpty(conversation))) return;
    if (isNew && conversation === this.current) history.replaceState(null, "", `#${conversation.id}`);
    this.store.save(conversation).catch((error) => toast(error.message));
    this.showSidebar();
  }

  rename(id, title) {
    const conversation = this.store.get(id);
    Object.assign(conversation, { title, named: true });
    this.save(conversation);
    this.show();
  }

  async remove(id) {
    let conversation;
    try {
      conversation = await this.store.load(id); // with its messages, so that it can be brought back
      this.removed.add(id);
      this.talk.stop(conversation);
      await this.store.remove(id);
    } catch (error) {
      toast(error.message);
      return;
    }
    if (conversation === this.current) this.open(null);
    this.showSidebar();
    const act = () => {
      this.removed.delete(id);
      this.save(conversation);
      this.open(id);
    };
    toast(`Deleted “${conversation.title || "Untitled"}”.`, { label: "Undo", act }, 8);
  }

  async removeAll() {
    const all = this.store.all();
    const others = this.store === this.browser ? "" : " What other programs keep there for your key goes as well.";
    const explanation = `${count(all.length)} kept ${this.store.place || "while this page is open"}. They cannot be brought back.${others}`;
    if (!all.length || !(await confirmed("Delete all conversations?", explanation, "Delete all"))) return;
    for (const conversation of all) {
      this.removed.add(conversation.id);
      this.talk.stop(conversation);
    }
    try {
      await this.store.removeAll();
    } catch (error) {
      toast(error.message);
    }
    this.open(null);
  }

  /** Put the conversations of this browser on the server, too. */
  async copyToServer() {
    const all = this.browser.all();
    for (const conversation of all) await this.store.copy(conversation);
    await this.store.flush();
    toast(`${count(all.length)} conversation${all.length === 1 ? "" : "s"} of this browser copied to the server.`);
    this.showSidebar();
  }

  /** Do something to the conversation that is open. */
  change(work) {
    const result = work();
    this.save(this.current);
    this.show();
    return result;
  }

  decide(node) {
    this.change(() => conversations.decide(this.current, node));
    byId("announcer").textContent = `The conversation goes on with the answer of ${node.model}.`;
    if (!touches()) this.focusInput();
  }

  /** Delete a message, with a way back. */
  async removeMessage(node) {
    const conversation = this.current;
    await this.talk.end(conversation);
    if (!conversation.nodes[node.id]) return; // it was being written, and nothing had come
    const { count: number, undo } = conversations.remove(conversation, node);
    const kept = () => (conversation === this.current ? this.change(() => {}) : this.save(conversation));
    kept();
    const line = number === 1 ? "Deleted the message." : `Deleted this version and the ${count(number - 1)} after it.`;
    toast(line, { label: "Undo", act: () => (undo(), kept()) }, 8);
    if (!touches()) this.focusInput();
  }

  changedElsewhere(id) {
    const found = this.store.get(id);
    if (found && id === this.current.id && !this.talk.isRunning(found)) {
      if (found.isStub) return void this.open(id, { quietly: true });
      this.current = found;
      this.show();
    } else this.showSidebar();
  }

  async exportOne(id) {
    let conversation;
    try {
      conversation = await this.store.load(id);
    } catch (error) {
      return toast(error.message);
    }
    const name = conversation.title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 60);
    download(`${name || "conversation"}.md`, "text/markdown", conversations.asMarkdown(conversation));
  }

  async import(file) {
    try {
      const found = await this.store.take(file);
      this.removed.clear(); // what comes back from a file may be kept again
      toast(`${count(found)} conversation${found === 1 ? "" : "s"} imported.`);
    } catch (error) {
      toast(error.message);
    }
    this.showSidebar();
  }

  // Writing

  /** Whether the settings can be sent; where not, they are shown. */
  isReady() {
    if (!problemOf(this.current.settings)) return true;
    this.settings({ focus: "schema" });
    toast("The JSON schema is not right yet.");
    return false;
  }

  /** Do something that lets the model write, if what it would be sent is right. */
  begin(work) {
    if (!this.isReady()) return null;
    this.rememberChoice();
    byId("announcer").textContent = ""; // the same answer twice is said twice
    const running = work();
    this.following.toEnd();
    return running;
  }

  saveIfKept() {
    if (this.store.get(this.current.id)) this.save(this.current);
  }

  rememberChoice() {
    setDefaults({ model: byId("model").value, settings: this.current.settings });
  }

  send() {
    if (this.talk.isRunning(this.current) || !this.connection.model) return;
    if (this.current.mode === "text") {
      this.begin(() => this.talk.goOn(this.current));
      return;
    }
    if (byId("send").disabled) return;
    if (!this.isReady()) return; // before the box is emptied
    const text = this.composer.text.trim();
    const attachments = this.attachments.take();
    this.composer.text = "";
    this.begin(() => this.talk.ask(this.current, text, attachments));
  }

  takeBack({ andGoOn = false } = {}) {
    conversations.takeBack(this.current);
    this.save(this.current);
    this.show();
    if (andGoOn) this.send();
    else this.text.focus();
  }

  /** The person has changed a text. */
  edited() {
    clearTimeout(this.saving);
    const conversation = this.current;
    this.saving = setTimeout(() => this.save(conversation), BETWEEN_SAVES);
    this.showComposer();
  }

  /** Tell those who do not see it what has been written. */
  announce(conversation, node) {
    if (conversation !== this.current) return;
    const { finish } = node ?? conversation;
    const answer = node && (conversations.apart(node).text || node.evidence?.refusal);
    const said = node ? spoken(answer ?? "") : conversation.pieces.at(-1)?.text;
    byId("announcer").textContent = `${finish === "stopped" ? "Stopped" : "Finished"}. ${said ?? ""}`;
  }

  openSource(node, list, at, button) {
    const kind = list === "citations" ? "Source" : "Passage";
    this.source.open(node.model, node.evidence[list], at, button, kind);
  }

  /** Whether a model beyond the server's machine could answer instead of the one that did. */
  mayAskElsewhere(node) {
    const { chooser } = this.connection;
    const wrote = node.wrote?.place ?? this.connection.find(node.model)?.place ?? "here";
    const fits = (chooser?.documents === true) === (this.connection.find(node.model)?.documents === true);
    return Boolean(chooser) && wrote === "here" && fits && !node.edited;
  }

  /** Show what would leave, and send it if the person wants that. */
  async askElsewhere(node) {
    const conversation = this.current;
    const { chooser } = this.connection;
    const messages = conversations.messagesUpTo(conversation, conversation.nodes[node.parent]);
    const asked = chooser.documents ? messages.filter(({ role }) => role !== "system") : messages;
    const chosen = await askElsewhere(chooser.id, asked);
    if (chosen) this.begin(() => this.talk.askElsewhere(conversation, node, chooser.id, chosen));
  }

  /** Say that an answer was good or bad; the last word counts. */
  async judge(node, good) {
    if (!node.evidence?.outcome?.id) return this.judgeCall(node, good);
    const { evidence } = node;
    const question = this.current.nodes[node.parent]?.text ?? "";
    const conversation = this.current;
    try {
      await judge(node.model, question, evidence, good);
    } catch (error) {
      toast(error.message);
      return;
    }
    evidence.good = good;
    this.save(conversation);
    this.show();
    byId("announcer").textContent = "Thank you: this is kept beside the documents.";
  }

  async judgeCall(node, good) {
    const conversation = this.current;
    try {
      await judgeCall(node.wrote.id, good);
    } catch (error) {
      return toast(error.message);
    }
    node.wrote.good = good;
    this.save(conversation);
    this.show();
    byId("announcer").textContent = "Thank you: this is kept in the log.";
  }

  /** Begin a text with what was asked of a model that does not answer. */
  continueInstead(question) {
    this.open(null);
    this.modeChosen = true;
    this.current.mode = "text";
    conversations.rewrite(this.current, question?.text ?? "");
    this.show();
    this.text.focus();
  }

  // Showing

  show() {
    const { current } = this;
    const isText = current.mode === "text";
    const isEmpty = conversations.isEmpty(current);
    const writing = this.talk.writing(current);
    document.title = current.title ? `${current.title} · Linnet` : "Linnet";
    byId("title").textContent = current.title || "New conversation";
    byId("app").dataset.mode = current.mode;
    byId("welcome").hidden = !isEmpty;
    byId("thread").hidden = isText || isEmpty;
    byId("text").hidden = !isText;
    const documents = this.connection.model?.documents === true;
    if (isEmpty) showWelcome({ mode: current.mode, documents, place: this.store.place, choose: (mode) => this.chooseMode(mode) });
    if (isText) this.text.show(current, writing !== null);
    else this.thread.show(current, writing);
    this.showNotice();
    this.showComposer();
    this.showCompare();
    this.showSidebar();
    this.following.update();
  }

  /** Show what has come, at most once a frame, and with time left for everything else. */
  showSoon() {
    if (this.soon) return;
    this.soon = true;
    const show = () => {
      this.soon = false;
      const begun = performance.now();
      const writing = this.talk.writing(this.current);
      if (writing === true) this.text.update();
      else for (const node of writing ?? []) this.thread.update(node);
      this.following.update();
      this.cost = performance.now() - begun;
    };
    setTimeout(() => requestAnimationFrame(show), Math.min(500, 3 * (this.cost ?? 0)));
  }

  showCompare() {
    const { rivals } = this.connection;
    const rival = this.rivalOf(this.current);
    byId("compare").hidden = this.current.mode !== "chat" || !rivals.length;
    byId("compare").setAttribute("aria-pressed", String(rival !== null));
    byId("rival-label").hidden = rival === null;
  }

  showSidebar() {
    const state = { current: this.current.id, running: new Set(this.talk.running.keys()) };
    this.sidebar.show(this.store.all(), state);
  }

  showComposer() {
    this.composer.show(this.current, { model: this.connection.model, running: this.talk.isRunning(this.current) });
    const usual = this.connection.model?.documents ? "Open the sources to see what an answer rests on." : "A model can be wrong. Check what matters.";
    const { line } = this.library;
    byId("small").textContent = line || usual;
    byId("small").classList.toggle("urgent", Boolean(line));
  }

  chooseMode(mode) {
    this.current.mode = mode;
    this.modeChosen = true;
    this.show();
    byId("welcome").querySelector("[aria-pressed=true]")?.focus();
  }

  showNotice() {
    const notice = byId("notice");
    const problem = this.talk.problems.get(this.current.id);
    notice.hidden = !problem;
    if (problem === this.noticed) return;
    this.noticed = problem;
    notice.replaceChildren();
    if (!problem) return;
    const { isText, ...remedies } = this.talk.remedies(this.current);
    const acts = Object.fromEntries(Object.entries(remedies).map(([name, act]) => [name, act && (() => this.begin(act))]));
    const newConversation = () => this.open(null);
    const continueText = () => this.continueInstead(problem.question);
    notice.append(noticeFor(problem.error, { ...acts, isText, newConversation, continueText }));
  }

  focusInput() {
    if (this.current.mode === "text") this.text.focus();
    else byId("message").focus();
  }

  editLast() {
    const last = conversations.path(this.current).findLast((node) => node.role === "user");
    if (last && !this.talk.isRunning(this.current)) this.thread.edit(last);
    return Boolean(last);
  }

  aboutKeeping() {
    const { place } = this.store;
    if (!place) return "This browser keeps nothing: they are gone when the page is closed.";
    const number = count(this.store.all().length);
    if (this.store === this.browser) return `${number} kept ${place}, and nowhere else.`;
    return `${number} kept ${place}. ${key.get() ? "Your key finds them, and no other one." : "Everyone who can open this page finds them."}`;
  }

  async exportAll(name) {
    try {
      download(name, "application/json", await this.store.exported());
    } catch (error) {
      toast(error.message);
    }
  }

  async forgetKey() {
    key.set("");
    this.store = this.browser; // what the key kept is not to be seen any more
    this.open(null);
    if (await this.connection.look()) await this.findStore();
  }

  applyPreset({ name, settings, prompt }) {
    const { current } = this;
    current.settings = structuredClone(settings);
    this.rememberChoice();
    this.saveIfKept();
    if (prompt && !this.composer.text && current.mode === "chat") this.composer.text = prompt;
    toast(`The preset “${name}” is used.`);
    if (!touches()) this.focusInput();
  }

  /** `focus`: the setting to be seen to. */
  settings({ focus = null } = {}) {
    if (document.querySelector("dialog[open]")) return;
    const conversation = this.current;
    const name = `linnet-conversations-${new Date().toISOString().slice(0, 10)}.json`;
    showSettings(conversation.settings, {
      mode: conversation.mode,
      changed: () => {
        this.rememberChoice();
        if (this.store.get(conversation.id)) this.save(conversation);
      },
      act: {
        applyPreset: (preset) => this.applyPreset(preset),
        exportAll: () => this.exportAll(name),
        copyToServer: () => this.copyToServer(),
        importFile: (file) => this.import(file),
        removeAll: () => this.removeAll(),
        forgetKey: () => this.forgetKey(),
      },
      about: {
        focus,
        prompt: () => this.composer.text,
        hasKey: key.get() !== "",
        kept: this.aboutKeeping(),
        inBrowser: this.store === this.browser ? 0 : this.browser.all().length,
      },
    });
  }

  wire() {
    const onClick = (id, act) => byId(id).addEventListener("click", act);
    onClick("new", () => this.open(null));
    onClick("stop", () => (this.talk.stop(this.current), this.focusInput()));
    onClick("to-end", () => (this.following.toEnd(), this.focusInput()));
    onClick("skip", () => this.focusInput());
    for (const id of ["show-settings", "settings-top"]) onClick(id, () => (this.frame.hideDrawer(), this.settings()));
    onClick("show-shortcuts", () => (this.frame.hideDrawer(), showShortcuts()));
    byId("composer").addEventListener("submit", (event) => (event.preventDefault(), this.send()));
    onClick("compare", () => this.compare());
    byId("rival").addEventListener("change", () => {
      this.current.rival = byId("rival").value;
      this.saveIfKept();
    });
    byId("model").addEventListener("change", () => {
      this.current.model = byId("model").value;
      this.connection.list(this.current.model, this.current.rival);
      if (this.attachments.files.length) this.attachments.countSoon();
      this.current.unread = 0; // this one may read more
      this.rememberChoice();
      this.fitMode();
    });
    window.addEventListener("popstate", () => this.open(location.hash.slice(1) || null, { quietly: true }));
    window.addEventListener("pagehide", () => (this.save(this.current), this.store.flush?.()));
    listenToKeys(this);
  }
}

new Page().start();
