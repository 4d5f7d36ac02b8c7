// The answer to the one question: is everything safe right now, and if not, why not and what to do.

import { byId, h, setAttribute, setText, show, showFacts, words } from "./dom.js";
import { ago, bytes, duration, ms, number, time } from "./format.js";

const LEVELS = { safe: "Fine", attention: "Look at this", danger: "Act now" };
const REASONS_MAX = 12;

const segments = (count) => `${number(count)} ${count === 1 ? "segment" : "segments"}`;

function newestFigures({ status }, nowMs) {
  const rows = [];
  rows.push(["Recovery point", status.lag_ops === 0 ? "nothing waits" : `${duration(status.lag_ms)} behind`]);
  const first = Math.min(...status.restorable.map((range) => range.first_timestamp_ns).filter((ns) => ns > 0));
  rows.push(["Restorable since", Number.isFinite(first) ? time(ms(first)) : "-"]);
  const checkpoint = status.last_checkpoint;
  rows.push(["Newest checkpoint", checkpoint ? ago(ms(checkpoint.ended_ns), nowMs) : "none yet"]);
  if (status.restore_estimate_seconds > 0) rows.push(["A restore would take", `about ${duration(status.restore_estimate_seconds * 1000)}`]);
  else rows.push(["Ops in the repository", number(status.durable_op)]);
  return rows;
}

export function showVerdict(view, nowMs) {
  const { verdict, status } = view;
  setAttribute(byId("verdict"), "data-level", verdict.level);
  setText(byId("verdict-title"), verdict.title);
  setText(byId("verdict-summary"), verdict.summary);
  const reasons = verdict.reasons.slice(0, REASONS_MAX);
  const list = byId("reasons");
  list.hidden = reasons.length === 0;
  show(list, reasons, () => reasons.map((reason) => h(
    "li",
    { class: "reason", "data-level": reason.level },
    h("span", { class: "pill", "data-level": reason.level }, LEVELS[reason.level] ?? reason.level),
    h("div", {}, h("p", {}, ...words(reason.text)), reason.advice ? h("p", { class: "advice" }, ...words(reason.advice)) : null),
  )));
  showFacts(byId("figures"), newestFigures(view, nowMs));
  const cluster = status.cluster ? `Cluster ${status.cluster}, replica ${status.replica}` : "Backup of a TigerBeetle ledger";
  setText(byId("place"), status.host ? `${cluster}, on ${status.host}` : cluster);
  document.title = `${{ safe: "Safe", attention: "Attention", danger: "NOT SAFE" }[verdict.level] ?? "Amber"} · Amber`;
}

// The agent cannot be reached: nothing is known of now, and that is no safe state.
export function showLost(reason, since, nowMs) {
  setAttribute(byId("verdict"), "data-level", "danger");
  setText(byId("verdict-title"), "The agent does not answer");
  const silent = since ? ` for ${duration(nowMs - since)}` : "";
  setText(byId("verdict-summary"), `Nothing has been heard${silent}; below is what it last said. See whether it runs: amber status, or systemctl status amber-agent.`);
  const list = byId("reasons");
  list.hidden = !reason;
  show(list, ["lost", reason], () => [h("li", { class: "reason", "data-level": "danger" }, h("span", { class: "pill", "data-level": "danger" }, "Lost"), h("div", {}, h("p", {}, reason ?? "")))]);
  document.title = "No answer · Amber";
}

export function showAgent({ status, version }, nowMs) {
  const lease = status.lease;
  const rows = [
    ["State", status.state.replaceAll("_", " ")],
    ["Lease", lease ? (lease.is_ours ? `ours, fence ${lease.fence}` : `${lease.holder}, fence ${lease.fence}`) : "not known yet"],
    ["Durable", status.durable_timestamp_ns ? `op ${number(status.durable_op)}, ${time(ms(status.durable_timestamp_ns), true)}` : `op ${number(status.durable_op)}`],
    ["Read", `op ${number(status.head_op)}`],
    ["Waits in memory", status.backlog_segments ? `${segments(status.backlog_segments)}, ${bytes(status.backlog_bytes)}` : "nothing"],
    ["Waits on disk", status.spool_segments ? `${segments(status.spool_segments)}, ${bytes(status.spool_bytes)}` : "nothing"],
    ["Shipped", `${segments(status.segments_shipped)}, ${bytes(status.log_bytes_read)} of log as ${bytes(status.stored_bytes)}`],
    ["Next checkpoint", status.next_checkpoint_reason || "-"],
    ["Bulk work waited", `${duration(status.bulk_waited_seconds * 1000)} for the limits`],
    ["Memory", bytes(status.memory_bytes)],
    ["CPU since it began", duration(status.cpu_seconds * 1000)],
    ["Process", `${status.pid}, began ${ago(ms(status.began_ns), nowMs)}`],
    ["Timeline", String(status.timeline)],
  ];
  if (status.events) {
    const waiting = status.events.waiting === 0 ? "none wait" : `${number(status.events.waiting)} wait${status.events.reason ? `: ${status.events.reason}` : ""}`;
    rows.push(["Events", `${number(status.events.delivered)} delivered, ${waiting}`]);
  }
  showFacts(byId("agent"), rows);
  setText(byId("version"), version);
}
