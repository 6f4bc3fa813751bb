// What the server says, for a page: in the reader's language, or marked as English.

import { h, readable } from "./dom.js";
import { language, translated } from "./text.js";

export function said(text) {
  const known = translated(text);
  return known === null && language() !== "en" ? h("span", { lang: "en" }, readable(text)) : readable(known ?? text);
}

/** The message of a problem, with what of it is English marked as such. */
export function told({ message, foreign }) {
  const at = foreign && language() !== "en" ? message.indexOf(foreign) : -1;
  return at < 0 ? message : [message.slice(0, at), h("span", { lang: "en" }, foreign), message.slice(at + foreign.length)];
}
