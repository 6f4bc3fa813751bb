// Who may sign in, and as what. For administrators.

import { h, put, line, button, labelled } from "../dom.js";
import { t } from "../text.js";
import { get, post, put as replace, del } from "../api.js";
import { wrong } from "../command.js";

const ROLES = ["user", "admin"];

export default function users({ session, signal }) {
  const list = h("ul", { class: "entries" }), told = h("div"), saved = h("p", { class: "muted", role: "status" });

  async function refresh() {
    try {
      const found = await get("/users", { signal });
      put(list, found.map(entry));
    } catch (problem) {
      if (problem.name !== "AbortError") put(told, wrong(problem));
    }
  }

  /** Does something to a user, says how that went, and shows all anew. */
  async function act(name, work, text) {
    try {
      await work("/users/" + encodeURIComponent(name));
      put(told);
      put(saved, t(text, { name }));
      await refresh();
      return true;
    } catch (problem) {
      put(told, wrong(problem));
      return false;
    }
  }

  function entry({ username, role, mfa_enabled }) {
    const below = h("div", { class: "details", hidden: true });
    const choose = h("select", { "aria-label": t("users.role.of", { name: username }), onchange: async () => {
      if (!await act(username, (path) => replace(path + "/role", { role: choose.value }), "users.changed")) choose.value = role;
    } }, ROLES.map((each) => h("option", { value: each, selected: each === role }, t("users." + each))));
    const turn = (...children) => {
      below.hidden = !children.length;
      put(below, ...children);
      below.querySelector("input, button")?.focus();
    };
    return h("li", null, h("div", { class: "entry person" },
      h("strong", null, h("span", null, line(username, 60)), username === session.username ? h("small", null, " ", t("users.you")) : null),
      h("span", null, mfa_enabled ? h("span", { class: "pill good" }, t("users.mfa")) : null), choose,
      h("span", { class: "row" }, button(t("users.password"), () => turn(password(username, turn)), { kind: "small" }),
        button(t("remove"), () => turn(h("p", null, t("users.remove.sure", { name: username })), h("div", { class: "row" },
          button(t("users.remove.yes"), () => act(username, del, "users.removed"), { kind: "small danger" }), button(t("cancel"), () => turn(), { kind: "small" }))),
        { kind: "small danger", "aria-label": t("users.remove.of", { name: username }) }))), below);
  }

  function password(username, turn) {
    const field = h("input", { type: "password", autocomplete: "new-password", required: true });
    return h("form", { class: "stack", onsubmit: async (event) => {
      event.preventDefault();
      if (await act(username, (path) => post(path + "/reset-password", { new_password: field.value }), "users.reset")) turn();
    } }, labelled(t("users.password.new"), field, t("users.password.how")),
    h("div", { class: "row" }, h("button", { class: "button small primary" }, t("save")), button(t("cancel"), () => turn(), { kind: "small" })));
  }

  const name = h("input", { required: true, maxlength: 64, autocomplete: "off", "data-focus": true });
  const first = h("input", { type: "password", autocomplete: "new-password", required: true });
  const role = h("select", null, ROLES.map((each) => h("option", { value: each }, t("users." + each))));
  const form = h("form", { class: "card stack", onsubmit: async (event) => {
    event.preventDefault();
    const wanted = name.value.trim();
    try {
      await post("/users", { username: wanted, password: first.value, role: role.value });
      put(told);
      put(saved, t("users.added", { name: wanted }));
      form.reset();
      await refresh();
    } catch (problem) {
      put(told, wrong(problem));
    }
  } }, h("h2", null, t("users.new")), h("div", { class: "fields" }, labelled(t("users.name"), name), labelled(t("users.password.first"), first, t("users.password.how")), labelled(t("users.role"), role)),
  h("div", null, h("button", { class: "button primary" }, t("users.add"))));

  refresh();
  return h("div", { class: "narrow stack" }, h("div", { class: "head" }, h("h1", null, t("view.users"))), told, saved, h("section", { class: "card", "aria-label": t("view.users") }, list), form);
}
