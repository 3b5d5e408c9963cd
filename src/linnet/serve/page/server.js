// The server as this page sees it: OpenAI's interface, https://platform.openai.com/docs/api-reference.
//
// Everything that can go wrong becomes a ServerError whose `kind` says what the person can do about it:
//   gone     nothing answers            busy     too much to do, or stopping; try again (`seconds`)
//   key      a key is asked for         context  the conversation is longer than the model reads
//   broken   the answer ended midway    template the model has no chat template
//   failed   something broke inside the server
//   refused  any other objection, in the server's words

const KEY = "linnet-key";
const WAIT_FOR_LIST = 10_000; // milliseconds
const LONGEST_WAIT = 10; // seconds, until a file is sent again

export class ServerError extends Error {
  constructor(kind, message, seconds = null, code = null) {
    super(message);
    this.kind = kind;
    this.seconds = seconds;
    this.code = code;
  }
}

/** The key that is sent; kept while the tab is open, nowhere else. */
export const key = {
  value: null,
  get() {
    try {
      this.value ??= sessionStorage.getItem(KEY);
    } catch {
      // A browser that keeps nothing: it is asked for again after a reload.
    }
    return this.value ?? "";
  },
  set(value) {
    this.value = value;
    try {
      sessionStorage.setItem(KEY, value);
      if (!value) sessionStorage.removeItem(KEY);
    } catch {
      // As above.
    }
  },
};

/**
 * {models, dashboard: whether the figures of all answers are for this person}. The models: [{id, chat: may it be talked to, context: tokens, or null where unknown, documents: whether it
 * answers from documents, place: here, network or elsewhere, feedback: whether answers can be judged,
 * routes: whether it has others answer}].
 */
export async function models() {
  const response = await request("v1/models", { signal: AbortSignal.timeout(WAIT_FOR_LIST) });
  const { data, linnet } = await response.json().catch(() => ({}));
  if (!Array.isArray(data)) throw new ServerError("failed", "The server's list of models is none.");
  const writing = data.filter(({ linnet }) => !linnet?.embeddings); // the others make vectors, no text
  const found = writing.map(({ id, linnet }) => ({
    id: String(id),
    chat: linnet?.chat ?? true,
    context: Number.isFinite(linnet?.context) && linnet.context > 0 ? linnet.context : null,
    documents: Number.isFinite(linnet?.documents),
    place: String(linnet?.place ?? "here"),
    feedback: linnet?.feedback === true,
    routes: Array.isArray(linnet?.routes) && linnet.routes.length > 0,
  }));
  return { models: found, dashboard: linnet?.dashboard === true };
}

/**
 * What a model answers, piece by piece: {text, thought, refusal, own, finish, usage}, each where there is one;
 * `own`: what OpenAI's interface has no place for, such as citations.
 * `path` is chat/completions or completions. Ends early, without an error, when `signal` is aborted.
 */
export async function* answer(path, body, signal) {
  let finished = false;
  try {
    const asked = { ...body, stream: true, stream_options: { include_usage: true } };
    const response = await request(`v1/${path}`, { method: "POST", body: JSON.stringify(asked), signal });
    for await (const data of eventData(response.body)) {
      if (data === "[DONE]") return;
      const piece = pieceOf(data);
      finished ||= piece.finish !== null;
      yield piece;
    }
  } catch (error) {
    if (signal.aborted) return;
    // A connection that fails after the answer's start has failed midway.
    if (error instanceof ServerError) throw error;
    throw new ServerError("broken", "The connection broke off.");
  }
  if (!finished && !signal.aborted) throw new ServerError("broken", "The connection broke off.");
}

function pieceOf(data) {
  let event;
  try {
    event = JSON.parse(data);
  } catch {
    throw new ServerError("broken", "The server sent something that is no JSON.");
  }
  if (event.error) throw errorFrom(Number(event.error.code) || 500, event.error, null);
  const choice = event.choices?.[0];
  return {
    text: choice?.delta?.content ?? choice?.text ?? "",
    thought: choice?.delta?.reasoning_content ?? choice?.delta?.reasoning ?? "",
    refusal: choice?.delta?.refusal ?? "",
    own: Array.isArray(choice?.delta?.linnet) ? choice.delta.linnet : [],
    finish: choice?.finish_reason ?? null,
    usage: event.usage ?? null,
  };
}

