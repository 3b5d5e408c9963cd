// The page with the figures: asks the server for a report of a period, and shows it.

import { cell, chart, shape, table } from "./charts.js";
import { byId, element } from "./dom.js";

const KEY = "linnet-key"; // as the chat page keeps it: while the tab is open
const PERIODS = { "24h": "24 h", "7d": "7 days", "30d": "30 days", "90d": "90 days", all: "All" };
const AGAIN = 60_000; // milliseconds
const MARKS = { good: ["✓", "Good: "], bad: ["!", "To look at: "], open: ["?", "Not known: "], fact: ["·", ""] };
const DECIDED_BY = {
  request: "whoever asked", rule: "a rule", router: "the router", attempt: "the local answer, once it was there",
  policy: "the policy", budget: "the budget", failure: "a failure", default: "nothing else",
};
const FAR = 0.1; // from even, where a number of questions counts as moved

const page = { period: "7d", asked: 0, currency: "" };

function storedKey() {
  try {
    return sessionStorage.getItem(KEY) ?? page.key ?? "";
  } catch {
    return page.key ?? "";
  }
}

function keepKey(value) {
  page.key = value;
  try {
    sessionStorage.setItem(KEY, value);
  } catch {
    // A browser that keeps nothing: it is asked for again after a reload.
  }
}

/** The report of the period, or its refusal: {status, body}. */
async function ask(contents = false) {
  const headers = storedKey() ? { authorization: `Bearer ${storedKey()}` } : {};
  const query = new URLSearchParams({ since: page.period, ...(contents && { contents: "true" }) });
  const response = await fetch(`../v1/monitoring?${query}`, { headers, cache: "no-store" });
  return { status: response.status, body: await response.json().catch(() => ({})) };
}

async function load() {
  const number = ++page.asked;
  clearTimeout(page.timer);
  const report = byId("report");
  report.setAttribute("aria-busy", "true");
  let found;
  try {
    found = await ask();
  } catch {
    found = { status: 0, body: { error: { message: "The server does not answer." } } };
  }
  if (number !== page.asked) return; // another period was chosen meanwhile
  report.setAttribute("aria-busy", "false");
  const needsKey = found.status === 401 || (found.status === 403 && !page.refused);
  byId("door").hidden = !needsKey;
  const trouble = byId("trouble");
  trouble.hidden = found.status === 200 || (found.status === 401 && !storedKey());
  if (found.status === 200) {
    show(found.body);
    page.timer = setTimeout(load, AGAIN);
  } else {
    trouble.textContent = found.body.error?.message ?? `The server answered with ${found.status}.`;
    if (found.status === 0) page.timer = setTimeout(load, AGAIN);
    else report.replaceChildren();
    byId("state").textContent = "";
    if (needsKey) byId("key").focus();
  }
  document.body.dataset.ready = page.period;
}

function show(report) {
  const { figures } = report;
  page.currency = figures.currency;
  const open = new Set([...document.querySelectorAll("details[open]")].map((each) => each.dataset.name));
  const focused = document.activeElement?.closest?.("[data-name]")?.dataset.name;
  byId("report").replaceChildren(
    sentences(report.sentences),
    ...(figures.calls ? [tiles(figures), panels(report)] : []),
  );
  for (const details of document.querySelectorAll("details")) {
    details.dataset.name = details.closest(".panel")?.querySelector("h2")?.textContent ?? "";
    details.open = open.has(details.dataset.name);
  }
  for (const held of document.querySelectorAll(".chart")) held.dataset.name = held.getAttribute("aria-label");
  if (focused) document.querySelector(`.chart[data-name="${CSS.escape(focused)}"]`)?.focus();
  const now = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const { log } = report;
  byId("state").textContent = [
    `As of ${now}; looked at again every minute.`,
    log.keep_days ? `Counts are kept for ${count(log.keep_days)} days${log.keeps_contents ? ", with questions and answers" : ", without what was asked or answered"}.` : "",
    log.dropped ? `${count(log.dropped)} calls could not be noted since the server began.` : "",
    log.failing ? `The log cannot be written: ${log.failing}.` : "",
  ].filter(Boolean).join(" ");
}

