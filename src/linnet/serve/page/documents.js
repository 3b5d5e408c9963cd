// The documents that a model answers from, as the server tells of them.

import { key, request, ServerError } from "./server.js";

function address(path, query) {
  return `v1/documents${path}?${new URLSearchParams(query)}`;
}

async function asked(path, query, options = {}) {
  const response = await request(address(path, query), options);
  return response.json();
}

/** A place of a document, with what stands around it. */
export function sourceOf(model, { source, start, end }, signal) {
  return asked("/source", { model, source, start, end }, { signal });
}

/** What is being made of the documents, and how many there are. */
export function statusOf(model) {
  return asked("/status", { model }, { signal: AbortSignal.timeout(10_000) });
}

/** Documents by name: {data, has_more}. */
export function listOf(model, { find = "", after = "", limit = 100 } = {}) {
  return asked("", { model, find, after, limit });
}

export function remove(model, name) {
  return asked(`/files/${pathOf(name)}`, { model }, { method: "DELETE" });
}

export function restore(model, name) {
  return asked("/restore", {}, { method: "POST", body: JSON.stringify({ model, name }) });
}

/** Say whether an answer was good. */
export function judge(model, question, evidence, good) {
  const body = {
    model, question: question.slice(0, 10_000), answer: evidence.outcome.id, good, refused: evidence.outcome.refused,
    probability: evidence.outcome.probability,
    citations: evidence.citations.map(({ source, start, end }) => ({ source, start, end })),
  };
  return asked("/feedback", {}, { method: "POST", body: JSON.stringify(body) });
}

/**
 * Add a file under a name; resolves to the name that it has then. `taken`: refuse, replace or keep, where
 * there is another one; `progress(share)`; rejects with a ServerError. (fetch does not tell how much was sent.)
 */
export function upload(model, name, file, { taken = "refuse", progress, signal }) {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    sending.open("PUT", new URL(address(`/files/${pathOf(name)}`, { model, taken }), document.baseURI));
    if (key.get()) sending.setRequestHeader("Authorization", `Bearer ${key.get()}`);
    sending.setRequestHeader("Content-Type", "application/octet-stream");
    sending.upload.addEventListener("progress", ({ loaded, total }) => total && progress(loaded / total));
    sending.addEventListener("load", () => {
      const answer = read(sending.responseText);
      if (sending.status === 201) resolve(answer.name);
      else reject(refusal(sending.status, answer.error ?? {}));
    });
    sending.addEventListener("error", () => reject(new ServerError("gone", "The server does not answer.")));
    sending.addEventListener("abort", () => reject(new ServerError("stopped", "Stopped.")));
    signal.addEventListener("abort", () => sending.abort());
    sending.send(file);
  });
}

function read(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

function refusal(status, { message, code }) {
  return new ServerError(status === 429 ? "busy" : "refused", message || `The server answered with status ${status}.`, null, code);
}

function pathOf(name) {
  return name.split("/").map(encodeURIComponent).join("/");
}
