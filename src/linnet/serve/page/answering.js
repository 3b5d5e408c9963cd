// One answer while it is written: asks the server, hands on what comes, and keeps the time.

import { answer } from "./server.js";

const BETWEEN_SAVES = 2000; // milliseconds
const SHORTEST = 0.05; // seconds, and pieces, from which on a speed means something
const FEWEST = 4;

export class Answering {
  /**
   * `target`: what is written to: has `take({text, thought, refusal, own})`. `changed()` is called after each piece,
   * `save()` now and then.
   */
  constructor({ path, body, target, changed, save }) {
    Object.assign(this, { path, body, target, changed, save });
    this.abort = new AbortController();
    this.finish = null;
    this.usage = null;
  }

  stop() {
    this.abort.abort();
  }

  get stopped() {
    return this.abort.signal.aborted;
  }

  /** Until the end; throws a ServerError, with what had come kept. */
  async run() {
    const begun = performance.now();
    let [firstAt, lastAt, savedAt, pieces] = [null, null, begun, 0];
    try {
      for await (const piece of answer(this.path, this.body, this.abort.signal)) {
        if (piece.usage) this.usage = piece.usage;
        if (piece.finish) this.finish = piece.finish;
        const writes = piece.text || piece.thought || piece.refusal;
        if (!writes && !piece.own.length) continue;
        if (writes) {
          lastAt = performance.now();
          firstAt ??= lastAt;
          pieces++;
        }
        this.target.take(piece);
        this.changed();
        if (performance.now() - savedAt > BETWEEN_SAVES) {
          savedAt = performance.now();
          this.save();
        }
      }
    } finally {
      this.facts = firstAt === null ? null : this.measured(begun, firstAt, lastAt, pieces);
    }
  }

  /** Seconds, pieces, and tokens as the server counted them; where it did not (stopped) they are unknown. */
  measured(begun, firstAt, lastAt, pieces) {
    const facts = { first: (firstAt - begun) / 1000, seconds: (lastAt - firstAt) / 1000, pieces };
    if (this.usage) {
      facts.written = this.usage.completion_tokens;
      facts.prompt = this.usage.prompt_tokens;
      const cached = this.usage.prompt_tokens_details?.cached_tokens;
      if (cached) facts.cached = cached;
    }
    return facts;
  }
}

/** Facts of an answer as a line: tokens, speed, wait. */
export function told(facts, finish) {
  if (!facts) return "";
  const parts = [];
  if (facts.written) {
    parts.push(`${facts.written.toLocaleString("en")} token${facts.written === 1 ? "" : "s"}`);
    // The first piece came with the wait; the speed is that of the others. A piece may be several tokens.
    if (facts.pieces >= FEWEST && facts.seconds >= SHORTEST) {
      const speed = (facts.written * (1 - 1 / facts.pieces)) / facts.seconds;
      parts.push(`${speed < 10 ? speed.toFixed(1) : Math.round(speed).toLocaleString("en")} tokens/s`);
    }
  }
  if (facts.first !== undefined) parts.push(`first after ${duration(facts.first)}`);
  if (finish === "length") parts.push("cut at the length limit");
  if (finish === "stopped") parts.push("stopped");
  return parts.join(" · ");
}

/** Facts of an answer's prompt, for those who hover. */
export function toldPrompt(facts) {
  if (facts?.prompt === undefined) return "";
  const cached = facts.cached ? `, ${facts.cached.toLocaleString("en")} of them known already` : "";
  return `Prompt: ${facts.prompt.toLocaleString("en")} tokens${cached}`;
}

function duration(seconds) {
  if (seconds < 1) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  return `${seconds.toFixed(1)} s`;
}
