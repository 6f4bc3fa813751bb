// What ran, newest first.

import { h, put, line, readable, button } from "../dom.js";
import { t, time, seconds, translated } from "../text.js";
import { get, news, query } from "../api.js";
import { commandText, ending, outcome, wrong } from "../command.js";
import { output } from "../output.js";

const STEP = 100, MOST = 1000, EVERY_MS = 4000;

export default function log({ session, signal, parameters }) {
  const list = h("ul", { class: "entries" }), told = h("div"), status = h("span", { class: "sr", role: "status" });
  const filter = h("input", { type: "search", "aria-label": t("log.filter"), placeholder: t("log.filter"), "data-focus": true, oninput: () => show() });
  const more = button(t("more"), () => {
    limit = Math.min(MOST, limit + 200);
    refresh();
  }, { kind: "small" });
  let records = [], limit = STEP, shownKey = "";
  const open = new Set();

  async function refresh() {
    try {
      records = (await get("/logs" + query({ limit, task_id: parameters[0] }), { signal })).reverse();
      put(told);
      show();
    } catch (problem) {
      if (problem.name !== "AbortError") put(told, wrong(problem));
    }
  }

  function show() {
    const wanted = filter.value.trim().toLowerCase();
    const found = records.filter((each) => !wanted || [each.command, each.output, each.task_id, each.agent, each.decided_by, each.reason].some((text) => text && String(text).toLowerCase().includes(wanted)));
    const key = wanted + "|" + found.map((each) => each.id ?? each.timestamp).join();
    more.hidden = records.length < limit || limit >= MOST;
    if (key === shownKey) return;
    shownKey = key;
    const focused = document.activeElement?.dataset?.id;
    put(list, found.length ? found.map(entry) : h("li", { class: "empty" }, h("h2", null, t(wanted ? "log.nothing" : "log.empty"))));
    put(status, t("log.count", { n: found.length }));
    if (focused) [...list.querySelectorAll(".entry")].find((each) => each.dataset.id === focused)?.focus();
  }

  function entry(record) {
    const id = String(record.id ?? record.timestamp), place = h("div", { class: "details", hidden: true, id: "log-" + id });
    const toggle = h("button", { class: "entry", type: "button", "aria-expanded": "false", "aria-controls": place.id, "data-id": id, onclick: () => turn(place.hidden) },
      h("time", { class: "muted" }, time(record.timestamp)),
      ending(record),
      h("code", null, line(record.command ?? (record.tool_calls ?? []).map((each) => each.name).join(", "))),
      h("span", { class: "muted" }, seconds(record.duration ?? 0)));
    function turn(on) {
      place.hidden = !on;
      toggle.setAttribute("aria-expanded", String(on));
      if (on) open.add(id);
      else open.delete(id);
      if (on && !place.childNodes.length) put(place, details(record));
    }
    if (open.has(id)) turn(true);
    return h("li", null, toggle, place);
  }

  function details(record) {
    const task = record.task_id;
    return [record.reason ? h("p", { class: "said" }, readable(translated(record.reason) ?? record.reason)) : null, record.command ? commandText(record.command) : null,
      outcome(record), output(record.output ?? ""),
      h("p", { class: "muted said" }, t("log.where", { agent: record.agent ?? "" }), task ? [" · ", session.role === "hub" && !task.startsWith("ask-") ? h("a", { href: "#/task/" + encodeURIComponent(task) }, readable(task)) : readable(task)] : null,
        record.cwd ? [" · ", h("code", null, readable(record.cwd))] : null)];
  }

  const timer = setInterval(() => document.visibilityState === "visible" && refresh(), EVERY_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
  news.addEventListener("again", refresh, { signal });
  refresh();
  return h("div", { class: "narrow" }, h("div", { class: "head" }, h("h1", null, t("view.log")), h("div", { class: "filters" }, filter)), told, status,
    h("div", { class: "card" }, list, h("div", { class: "row" }, more)));
}
