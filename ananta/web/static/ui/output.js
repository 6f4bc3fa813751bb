// What a command printed. Little of it stands in the page at a time, however much there is.

import { h, put, readable, button } from "./dom.js";
import { t, number } from "./text.js";

const SHOWN_LINES = 40, SHOWN_CHARS = 6000, MORE_CHARS = 60000, LIVE_CHARS = 60000;
// What terminals are told (ECMA-48): colours, titles, moves. None of it is text.
const CONTROL = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[PX^_][^\u001b]*(?:\u001b\\)?|[ -/]*[0-~])|\u009b[0-?]*[ -/]*[@-~]/g;

export function plain(text) {
  const found = text.replace(CONTROL, "");
  if (!found.includes("\r")) return found;
  // What a program wrote over on its line is gone, as on a terminal.
  return found.replace(/\r+\n/g, "\n").split("\n").map((line) => line.slice(line.lastIndexOf("\r", line.length - 2) + 1)).join("\n").replaceAll("\r", "\n");
}

function box(label) {
  return h("div", { class: "output", tabindex: "0", role: "region", "aria-label": label });
}

/** Output that has ended: its beginning, and the rest piece by piece. */
export function output(raw) {
  const text = plain(raw), found = h("div", { class: "run" });
  if (!text.trim()) return h("p", { class: "muted" }, t("output.none"));
  const screen = box(t("output")), cut = foldAt(text);
  let at = cut;
  screen.append(h("div", null, readable(text.slice(0, cut))));
  found.append(screen);
  if (cut < text.length) {
    const more = button("", () => {
      screen.append(h("div", null, readable(text.slice(at, at + MORE_CHARS))));
      at += MORE_CHARS;
      name();
    }, { kind: "small" });
    const end = button(t("output.end"), () => {
      screen.append(h("div", null, "\n[…]\n", readable(text.slice(Math.max(at, text.length - MORE_CHARS)))));
      at = text.length;
      screen.scrollTop = screen.scrollHeight;
      name();
    }, { kind: "small plain" });
    const name = () => {
      put(more, t("output.more", { n: number(Math.max(0, text.length - at)) }));
      more.hidden = at >= text.length;
      end.hidden = text.length - at <= MORE_CHARS;
    };
    name();
    found.append(h("div", { class: "row" }, more, end, button(t("copy"), () => navigator.clipboard?.writeText(raw), { kind: "small plain", sign: "copy" })));
  }
  return found;
}

function foldAt(text) {
  let at = -1;
  for (let line = 0; line < SHOWN_LINES; line += 1) {
    at = text.indexOf("\n", at + 1);
    if (at < 0) return text.length <= SHOWN_CHARS * 1.5 ? text.length : SHOWN_CHARS;
    if (at > SHOWN_CHARS) return SHOWN_CHARS;
  }
  return text.length - at < 400 ? text.length : at;
}

/** Output that still comes: add(text, at) puts it at the end; of very much only the end stays. */
export function liveOutput() {
  const screen = box(t("output")), end = h("div");
  let have = 0, kept = 0, pending = "", due = 0;
  screen.append(end);
  const draw = () => {
    due = 0;
    const low = screen.scrollHeight - screen.scrollTop - screen.clientHeight < 40;
    const text = plain(pending);
    pending = "";
    end.append(h("span", null, readable(text)));
    kept += text.length;
    while (kept > LIVE_CHARS && end.childNodes.length > 1) {
      kept -= end.firstChild.textContent.length;
      end.firstChild.remove();
    }
    if (low) screen.scrollTop = screen.scrollHeight;
  };
  return {
    element: screen,
    add(text, at) {
      if (at + text.length <= have) return;
      pending = (pending + (at < have ? text.slice(have - at) : text)).slice(-LIVE_CHARS);
      have = at + text.length;
      due ||= requestAnimationFrame(draw);
    },
  };
}
