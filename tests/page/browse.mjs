// Real Chromium on the page, driven by Playwright: looks, clicks, types keys, and lets axe look. Called by tests/page.rs.
//
//   node browse.mjs '{"url":..., "token":..., "chromium":..., "modules":..., "jobs":true, "brief":false, "screenshots":null}'
//
// Prints what it has found out; ends with 1 and the reason at the first thing that is not as it must be.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { createRequire } from "node:module";
import path from "node:path";

const options = JSON.parse(process.argv[2]);
const origin = new URL(options.url).origin;
const PATIENCE = 20_000;
const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
];
const { chromium } = createRequire(path.join(options.modules, "x.js"))("playwright-core");
const axeSource = readFileSync(path.join(options.modules, "node_modules/axe-core/axe.min.js"), "utf8");

const said = (text) => console.log(`page: ${text}`);
const troubles = [];
const asked = [];

// Everything that a page asks for and complains of.
function watch(page) {
  page.setDefaultTimeout(PATIENCE);
  page.on("request", (found) => asked.push(found.url()));
  page.on("pageerror", (error) => troubles.push(`error: ${error.message}`));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) troubles.push(`console ${message.type()}: ${message.text()}`);
  });
}

function assertQuiet() {
  assert.deepEqual(troubles, [], "the console is not quiet");
  const foreign = asked.filter((url) => !url.startsWith(`${origin}/`) && !url.startsWith("data:") && !url.startsWith("blob:"));
  assert.deepEqual(foreign, [], "something was asked from elsewhere");
}

async function open(page) {
  await page.goto(options.url);
  await page.waitForFunction(() => document.querySelector("#verdict").dataset.level !== "waiting");
  await page.waitForFunction(() => document.querySelectorAll(".chart canvas").length === 3);
}

const durable = (page) => page.evaluate(() => [...document.querySelectorAll("#agent dt")].find((name) => name.textContent === "Durable")?.nextSibling.textContent);

async function checkLive(page) {
  const before = await durable(page);
  await page.waitForFunction((old) => {
    const name = [...document.querySelectorAll("#agent dt")].find((each) => each.textContent === "Durable");
    return name && name.nextSibling.textContent !== old;
  }, before);
  assert.equal(await page.locator("#link").getAttribute("data-state"), "live");
  said(`live: from ${before} to ${await durable(page)}`);
}

async function checkAxe(page, what) {
  await page.evaluate(axeSource);
  const found = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  const text = found.violations.map((each) => `${each.impact} ${each.id}: ${each.nodes.map((node) => node.target.join(" ")).join(", ")}`);
  const serious = found.violations.filter((each) => ["serious", "critical"].includes(each.impact));
  assert.equal(serious.length, 0, `axe, ${what}: ${text.join("\n")}`);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.equal(wide, 0, `${what}: the page is wider than its window`);
  said(`axe, ${what}: nothing serious, ${found.passes.length} rules hold, ${found.violations.length} lesser remarks${text.length > 0 ? ` (${text.join("; ")})` : ""}`);
}

const ground = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);

async function checkTheme(page) {
  const button = page.locator("#theme-button");
  const light = await ground(page);
  assert.equal(await button.getAttribute("aria-label"), "Use the dark theme");
  await button.click();
  const dark = await ground(page);
  assert.notEqual(light, dark, "the theme did not change");
  await page.reload();
  await page.waitForFunction(() => document.querySelector("#verdict").dataset.level !== "waiting");
  assert.equal(await ground(page), dark, "the choice stays");
  await button.click();
  assert.equal(await ground(page), light);
  said(`theme: ${light} and ${dark}`);
}

const focused = (page) => page.evaluate(() => {
  const element = document.activeElement;
  const style = getComputedStyle(element);
  // The mark of a radio button is on the text beside it.
  const mark = element.matches("input[type=radio]") ? getComputedStyle(element.nextElementSibling) : style;
  const name = element.getAttribute("aria-label") ?? element.textContent.trim().slice(0, 40);
  return { id: element.id, name, tag: element.tagName, seen: mark.outlineStyle !== "none" && parseFloat(mark.outlineWidth) >= 2 };
});

