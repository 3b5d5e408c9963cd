// What is said when something goes wrong, and what can be done about it.

import { element, icon } from "./dom.js";

/**
 * A notice for a ServerError. `act`: again(), leaveOut() or null where nothing can be left out,
 * isText: whether it is of a text, continueText(), giveKey(), newConversation().
 */
export function noticeFor(error, act) {
  const { title, text, buttons } = WORDS[error.kind](error, act);
  const row = element("div", { class: "notice-buttons" }, ...buttons.filter(Boolean));
  if (error.kind === "busy" && error.seconds) countDown(row.firstChild, error.seconds);
  return element(
    "div",
    { class: `notice-inside ${error.kind}` },
    icon("warning"),
    element("div", {}, element("p", { class: "notice-title" }, title), element("p", {}, text), row),
  );
}

function button(label, click, main = false) {
  return element("button", { type: "button", class: `button${main ? " main-button" : ""}`, click }, label);
}

const WAYS_OUT = {
  chat: "The oldest messages can be left out: you keep seeing them, the model no longer does.",
  text: "It can go on from the end alone: the text stays as it is, the model no longer reads its beginning.",
  none: "Shorten it, or choose a model with a longer context.",
};

const WORDS = {
  gone: (_, act) => ({
    title: "The server does not answer",
    text: "It may have been stopped, or the network is down. What you wrote is kept; this page looks again every few seconds.",
    buttons: [button("Try again", act.again, true)],
  }),
  broken: (_, act) => ({
    title: "The answer broke off",
    text: "The connection ended in the middle. What had arrived is kept.",
    buttons: [button("Answer again", act.again, true)],
  }),
  key: (error, act) => ({
    title: "This server asks for a key",
    text: error.message,
    buttons: [button("Enter a key", act.giveKey, true)],
  }),
  busy: (error, act) => ({
    title: "The server has too much to do right now",
    text: error.message,
    buttons: [button("Try again", act.again, true)],
  }),
  context: (error, act) => ({
    title: "This is more than the model can read at once",
    text: `${error.message} ${WAYS_OUT[act.leaveOut ? (act.isText ? "text" : "chat") : "none"]}`,
    buttons: [
      act.leaveOut && button(act.isText ? "Go on from its end" : "Leave out the oldest and try again", act.leaveOut, true),
      act.newConversation && button("New conversation", act.newConversation),
    ],
  }),
  template: (error, act) => ({
    title: "This model does not hold conversations",
    text: "It was not taught to answer: it continues a text that you begin.",
    buttons: [act.continueText && button("Begin a text", act.continueText, true)],
  }),
  failed: (error, act) => ({
    title: "Something went wrong on the server",
    text: error.message,
    buttons: [button("Try again", act.again, true)],
  }),
  refused: (error, act) => ({
    title: "The server refused this",
    text: error.message,
    buttons: [button("Try again", act.again, true)],
  }),
};

/** Let a button wait as long as the server asked for. */
function countDown(wait, seconds) {
  const label = wait.textContent;
  let left = Math.ceil(seconds);
  const show = () => {
    wait.disabled = left > 0;
    wait.textContent = left > 0 ? `${label} in ${left} s` : label;
    if (left-- > 0 && (wait.isConnected || left >= seconds - 1)) setTimeout(show, 1000);
  };
  show();
}
