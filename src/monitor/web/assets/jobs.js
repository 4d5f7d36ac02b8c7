// Each job: what it does, how the last run went, when the next comes, and the buttons for whoever has the token.

import { byId, h, setAttribute, setText } from "./dom.js";
import { ago, bytes, duration, ms, time, title } from "./format.js";

const rows = new Map();

function build(job, onAction) {
  const part = (name, properties = {}) => h("p", { class: name, ...properties });
  const row = {
    element: h("li", { class: "job" }),
    name: h("h3", {}),
    pill: h("span", { class: "pill" }),
    what: part("job-what"),
    cadence: h("dd", {}),
    last: h("dd", {}),
    success: h("dd", {}),
    next: h("dd", {}),
    reason: part("job-reason"),
    step: part("job-step"),
    bar: h("progress", { max: "1" }),
    run: h("button", { type: "button", class: "quiet", "data-action": "run", onclick: () => onAction(job.name, "run") }, "Run now"),
    pause: h("button", { type: "button", class: "quiet", onclick: () => onAction(job.name, row.pause.dataset.action) }, "Pause"),
  };
  row.actions = h("div", { class: "job-actions" }, row.run, row.pause);
  row.progress = h("div", { class: "job-progress" }, row.bar, row.step);
  row.element.dataset.job = job.name;
  row.element.append(
    h("div", { class: "job-head" }, row.name, row.pill),
    row.what,
    row.progress,
    row.reason,
    h(
      "dl",
      { class: "job-facts" },
      h("div", {}, h("dt", {}, "Runs"), row.cadence),
      h("div", {}, h("dt", {}, "Last run"), row.last),
      h("div", {}, h("dt", {}, "Last success"), row.success),
      h("div", {}, h("dt", {}, "Next"), row.next),
    ),
    row.actions,
  );
  return row;
}

function state(job) {
  if (job.running) return ["running", "Running"];
  if (job.failures_in_a_row > 0) return ["danger", job.failures_in_a_row === 1 ? "Failed" : `Failed ${job.failures_in_a_row} times`];
  if (job.is_paused) return ["attention", "Paused"];
  if (job.last) return ["safe", "Fine"];
  return ["waiting", "Not run yet"];
}

function lastText({ last, outcome }, nowMs) {
  if (!last) return "never";
  const took = duration(ms(last.ended_ns - last.started_ns));
  const stored = last.completed && last.stored_bytes > 0 ? `, ${bytes(last.stored_bytes)} stored` : "";
  return `${ago(ms(last.ended_ns), nowMs)}, took ${took}${stored}${outcome ? `: ${outcome}` : ""}`;
}

function nextText(job, nowMs) {
  if (job.is_paused) return "paused";
  if (!job.next_ns) return job.next_reason || "-";
  const due = ms(job.next_ns);
  const when = due <= nowMs ? "due now" : `${ago(due, nowMs)}, ${time(due)}`;
  return job.next_reason ? `${when}: ${job.next_reason}` : when;
}

function update(row, job, actions, nowMs) {
  setText(row.name, title(job.name));
  const [level, words] = state(job);
  setAttribute(row.pill, "data-level", level);
  setText(row.pill, words);
  setText(row.what, job.title);
  setText(row.cadence, job.cadence || "-");
  const running = job.running;
  row.progress.hidden = !running;
  if (running) {
    const known = running.total_bytes > 0;
    if (known) row.bar.value = Math.min(running.position_bytes / running.total_bytes, 1);
    else row.bar.removeAttribute("value");
    setAttribute(row.bar, "aria-label", `${title(job.name)}: progress`);
    const done = known ? `${bytes(running.position_bytes)} of ${bytes(running.total_bytes)}` : running.position_bytes > 0 ? bytes(running.position_bytes) : "";
    setText(row.step, [running.step, done, `for ${duration(nowMs - ms(running.started_ns))}`].filter((text) => text !== "").join(", "));
  }
  const reason = job.last && !job.last.completed ? job.last.reason : "";
  row.reason.hidden = reason === "";
  setText(row.reason, reason);
  setText(row.last, lastText(job, nowMs));
  setText(row.success, job.last_success_ns ? ago(ms(job.last_success_ns), nowMs) : "never");
  setText(row.next, nextText(job, nowMs));
  row.actions.hidden = !actions;
  row.run.disabled = Boolean(running);
  setAttribute(row.run, "aria-label", `Run now: ${title(job.name)}`);
  const action = job.is_paused ? "resume" : "pause";
  setAttribute(row.pause, "data-action", action);
  setText(row.pause, job.is_paused ? "Resume" : "Pause");
  setAttribute(row.pause, "aria-label", `${job.is_paused ? "Resume" : "Pause"}: ${title(job.name)}`);
}

export function showJobs({ status, actions }, nowMs, onAction) {
  const list = byId("jobs");
  const names = status.jobs.map((job) => job.name);
  for (const [name, row] of rows) {
    if (!names.includes(name)) {
      row.element.remove();
      rows.delete(name);
    }
  }
  status.jobs.forEach((job, index) => {
    let row = rows.get(job.name);
    if (!row) {
      row = build(job, onAction);
      rows.set(job.name, row);
    }
    if (list.children[index] !== row.element) list.insertBefore(row.element, list.children[index] ?? null);
    update(row, job, actions, nowMs);
  });
  byId("jobs-empty").hidden = names.length > 0;
  setText(byId("jobs-note"), names.length > 0 && !actions ? "To start and pause jobs here, write token_file in [page]." : "");
}