async function checkKeyboard(page) {
  await open(page);
  await page.keyboard.press("Tab");
  const skip = await focused(page);
  assert.equal(skip.name, "Skip to the figures");
  assert.ok(await page.locator(".skip").evaluate((link) => link.getBoundingClientRect().top >= 0), "the skip link is not seen");
  await page.keyboard.press("Enter");
  assert.equal((await focused(page)).id, "main");
  await page.evaluate(() => document.activeElement.blur());
  await page.reload();
  await page.waitForFunction(() => document.querySelectorAll(".chart canvas").length === 3);
  const reached = [];
  for (let step = 0; step < 60; step += 1) {
    await page.keyboard.press("Tab");
    const here = await focused(page);
    if (here.tag === "BODY") break;
    assert.ok(here.seen, `the focus on ${JSON.stringify(here)} cannot be seen`);
    reached.push(here.name || here.id);
  }
  for (const wanted of ["Skip to the figures", "Use the dark theme", "Table of the newest runs", "metrics"]) assert.ok(reached.includes(wanted), `${wanted} is not reached: ${reached.join(", ")}`);
  const before = await ground(page);
  await page.locator("#theme-button").focus();
  await page.keyboard.press("Space");
  assert.notEqual(await ground(page), before);
  await page.keyboard.press("Space");
  await page.locator("input[name=span]:checked").focus();
  const history = page.waitForResponse((response) => response.url().includes("span_s=3600") && response.ok());
  await page.keyboard.press("ArrowRight");
  await history;
  said(`keyboard: ${reached.length} stops, each of them seen`);
}

// What a page of another site, and a program without the token, can do: nothing.
async function checkStrangers(browser, page) {
  const post = (headers) => page.evaluate(async (more) => (await fetch("/api/jobs/checkpoint/run", { method: "POST", headers: more })).status, headers);
  assert.equal(await post({}), 401);
  assert.equal(await post({ "X-Amber-Action": "1", Authorization: "Bearer 00000000000000000000000000000000" }), 401);
  // The browser says each of these refusals on the console.
  troubles.splice(0);
  const server = createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<title>elsewhere</title>"));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const elsewhere = await browser.newPage();
  try {
    await elsewhere.goto(`http://127.0.0.1:${server.address().port}/`);
    const tried = await elsewhere.evaluate(async ({ target, token }) => {
      const attempt = async (more) => {
        try {
          const response = await fetch(`${target}/api/jobs/checkpoint/run`, { method: "POST", ...more });
          return response.type;
        } catch {
          return "refused";
        }
      };
      const read = await fetch(`${target}/api/status`).then((response) => response.text()).catch(() => "refused");
      const frame = document.createElement("iframe");
      frame.src = target;
      document.body.append(frame);
      await new Promise((resolve) => frame.addEventListener("load", resolve));
      return [
        await attempt({ mode: "no-cors" }),
        await attempt({ headers: { Authorization: `Bearer ${token}`, "X-Amber-Action": "1" } }),
        read,
      ];
    }, { target: origin, token: options.token });
    assert.ok(["opaque", "refused"].includes(tried[0]), tried[0]);
    assert.deepEqual(tried.slice(1), ["refused", "refused"]);
    const framed = elsewhere.frames().slice(1).map((frame) => frame.url());
    assert.ok(framed.length === 1 && framed[0].startsWith("chrome-error:"), `another site frames the page: ${framed}`);
  } finally {
    await elsewhere.close();
    server.close();
  }
  // Another name that points here.
  const status = await new Promise((resolve, reject) => {
    const headers = { host: "evil.test", authorization: `Bearer ${options.token}`, "x-amber-action": "1" };
    request(`${origin}/api/jobs/checkpoint/run`, { method: "POST", headers }, (response) => resolve(response.resume().statusCode)).on("error", reject).end();
  });
  assert.equal(status, 421);
  said("strangers: nothing can be read or changed");
}

