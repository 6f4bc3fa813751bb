// Teams: their members and roles, the kinds of team there are, and the roles of each kind.

import { h, put, line, readable, button, labelled } from "../dom.js";
import { t } from "../text.js";
import { get, post, patch, del, news } from "../api.js";
import { wrong } from "../command.js";
import { finder } from "../lists.js";

const at = (path, ...ids) => path + ids.map((each) => "/" + encodeURIComponent(each)).join("");

export default function teams({ session, signal }) {
  const list = h("div", { class: "stack" }), kinds = h("div", { class: "stack" }), told = h("div"), editor = h("div"), status = h("p", { class: "muted", role: "status" });
  let all = [], types = [], roles = [], agents = [], templates = [];
  const opened = new Set();  // the kinds whose roles are looked at, which stay open when all is drawn anew
  const role = (id) => roles.find((each) => each.id === id)?.name ?? t("teams.norole"), agent = (url) => agents.find((each) => each.url === url)?.name ?? url;
  const find = finder({ list, entry: card, nothing: (any) => h("div", { class: "empty" }, h("h2", null, t(any ? "log.nothing" : "teams.none"))),
    text: (each) => `${each.name} ${each.description ?? ""} ${each.members.map((one) => agent(one.agent_url)).join(" ")}` });

  async function refresh() {
    try {
      // First: where there is no kind of team, this makes those everybody knows, with their roles and templates.
      types = await get("/teams/types", { signal });
      [all, roles, agents, templates] = await Promise.all([get("/teams", { signal }), get("/teams/roles", { signal }), get("/agents?format=list", { signal }), get("/templates", { signal })]);
      put(told);
      find.draw(all);
      put(kinds, types.map(kind));
    } catch (problem) {
      if (problem.name !== "AbortError") put(told, wrong(problem));
    }
  }

  async function act(work, text, values) {
    try {
      await work();
      put(told);
      await refresh();
      put(status, t(text, values));
      return true;
    } catch (problem) {
      put(told, wrong(problem));
      return false;
    }
  }

  /** A button that asks once more before it does what cannot be taken back. */
  function removal(what, work, text) {
    const place = h("span", { class: "row" }), first = button(t("remove"), () => {
      put(place, h("span", null, t("teams.sure", { name: what })), button(t("users.remove.yes"), () => act(work, text, { name: what }), { kind: "small danger" }), button(t("cancel"), () => put(place, first), { kind: "small" }));
      place.querySelector("button").focus();
    }, { kind: "small danger", "aria-label": t("users.remove.of", { name: what }) });
    return put(place, first);
  }

  function card(each) {
    return h("article", { class: "card stack team" }, h("div", { class: "row spread" }, h("h2", null, line(each.name, 100)),
      h("span", { class: "row" }, each.team_type_id ? h("span", { class: "pill" }, line(types.find((one) => one.id === each.team_type_id)?.name ?? "", 40)) : null, each.is_active ? h("span", { class: "pill good" }, t("teams.active")) : null)),
    each.description ? h("p", { class: "said" }, readable(each.description)) : null,
    each.members.length ? h("ul", { class: "members" }, each.members.map((one) => h("li", null, h("span", null, line(agent(one.agent_url), 60)), h("small", null, line(role(one.role_id), 60))))) : h("p", { class: "muted" }, t("teams.nobody")),
    session.admin ? h("div", { class: "row" }, button(t("edit"), () => edit(each), { kind: "small", sign: "pencil" }),
      each.is_active ? null : button(t("teams.activate"), () => act(() => post(at("/teams", each.id) + "/activate"), "teams.activated", { name: each.name }), { kind: "small" }),
      removal(each.name, () => del(at("/teams", each.id)), "teams.removed")) : null);
  }

  const select = (label, value, options, none) => h("select", { "aria-label": label }, none === undefined ? null : h("option", { value: "" }, none), options.map(([id, name]) => h("option", { value: id, selected: id === value }, line(name, 80))));

  function edit(each) {
    const name = h("input", { value: each.name ?? "", required: true, maxlength: 200 }), text = h("textarea", { rows: 3, value: each.description ?? "" });
    const type = select(t("teams.type"), each.team_type_id, types.map((one) => [one.id, one.name]), t("teams.notype"));
    const members = h("ul", { class: "stack" }), wrongs = h("div");
    const allowed = () => types.find((one) => one.id === type.value)?.role_ids;
    const add = (one = {}) => {
      const known = agents.map((each) => [each.url, each.name]);
      if (one.agent_url && !known.some(([url]) => url === one.agent_url)) known.push([one.agent_url, one.agent_url]);
      const ids = allowed(), who = select(t("teams.member"), one.agent_url, known), what = select(t("users.role"), one.role_id, roles.filter((each) => !ids?.length || ids.includes(each.id) || each.id === one.role_id).map((each) => [each.id, each.name]), t("teams.norole"));
      const how = select(t("task.template"), one.custom_template_id, templates.map((each) => [each.id, each.name]), t("task.template.none"));
      const row = h("li", { class: "row member" }, who, what, how, button(t("remove"), () => row.remove(), { kind: "small" }));
      members.append(row);
    };
    each.members?.forEach(add);
    put(editor, h("form", { class: "card stack", onsubmit: async (event) => {
      event.preventDefault();
      const body = { name: name.value.trim(), description: text.value || null, team_type_id: type.value || null, members: [...members.children].map((row) => {
        const [who, what, how] = [...row.querySelectorAll("select")].map((field) => field.value || null);
        return { agent_url: who, role_id: what, custom_template_id: how };
      }).filter((one) => one.agent_url) };
      try {
        await (each.id ? patch(at("/teams", each.id), body) : post("/teams", body));
        put(editor);
        put(status, t("teams.saved", { name: body.name }));
        await refresh();
      } catch (problem) {
        put(wrongs, wrong(problem));
      }
    } }, h("h2", null, each.id ? line(each.name, 100) : t("teams.new")), h("div", { class: "fields" }, labelled(t("templates.name"), name), labelled(t("teams.type"), type)), labelled(t("teams.goal"), text),
    h("h3", null, t("teams.members")), members, h("div", null, button(t("teams.add"), () => add(), { kind: "small", sign: "plus", disabled: !agents.length })), wrongs,
    h("div", { class: "row" }, h("button", { class: "button primary" }, t("save")), button(t("cancel"), () => put(editor)))));
    editor.scrollIntoView({ block: "nearest" });
    name.focus();
  }

  function kind(each) {
    const free = roles.filter((one) => !each.role_ids.includes(one.id));
    const choose = select(t("teams.addrole", { name: each.name }), "", free.map((one) => [one.id, one.name]), t("teams.choose"));
    return h("details", { class: "kind", open: opened.has(each.id), ontoggle: (event) => opened[event.target.open ? "add" : "delete"](each.id) }, h("summary", null, line(each.name, 80), h("small", null, " ", t("teams.roles", { n: each.role_ids.length }))), h("div", { class: "stack" }, each.description ? h("p", { class: "muted said" }, readable(each.description)) : null,
      h("ul", { class: "members" }, each.role_ids.map((id) => {
        const how = select(t("teams.template.of", { name: role(id) }), each.role_templates[id], templates.map((one) => [one.id, one.name]), t("task.template.none"));
        how.disabled = !session.admin;
        how.addEventListener("change", () => act(() => patch(at("/teams/types", each.id) + at("/roles", id), { template_id: how.value || null }), "teams.saved", { name: each.name }));
        return h("li", null, h("span", null, line(role(id), 60)), how, session.admin ? button(t("remove"), () => act(() => del(at("/teams/types", each.id) + at("/roles", id)), "teams.saved", { name: each.name }), { kind: "small", "aria-label": t("users.remove.of", { name: role(id) }) }) : null);
      })),
      session.admin ? h("div", { class: "row" }, free.length ? [choose, button(t("users.add"), () => choose.value && act(() => post(at("/teams/types", each.id) + "/roles", { role_id: choose.value }), "teams.saved", { name: each.name }), { kind: "small" })] : null, removal(each.name, () => del(at("/teams/types", each.id)), "teams.removed")) : null));
  }

  /** A field and a button that makes something of that name. */
  function maker(label, path, text) {
    const field = h("input", { "aria-label": label, placeholder: label, required: true, maxlength: 200 });
    return h("form", { class: "row tight", onsubmit: async (event) => {
      event.preventDefault();
      const name = field.value.trim();
      if (await act(() => post(path, { name }), text, { name })) field.value = "";
    } }, field, h("button", { class: "button small" }, t("users.add")));
  }

  news.addEventListener("again", refresh, { signal });
  const ready = refresh();
  return h("div", { class: "narrow stack" }, h("div", { class: "head" }, h("h1", null, t("view.teams")), h("div", { class: "row" }, find.field, session.admin ? [button(t("teams.new"), () => ready.then(() => edit({})), { kind: "primary", sign: "plus" }), button(t("teams.scrum"), () => act(() => post("/teams/setup-scrum", {}), "teams.scrum.made"))] : null)),
    told, status, editor, list, h("div", { class: "row" }, find.more), h("section", { class: "card stack", "aria-labelledby": "kinds" }, h("h2", { id: "kinds" }, t("teams.types")), kinds,
      session.admin ? h("div", { class: "fields" }, maker(t("teams.newtype"), "/teams/types", "teams.saved"), maker(t("teams.newrole"), "/teams/roles", "teams.saved")) : null));
}