function sentences(said) {
  return element("ul", { class: "sentences", "aria-label": "In short" }, ...said.map(({ mood, text }) => {
    const [mark, spoken] = MARKS[mood];
    return element("li", { class: mood },
      element("span", { class: "mark", "aria-hidden": "true" }, mark),
      element("span", { class: "text" }, spoken && element("span", { class: "unseen" }, spoken), text));
  }));
}

function tiles(figures) {
  const { realised, compared, would_cost: would, compared_cost: paid } = figures;
  const judged = figures.good + figures.bad;
  const every = [
    ["Questions", count(figures.calls), `${count(figures.prompt + figures.written)} tokens`],
    ["Answered", percent(figures.answered.value), interval(figures.answered)],
    figures.refused.part && ["Refused", percent(figures.refused.value), interval(figures.refused)],
    judged && ["Judged good", `${count(figures.good)} of ${count(judged)}`, realised.promised === null ? "" : `promised: at most ${percent(realised.promised)} wrong`],
    figures.grounded !== null && ["Supported statements", percent(figures.grounded), `in ${count(figures.grounded_calls)} answers`],
    ["Cost", money(figures.cost), `${count(figures.billed)} were billed`],
    compared && ["In the cloud", money(would), would === paid ? "the same" : would > paid ? `${money(would - paid)} more` : `${money(paid - would)} less`],
    figures.escalated.part && ["To larger models", percent(figures.escalated.value), `${count(figures.escalated.part)} answers`],
    figures.times.total.p50 && ["Half within", seconds(figures.times.total.p50.value), figures.times.total.p95 && `19 of 20 within ${seconds(figures.times.total.p95.value)}`],
  ];
  return element("dl", { class: "tiles" }, ...every.filter(Boolean).map(([name, value, more]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, value, more && element("span", { class: "more" }, more)))));
}

function panels(report) {
  const { figures } = report;
  const { spans } = figures;
  const labels = spans.map(({ name }) => longDate(name, figures.span));
  const short = spans.map(({ name }) => shortDate(name, figures.span));
  const of = (name) => spans.map((row) => row[name]);
  const per = figures.span === "hour" ? "each hour" : "each day";
  const shared = { labels, short };
  return element("div", { class: "panels" },
    spans.length > 0 && chart({
      ...shared, title: `Questions ${per}`, about: "What became of them.", kind: "bars", format: count,
      series: [
        { name: "answered", look: "first", values: of("answered") },
        { name: "refused or not let through", look: "refused", values: spans.map((row) => row.refused + row.held) },
        { name: "failed or given up", look: "failed", values: spans.map((row) => row.failed + row.left) },
      ],
    }),
    spans.length > 0 && (figures.cost > 0 || figures.compared > 0) && chart({
      ...shared, title: `Cost ${per}`, kind: "lines", format: money,
      about: report.compared_with ? `The cloud: ${report.compared_with} for everything.` : "What was billed, and what the cloud would have asked.",
      series: [
        { name: "billed", look: "first", values: of("cost") },
        { name: "the cloud instead", look: "second", values: of("would_cost") },
      ],
    }),
    spans.length > 0 && figures.times.total.calls > 0 && chart({
      ...shared, title: `Time of an answer ${per}`, about: "From the question's arrival to the answer's end.", kind: "lines", format: seconds,
      series: [
        { name: "half within", look: "first", values: of("p50") },
        { name: "19 of 20 within", look: "second", values: of("p95") },
      ],
    }),
    spans.length > 0 && figures.good + figures.bad > 0 && chart({
      ...shared, title: `Verdicts ${per}`, about: "Of people on the answers that they were given.", kind: "bars", format: count,
      series: [{ name: "good", look: "first", values: of("good") }, { name: "bad", look: "failed", values: of("bad") }],
    }),
    ...report.drift.filter(({ numbers }) => numbers.some(({ questions }) => questions)).map(drift),
    times(figures),
    report.budget.some(({ day_limit: day, month_limit: month }) => day !== null || month !== null) && budget(report.budget),
    report.models.length > 0 && health(report.models),
    figures.routes.length > 0 && panel("Who answered, and why", "Where a model was chosen for each question.",
      table(["Model", "Decided by", "Reason", "Questions"], figures.routes.map((each) =>
        [each.model, DECIDED_BY[each.decided_by] ?? each.decided_by, each.name, cell(count(each.calls))]), "Who answered, and why")),
    rows("By model", "Who answered.", "Model", figures.models),
    figures.keys.some(({ name }) => name) && rows("By key", "Who asked.", "Key", figures.keys),
    figures.failures.length > 0 && panel("What failed", "On the way to an answer; another way may have led there.",
      table(["What", "Questions"], figures.failures.map((each) => [each.name, cell(count(each.calls))]), "What failed")),
    report.log.keeps_contents && refusals(),
  );
}

