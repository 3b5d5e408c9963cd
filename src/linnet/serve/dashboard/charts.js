// Charts of values over time, as SVG: read by pointer, by the arrow keys, or as a table.

import { element } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 190;
const ABOVE = 10;
const BELOW = 24;

/** An element of SVG. */
export function shape(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** A table; cells that are numbers stand to the right. `names`: the columns. */
export function table(names, rows, caption = "") {
  const numeric = names.map((_, column) => rows.some((row) => row[column]?.isNumber));
  const side = (column) => (numeric[column] ? "n" : "name");
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption || names.join(", ") },
    element("table", {},
      element("thead", {}, element("tr", {}, ...names.map((name, column) => element("th", { scope: "col", class: side(column) }, name)))),
      element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((cell, column) => element("td", { class: side(column) }, cell?.text ?? cell)))))));
}

/** A cell of a table that is a number. */
export const cell = (text) => ({ text, isNumber: true });

/**
 * A panel with a chart. `kind`: bars (piled up) or lines. `series`: [{name, look, values}], of which a value may be
 * null; `labels`: of the places, `short` below them; `format`: of values.
 */
export function chart({ title, about, kind, labels, short, series, format }) {
  const readout = element("p", { class: "readout", role: "status" });
  const holder = element("div", {
    class: "chart", tabindex: "0", role: "group", "aria-roledescription": "chart",
    "aria-label": `${title}. Arrow keys read one after the other; a table follows.`,
  });
  const state = { chosen: null, width: 0, left: 0, step: 1 };
  const draw = () => holder.replaceChildren(drawn({ kind, short, series, format, state }));
  const choose = (place) => {
    const next = place === null ? null : Math.max(0, Math.min(labels.length - 1, place));
    if (next === state.chosen) return;
    state.chosen = next;
    readout.textContent = next === null ? "" : `${labels[next]}: ${series.map(({ name, values }) => `${name} ${values[next] === null ? "none" : format(values[next])}`).join(", ")}`;
    draw();
  };
  const at = (event) => Math.floor((event.clientX - holder.getBoundingClientRect().left - state.left) / state.step);
  holder.addEventListener("pointermove", (event) => choose(at(event)));
  holder.addEventListener("pointerdown", (event) => choose(at(event)));
  holder.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && choose(null));
  holder.addEventListener("blur", () => choose(null));
  holder.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (event.key === "Escape") choose(null);
    if (!(event.key in moves)) return;
    event.preventDefault();
    const from = state.chosen ?? (moves[event.key] > 0 ? -1 : labels.length);
    choose(from + moves[event.key]);
  });
  new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width);
    if (!width || width === state.width) return;
    state.width = width;
    draw();
  }).observe(holder);
  return element("section", { class: "panel" },
    element("h2", {}, title), element("p", {}, about),
    series.length > 1 && legend(kind, series), holder, readout,
    element("details", {}, element("summary", {}, "As a table"),
      table(["", ...series.map(({ name }) => name)],
        labels.map((label, place) => [label, ...series.map(({ values }) => cell(values[place] === null ? "–" : format(values[place])))]), title)));
}

function legend(kind, series) {
  return element("ul", { class: "legend" }, ...series.map(({ name, look }) => {
    const mark = kind === "bars"
      ? shape("rect", { width: 12, height: 12, rx: 2, class: `fill-${look}` })
      : shape("line", { x1: 0, x2: 12, y1: 6, y2: 6, class: `line line-${look}` });
    return element("li", {}, shape("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, mark), name);
  }));
}

function drawn({ kind, short, series, format, state }) {
  const count = short.length;
  const sums = short.map((_, place) => (kind === "bars" ? series.reduce((sum, { values }) => sum + (values[place] ?? 0), 0) : Math.max(0, ...series.map(({ values }) => values[place] ?? 0))));
  const ticks = ticksTo(Math.max(...sums, 0));
  const top = ticks.at(-1);
  state.left = Math.max(...ticks.map((tick) => format(tick).length)) * 7 + 8;
  state.step = Math.max(1, (state.width - state.left) / Math.max(1, count));
  const y = (value) => ABOVE + (HEIGHT - ABOVE - BELOW) * (1 - value / top);
  const x = (place) => state.left + place * state.step;
  const made = shape("svg", { viewBox: `0 0 ${state.width} ${HEIGHT}`, height: HEIGHT, "aria-hidden": "true" });
  if (state.chosen !== null) made.append(shape("rect", { class: "chosen", x: x(state.chosen), y: ABOVE, width: state.step, height: HEIGHT - ABOVE - BELOW }));
  for (const tick of ticks) {
    made.append(
      shape("line", { class: "axis", x1: state.left, x2: state.width, y1: y(tick), y2: y(tick) }),
      shape("text", { x: state.left - 6, y: y(tick) + 4, "text-anchor": "end" }, format(tick)),
    );
  }
  const widest = Math.max(...short.map((text) => text.length)) * 7 + 12;
  const every = Math.max(1, Math.ceil(widest / state.step));
  for (let place = 0; place < count; place += every) {
    const middle = x(place) + state.step / 2;
    if (middle + widest / 2 > state.width + 14) break;
    made.append(shape("text", { x: Math.max(middle, widest / 2 - 4), y: HEIGHT - 6, "text-anchor": "middle" }, short[place]));
  }
  if (kind === "bars") made.append(...piled(series, count, state, x, y));
  else for (const { look, values } of series) made.append(...lined(values, look, state, x, y));
  return made;
}

function* piled(series, count, state, x, y) {
  const gap = Math.min(3, state.step * 0.2);
  for (let place = 0; place < count; place++) {
    let sum = 0;
    for (const { look, values } of series) {
      const value = values[place] ?? 0;
      if (value > 0) yield shape("rect", { class: `fill-${look}`, x: x(place) + gap / 2, width: Math.max(1, state.step - gap), y: y(sum + value), height: Math.max(0.5, y(sum) - y(sum + value)) });
      sum += value;
    }
  }
}

/** A line with gaps where there is no value; a value alone is a dot. */
function* lined(values, look, state, x, y) {
  let run = [];
  for (let place = 0; place <= values.length; place++) {
    const value = values[place] ?? null;
    if (value !== null) {
      run.push([x(place) + state.step / 2, y(value)]);
      continue;
    }
    if (run.length === 1) yield shape("circle", { class: `fill-${look}`, cx: run[0][0], cy: run[0][1], r: 3 });
    if (run.length > 1) yield shape("path", { class: `line line-${look}`, d: `M${run.map(([a, b]) => `${a.toFixed(1)} ${b.toFixed(1)}`).join("L")}` });
    run = [];
  }
}

/** From 0 to at least the largest value, in three to five steps of 1, 2 or 5. */
export function ticksTo(most) {
  if (!(most > 0)) return [0, 1];
  const power = 10 ** Math.floor(Math.log10(most / 4));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => most / each <= 4.001);
  const ticks = [0];
  while (ticks.at(-1) < most * 0.999) ticks.push(ticks.length * step);
  return ticks;
}
