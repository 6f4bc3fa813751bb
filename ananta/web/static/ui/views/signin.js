// The only thing that a browser sees that is not signed in.

import { h, put, button, labelled } from "../dom.js";
import { t } from "../text.js";
import { get, post } from "../api.js";
import { wrong } from "../command.js";

export default function signIn({ problem, good, role, entered, settings }) {
  const told = h("div", null, !problem ? null : good ? h("p", { class: "done", role: "status" }, problem) : wrong({ message: problem })), place = h("div");
  const show = (found) => put(place, found === "hub" ? users(told, entered) : code(told, entered));
  if (role) show(role);
  else get("/session", { quiet: true }).then((found) => show(found.role), (failure) => put(told, wrong(failure), button(t("again"), () => location.reload())));
  return h("main", { class: "gate" }, h("div", { class: "card" },
    h("div", { class: "brand" }, h("img", { src: "/ui/icon.svg", alt: "" }), h("h1", null, t("signin.title"))), told, place,
    settings()));
}

function form(told, entered, fields, act) {
  const submit = h("button", { class: "button primary" }, t("signin.go"));
  return h("form", { onsubmit: async (event) => {
    event.preventDefault();
    submit.disabled = true;
    put(told);
    try {
      const found = await act();
      if (found) entered(found);
    } catch (failure) {
      put(told, wrong(failure));
    }
    submit.disabled = false;
  } }, fields, submit);
}

function users(told, entered) {
  const name = h("input", { autocomplete: "username", autocapitalize: "none", spellcheck: "false", required: true });
  const password = h("input", { type: "password", autocomplete: "current-password", required: true });
  const second = h("input", { autocomplete: "one-time-code", inputmode: "text", spellcheck: "false" });
  const more = labelled(t("signin.second"), second, t("signin.second.hint"));
  more.hidden = true;
  requestAnimationFrame(() => name.focus());
  return form(told, entered, [labelled(t("signin.name"), name), labelled(t("signin.password"), password), more], async () => {
    const given = await post("/login", { username: name.value.trim(), password: password.value,
      ...(second.value ? { mfa_token: second.value.trim() } : {}) }, { quiet: true });
    if (given.access_token) return post("/session", { token: given.access_token }, { quiet: true });
    more.hidden = false;
    second.required = true;
    second.focus();
    return null;
  });
}

function code(told, entered) {
  const token = h("input", { type: "password", autocomplete: "off", required: true });
  return h("div", { class: "stack" },
    h("p", null, t("signin.worker")), h("pre", { class: "command" }, "ananta ui"),
    h("details", null, h("summary", null, t("signin.bytoken")), form(told, entered, [labelled(t("signin.token"), token)],
      () => post("/session", { token: token.value.trim() }, { quiet: true }))));
}
