// The page: takes each status from the agent and shows it, part by part; theme, token and actions.

import { byId, h, setAttribute, setText } from "./dom.js";
import { loadHistory, redrawCharts, showCharts, startCharts } from "./charts.js";
import { showJobs } from "./jobs.js";
import { Refused, act, follow, hasToken, keepToken } from "./net.js";
import { showWindow } from "./span.js";
import { showChecks, showRuns, showStorage } from "./tables.js";
import { showAgent, showLost, showVerdict } from "./verdict.js";

const TOAST_MS = 6000;
let newest = null;
// How far this clock is ahead of the agent's, so that "3 s ago" is right on both.
let aheadMs = 0;
let heardMs = null;
let lost = null;

const nowMs = () => Date.now() - aheadMs;

function showAll(view) {
  const now = nowMs();
  showVerdict(view, now);
  showJobs(view, now, onAction);
  showWindow(view, now);
  showChecks(view, now);
  showStorage(view);
  showRuns(view);
  showAgent(view, now);
  const button = byId("token-button");
  button.hidden = !view.actions && !hasToken();
  setText(button, hasToken() ? "Forget token" : "Enter token");
}

function onView(view) {
  if (heardMs === null || lost !== null) loadHistory();
  [newest, heardMs, lost] = [view, Date.now(), null];
  aheadMs = Date.now() - view.now_ns / 1e6;
  showAll(view);
  showCharts(view.status);
}

function onState(state, reason) {
  setAttribute(byId("link"), "data-state", state);
  setText(byId("link-text"), { live: "Live", lost: "No answer", token: "Token needed" }[state]);
  if (state === "live") return;
  if (state === "token") return openToken("The agent shows its figures to whoever has the token that token_file in [page] names.", () => stream.wake());
  lost = reason;
  showLost(reason, heardMs, Date.now());
}

// --- actions ---

function toast(text, level) {
  const element = h("p", { class: "toast", "data-level": level }, text);
  byId("toasts").append(element);
  setTimeout(() => element.remove(), TOAST_MS);
}

async function onAction(job, action) {
  if (!hasToken()) return openToken("", () => onAction(job, action));
  const done = { run: `${job} runs as soon as it can.`, pause: `${job} is paused.`, resume: `${job} goes on.` };
  try {
    await act(job, action);
    toast(done[action], "safe");
  } catch (error) {
    if (error instanceof Refused && error.status === 401) {
      keepToken(null);
      if (newest) showAll(newest);
      return openToken("", () => onAction(job, action), "That is not the token.");
    }
    toast(`${job}: ${error.message}`, "danger");
  }
}

let afterToken = null;
const why = byId("token-why").cloneNode(true);

function openToken(text, then, error = "") {
  const dialog = byId("token-dialog");
  if (dialog.open) return;
  afterToken = then;
  byId("token-why").replaceChildren(...(text ? [text] : [...why.cloneNode(true).childNodes]));
  setText(byId("token-error"), error);
  byId("token-input").value = "";
  dialog.showModal();
  byId("token-input").focus();
}

function startToken() {
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const value = byId("token-input").value.trim();
    if (value === "") return;
    keepToken(value);
    byId("token-dialog").close();
    byId("token-input").value = "";
    if (newest) showAll(newest);
    afterToken?.();
  });
  byId("token-cancel").addEventListener("click", () => byId("token-dialog").close());
  byId("token-button").addEventListener("click", () => {
    if (!hasToken()) return openToken("", () => {});
    keepToken(null);
    if (newest) showAll(newest);
    toast("The token is forgotten.", "safe");
  });
}

// --- theme ---

const systemDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (systemDark.matches ? "dark" : "light")) === "dark";

function nameTheme() {
  setAttribute(byId("theme-button"), "aria-label", isDark() ? "Use the light theme" : "Use the dark theme");
  redrawCharts();
}

function startTheme() {
  nameTheme();
  systemDark.addEventListener("change", nameTheme);
  byId("theme-button").addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem("amber-theme", theme);
    } catch {
      // Storage may be forbidden; the choice lasts until the page is loaded again.
    }
    nameTheme();
  });
}

startTheme();
startToken();
startCharts();
const stream = follow(onView, onState);
// Ages go on between two statuses, and when none comes any more.
setInterval(() => lost !== null && showLost(lost, heardMs, Date.now()), 1000);
