// Figures as people read them. Times of the status are nanoseconds since the epoch.

export const ms = (ns) => ns / 1e6;

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`;
}

export function number(value) {
  return Math.round(value).toLocaleString("en-US");
}

export function short(value) {
  if (value < 1000) return value < 10 && value % 1 ? value.toFixed(1) : String(Math.round(value));
  if (value < 1e6) return `${(value / 1e3).toFixed(value < 1e4 ? 1 : 0)} k`;
  return `${(value / 1e6).toFixed(1)} M`;
}

// 0.4 s, 12 s, 5 min, 3 h 20 min, 12 days.
export function duration(milliseconds) {
  const seconds = milliseconds / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) {
    const hours = Math.floor(seconds / 3600);
    const minutes = Math.round((seconds % 3600) / 60);
    return hours < 10 && minutes > 0 && minutes < 60 ? `${hours} h ${minutes} min` : `${Math.round(seconds / 3600)} h`;
  }
  return `${Math.round(seconds / 86400)} days`;
}

export function ago(thenMs, nowMs) {
  const passed = nowMs - thenMs;
  if (passed < -1000) return `in ${duration(-passed)}`;
  return passed < 1500 ? "just now" : `${duration(passed)} ago`;
}

const pad = (value) => String(value).padStart(2, "0");

// 2026-11-21 10:00 by the viewer's clock; the seconds only where they matter.
export function time(milliseconds, withSeconds = false) {
  const date = new Date(milliseconds);
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  const clock = `${pad(date.getHours())}:${pad(date.getMinutes())}`;
  return `${day} ${clock}${withSeconds ? `:${pad(date.getSeconds())}` : ""}`;
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

// 21 Nov, for an axis.
export function day(milliseconds) {
  const date = new Date(milliseconds);
  return `${date.getDate()} ${MONTHS[date.getMonth()]}`;
}

// Names of jobs and classes begin their line.
export function title(text) {
  const words = text.replaceAll(/[-_]/g, " ").replaceAll(/\bduckdb\b/g, "DuckDB").replaceAll(/\bkms\b/g, "KMS");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
