// Drives the chat page in a real browser, as a customer would: password reset, an angry customer who reaches a human, a
// question answered with a citation. Usage: node chat.mjs URL; SWITCHBOARD_NODE_MODULES names the folder with playwright-core.
// With SWITCHBOARD_SHOTS=DIR it leaves screenshots there.
import { createRequire } from "node:module";
import { join } from "node:path";
import assert from "node:assert/strict";

const require = createRequire(join(process.env.SWITCHBOARD_NODE_MODULES ?? "node_modules", "index.js"));
const { chromium } = require("playwright-core");
const url = process.argv[2];
const shots = process.env.SWITCHBOARD_SHOTS;
const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: flags });
let failed = 0;

async function scenario(name, play, options = {}) {
  const context = await browser.newContext({ viewport: { width: 420, height: 760 }, ...options });
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(`script error: ${error.message}`));
  page.on("console", (line) => line.type() === "error" && complaints.push(`console: ${line.text()}`));
  page.on("request", (request) => new URL(request.url()).origin === new URL(url).origin || complaints.push(`outside request: ${request.url()}`));
  try {
    await page.goto(`${url}/chat`);
    await play(page);
    assert.deepEqual(complaints, [], "the page complains");
    console.log(`✓ ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`✗ ${name}\n  ${error.message}`);
  } finally {
    if (shots) await page.screenshot({ path: join(shots, `${name.replaceAll(/\W+/g, "-")}.png`) });
    await context.close();
  }
}

const replies = (page) => page.locator(".ai-message");

async function say(page, text) {
  const before = await replies(page).count();
  await page.fill("#chat-input", text);
  await page.click("#send-button");
  await page.locator(".user-message", { hasText: text }).last().waitFor();
  await replies(page).nth(before).waitFor();
  return (await replies(page).nth(before).textContent()).toLowerCase();
}

await scenario("password reset to the end", async (page) => {
  assert.match(await say(page, "I forgot my password"), /email/);
  assert.match(await say(page, "user@example.com"), /reset link/);
  // What was said is there after a reload.
  await page.reload();
  await replies(page).nth(1).waitFor();
  assert.equal(await page.locator(".user-message").count(), 2);
});

await scenario("an angry customer reaches a human", async (page) => {
  for (const text of ["This is ridiculous!", "I've been trying to fix this for hours!", "I want to speak to a manager NOW!"]) {
    await say(page, text);
  }
  const last = page.locator(".system-message:last-child");
  await last.waitFor();
  assert.match((await last.textContent()).toLowerCase(), /human agent/);
});

await scenario("a question is answered with a citation", async (page) => {
  assert.match(await say(page, "How do I import my contacts from a CSV file?"), /csv/);
  const citation = replies(page).last().locator("button, summary").first();
  await citation.waitFor();
  await citation.click();
  await page.getByText(/import/i).last().waitFor();
});

await scenario("keyboard only", async (page) => {
  await page.locator("#chat-input").focus();
  await page.keyboard.type("What are your business hours?");
  await page.keyboard.press("Enter");
  await replies(page).first().waitFor();
});

await browser.close();
console.log(failed ? `${failed} failed` : "all passed");
process.exit(failed ? 1 : 0);
