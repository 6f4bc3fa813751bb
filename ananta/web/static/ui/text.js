// Words: the catalogue of the reader's language, and numbers, times and sizes as they are written there.

import en from "./en.js";
import de from "./de.js";

const CATALOGUES = { en, de };
export const LANGUAGES = { en: "English", de: "Deutsch" };

export function language() {
  let chosen = null;
  try {
    chosen = localStorage.getItem("ananta.language");
  } catch { /* no storage */ }
  return CATALOGUES[chosen] ? chosen : navigator.languages.map((each) => each.slice(0, 2)).find((each) => CATALOGUES[each]) ?? "en";
}

const said = {}, forms = [];

/** When what the server says can be told in the reader's language. Without that file it is told in English. */
export const words = language() === "de" ? import("./said-de.js").then(({ default: found }) => {
  Object.assign(said, found);
  for (const [from, to] of Object.entries(found)) {
    if (!/\{=?\w\}/.test(from)) continue;
    const pattern = from.replace(/[.*+?^$()|[\]\\]|\{(?!=?\w\})/g, "\\$&").replace(/\{=?(\w)\}/g, "(?<$1>[^]+)");
    forms.push([new RegExp(`^${pattern}$`), to]);
  }
}).catch(() => {}) : Promise.resolve();

/** What the server says, in the reader's language; null when that is not known, as it never is in English. */
export function translated(text) {
  if (Object.hasOwn(said, text)) return said[text];
  if (text.length > 2000) return null;
  for (const [pattern, to] of forms) {
    const parts = pattern.exec(text)?.groups;
    let whole = Boolean(parts);
    const found = whole && to.replace(/\{(=?)(\w)\}/g, (all, too, name) => {
      const part = too ? translated(parts[name]) : parts[name];
      whole &&= part !== null;
      return part;
    });
    if (whole) return found;
  }
  return null;
}

/** Something that the server names by a word, like a priority: "priority", "High". */
export function named(kind, word) {
  return has(`${kind}.${word}`) ? t(`${kind}.${word}`) : word;
}

export function setLanguage(name) {
  localStorage.setItem("ananta.language", name);
}

/** How numbers and times are written: as where the reader is, when that is said together with the language. */
function place() {
  return navigator.languages.find((each) => each.slice(0, 2) === language()) ?? language();
}

/** The text of a key, with {name} filled in; `n` chooses between "one | many". */
export function t(key, values = {}) {
  let text = CATALOGUES[language()][key] ?? said[key] ?? en[key] ?? key;
  if (text.includes(" | ")) text = text.split(" | ")[values.n === 1 ? 0 : 1];
  return text.replace(/\{(\w+)\}/g, (all, name) => (name in values ? String(values[name]) : all));
}

export function has(key) {
  return Object.hasOwn(en, key) || Object.hasOwn(said, key);
}

export function time(seconds) {
  const when = new Date(seconds * 1000), today = new Date().toDateString() === when.toDateString();
  return when.toLocaleString(place(), today ? { timeStyle: "medium" } : { dateStyle: "medium", timeStyle: "short" });
}

export function ago(seconds) {
  const passed = Math.max(0, Date.now() / 1000 - seconds);
  const format = new Intl.RelativeTimeFormat(place(), { numeric: "auto" });
  if (passed < 90) return format.format(-Math.round(passed), "second");
  if (passed < 5400) return format.format(-Math.round(passed / 60), "minute");
  if (passed < 129600) return format.format(-Math.round(passed / 3600), "hour");
  return format.format(-Math.round(passed / 86400), "day");
}

export function seconds(value) {
  return t("unit.seconds", { n: number(value, value < 1 ? 2 : value < 10 ? 1 : 0) });
}

/** How long that is, in words: "15 minutes". */
export function span(value) {
  const [n, unit] = value < 90 ? [value, "second"] : value < 5400 ? [value / 60, "minute"] : value < 129600 ? [value / 3600, "hour"] : [value / 86400, "day"];
  return Math.ceil(n).toLocaleString(place(), { style: "unit", unit, unitDisplay: "long" });
}

export function number(value, digits = 0) {
  return Number(value).toLocaleString(place(), { maximumFractionDigits: digits, minimumFractionDigits: 0 });
}

export function bytes(value) {
  const units = ["B", "KB", "MB", "GB"];
  let at = 0;
  while (value >= 1000 && at < 3) {
    value /= 1000;
    at += 1;
  }
  return `${number(value, at && value < 10 ? 1 : 0)} ${units[at]}`;
}
