// Opens pages in headless Chromium and prints, as JSON, what is wrong with them.
//
//     node open.mjs CHROMIUM WIDTHS PAGE... [--screenshots FOLDER]
//
// WIDTHS are pixels, separated by commas. Per page: errors of the console, pictures that do not decode, elements
// that reach beyond the window at each width, and violations of the accessibility rules of axe-core.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import puppeteer from "puppeteer-core";

const [chromium, widths, ...rest] = process.argv.slice(2);
const at = rest.indexOf("--screenshots");
const folder = at < 0 ? null : rest[at + 1];
const pages = at < 0 ? rest : rest.slice(0, at);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// Content may be wider than its own box only where that box scrolls.
function overflowing() {
  const wide = document.documentElement.clientWidth;
  const scrolls = (element) => element && (getComputedStyle(element).overflowX === "auto" || scrolls(element.parentElement));
  return [...document.body.querySelectorAll("*")]
    .filter((element) => element.getBoundingClientRect().right > wide + 1 && !scrolls(element))
    .map((element) => `${element.tagName.toLowerCase()}.${element.className} ${element.textContent.trim().slice(0, 40)}`);
}

async function undecoded() {
  const pictures = [...document.images];
  const decoded = await Promise.all(pictures.map((picture) => picture.decode().then(() => true, () => false)));
  return pictures.filter((picture, i) => !decoded[i] || !picture.naturalWidth).map((picture) => picture.alt);
}

const browser = await puppeteer.launch({ executablePath: chromium, args: ["--no-sandbox", "--disable-gpu"] });
const found = {};
for (const file of pages) {
  const page = await browser.newPage();
  const errors = [];
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("requestfailed", (request) => errors.push(`request failed: ${request.url().slice(0, 80)}`));
  const overflow = {};
  for (const width of widths.split(",").map(Number)) {
    await page.setViewport({ width, height: 900 });
    await page.goto(pathToFileURL(resolve(file)), { waitUntil: "load", timeout: 120000 });
    overflow[width] = await page.evaluate(overflowing);
    if (folder) await page.screenshot({ path: join(folder, `${basename(file, ".html")}-${width}.png`), fullPage: true });
  }
  const pictures = await page.evaluate(undecoded);
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const barriers = violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html.slice(0, 100)}`));
  found[file] = { errors, undecoded: pictures, overflow, barriers };
  await page.close();
}
await browser.close();
console.log(JSON.stringify(found));
