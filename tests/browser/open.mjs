// Opens pages in headless Chromium and prints, as JSON, what is wrong with them.
//
//     node open.mjs CHROMIUM WIDTHS PAGE... [--screenshots FOLDER]
//
// WIDTHS are pixels, separated by commas. Per page: errors of the console, pictures that do not decode, at each width
// elements that reach beyond the window and violations of the accessibility rules of axe-core, and on paper elements
// that are cut off. With a folder, screenshots at each width and a PDF are left there.
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import puppeteer from "puppeteer-core";

const [chromium, widths, ...rest] = process.argv.slice(2);
const at = rest.indexOf("--screenshots");
const folder = at < 0 ? null : rest[at + 1];
if (folder) mkdirSync(folder, { recursive: true });
const pages = at < 0 ? rest : rest.slice(0, at);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// What an A4 page has between the margins of the style sheet, and a Letter page along its shorter height: 182 × 247 mm.
const PAPER = { width: Math.floor((182 / 25.4) * 96), height: Math.floor((247 / 25.4) * 96) };

// Content may be wider than its own box only where that box scrolls; paper does not scroll, and has a height.
function overflowing(paperHeight) {
  const wide = document.documentElement.clientWidth;
  const scrolls = (element) => element && (getComputedStyle(element).overflowX === "auto" || scrolls(element.parentElement));
  const isWhole = (element) => ["IMG", "TR", "FIGCAPTION"].includes(element.tagName);
  const hides = (element) => getComputedStyle(element).overflowX !== "visible" && element.scrollWidth > element.clientWidth + 1;
  const isBeyond = (element) => element.getBoundingClientRect().right > wide + 1;
  const isTooWide = (element) => (paperHeight ? isBeyond(element) || hides(element) : isBeyond(element) && !scrolls(element));
  const isTooHigh = (element) => paperHeight && isWhole(element) && element.getBoundingClientRect().height > paperHeight;
  return [...document.body.querySelectorAll("*")]
    .filter((element) => isTooWide(element) || isTooHigh(element))
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
  const barriers = {};
  for (const width of widths.split(",").map(Number)) {
    await page.setViewport({ width, height: 900 });
    await page.goto(pathToFileURL(resolve(file)), { waitUntil: "load", timeout: 120000 });
    overflow[width] = await page.evaluate(overflowing);
    if (folder) await page.screenshot({ path: join(folder, `${basename(file, ".html")}-${width}.png`), fullPage: true });
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    barriers[width] = violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html.slice(0, 100)}`));
  }
  const pictures = await page.evaluate(undecoded);
  await page.setViewport(PAPER);
  await page.emulateMediaType("print");
  const cut = await page.evaluate(overflowing, PAPER.height);
  if (folder) await page.pdf({ path: join(folder, `${basename(file, ".html")}.pdf`), format: "A4", preferCSSPageSize: true });
  found[file] = { errors, undecoded: pictures, overflow, barriers, cut };
  await page.close();
}
await browser.close();
console.log(JSON.stringify(found));
