// Everything that goes to the agent, and the token that this tab may hold.
//
// The live stream is read with fetch and not with EventSource, because that cannot carry the token in a header. No cookie is ever set.

const TOKEN_KEY = "amber-token";
// A stream that says nothing for so long is dead; the agent says something every second.
const SILENCE_MS = 10_000;
const RETRY_MS_MAX = 10_000;

let kept = null;
try {
  kept = sessionStorage.getItem(TOKEN_KEY);
} catch {
  // Storage may be forbidden; then the token lasts until the page is loaded again.
}

export const hasToken = () => kept !== null;

export function keepToken(value) {
  kept = value;
  try {
    if (value === null) sessionStorage.removeItem(TOKEN_KEY);
    else sessionStorage.setItem(TOKEN_KEY, value);
  } catch {
    // As above.
  }
}

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  const headers = { ...(options.headers ?? {}) };
  if (kept !== null) headers.Authorization = `Bearer ${kept}`;
  const response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit", redirect: "error" });
  if (response.ok) return response;
  let message = `the agent answers ${response.status}`;
  try {
    message = (await response.json()).error.message;
  } catch {
    // An answer without a reason.
  }
  throw new Refused(response.status, message);
}

export const history = async (spanSeconds) => (await ask(`/api/history?span_s=${spanSeconds}`)).json();

// Starts, pauses or resumes a job.
export async function act(job, action) {
  await ask(`/api/jobs/${encodeURIComponent(job)}/${action}`, { method: "POST", headers: { "X-Amber-Action": "1" } });
}

// Calls `onView` for every status from now on, and `onState` with "live", "lost" or "token" (the agent wants one). `wake()` tries again at once.
export function follow(onView, onState) {
  let wake = () => {};
  const pause = (milliseconds) => new Promise((resolve) => {
    wake = resolve;
    setTimeout(resolve, milliseconds);
  });
  const run = async () => {
    let retryMs = 500;
    for (;;) {
      try {
        for await (const view of stream()) {
          retryMs = 500;
          onState("live");
          onView(view);
        }
        continue;
      } catch (error) {
        onState(error instanceof Refused && error.status === 401 ? "token" : "lost", error.message);
      }
      await pause(retryMs);
      retryMs = Math.min(retryMs * 2, RETRY_MS_MAX);
    }
  };
  run();
  return { wake: () => wake() };
}

// The events of one stream.
async function* stream() {
  const controller = new AbortController();
  let silence = setTimeout(() => controller.abort(), SILENCE_MS);
  try {
    const response = await ask("/api/live", { signal: controller.signal });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(silence);
      silence = setTimeout(() => controller.abort(), SILENCE_MS);
      text += value;
      const events = text.split("\n\n");
      text = events.pop();
      for (const event of events) {
        const data = event.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
        if (data !== "") yield JSON.parse(data);
      }
    }
  } finally {
    clearTimeout(silence);
    controller.abort();
  }
}
