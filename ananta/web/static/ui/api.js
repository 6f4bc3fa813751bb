// The one way to the data: the public interface, as this page's session. What fails becomes a sentence.

import { t, has, words, translated, span } from "./text.js";

/**
 * What went wrong: `message` is for people, `foreign` the part of it that is not in their language (see said.js), `code` and
 * `status` are for programs (status 0: no answer at all).
 */
export class Problem extends Error {
  constructor(message, code, status, body = {}, foreign = "") {
    super(message);
    this.foreign = foreign;
    this.code = code;
    this.status = status;
    this.body = body;
  }
}

const CSRF = "ananta.csrf";
export const news = new EventTarget(); // "signed-out", "offline", "online", and "event" with a message of /events

export function tell(type, detail) {
  news.dispatchEvent(new CustomEvent(type, { detail }));
}

let pageToken = null;

export function keepToken(token) {
  pageToken = token;
  try {
    if (token) localStorage.setItem(CSRF, token);
    else localStorage.removeItem(CSRF);
  } catch { /* then this tab alone is signed in */ }
}

export function token() {
  try {
    return localStorage.getItem(CSRF) ?? pageToken;
  } catch {
    return pageToken;
  }
}

export async function request(method, path, body, { signal, key, quiet = false } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET") headers["X-CSRF-Token"] = token() ?? "";
  if (key) headers["Idempotency-Key"] = key;
  let answer;
  try {
    answer = await fetch(path, { method, headers, signal, credentials: "same-origin", cache: "no-store",
      body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (failure) {
    if (failure.name === "AbortError") throw failure;
    tell("offline");
    throw new Problem(t("error.offline"), "offline", 0);
  }
  tell("online");
  const content = answer.headers.get("Content-Type")?.startsWith("application/json") ? await answer.json().catch(() => null) : null;
  await words;
  if (answer.ok) return content;
  if (answer.status === 401 && !quiet) tell("signed-out");
  throw problem(answer.status, content ?? {});
}

/** What the server says, told to a person: what to do here stands in for what programs would do. */
function problem(status, body) {
  const { code = "http_" + status, retry_after: wait = 1, reasons = [] } = body;
  const said = (body.message ?? t("error.http", { n: status })).replace(/: (GET )?\/[^ ]+ lists [^.]+\./, ".");
  const known = translated(said), key = "error." + (/^missing_|(name|template)_required$/.test(code) && !has("error." + code) ? "missing" : code);
  const why = reasons.map((each) => translated(each) ?? each).join("; "), own = has(key) ? t(key) : null;
  // A text that begins with the server's sentence adds to it; any other one stands in for it.
  if (known !== null && !own?.startsWith("{message}")) return new Problem(known, code, status, body);
  const full = known ?? said, whole = /[.!?]$/.test(full) ? full : full + ".";
  return new Problem(own === null ? said : t(key, { message: whole, reasons: why, time: span(wait), field: body.details ?? "", cid: body.cid ?? "" }),
    code, status, body, known === null && body.message ? said : "");
}

export const get = (path, options) => request("GET", path, undefined, options);
export const post = (path, body = {}, options) => request("POST", path, body, options);
export const patch = (path, body, options) => request("PATCH", path, body, options);
export const put = (path, body, options) => request("PUT", path, body, options);
export const del = (path, options) => request("DELETE", path, undefined, options);

/** The query string of these fields; what is null or "" is left out. */
export function query(fields) {
  const found = new URLSearchParams(Object.entries(fields).filter(([, value]) => value !== null && value !== undefined && value !== ""));
  return found.size ? "?" + found : "";
}

export function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((each) => each.toString(16).padStart(2, "0")).join("");
}
