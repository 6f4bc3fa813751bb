// Who did what. For administrators.

import { h, put, line, readable, button } from "../dom.js";
import { t, time, number, named } from "../text.js";
import { said } from "../said.js";
import { get, news, query } from "../api.js";
import { wrong } from "../command.js";

const PAGE = 100, EXPORT_PAGE = 1000;

export default function audit({ signal }) {
  const list = h("ul", { class: "entries" }), told = h("div"), status = h("p", { class: "muted", role: "status" }), verified = h("div");
  const field = (name, type = "search") => h("input", { type, name, "aria-label": t("audit." + name), placeholder: t("audit." + name), oninput: later });
  const who = field("username"), what = field("action"), words = field("text"), since = field("since", "date"), until = field("until", "date");
  const more = button(t("more"), () => load(shown), { kind: "small" });
  let shown = 0, due = 0, turn = 0;

  const filters = () => ({ username: who.value.trim(), action: what.value.trim(), text: words.value.trim(),
    since: since.value && new Date(since.value + "T00:00").getTime() / 1000, until: until.value && new Date(until.value + "T00:00").getTime() / 1000 + 86400 });

  function later() {
    clearTimeout(due);
    due = setTimeout(() => load(0), 250);
  }

  async function load(offset) {
    const mine = ++turn;
    try {
      const found = await get("/audit-logs" + query({ limit: PAGE, offset, ...filters() }), { signal });
      if (mine !== turn) return;
      put(told);
      if (!offset) put(list, found.length ? null : h("li", { class: "empty" }, h("h2", null, t("audit.nothing"))));
      list.append(...found.map(entry));
      shown = offset + found.length;
      more.hidden = found.length < PAGE;
      put(status, t("audit.count", { n: number(shown) }));
    } catch (problem) {
      if (problem.name !== "AbortError") put(told, wrong(problem));
    }
  }

  function entry({ id, timestamp, username, ip, action, details }) {
    const place = h("div", { class: "details", hidden: true, id: "audit-" + id });
    const toggle = h("button", { class: "entry deed", type: "button", "aria-expanded": "false", "aria-controls": place.id, onclick: () => {
      place.hidden = !place.hidden;
      toggle.setAttribute("aria-expanded", String(!place.hidden));
      if (!place.childNodes.length) put(place, h("pre", { class: "said mono" }, readable(JSON.stringify(details, null, 2))), h("p", { class: "muted" }, t("audit.number", { n: id }), ip ? [" · ", readable(ip)] : null));
    } }, h("time", { class: "muted" }, time(timestamp)), h("strong", null, line(username, 40)), h("code", { title: action }, line(named("deed", action), 60)), h("span", { class: "muted" }, line(Object.values(details).filter((each) => typeof each !== "object").join(" · "), 80)));
    return h("li", null, toggle, place);
  }

  async function verify() {
    put(verified, h("p", { class: "muted", role: "status" }, t("audit.verifying")));
    try {
      const { good, entries, message } = await get("/audit-logs/verify", { signal });
      put(verified, h("p", { class: "row", role: "status" }, h("span", { class: "pill " + (good ? "good" : "bad") }, t(good ? "audit.good" : "audit.bad")), h("span", { class: "said" }, said(message)), h("small", null, t("audit.count", { n: number(entries) }))));
    } catch (problem) {
      if (problem.name !== "AbortError") put(verified, wrong(problem));
    }
  }

  /** All that fits, as JSON on one line each. */
  async function save() {
    const lines = [];
    try {
      for (let offset = 0; !signal.aborted; offset += EXPORT_PAGE) {
        const found = await get("/audit-logs" + query({ limit: EXPORT_PAGE, offset, ...filters() }), { signal });
        lines.push(...found.map((each) => JSON.stringify(each) + "\n"));
        put(status, t("audit.exporting", { n: number(lines.length) }));
        if (found.length < EXPORT_PAGE) break;
      }
    } catch (problem) {
      if (problem.name !== "AbortError") put(told, wrong(problem));
      return;
    }
    const url = URL.createObjectURL(new Blob(lines, { type: "application/jsonl" }));
    const link = h("a", { href: url, download: "audit.jsonl" });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  news.addEventListener("again", () => load(0), { signal });
  load(0);
  return h("div", { class: "narrow stack" }, h("div", { class: "head" }, h("h1", null, t("view.audit")), h("div", { class: "row" }, button(t("audit.verify"), verify, { kind: "small" }), button(t("audit.export"), save, { kind: "small" }))),
    h("div", { class: "filters slim" }, who, what, words, h("label", { class: "dated" }, t("audit.since"), since), h("label", { class: "dated" }, t("audit.until"), until)), told, verified, status, h("div", { class: "card" }, list, h("div", { class: "row" }, more)));
}
