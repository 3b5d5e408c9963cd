// What happens in a conversation: asking, answering again, going on with a text, and what goes wrong.
//
// An answer belongs to its conversation, not to what is shown: another one can be opened meanwhile.

import { Answering } from "./answering.js";
import * as conversations from "./conversation.js";
import { isBare, newEvidence, note } from "./evidence.js";
import { noteRoute } from "./routing.js";
import { sent } from "./settings.js";

export class Talk {
  /**
   * `page`: what shows it: update(conversation), written(conversation, node), finished(conversation, text),
   * failed(error), save(conversation), askForKey(), isConnected(), model(): the chosen model's name,
   * rival(conversation): that of the one that is asked beside it, or null, answersFromDocuments(model): whether it does.
   */
  constructor(page) {
    this.page = page;
    this.running = new Map(); // per conversation's id: what is being written, [{answering, node, ended}]
    this.problems = new Map(); // per conversation's id {error, again, question}
  }

  /** The messages that are being written in a conversation, null if there are none; true for a text. */
  writing(conversation) {
    const found = this.running.get(conversation.id);
    return found ? (found[0].node === null || new Set(found.map(({ node }) => node))) : null;
  }

  isRunning(conversation) {
    return this.running.has(conversation.id);
  }

  stop(conversation) {
    for (const { answering } of this.running.get(conversation.id) ?? []) answering.stop();
  }

  /** A new question at the end. */
  ask(conversation, text, attachments = []) {
    const last = conversations.path(conversation).at(-1);
    const undecided = conversations.undecided(conversation);
    if (undecided) conversations.decide(conversation, last); // going on with an answer is choosing it
    const more = attachments.length ? { attachments } : {};
    return this.answer(conversation, conversations.add(conversation, last?.id ?? conversations.ROOT, "user", text, more));
  }

  /** Another version of a question. What is being written ends where it is. */
  async resend(conversation, node, text) {
    await this.end(conversation);
    const more = node.attachments ? { attachments: node.attachments } : {};
    return this.answer(conversation, conversations.add(conversation, node.parent, "user", text, more));
  }

  /** Another version of an answer. */
  async again(conversation, node) {
    await this.end(conversation);
    delete conversation.nodes[node.parent].beside;
    return this.answer(conversation, conversation.nodes[node.parent], { rival: null });
  }

  /** Another version of an answer, by a larger model for this once. */
  async askElsewhere(conversation, node, model, route) {
    await this.end(conversation);
    const question = conversation.nodes[node.parent];
    delete question.beside;
    if (this.isRunning(conversation)) return null;
    return this.answerOnce(conversation, question, model, { linnet: { route } });
  }

  /** Let the model go on with an answer that was cut. */
  async goOnWith(conversation, node) {
    if (this.isRunning(conversation)) return;
    const messages = conversations.messagesUpTo(conversation, node);
    const last = messages.at(-1);
    last.content = node.text; // with what was thought within it
    if (node.thought) last.reasoning_content = node.thought;
    const before = node.facts;
    await this.run(conversation, node, {
      path: "chat/completions",
      body: { model: node.model || this.page.model(), messages, continue_final_message: true, ...sent(conversation.settings) },
      target: takes(node),
      again: () => this.goOnWith(conversation, node),
      question: conversation.nodes[node.parent] ?? null,
    });
    node.facts = together(before, node.facts);
    this.page.save(conversation);
    this.page.update(conversation);
  }

  async end(conversation) {
    this.stop(conversation);
    await Promise.all((this.running.get(conversation.id) ?? []).map(({ ended }) => ended));
  }

  /** Answer a question; `rival`: a second model that does the same, beside the first. */
  async answer(conversation, question, { rival = this.page.rival(conversation) } = {}) {
    await Promise.all(this.answersOnce(conversation, question, rival));
    // Who has let the oldest be left out once is not asked each time.
    const agreed = conversations.path(conversation).some((node) => node.leftOut);
    if (agreed && this.isTooLong(conversation)) await this.leaveOutAndAsk(conversation, question);
  }

  answersOnce(conversation, question, rival) {
    if (this.isRunning(conversation)) return [];
    delete question.leftOut; // it is asked now, whatever was left out before
    conversation.model = this.page.model();
    if (!rival) return [this.answerOnce(conversation, question, conversation.model)];
    const messages = conversations.messagesUpTo(conversation, question);
    const [first, second] = [conversation.model, rival].map((model) => this.begun(conversation, question, model));
    question.beside = [first.id, second.id];
    conversations.choose(conversation, first);
    return [first, second].map((node) => this.write(conversation, question, node, messages));
  }

  /** `more`: what else the request has. */
  answerOnce(conversation, question, model, more = {}) {
    const messages = conversations.messagesUpTo(conversation, question);
    return this.write(conversation, question, this.begun(conversation, question, model), messages, more);
  }

  /** An answer of which nothing is written yet. */
  begun(conversation, question, model) {
    const node = conversations.add(conversation, question.id, "assistant", "");
    node.model = model;
    if (this.page.answersFromDocuments(model)) node.evidence = newEvidence();
    return node;
  }

  write(conversation, question, node, messages, more = {}) {
    const asked = node.evidence ? messages.filter(({ role }) => role !== "system") : messages;
    return this.run(conversation, node, {
      path: "chat/completions",
      body: { model: node.model, messages: asked, ...sent(conversation.settings), ...more },
      target: takes(node),
      again: () => this.answer(conversation, question, { rival: null }),
      question,
    });
  }

