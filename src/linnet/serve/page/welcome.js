// What is shown where nothing has been said yet.

import { byId, element, icon } from "./dom.js";

const MODES = [["chat", "Conversation"], ["text", "Continue a text"]];

/** `mode`: chat or text; `documents`: whether the model answers from documents; `place`: where conversations are kept, "" for nowhere; `choose(mode)`. */
export function showWelcome({ mode, documents, place, choose }) {
  const lines = [
    documents && "Answers come from the documents, with the places where they stand; or you are told that they do not say.",
    "What you write is sent to this server and nowhere else.",
    place
      ? `Conversations are kept ${place}.`
      : "This browser keeps nothing: conversations are gone when the page is closed.",
  ];
  const modes = MODES.map(([name, label]) =>
    element("button", { type: "button", "aria-pressed": String(mode === name), click: () => choose(name) }, label),
  );
  byId("welcome").replaceChildren(
    element(
      "div",
      { class: "welcome-inside" },
      element("span", { class: "welcome-mark" }, icon("linnet")),
      element("h2", {}, mode === "text" ? "Begin a text, the model goes on" : "What would you like to know?"),
      ...lines.filter(Boolean).map((line) => element("p", {}, line)),
      !documents && element("div", { class: "modes", role: "group", "aria-label": "What to do" }, ...modes),
    ),
  );
}