function panel(title, about, ...children) {
  return element("section", { class: "panel" }, element("h2", {}, title), about && element("p", {}, about), ...children);
}

function rows(title, about, name, found) {
  const names = [name, "Questions", "Answered", "Refused", "Failed", "Good", "Bad", "Tokens", "Cost", "Half within"];
  const made = panel(title, about, table(names, found.map((row) => [
    row.name || "–",
    ...[row.calls, row.answered, row.refused + row.held, row.failed + row.left, row.good, row.bad, row.prompt + row.written].map((each) => cell(count(each))),
    cell(money(row.cost)), cell(row.p50 === null ? "–" : seconds(row.p50)),
  ]), title));
  made.classList.add("whole");
  return made;
}

function times({ times: found }) {
  const names = { queue: "waiting", retrieval: "searching the documents", first: "until the answer began", total: "all of it" };
  const within = (each) => cell(each ? `${seconds(each.value)}${each.low !== null && each.high !== null ? ` (${seconds(each.low)}–${seconds(each.high)})` : ""}` : "–");
  const every = Object.entries(names).filter(([name]) => found[name].calls);
  return every.length > 0 && panel("Where the time went", "In brackets: the 95 % interval.",
    table(["", "Half within", "19 of 20 within"], every.map(([name, label]) => [label, within(found[name].p50), within(found[name].p95)]), "Where the time went"));
}

/** How each number of the questions compares with before: even where nothing changed. */
function drift(found) {
  const than = found.reference === "gate" ? "those that the gate was fitted on" : "the first ones";
  const title = `Are questions${found.model ? ` to ${found.model}` : ""} like ${than}?`;
  const about = found.reference === "gate"
    ? "How often a question has more of it than one that the gate was fitted on. Dotted: half of the time, which is no change; bars: the 95 % interval, at all times."
    : "The same, compared with the first questions that were asked here.";
  const numbers = found.numbers.filter(({ questions }) => questions).map((each) => {
    const far = Math.abs(each.superiority - 0.5) > FAR ? " far" : "";
    const x = (share) => 4 + 192 * share;
    return element("div", { class: "number" },
      element("span", {}, each.about),
      shape("svg", { viewBox: "0 0 200 16", preserveAspectRatio: "none", "aria-hidden": "true" },
        shape("line", { class: "axis", x1: 4, x2: 196, y1: 8, y2: 8 }),
        shape("line", { class: "middle", x1: 100, x2: 100, y1: 0, y2: 16 }),
        shape("line", { class: `reach${far}`, x1: x(each.low), x2: x(each.high), y1: 8, y2: 8 }),
        shape("ellipse", { class: `dot${far}`, cx: x(each.superiority), cy: 8, rx: 3, ry: 5 })),
      element("span", { class: "value" }, percent(each.superiority), element("span", { class: "unseen" }, ` higher, between ${percent(each.low)} and ${percent(each.high)}; last week ${percent(each.recent)}`)));
  });
  const day = (at) => new Date(at * 1000).toLocaleDateString([], { day: "numeric", month: "long" });
  const alarms = found.alarms.slice(-3).map(({ began, last }) => (day(began) === day(last) ? day(began) : `${day(began)} to ${day(last)}`));
  const evidence = `${count(found.questions)} questions. Evidence of a change ${found.evidence.toFixed(1)}, an alarm is at ${found.needed.toFixed(1)}${alarms.length ? `; changed: ${alarms.join(", ")}` : ""}.`;
  return panel(title, about, element("div", { class: "numbers" }, ...numbers), element("p", {}, evidence));
}