/** What models beyond the server's machine would be sent: [{model, place, allowed, reasons, decisions, messages, most_cost, currency}]. */
export async function prospectsOf(model, messages) {
  const response = await request("v1/linnet/route", { method: "POST", body: JSON.stringify({ model, messages }) });
  return (await response.json()).models;
}

/** Say whether an answer was good, by the id of its call. */
export async function judgeCall(id, good) {
  await request("v1/linnet/feedback", { method: "POST", body: JSON.stringify({ id, good }) });
}

/** The text of a file: {name, kind, text, characters, left_out, more_left_out}; waits while the server reads others. */
export async function readFile(file, name, signal) {
  for (;;) {
    try {
      const path = `v1/linnet/attachments?${new URLSearchParams({ name })}`;
      const headers = { "Content-Type": "application/octet-stream" };
      return await (await request(path, { method: "POST", body: file, headers, signal })).json();
    } catch (error) {
      if (error.kind !== "busy" || error.seconds === null || error.seconds > LONGEST_WAIT) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1000 * error.seconds));
    }
  }
}

/** How many tokens a model reads of messages: {tokens, isLeast: whether there are more}. */
export async function countTokens(model, messages) {
  try {
    const response = await request("tokenize", { method: "POST", body: JSON.stringify({ model, messages }), signal: AbortSignal.timeout(WAIT_FOR_LIST) });
    return { tokens: (await response.json()).count, isLeast: false };
  } catch (error) {
    // What is too long is refused with its count, or with how far it was counted.
    const found = error.kind === "context" && /resulted in (at least )?(\d+) tokens/.exec(error.message);
    if (!found) throw error;
    return { tokens: Number(found[2]), isLeast: Boolean(found[1]) };
  }
}

/** Ask the server; throws a ServerError where it refuses. */
export async function request(path, options) {
  const headers = { "Content-Type": "application/json", ...options.headers };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    // A file that was changed or deleted since it was chosen cannot be sent, though the server is there.
    if (options.body instanceof Blob && (await isGone(options.body))) throw new ServerError("refused", "The file cannot be read any more.");
    throw new ServerError("gone", "The server does not answer.");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw errorFrom(response.status, body.error ?? {}, response.headers.get("Retry-After"));
}

function isGone(file) {
  return file.slice(0, 1).arrayBuffer().then(() => false, () => true);
}

function errorFrom(status, { message, code }, retryAfter) {
  const said = typeof message === "string" && message ? message : `The server answered with status ${status}.`;
  const seconds = /^\d{1,6}$/.test(retryAfter ?? "") ? Number(retryAfter) : null;
  if (status === 401) return new ServerError("key", said);
  if (code === "context_length_exceeded") return new ServerError("context", said);
  if (status === 429 || (status === 503 && code !== "engine_error")) return new ServerError("busy", said, seconds);
  if (status === 502 || status === 504) return new ServerError("gone", said);
  if (status === 400 && (code === "no_chat_template" || /\bchat template\b/i.test(said))) {
    return new ServerError("template", said);
  }
  return new ServerError(status >= 500 ? "failed" : "refused", said, null, code);
}

/** The data of server-sent events (https://html.spec.whatwg.org/#server-sent-events), comments left out. */
export async function* eventData(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      // A carriage return at the end may be the half of a line's end: it waits for what follows.
      const text = rest + value;
      const whole = text.endsWith("\r") ? text.slice(0, -1) : text;
      const lines = whole.split(/\r\n|\r|\n/);
      rest = lines.pop() + text.slice(whole.length);
      for (const line of lines) {
        if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
        else if (line === "" && data.length) {
          yield data.join("\n");
          data = [];
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
