// The agents of this hub: who is there, how busy, what it ran last, and how another one joins.

import { h, put, line, readable, button } from "../dom.js";
import { t, ago, bytes, number } from "../text.js";
import { get, news, query } from "../api.js";
import { wrong } from "../command.js";

const EVERY_MS = 10000, SHOWN = 60, RECORDS = 1000;

export default function agents({ session, signal }) {
  const list = h("ul", { class: "agents" }), told = h("div"), status = h("p", { class: "muted", role: "status" });
  const filter = h("input", { type: "search", "aria-label": t("board.filter"), placeholder: t("board.filter"), "data-focus": true, oninput: () => show() });
  const more = button(t("more"), () => {
    most += SHOWN;
    show();
  }, { kind: "small", hidden: true });
  let found = [], last = new Map(), most = SHOWN;

  async function refresh() {
    try {
      const [all, records] = await Promise.all([get("/agents?format=list", { signal }), get("/logs" + query({ limit: RECORDS }), { signal }).catch(() => [])]);
      last = new Map(records.filter((each) => each.forwarded_to && each.command).map((each) => [each.forwarded_to, each]));
      found = all.sort((one, other) => (other.status === "online") - (one.status === "online") || one.name.localeCompare(other.name));
      put(told);
      show();
    } catch (problem) {
      if (problem.name !== "AbortError") put(told, wrong(problem));
    }
  }

  function show() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = found.filter((each) => words.every((word) => `${each.name} ${each.url}`.toLowerCase().includes(word)));
    put(status, t("agents.count", { n: number(found.filter((each) => each.status === "online").length), all: number(found.length) }));
    put(list, wanted.slice(0, most).map(entry));
    more.hidden = wanted.length <= most;
    if (!found.length) put(list, h("li", { class: "empty" }, h("h2", null, t("agents.none")), h("p", null, t("agents.none.how"))));
  }

  function entry({ name, url, status: state, last_seen, resources, has_token }) {
    const online = state === "online", record = last.get(url);
    return h("li", { class: "card agent" }, h("div", { class: "row spread" }, h("h2", null, line(name, 60)), h("span", { class: "pill " + (online ? "good" : "bad") }, t(online ? "agents.online" : "agents.offline"))),
      h("p", { class: "muted said" }, h("code", null, readable(url)), " · ", t("agents.seen", { when: ago(last_seen) }), has_token ? null : [" · ", t("agents.notoken")]),
      resources ? h("dl", { class: "row" }, fact(t("status.cpu"), `${number(resources.cpu_percent, 1)} %`), fact(t("status.memory"), bytes(resources.ram_bytes))) : null,
      record ? h("p", { class: "said" }, h("span", { class: "muted" }, t("agents.last"), " "), h("a", { href: "#/task/" + encodeURIComponent(record.task_id) }, h("code", null, line(record.command, 100))),
        h("small", null, " ", ago(record.timestamp))) : h("p", { class: "muted" }, t("agents.nothing")));
  }

  const timer = setInterval(() => document.visibilityState === "visible" && refresh(), EVERY_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
  news.addEventListener("again", refresh, { signal });
  news.addEventListener("event", ({ detail: { type } }) => type.startsWith("agent") && refresh(), { signal });
  refresh();
  const command = `ananta --agent-name NAME --hub-url ${location.origin}`;
  const copied = h("small", { role: "status" });
  return h("div", { class: "narrow stack" }, h("div", { class: "head" }, h("h1", null, t("view.agents")), h("div", { class: "filters" }, filter)), told, status, list, h("div", { class: "row" }, more),
    session.admin ? h("section", { class: "card stack", "aria-labelledby": "join" }, h("h2", { id: "join" }, t("agents.join")), h("p", { class: "muted" }, t("agents.join.how")),
      h("pre", { class: "command", tabindex: "0" }, command), h("div", { class: "row" }, button(t("copy"), () => navigator.clipboard?.writeText(command).then(() => put(copied, t("agents.copied")), () => put(copied, t("agents.notcopied"))) ?? put(copied, t("agents.notcopied")), { kind: "small", sign: "copy" }), copied)) : null);
}

function fact(name, value) {
  return h("div", null, h("dt", { class: "muted" }, name), h("dd", null, value));
}