function budget(accounts) {
  const used = (spent, limit) => {
    if (limit === null) return money(spent);
    const share = limit > 0 ? Math.min(1, spent / limit) : 1;
    return element("span", {}, `${money(spent)} of ${money(limit)}`,
      shape("svg", { class: "left", viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" },
        shape("rect", { class: "track", width: 100, height: 4 }),
        shape("rect", { class: `used${share > 0.9 ? " much" : ""}`, width: 100 * share, height: 4 })));
  };
  return panel("Budget", "What models that bill have cost, and may cost.",
    table(["", "Today", "This month", "Left today"], accounts.map((each) => [
      each.key === null ? "all together" : each.key || "without a key",
      used(each.day, each.day_limit), used(each.month, each.month_limit), cell(each.left === null ? "no limit" : money(each.left)),
    ]), "Budget"));
}

function health(models) {
  const states = { closed: "works", open: "left alone, as it failed", half_open: "is tried again" };
  return panel("Models beyond this machine", "",
    table(["Model", "State", "Attempts", "Failed", "Last failure"], models.map((each) =>
      [each.name, states[each.state] ?? each.state, cell(count(each.attempts ?? 0)), cell(count(each.failed ?? 0)), each.reason || "–"]), "Models beyond this machine"));
}

/** What was refused or judged bad lately; shown when somebody wants to see it. */
function refusals() {
  const list = element("ul", { class: "shown" });
  const button = element("button", { type: "button", class: "button", click: async () => {
    button.disabled = true;
    const { status, body } = await ask(true).catch(() => ({ status: 0, body: {} }));
    button.disabled = false;
    const found = status === 200 ? body.shown : [];
    list.replaceChildren(...found.map((each) => element("li", {},
      element("div", { class: "question" }, each.question),
      element("div", { class: "about" }, [
        new Date(each.at * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }),
        each.state === "refused" ? "refused" : "judged bad",
        each.probability === null ? "" : `${percent(each.probability)} likely to be right`,
      ].filter(Boolean).join(" · ")))));
    if (!found.length) list.append(element("li", {}, "There is none in this period."));
  } }, "Show them");
  const made = panel("Refused, or judged bad", "The last questions of this kind, as the log keeps what is asked.", button, list);
  made.classList.add("whole");
  return made;
}

const count = (number) => number.toLocaleString("en", { maximumFractionDigits: 0 });

function percent(share) {
  if (share === null || share === undefined) return "–";
  if (share > 0 && share < 0.001) return "under 0.1 %";
  const digits = share > 0 && share < 0.01 ? 1 : share > 0.99 && share < 1 ? 1 : 0;
  return `${(100 * share).toFixed(digits)} %`;
}

const interval = ({ low, high }) => (low === null ? "" : `between ${percent(low)} and ${percent(high)}`);

function seconds(value) {
  if (value === 0) return "0 s";
  if (value < 0.1) return `${Math.round(1000 * value)} ms`;
  return value < 10 ? `${Number(value.toFixed(1))} s` : `${Math.round(value)} s`;
}

/** Cents, and of less than one as many digits as say something. */
function money(value) {
  const digits = value >= 0.1 || value === 0 ? 2 : Math.min(8, 1 - Math.floor(Math.log10(value)));
  return `${value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })} ${page.currency}`.trim();
}

function moment(name, span) {
  return new Date(span === "hour" ? name : `${name}T00:00`);
}

const longDate = (name, span) => moment(name, span).toLocaleString([], span === "hour" ? { weekday: "short", hour: "2-digit", minute: "2-digit" } : { weekday: "short", day: "numeric", month: "long" });

const shortDate = (name, span) => moment(name, span).toLocaleString([], span === "hour" ? { hour: "2-digit", minute: "2-digit" } : { day: "numeric", month: "short" });

function showTheme() {
  const dark = window.linnetTheme.dark;
  byId("theme").textContent = dark ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", dark ? "Show it light" : "Show it dark");
}

function start() {
  const wanted = location.hash.slice(1);
  if (wanted in PERIODS) page.period = wanted;
  for (const [value, label] of Object.entries(PERIODS)) {
    byId("periods").append(element("label", {},
      element("input", { type: "radio", name: "period", value, checked: value === page.period, change: () => {
        page.period = value;
        history.replaceState(null, "", `#${value}`);
        load();
      } }), label));
  }
  byId("theme").addEventListener("click", () => {
    window.linnetTheme.choose(window.linnetTheme.dark ? "light" : "dark");
    showTheme();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
  byId("door").addEventListener("submit", (event) => {
    event.preventDefault();
    keepKey(byId("key").value.trim());
    byId("key").value = "";
    load();
  });
  showTheme();
  load();
}

start();
