// Lag, throughput and CPU over time, drawn by uPlot: history from the agent, then a point a second from the live stream.

import { byId, setText } from "./dom.js";
import { bytes, duration, short } from "./format.js";
import { history } from "./net.js";

const HEIGHT = 168;
// Steps of an axis of bytes.
const BINARY = Array.from({ length: 50 }, (_, power) => 2 ** power);
const charts = [];
let spanS = 600;
let columns = null;
let before = null;
let drawnMs = 0;

// Colours as the theme has them now: canvas does not know custom properties.
function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

const faded = (value, alpha) => value.replace(/^rgba?\(([^)]+)\)$/, (_, parts) => `rgba(${parts.split(",").slice(0, 3).join(",")}, ${alpha})`);

const clock = (seconds) => {
  const date = new Date(seconds * 1000);
  const pad = (value) => String(value).padStart(2, "0");
  return `${pad(date.getHours())}:${pad(date.getMinutes())}`;
};

function axes(format, increments) {
  const text = colour("muted");
  const grid = { stroke: colour("line"), width: 1 };
  const font = "11px system-ui, sans-serif";
  const common = { stroke: text, font, grid, ticks: { show: false } };
  return [
    { ...common, grid: { show: false }, values: (_, ticks) => ticks.map(clock), space: 64, size: 26 },
    { ...common, values: (_, ticks) => ticks.map(format), size: 62, space: 34, ...(increments ? { incrs: increments } : {}) },
  ];
}

const line = (label, name, filled) => {
  const stroke = colour(name);
  return { label, stroke, width: 1.6, fill: filled ? faded(stroke, 0.14) : undefined, points: { show: false } };
};

function chart(id, format, series, data, more = {}) {
  const element = byId(id);
  const options = {
    width: Math.max(element.clientWidth, 120),
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
    scales: { x: { time: true }, y: { range: (_, low, high) => [0, Math.max(more.least ?? 1, (high ?? 0) * 1.15)] }, ...more.scales },
    axes: axes(format, more.increments),
    series: [{}, ...series],
  };
  const plot = new uPlot(options, data(), element);
  charts.push({ plot, data, element });
  const label = byId(`${id}-now`);
  plot.over.addEventListener("mousemove", () => setText(label, more.at(plot.cursor.idx)));
  plot.over.addEventListener("mouseleave", () => setText(label, more.at(null)));
  charts.at(-1).say = () => {
    if (plot.cursor.idx === null || plot.cursor.idx === undefined || plot.cursor.left < 0) setText(label, more.at(null));
  };
}

let budget = 0;

function build() {
  for (const { plot } of charts.splice(0)) plot.destroy();
  const x = () => columns.time_ms.map((value) => value / 1000);
  const last = (index) => index ?? columns.time_ms.length - 1;
  chart("chart-lag", (value) => duration(value), [line("lag", "accent", true)], () => [x(), columns.lag_ms], {
    least: 1000,
    at: (index) => `${duration(columns.lag_ms[last(index)] ?? 0)}`,
  });
  chart("chart-flow", (value) => `${bytes(value)}/s`, [line("read", "accent", true), line("stored", "second", false)], () => [x(), columns.read_bytes_per_s, columns.stored_bytes_per_s], {
    least: 1024,
    increments: BINARY,
    at: (index) => `${short(columns.ops_per_s[last(index)] ?? 0)} ops/s, ${bytes(columns.read_bytes_per_s[last(index)] ?? 0)}/s`,
  });
  const budgets = () => columns.time_ms.map(() => (budget > 0 ? budget : null));
  const limit = { ...line("budget", "limit", false), dash: [5, 4] };
  chart("chart-cpu", (value) => `${value.toFixed(value < 10 && value % 1 ? 1 : 0)} %`, [line("CPU", "accent", true), limit], () => [x(), columns.cpu_percent, budgets()], {
    least: 1,
    at: (index) => `${(columns.cpu_percent[last(index)] ?? 0).toFixed(2)} % of the machine${budget > 0 ? `, ${budget} % allowed` : ""}`,
  });
  for (const each of charts) each.say();
}

function draw() {
  if (columns === null) return;
  if (charts.length === 0) build();
  for (const each of charts) {
    each.plot.setData(each.data());
    each.say();
  }
  for (const [id, text] of [["chart-lag", "Recovery point lag"], ["chart-flow", "Throughput"], ["chart-cpu", "CPU share"]]) {
    byId(id).setAttribute("aria-label", `${text} over the last ${duration(spanS * 1000)}, now ${byId(`${id}-now`).textContent}`);
  }
}

// Takes the figures of a second.
function append(status) {
  const timeMs = status.written_ns / 1e6;
  const seconds = before === null ? 0 : (timeMs - before.timeMs) / 1000;
  const rate = (name) => (seconds > 0 && status[name] >= before[name] ? (status[name] - before[name]) / seconds : 0);
  const rates = { ops: rate("head_op"), read: rate("log_bytes_read"), stored: rate("stored_bytes") };
  const goesOn = before !== null && before.timeline === status.timeline && before.head_op > 0;
  before = { timeMs, timeline: status.timeline, head_op: status.head_op, log_bytes_read: status.log_bytes_read, stored_bytes: status.stored_bytes };
  if (columns === null || timeMs <= (columns.time_ms.at(-1) ?? 0)) return;
  columns.time_ms.push(timeMs);
  columns.lag_ms.push(status.lag_ms);
  columns.ops_per_s.push(goesOn ? rates.ops : 0);
  columns.read_bytes_per_s.push(goesOn ? rates.read : 0);
  columns.stored_bytes_per_s.push(goesOn ? rates.stored : 0);
  columns.cpu_percent.push(status.cpu_share_10s_percent);
  const from = timeMs - spanS * 1000;
  const old = columns.time_ms.findIndex((value) => value >= from);
  if (old > 0) for (const values of Object.values(columns)) values.splice(0, old);
}

export function showCharts(status) {
  budget = status.cpu_budget_percent;
  append(status);
  // Over hours a second is less than a pixel.
  if (Date.now() - drawnMs >= Math.min(spanS * 2, 5000) - 200 || spanS <= 600) {
    drawnMs = Date.now();
    draw();
  }
}

export async function loadHistory() {
  try {
    columns = await history(spanS);
    draw();
  } catch {
    // The live stream says what is wrong.
  }
}

export function startCharts() {
  for (const input of document.querySelectorAll("input[name=span]")) {
    // A browser may keep a choice over a reload.
    if (input.checked) spanS = Number(input.value);
    input.addEventListener("change", () => {
      spanS = Number(input.value);
      loadHistory();
    });
  }
  new ResizeObserver(() => {
    for (const { plot, element } of charts) {
      const width = Math.max(element.clientWidth, 120);
      if (width !== plot.width) plot.setSize({ width, height: HEIGHT });
    }
  }).observe(document.querySelector(".charts"));
  // After hours of live points, thinned history takes less.
  setInterval(() => spanS > 600 && loadHistory(), 300_000);
}

export function redrawCharts() {
  if (columns === null) return;
  build();
}
