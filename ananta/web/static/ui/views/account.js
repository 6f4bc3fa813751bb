// One's own account: the password, and the second factor.

import { h, put, readable, button, labelled } from "../dom.js";
import { t } from "../text.js";
import { get, post, tell } from "../api.js";
import { wrong } from "../command.js";

export default function account({ session, signal }) {
  return h("div", { class: "narrow stack" }, h("div", { class: "head" }, h("h1", null, t("view.account")), h("strong", { class: "said" }, readable(session.username))),
    session.kind === "user" ? [password(session), factor(signal)] : h("p", { class: "card" }, t("account.system")));
}

function form(fields, label, act) {
  const told = h("div"), submit = h("button", { class: "button primary" }, label);
  return h("form", { class: "stack", onsubmit: async (event) => {
    event.preventDefault();
    submit.disabled = true;
    put(told);
    try {
      await act();
    } catch (problem) {
      put(told, wrong(problem));
    }
    submit.disabled = false;
  } }, fields, told, h("div", null, submit));
}

function password(session) {
  const [old, once, again] = ["current-password", "new-password", "new-password"].map((each) => h("input", { type: "password", autocomplete: each, required: true }));
  // For what keeps passwords: it has to know whose they are.
  const name = h("input", { autocomplete: "username", value: session.username, hidden: true, "aria-label": t("signin.name") });
  return h("section", { class: "card stack", "aria-labelledby": "password" }, h("h2", { id: "password" }, t("account.password")), h("p", { class: "muted" }, t("account.password.how")),
    form([name, labelled(t("account.old"), old), labelled(t("account.new"), once), labelled(t("account.again"), again)], t("account.change"), async () => {
      if (once.value !== again.value) {
        again.focus();
        throw new Error(t("account.differ"));
      }
      await post("/change-password", { old_password: old.value, new_password: once.value });
      tell("signed-out", t("account.changed"));
    }));
}

function factor(signal) {
  const place = h("div", { class: "stack" });

  async function load() {
    try {
      const { mfa_enabled: on } = await get("/me", { signal });
      put(place, h("p", { class: "row" }, h("span", { class: "pill " + (on ? "good" : "ask") }, t(on ? "account.on" : "account.off"))),
        on ? form([], t("account.disable"), async () => {
          await post("/mfa/disable");
          load();
        }) : form([], t("account.enable"), begin));
    } catch (problem) {
      if (problem.name !== "AbortError") put(place, wrong(problem));
    }
  }

  async function begin() {
    const { secret, qr_code: picture } = await post("/mfa/setup");
    const code = h("input", { autocomplete: "one-time-code", inputmode: "numeric", spellcheck: "false", required: true });
    put(place, h("p", null, t("account.scan")), h("img", { class: "qr", src: picture, alt: t("account.qr") }), h("p", null, t("account.secret"), " ", h("code", { class: "said" }, readable(secret))),
      form(labelled(t("account.code"), code), t("account.confirm"), async () => {
        const { backup_codes: codes } = await post("/mfa/verify", { token: code.value.trim() });
        put(place, h("p", { class: "done", role: "status" }, t("account.on")), h("h3", null, t("account.backup")), h("p", null, t("account.backup.how")),
          h("pre", { class: "command", tabindex: "0", "aria-label": t("account.backup") }, readable(codes.join("\n"))),
          h("div", { class: "row" }, button(t("copy"), () => navigator.clipboard?.writeText(codes.join("\n")), { sign: "copy" }), button(t("account.kept"), load, { kind: "primary" })));
      }), h("div", null, button(t("cancel"), load, { kind: "small plain" })));
    code.focus();
  }

  load();
  return h("section", { class: "card stack", "aria-labelledby": "factor" }, h("h2", { id: "factor" }, t("account.factor")), h("p", { class: "muted" }, t("account.factor.how")), place);
}