async function checkJobs(page) {
  const job = page.locator("#jobs > li").first();
  const name = await job.getAttribute("data-job");
  await job.getByRole("button", { name: /^Run now/ }).click();
  const dialog = page.locator("#token-dialog");
  await dialog.waitFor({ state: "visible" });
  await checkAxe(page, "the token is asked for");
  await page.locator("#token-input").fill("this is not the token");
  await page.keyboard.press("Enter");
  await page.getByText("That is not the token.").waitFor();
  troubles.splice(0);
  await page.locator("#token-input").fill(options.token);
  await page.keyboard.press("Enter");
  await page.getByText(`${name} runs as soon as it can.`).waitFor();
  await job.getByRole("button", { name: /^Pause/ }).click();
  await job.locator(".pill", { hasText: "Paused" }).waitFor();
  // By keyboard, and the focus stays where it is while the row changes.
  await job.getByRole("button", { name: /^Resume/ }).focus();
  await page.keyboard.press("Enter");
  await job.getByRole("button", { name: /^Pause/ }).waitFor();
  assert.match((await focused(page)).name, /^Pause/);
  await page.reload();
  await page.getByRole("button", { name: "Forget token" }).click();
  await page.getByRole("button", { name: "Enter token" }).waitFor();
  said(`jobs: ${name} was run, paused and resumed with the token`);
}

async function checkUse(page) {
  await checkKeyboard(page);
  const jobs = await page.locator("#jobs > li").count();
  if (options.jobs) assert.ok(jobs > 0, "there are no jobs to click on");
  if (jobs > 0) await checkJobs(page);
}

async function screenshots(browser) {
  const looks = [
    ["page-light", { viewport: { width: 1240, height: 1480 }, colorScheme: "light" }],
    ["page-dark", { viewport: { width: 1240, height: 1480 }, colorScheme: "dark" }],
    ["page-phone", { viewport: { width: 360, height: 780 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, colorScheme: "light" }],
  ];
  for (const [name, look] of looks) {
    const context = await browser.newContext(look);
    const page = await context.newPage();
    await open(page);
    await page.waitForTimeout(1500);
    await page.screenshot({ path: path.join(options.screenshots, `${name}.png`) });
    await context.close();
  }
}

async function phone(browser) {
  for (const colorScheme of ["light", "dark"]) {
    const context = await browser.newContext({ viewport: { width: 360, height: 780 }, isMobile: true, hasTouch: true, colorScheme });
    const page = await context.newPage();
    watch(page);
    await open(page);
    await checkAxe(page, `phone, ${colorScheme}`);
    await context.close();
  }
}

const browser = await chromium.launch({ executablePath: options.chromium, args: FLAGS });
try {
  const context = await browser.newContext({ viewport: { width: 1240, height: 900 }, colorScheme: "light" });
  const page = await context.newPage();
  watch(page);
  await open(page);
  said(`verdict: ${await page.locator("#verdict-title").textContent()} (${await page.locator("#verdict").getAttribute("data-level")})`);
  await checkLive(page);
  await checkAxe(page, "light");
  if (!options.brief) await checkTheme(page);
  await page.emulateMedia({ colorScheme: "dark" });
  await page.evaluate(() => localStorage.removeItem("amber-theme"));
  await open(page);
  await checkAxe(page, "dark");
  await page.emulateMedia({ colorScheme: "light" });
  if (!options.brief) await checkUse(page);
  assertQuiet();
  await phone(browser);
  assertQuiet();
  if (!options.brief) await checkStrangers(browser, page);
  await checkLive(page);
  if (options.screenshots) await screenshots(browser);
  said(`quiet: ${asked.length} requests, none to elsewhere, no error on the console`);
} finally {
  await browser.close();
}
