// What the policy says of a command, and the rules: tried over what is on record before they are saved. For administrators.

import { h, put, button, labelled, draft } from "../dom.js";
import { t, number } from "../text.js";
import { get, post, put as replace } from "../api.js";
import { commandText, verdict, wrong } from "../command.js";
import { said } from "../said.js";

/** Several reasons in one line. */
const joined = (reasons) => reasons.map((each, at) => [at ? "; " : null, said(each)]);

export default function policy({ signal }) {
  const shown = h("div", { class: "stack", role: "status" }), told = h("div"), report = h("div", { class: "stack" });
  const command = draft(h("textarea", { rows: 2, class: "code", "data-focus": true, required: true }), "policy.try");
  const rules = h("textarea", { rows: 14, class: "code", spellcheck: "false" });
  let tried = "";

  async function check(event) {
    event.preventDefault();
    try {
      const found = await post("/policy/check", { command: command.value }, { signal });
      put(shown, h("p", { class: "row" }, verdict(found.decision), h("span", { class: "said" }, joined(found.reasons))), commandText(command.value, found.parts),
        h("ul", { class: "touch" }, found.parts.map((each) => h("li", null, verdict(each.decision), h("span", { class: "said" }, said(each.reason))))));
    } catch (problem) {
      if (problem.name !== "AbortError") put(shown, wrong(problem));
    }
  }

  function parsed() {
    try {
      put(told);
      return JSON.parse(rules.value);
    } catch (failure) {
      put(told, h("p", { class: "wrong", role: "alert" }, t("policy.json", { why: failure.message })));
      rules.focus();
      return null;
    }
  }

  async function replay() {
    const document = parsed();
    if (!document) return;
    put(report, h("p", { class: "muted", role: "status" }, t("policy.trying")));
    try {
      const found = await post("/policy/replay", document, { signal });
      tried = rules.value;
      save.disabled = false;
      put(report, h("p", { role: "status" }, t("policy.total", { n: number(found.total) })),
        h("dl", { class: "row facts" }, fact(t("policy.asked"), found.asked_before, found.asked_after), fact(t("policy.denied"), found.denied_before, found.denied_after)),
        found.changes.length ? h("ul", { class: "entries" }, found.changes.map((each) => h("li", { class: "stack change" }, h("p", { class: "row" }, verdict(each.before), "→", verdict(each.after)), commandText(each.command), h("p", { class: "muted said" }, joined(each.reasons))))) :
          h("p", { class: "muted" }, t("policy.same")),
        found.more ? h("p", { class: "muted" }, t("policy.more", { n: number(found.more) })) : null);
    } catch (problem) {
      put(report);
      if (problem.name !== "AbortError") put(told, wrong(problem));
    }
  }

  const save = button(t("save"), async () => {
    const document = parsed();
    if (!document) return;
    try {
      const { rules: count } = await replace("/policy", document);
      rules.sent?.();
      rules.value = JSON.stringify(document, null, 2);
      put(told, h("p", { class: "muted", role: "status" }, t("policy.saved", { n: number(count) })));
      put(report);
    } catch (problem) {
      put(told, wrong(problem));
    }
  }, { kind: "primary", disabled: true });
  rules.addEventListener("input", () => {
    save.disabled = rules.value !== tried;
  });

  get("/policy", { signal }).then((found) => {
    const now = JSON.stringify(found, null, 2);
    rules.value = now;
    draft(rules, "policy.rules");
    if (rules.value !== now) put(told, h("p", { class: "row" }, h("span", null, t("policy.draft")), button(t("policy.discard"), () => {
      rules.sent?.();
      rules.value = now;
      put(told);
    }, { kind: "small" })));
  }, (problem) => problem.name !== "AbortError" && put(told, wrong(problem)));
  return h("div", { class: "narrow stack" }, h("div", { class: "head" }, h("h1", null, t("view.policy"))),
    h("section", { class: "card stack", "aria-labelledby": "try" }, h("h2", { id: "try" }, t("policy.try")), h("form", { class: "stack", onsubmit: check }, labelled(t("command"), command), h("div", null, h("button", { class: "button" }, t("policy.check")))), shown),
    h("section", { class: "card stack", "aria-labelledby": "rules" }, h("h2", { id: "rules" }, t("policy.rules")), labelled(t("policy.text"), rules, t("policy.text.how")), told, h("div", { class: "row" }, button(t("policy.replay"), replay), save), report));
}

function fact(name, before, after) {
  return h("div", null, h("dt", { class: "muted" }, name), h("dd", null, `${number(before)} → ${number(after)}`));
}