  /** Let the model go on with a text; with its end, once that has been agreed to. */
  async goOn(conversation) {
    await this.goOnOnce(conversation);
    while (conversation.unread && this.isTooLong(conversation) && conversations.leaveOutBeginning(conversation)) {
      await this.goOnOnce(conversation);
    }
  }

  isTooLong(conversation) {
    return this.problems.get(conversation.id)?.error.kind === "context";
  }

  goOnOnce(conversation) {
    if (this.isRunning(conversation)) return null;
    conversation.model = this.page.model();
    const turn = conversations.nextTurn(conversation);
    const prompt = conversations.promptOf(conversation);
    return this.run(conversation, null, {
      path: "completions",
      body: { model: conversation.model, prompt, ...sent(conversation.settings) },
      target: { take: ({ text }) => conversations.append(conversation, turn, text) },
      again: () => this.goOn(conversation),
      question: null,
    });
  }

  async run(conversation, node, { path, body, target, again, question }) {
    const answering = new Answering({
      path, body, target,
      changed: () => this.page.written(conversation, node),
      save: () => this.page.save(conversation),
    });
    this.problems.delete(conversation.id);
    let end;
    const own = { answering, node, ended: new Promise((resolve) => (end = resolve)) };
    this.running.set(conversation.id, [...(this.running.get(conversation.id) ?? []), own]);
    this.page.save(conversation);
    this.page.update(conversation);
    let problem = null;
    try {
      await answering.run();
    } catch (error) {
      if (!error.kind) throw error;
      problem = { error, again, question };
    } finally {
      const rest = this.running.get(conversation.id).filter((each) => each !== own);
      if (rest.length) this.running.set(conversation.id, rest);
      else this.running.delete(conversation.id);
      end();
      this.close(conversation, node, answering, problem);
    }
    if (problem?.error.kind === "key") await this.giveKey(conversation);
  }

  /** After an answer's end, however it came. */
  close(conversation, node, answering, problem) {
    const target = node ?? conversation;
    target.facts = answering.facts;
    target.finish = answering.stopped ? "stopped" : answering.finish;
    // An answer of nothing is one, if the model meant it.
    if (node?.evidence && isBare(node.evidence)) delete node.evidence;
    if (node && !node.text && !node.thought && !node.evidence?.refusal && (problem || answering.stopped)) {
      delete conversation.nodes[node.parent]?.beside;
      conversations.drop(conversation, node);
    }
    if (problem) {
      this.problems.set(conversation.id, problem);
      this.page.failed(problem.error);
    }
    conversations.touch(conversation);
    this.page.save(conversation);
    this.page.update(conversation);
    if (!problem) this.page.finished(conversation, node);
  }

  /** What a notice about a conversation's problem offers. */
  remedies(conversation) {
    const problem = this.problems.get(conversation.id);
    const { question } = problem;
    const path = conversations.path(conversation);
    const sentAhead = path.slice(0, path.indexOf(question)).some((node) => !node.leftOut);
    let leaveOut = null;
    if (question && sentAhead) leaveOut = () => this.leaveOutAndAsk(conversation, question);
    if (!question) leaveOut = () => conversations.leaveOutBeginning(conversation) && this.goOn(conversation);
    return { again: problem.again, giveKey: () => this.giveKey(conversation), leaveOut, isText: !question };
  }

  async giveKey(conversation) {
    const problem = this.problems.get(conversation.id);
    if ((await this.page.askForKey()) && (await this.page.isConnected())) await problem.again();
  }

  /** Leave out the oldest turns, one, two, four, ..., until the rest is read. */
  async leaveOutAndAsk(conversation, question) {
    for (let turns = 1; ; turns *= 2) {
      let left = false;
      for (let k = 0; k < turns; k++) left = conversations.leaveOutOldest(conversation, question) || left;
      if (!left) return;
      await Promise.all(this.answersOnce(conversation, question, null));
      if (!this.isTooLong(conversation)) return;
    }
  }

  sendAgain(conversation) {
    for (const node of Object.values(conversation.nodes)) delete node.leftOut;
    this.page.save(conversation);
    this.page.update(conversation);
  }
}

/** What writes an answer's pieces to it. */
function takes(node) {
  return {
    take: ({ text, thought, refusal, own }) => {
      node.text += text;
      if (thought) node.thought = (node.thought ?? "") + thought;
      const rest = own.filter((piece) => !noteRoute(node, piece));
      if (refusal || rest.length) node.evidence ??= newEvidence();
      if (refusal) node.evidence.refusal = (node.evidence.refusal ?? "") + refusal;
      for (const piece of rest) note(node.evidence, piece);
    },
  };
}

/** The facts of an answer that was written in two goes. */
function together(before, after) {
  if (!before || !after) return after ?? before;
  const sum = (name) => (before[name] === undefined || after[name] === undefined ? {} : { [name]: before[name] + after[name] });
  // What was written before is in the prompt now, so that both together are still what the context holds.
  const prompt = before.written === undefined || after.prompt === undefined ? {} : { prompt: after.prompt - before.written };
  return { ...after, first: before.first, ...sum("written"), ...sum("seconds"), ...sum("pieces"), ...prompt };
}
