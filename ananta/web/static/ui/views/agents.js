// The agents of this hub: who is there, how busy, what it ran last, and how another one joins.

import { h, put, line, readable, button, labelled } from "../dom.js";
import { t, ago, bytes, number } from "../text.js";
import { get, del, news, query } from "../api.js";
import { wrong } from "../command.js";
import { finder } from "../lists.js";

const EVERY_MS = 10000, RECORDS = 1000;

export default function agents({ session, signal }) {
  const list = h("ul", { class: "agents" }), told = h("div"), status = h("p", { class: "muted", role: "status" });
  const nothing = (any) => h("li", { class: "empty" }, any ? h("h2", null, t("log.nothing")) : [h("h2", null, t("agents.none")), h("p", null, t("agents.none.how"))]);
  const find = finder({ list, entry, nothing, text: ({ name, url }) => `${name} ${url}` });
  let last = new Map(), asked = null;

  async function refresh() {
    if (asked) return; // the question stays under the hand
    try {
      const [all, records] = await Promise.all([get("/agents?format=list", { signal }), get("/logs" + query({ limit: RECORDS }), { signal }).catch(() => [])]);
      last = new Map(records.filter((each) => each.forwarded_to && each.command).map((each) => [each.forwarded_to, each]));
      put(told);
      put(status, t("agents.count", { n: number(all.filter((each) => each.status === "online").length), all: number(all.length) }));
      find.draw(all.sort((one, other) => (other.status === "online") - (one.status === "online") || one.name.localeCompare(other.name)));
    } catch (problem) {
      if (problem.name !== "AbortError") put(told, wrong(problem));
    }
  }

  function entry({ name, url, status: state, last_seen, resources, model, commands, has_token }) {
    const online = state === "online", record = last.get(url);
    return h("li", { class: "card agent" }, h("div", { class: "row spread" }, h("h2", null, line(name, 60)), h("span", { class: "pill " + (online ? "good" : "bad") }, t(online ? "agents.online" : "agents.offline"))),
      h("p", { class: "muted said" }, h("code", null, readable(url)), " · ", t("agents.seen", { when: ago(last_seen) }), has_token ? null : [" · ", t("agents.notoken")]),
      resources || model || commands ? h("dl", { class: "row wide" }, fact(t("agents.model"), model ? [line(model.name, 60), h("small", { class: "muted" }, " ", model.provider)] : t("agents.model.none")),
        model?.context_tokens ? fact(t("agents.context"), t("agents.tokens", { n: number(model.context_tokens) })) : null,
        commands ? fact(t("status.commands"), `${number(commands.busy)} / ${number(commands.total)}`) : null,
        resources ? [fact(t("status.cpu"), `${number(resources.cpu_percent, 1)} %`), fact(t("status.memory"), bytes(resources.ram_bytes))] : null) : null,
      record ? h("p", { class: "said" }, h("span", { class: "muted" }, t("agents.last"), " "), h("a", { href: "#/task/" + encodeURIComponent(record.task_id) }, h("code", null, line(record.command, 100))),
        h("small", null, " ", ago(record.timestamp))) : h("p", { class: "muted" }, t("agents.nothing")),
      session.admin ? removal(name, url) : null);
  }

  /** Asks once more before it is removed. */
  function removal(name, url) {
    const remove = async () => {
      try {
        await del("/agents" + query({ url }));
      } catch (problem) {
        put(told, wrong(problem));
      }
      ask(null);
      refresh();
    };
    return asked === url
      ? h("div", { class: "row" }, h("span", null, t("agents.sure", { name })), button(t("users.remove.yes"), remove, { kind: "small danger", "data-asked": true }), button(t("cancel"), () => ask(null), { kind: "small" }))
      : h("div", { class: "row" }, button(t("remove"), () => ask(url), { kind: "small danger", "aria-label": t("users.remove.of", { name }) }));
  }

  function ask(url) {
    asked = url;
    find.show();
    list.querySelector("[data-asked]")?.focus();
  }

  const timer = setInterval(() => document.visibilityState === "visible" && refresh(), EVERY_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
  news.addEventListener("again", refresh, { signal });
  news.addEventListener("event", ({ detail: { type } }) => type.startsWith("agent") && refresh(), { signal });
  refresh();
  const command = h("pre", { class: "command", tabindex: "0" }), copied = h("small", { role: "status" });
  const name = h("input", { value: "alpha", maxlength: 64, oninput: () => join() }), address = h("input", { placeholder: "http:" + "//10.0.0.5:5000", oninput: () => join() });
  const copy = button(t("copy"), () => navigator.clipboard?.writeText(command.textContent).then(() => put(copied, t("agents.copied")), () => put(copied, t("agents.notcopied"))) ?? put(copied, t("agents.notcopied")), { kind: "small", sign: "copy" });
  const near = h("p", { class: "muted" }, t("agents.near"));
  const way = h("select", { onchange: () => join() }, ["service", "terminal", "windows"].map((each) => h("option", { value: each }, t("agents.way." + each))));

  /** The worker needs a token, for without one only its own machine reaches it, and an address at which this hub reaches it. */
  function join() {
    const url = address.value || address.placeholder, port = /:(\d+)\/?$/.exec(url)?.[1] ?? "5000";
    const options = ["--agent-name", name.value, "--hub-url", location.origin, "--agent-url", url, ...(port === "5000" ? [] : ["--port", port])].map(quoted).join(" ");
    copy.disabled = !address.value;
    near.hidden = !/^(localhost|127\.|\[::1\])/.test(location.hostname);
    put(copied);
    put(command, readable({ service: "sudo ./ananta service install ", terminal: "./ananta token new\n./ananta ", windows: ".\\ananta.exe token new\n.\\ananta.exe " }[way.value] + options));
  }

  join();
  return h("div", { class: "narrow stack" }, h("div", { class: "head" }, h("h1", null, t("view.agents")), h("div", { class: "filters" }, find.field)), told, status, list, h("div", { class: "row" }, find.more),
    session.admin ? h("section", { class: "card stack", "aria-labelledby": "join" }, h("h2", { id: "join" }, t("agents.join")), h("p", { class: "muted" }, t("agents.join.how")),
      h("div", { class: "fields" }, labelled(t("agents.way"), way), labelled(t("templates.name"), name), labelled(t("agents.url"), address)), command,
        near, h("div", { class: "row" }, copy, copied)) : null);
}

/** As one word of a shell, whatever was typed. */
function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "")}'`;
}

function fact(name, value) {
  return h("div", null, h("dt", { class: "muted" }, name), h("dd", null, value));
}
