// What happens in a conversation: asking, answering again, going on with a text, and what goes wrong.
//
// An answer belongs to its conversation, not to what is shown: another one can be opened meanwhile.

import { Answering } from "./answering.js";
import * as conversations from "./conversation.js";
import { isBare, newEvidence, note } from "./evidence.js";
import { sent } from "./settings.js";

export class Talk {
  /**
   * `page`: what shows it: update(conversation), written(conversation, node), finished(conversation, text),
   * failed(error), save(conversation), askForKey(), isConnected(), model(): the chosen model's name,
   * answersFromDocuments(): whether it does.
   */
  constructor(page) {
    this.page = page;
    this.running = new Map(); // per conversation's id {answering, node, ended}
    this.problems = new Map(); // per conversation's id {error, again, question}
  }

  /** The message that is being written in a conversation, null if there is none; true for a text. */
  writing(conversation) {
    const found = this.running.get(conversation.id);
    return found ? (found.node ?? true) : null;
  }

  isRunning(conversation) {
    return this.running.has(conversation.id);
  }

  stop(conversation) {
    this.running.get(conversation.id)?.answering.stop();
  }

  /** A new question at the end. */
  ask(conversation, text) {
    const parent = conversations.path(conversation).at(-1)?.id ?? conversations.ROOT;
    return this.answer(conversation, conversations.add(conversation, parent, "user", text));
  }

  /** Another version of a question. What is being written ends where it is. */
  async resend(conversation, node, text) {
    await this.end(conversation);
    return this.answer(conversation, conversations.add(conversation, node.parent, "user", text));
  }

  /** Another version of an answer. */
  async again(conversation, node) {
    await this.end(conversation);
    return this.answer(conversation, conversation.nodes[node.parent]);
  }

  async end(conversation) {
    const running = this.running.get(conversation.id);
    running?.answering.stop();
    await running?.ended;
  }

  async answer(conversation, question) {
    await this.answerOnce(conversation, question);
    // Who has let the oldest be left out once is not asked each time.
    const agreed = conversations.path(conversation).some((node) => node.leftOut);
    if (agreed && this.isTooLong(conversation)) await this.leaveOutAndAsk(conversation, question);
  }

  answerOnce(conversation, question) {
    if (this.isRunning(conversation)) return null;
    conversation.model = this.page.model();
    delete question.leftOut; // it is asked now, whatever was left out before
    const fromDocuments = this.page.answersFromDocuments();
    const messages = conversations.messagesUpTo(conversation, question);
    const node = conversations.add(conversation, question.id, "assistant", "");
    node.model = conversation.model;
    if (fromDocuments) node.evidence = newEvidence();
    const asked = fromDocuments ? messages.filter(({ role }) => role !== "system") : messages;
    return this.run(conversation, node, {
      path: "chat/completions",
      body: { model: conversation.model, messages: asked, ...sent(conversation.settings) },
      target: {
        take: ({ text, thought, refusal, own }) => {
          node.text += text;
          if (thought) node.thought = (node.thought ?? "") + thought;
          if (refusal || own.length) node.evidence ??= newEvidence();
          if (refusal) node.evidence.refusal = (node.evidence.refusal ?? "") + refusal;
          for (const piece of own) note(node.evidence, piece);
        },
      },
      again: () => this.answer(conversation, question),
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
    const ended = new Promise((resolve) => (end = resolve));
    this.running.set(conversation.id, { answering, node, ended });
    this.page.save(conversation);
    this.page.update(conversation);
    let problem = null;
    try {
      await answering.run();
    } catch (error) {
      if (!error.kind) throw error;
      problem = { error, again, question };
    } finally {
      this.running.delete(conversation.id);
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
    if (node && !node.text && !node.thought && !node.evidence?.refusal && (problem || answering.stopped)) conversations.drop(conversation, node);
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
      await this.answerOnce(conversation, question);
      if (!this.isTooLong(conversation)) return;
    }
  }

  sendAgain(conversation) {
    for (const node of Object.values(conversation.nodes)) delete node.leftOut;
    this.page.save(conversation);
    this.page.update(conversation);
  }
}
