// What can be restored, as a time line: a bar for each history, holes where the log has gaps.

import { byId, h, s, setText, show } from "./dom.js";
import { ago, day, duration, ms, number, time } from "./format.js";

const WIDTH = 1000;
const ROW = 30;
// Nothing is drawn thinner than this, so that a short range can still be seen.
const LEAST = 4;

const ends = (range, nowMs) => {
  const last = range.last_timestamp_ns > 0 ? ms(range.last_timestamp_ns) : nowMs;
  return [range.first_timestamp_ns > 0 ? ms(range.first_timestamp_ns) : null, last];
};

function ticks(from, to) {
  const steps = [1, 5, 15, 60, 180, 360, 720, 1440, 2880, 10080, 43200, 129600, 525600].map((minutes) => minutes * 60_000);
  const step = steps.find((candidate) => (to - from) / candidate <= 6) ?? steps.at(-1);
  const zone = new Date(from).getTimezoneOffset() * 60_000;
  const first = Math.ceil((from - zone) / step) * step + zone;
  const found = [];
  for (let at = first; at <= to; at += step) found.push(at);
  return { at: found, withClock: step < 86_400_000, withDay: to - from > 86_400_000 / 2 };
}

function tickText(at, { withClock, withDay }) {
  const clock = time(at).slice(11);
  if (withClock && withDay) return clock === "00:00" ? day(at) : clock;
  return withClock ? clock : day(at);
}

function drawing(ranges, gaps, from, to) {
  const x = (at) => ((Math.min(Math.max(at, from), to) - from) / Math.max(to - from, 1)) * WIDTH;
  const timelines = [...new Set(ranges.map((range) => range.timeline))];
  const height = timelines.length * ROW;
  const bars = ranges.map((range) => {
    const [first, last] = ends(range, to);
    const left = x(first ?? from);
    const width = Math.max(x(last) - left, LEAST);
    const y = timelines.indexOf(range.timeline) * ROW + 5;
    const bar = s("rect", { class: "range", x: Math.min(left, WIDTH - width), y, width, height: ROW - 10, rx: 3 });
    bar.append(s("title", {}, `timeline ${range.timeline}: ops ${number(range.first_op)} to ${number(range.last_op)}`));
    return bar;
  });
  const holes = timelines.flatMap((timeline, row) => {
    const own = ranges.filter((range) => range.timeline === timeline);
    return own.slice(1).map((range, index) => {
      const begin = x(ends(own[index], to)[1]);
      const width = Math.max(x(ends(range, to)[0] ?? to) - begin, LEAST);
      const hole = s("rect", { class: "hole", x: begin, y: row * ROW + 5, width, height: ROW - 10 });
      hole.append(s("title", {}, `ops ${number(own[index].last_op + 1)} to ${number(range.first_op - 1)} cannot be restored`));
      return hole;
    });
  });
  const graphic = s("svg", { class: "span", viewBox: `0 0 ${WIDTH} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": sentence(ranges, gaps, to) }, ...holes, ...bars);
  graphic.style.height = `${height}px`;
  return graphic;
}

function sentence(ranges, gaps, nowMs) {
  const first = Math.min(...ranges.map((range) => ends(range, nowMs)[0] ?? nowMs));
  const holes = gaps.length === 0 ? "without a gap" : `with ${gaps.length} ${gaps.length === 1 ? "gap" : "gaps"}`;
  return `Any op of ${duration(nowMs - first)} can be restored, ${holes}`;
}

export function showWindow({ status }, nowMs) {
  const { restorable, gaps } = status;
  const place = byId("window");
  if (restorable.length === 0) {
    setText(byId("window-note"), "");
    show(place, ["none", gaps], () => [h("p", { class: "empty" }, "Nothing yet. After the first checkpoint every op can be restored, to the newest."), ...gapList(gaps)]);
    return;
  }
  setText(byId("window-note"), `${sentence(restorable, gaps, nowMs)}.`);
  const firsts = restorable.map((range) => ends(range, nowMs)[0]).filter((first) => first !== null);
  const from = Math.min(...firsts, nowMs - 60_000);
  // Redrawn as often as a pixel is worth.
  const grain = Math.max((nowMs - from) / WIDTH, 1000);
  const facts = [Math.floor(nowMs / grain), restorable.length, restorable[0].first_op, gaps.length];
  show(place, facts, () => {
    const marks = ticks(from, nowMs);
    const axis = h("div", { class: "axis", "aria-hidden": "true" }, ...marks.at.map((at) => {
      const mark = h("span", {}, tickText(at, marks));
      const share = ((at - from) / Math.max(nowMs - from, 1)) * 100;
      mark.style.left = `${Math.min(Math.max(share, 3), 95)}%`;
      return mark;
    }));
    return [drawing(restorable, gaps, from, nowMs), axis, rangeTable(restorable, nowMs), ...gapList(gaps)];
  });
}

function rangeTable(ranges, nowMs) {
  const rows = [...ranges].reverse().slice(0, 8).map((range) => {
    const [first, last] = ends(range, nowMs);
    return h(
      "tr",
      {},
      h("td", { "data-name": "Timeline" }, String(range.timeline)),
      h("td", { "data-name": "From" }, first === null ? "-" : time(first)),
      h("td", { "data-name": "To" }, nowMs - last < 60_000 ? "now" : `${time(last)}, ${ago(last, nowMs)}`),
      h("td", { "data-name": "Ops" }, `${number(range.first_op)} to ${number(range.last_op)}`),
    );
  });
  const heads = ["Timeline", "From", "To", "Ops"].map((name) => h("th", { scope: "col" }, name));
  return h("table", { class: "stacks" }, h("caption", { class: "hidden" }, "Ranges that can be restored"), h("thead", {}, h("tr", {}, ...heads)), h("tbody", {}, ...rows));
}

function gapList(gaps) {
  if (gaps.length === 0) return [];
  return [h("ul", { class: "gaps" }, ...gaps.slice(-5).map((gap) => h(
    "li",
    {},
    `Ops ${number(gap.first_op)} to ${number(gap.last_op)} are missing since ${time(ms(gap.noticed_ns))}: ${gap.reason}.`,
  )))];
}
