// What a command printed. Little of it stands in the page at a time, however much there is.

import { h, put, readable, button } from "./dom.js";
import { t, number } from "./text.js";

const SHOWN_LINES = 40, SHOWN_CHARS = 6000, MORE_CHARS = 60000, LIVE_CHARS = 60000;
// What terminals are told (ECMA-48): colours, titles, moves. None of it is text.
// A title or a device's string that does not end hides nothing of what follows: of that only the beginning is left out.
const CONTROL = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b\n]{0,4096}(?:\u0007|\u001b\\)|[PX^_][^\u001b]{0,65536}\u001b\\|[ -/]*[0-~])|\u009b[0-?]*[ -/]*[@-~]/g;
const HELD = 4096; // of a sequence that is not whole yet

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
    const gap = h("div", { class: "gap", hidden: true }, "[…]");
    let last = text.length; // where what is shown of the end begins
    screen.append(gap);
    const more = button("", () => {
      const to = Math.min(last, at + MORE_CHARS);
      gap.before(h("div", null, readable(text.slice(at, to))));
      at = to;
      name();
    }, { kind: "small" });
    const end = button(t("output.end"), () => {
      last = Math.max(at, text.length - MORE_CHARS);
      screen.append(h("div", null, readable(text.slice(last))));
      name();
      screen.scrollTop = screen.scrollHeight;
    }, { kind: "small plain" });
    const name = () => {
      put(more, t("output.more", { n: number(last - at) }));
      more.hidden = gap.hidden = at >= last;
      gap.hidden ||= last === text.length;
      end.hidden = last < text.length || text.length - at <= MORE_CHARS;
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

/** How many characters a text has, as the server counts them: those beyond 16 bits are one, not two. */
function characters(text) {
  return text.length - (text.match(/[\ud800-\udbff][\udc00-\udfff]/g)?.length ?? 0);
}

/** The whole sequences and lines of a text, and what its end leaves open. */
function whole(text) {
  const start = text.lastIndexOf("\u001b");
  const open = start >= 0 && text.length - start < HELD && text.slice(start).replace(CONTROL, "").startsWith("\u001b") ? start : text.length;
  return [text.slice(0, open), text.slice(open)];
}

/** Output that still comes: add(text, at) puts it at the end, `at` in characters; of very much only the end stays. */
export function liveOutput() {
  const screen = box(t("output")), end = h("div"), now = h("span"); // now: the line that is not ended, which a program may write over
  let have = 0, kept = 0, pending = "", last = "", due = 0;
  screen.append(end, now);
  const draw = () => {
    due = 0;
    const low = screen.scrollHeight - screen.scrollTop - screen.clientHeight < 40;
    const [ready, open] = whole(pending), cut = (last + ready).lastIndexOf("\n") + 1, ended = plain((last + ready).slice(0, cut));
    last = (last + ready).slice(cut).slice(-LIVE_CHARS);
    pending = open;
    if (ended) end.append(h("span", null, readable(ended)));
    put(now, readable(plain(last.replace(/\r+$/, ""))));
    kept += ended.length;
    while (kept > LIVE_CHARS && end.childNodes.length > 1) {
      kept -= end.firstChild.textContent.length;
      end.firstChild.remove();
    }
    if (low) screen.scrollTop = screen.scrollHeight;
  };
  return {
    element: screen,
    add(text, at) {
      const size = characters(text);
      if (at + size <= have) return;
      pending = (pending + (at < have ? [...text].slice(have - at).join("") : text)).slice(-LIVE_CHARS);
      have = at + size;
      due ||= requestAnimationFrame(draw);
    },
  };
}
