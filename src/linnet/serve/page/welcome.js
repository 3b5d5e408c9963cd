// What is shown where nothing has been said yet.

import { byId, element, icon } from "./dom.js";

const MODES = [["chat", "Conversation"], ["text", "Continue a text"]];

/** `mode`: chat or text; `lasting`: whether the browser keeps conversations; `choose(mode)`. */
export function showWelcome({ mode, lasting, choose }) {
  const lines = [
    "What you write is sent to this server and nowhere else.",
    lasting
      ? "Conversations are kept in this browser."
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
      ...lines.map((line) => element("p", {}, line)),
      element("div", { class: "modes", role: "group", "aria-label": "What to do" }, ...modes),
    ),
  );
}
