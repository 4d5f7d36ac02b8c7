// Checks, storage and the newest runs.

import { byId, h, show, showFacts } from "./dom.js";
import { ago, bytes, duration, ms, number, time, title } from "./format.js";

const RUNS_MAX = 25;
const CLASS_COLOURS = 6;

export function showChecks({ status }, nowMs) {
  const rows = [];
  const verification = status.verification;
  if (verification) {
    const kind = verification.is_full ? "every block opened" : "every byte digested";
    rows.push(["Newest verification", `${ago(ms(verification.ended_ns), nowMs)}, ${kind}`]);
    rows.push(["Found", verification.is_whole ? `all ${number(verification.backups)} backups are intact` : `${number(verification.problems)} problems, ${number(verification.backups_whole)} of ${number(verification.backups)} backups are intact`]);
  } else {
    rows.push(["Newest verification", "none yet"]);
  }
  rows.push(["Newest restore drill", status.last_drill_ns ? ago(ms(status.last_drill_ns), nowMs) : "none yet"]);
  if (status.restore_estimate_seconds > 0) rows.push(["A restore would take", `about ${duration(status.restore_estimate_seconds * 1000)}`]);
  const checks = status.recent.filter((run) => /verif|drill/.test(run.job)).slice(0, 5);
  for (const run of checks) rows.push([title(run.job), `${time(ms(run.ended_ns))}: ${run.completed ? "good" : run.reason || "failed"}`]);
  showFacts(byId("checks"), rows);
}

export function showStorage({ status }) {
  const { storage, store } = status;
  const place = byId("storage");
  const total = storage.reduce((sum, kind) => sum + kind.bytes, 0);
  const facts = [storage, store, status.store_reachable];
  show(place, facts, () => {
    const bar = h("div", { class: "share", "aria-hidden": "true" }, ...storage.map((kind, index) => {
      const part = h("span", { "data-colour": String(index % CLASS_COLOURS) });
      part.style.flexGrow = String(Math.max(kind.bytes / Math.max(total, 1), 0.004));
      return part;
    }));
    const kinds = storage.map((kind, index) => h(
      "div",
      {},
      h("dt", {}, h("span", { class: "swatch", "data-colour": String(index % CLASS_COLOURS), "aria-hidden": "true" }), title(kind.class)),
      h("dd", {}, `${bytes(kind.bytes)} in ${number(kind.objects)} objects`),
    ));
    const requests = store.attempts > 0 ? `${number(store.attempts)} requests` : "no requests yet";
    const troubles = [[store.retries, "made again"], [store.slow_downs, "told to slow down"], [store.lost, "lost"]].filter(([count]) => count > 0).map(([count, what]) => `${number(count)} ${what}`);
    const rows = [
      ...(storage.length > 0 ? [h("div", {}, h("dt", {}, "In all"), h("dd", {}, bytes(total)))] : []),
      ...kinds,
      h("div", {}, h("dt", {}, "Store"), h("dd", {}, status.store_reachable ? "reachable" : "NOT REACHABLE")),
      h("div", {}, h("dt", {}, "Requests"), h("dd", {}, troubles.length > 0 ? `${requests}, ${troubles.join(", ")}` : requests)),
    ];
    return [storage.length > 0 ? bar : h("p", { class: "empty" }, "Not counted yet."), h("dl", { class: "facts" }, ...rows)];
  });
}

export function showRuns({ status }) {
  const runs = status.recent.slice(0, RUNS_MAX);
  show(byId("runs"), runs, () => {
    if (runs.length === 0) return [h("p", { class: "empty" }, "No run has ended yet.")];
    const heads = ["Ended", "Job", "Result", "Took", "Stored"].map((name) => h("th", { scope: "col" }, name));
    const rows = runs.map((run) => h(
      "tr",
      {},
      h("td", { "data-name": "Ended" }, time(ms(run.ended_ns), true)),
      h("td", { "data-name": "Job" }, title(run.job)),
      h("td", { "data-name": "Result" }, h("span", { class: "pill", "data-level": run.completed ? "safe" : "danger" }, run.completed ? "Done" : "Failed"), run.reason ? h("span", { class: "why" }, run.reason) : null),
      h("td", { "data-name": "Took" }, duration(ms(run.ended_ns - run.started_ns))),
      h("td", { "data-name": "Stored" }, run.stored_bytes > 0 ? bytes(run.stored_bytes) : "-"),
    ));
    return [h("table", { class: "stacks" }, h("caption", { class: "hidden" }, "Newest runs"), h("thead", {}, h("tr", {}, ...heads)), h("tbody", {}, ...rows))];
  });
}
