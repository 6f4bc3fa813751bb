// Templates of prompts: read, write, and have one drafted by the model.

import { h, put, line, readable, button, labelled, draft } from "../dom.js";
import { t, number } from "../text.js";
import { get, post, patch, del } from "../api.js";
import { wrong } from "../command.js";
import { finder } from "../lists.js";

export default function templates({ session, signal, parameters }) {
  const list = h("ul", { class: "entries" }), told = h("div"), status = h("p", { class: "muted", role: "status" }), editor = h("div");
  const find = finder({ list, entry, nothing: (any) => h("li", { class: "empty" }, h("h2", null, t(any ? "log.nothing" : "templates.none"))),
    text: (each) => `${each.name} ${each.description ?? ""} ${each.prompt_template}` });
  let found = [];

  async function refresh() {
    try {
      found = (await get("/templates", { signal })).sort((one, other) => one.name.localeCompare(other.name));
      put(told);
      put(status, t("templates.count", { n: number(found.length) }));
      find.draw(found);
    } catch (problem) {
      if (problem.name !== "AbortError") put(told, wrong(problem));
    }
  }

  function entry(each) {
    return h("li", null, h("button", { class: "entry template", type: "button", onclick: () => edit(each) }, h("strong", null, line(each.name, 80)),
      h("span", { class: "muted" }, line(each.description ?? each.prompt_template, 120)), each.provider ? h("small", null, line(`${each.provider}${each.model ? ":" + each.model : ""}`, 40)) : h("span")));
  }

  function edit(each) {
    const wrongs = h("div"), made = !each.id, field = (name, props = {}) => h("input", { value: each[name] ?? "", disabled: !session.admin, ...props });
    const name = field("name", { required: true, maxlength: 200 }), description = field("description"), provider = field("provider"), model = field("model");
    const text = h("textarea", { rows: 12, value: each.prompt_template ?? "", required: true, disabled: !session.admin, class: "code" });
    const defaults = h("textarea", { rows: 3, value: each.defaults ? JSON.stringify(each.defaults, null, 2) : "", disabled: !session.admin, class: "code" });
    const order = draft(h("input", { placeholder: t("templates.draft.how"), "aria-label": t("templates.draft.how") }), "template.order");
    const drafting = button(t("templates.draft"), async () => {
      drafting.disabled = true;
      put(wrongs, h("p", { class: "waiting", role: "status" }, h("span", { class: "dot" }), t("templates.drafting")));
      try {
        const answer = await post("/llm/generate", { prompt: `${t("templates.order")}\n\n${order.value}` }, { signal });
        text.value = answer.response;
        order.sent();
        put(wrongs);
      } catch (problem) {
        if (problem.name !== "AbortError") put(wrongs, wrong(problem));
      } finally {
        drafting.disabled = false;
      }
    }, { kind: "small" });
    put(editor, h("form", { class: "card stack", onsubmit: async (event) => {
      event.preventDefault();
      let values = null;
      try {
        values = defaults.value.trim() ? JSON.parse(defaults.value) : null;
      } catch {
        put(wrongs, h("p", { class: "wrong", role: "alert" }, t("templates.json")));
        defaults.focus();
        return;
      }
      const body = { name: name.value.trim(), description: description.value || null, prompt_template: text.value, provider: provider.value || null, model: model.value || null, defaults: values };
      try {
        const stored = await (made ? post("/templates", body) : patch("/templates/" + encodeURIComponent(each.id), body));
        await refresh();
        if (stored.warnings?.length) {
          edit(stored);
          put(editor.querySelector("[data-told]"), stored.warnings.map((told) => h("p", { class: "pill ask said" }, readable(`${t("templates.saved")} ${told.details}`))));
        } else {
          put(editor);
          put(status, t("templates.saved"));
        }
      } catch (problem) {
        put(wrongs, wrong(problem));
      }
    } }, h("h2", null, made ? t("templates.new") : line(each.name, 80)), h("div", { class: "fields" }, labelled(t("templates.name"), name), labelled(t("task.description"), description)),
    session.admin ? h("div", { class: "row tight" }, order, drafting) : null,
    labelled(t("templates.text"), text, t("templates.text.how")),
    h("div", { class: "fields" }, labelled(t("templates.provider"), provider), labelled(t("templates.model"), model), labelled(t("templates.defaults"), defaults, t("templates.defaults.how"))),
    wrongs, h("div", { "data-told": true }), h("div", { class: "row" }, session.admin ? h("button", { class: "button primary" }, t("save")) : null, button(t("close"), () => put(editor)),
      session.admin && !made ? button(t("remove"), (event) => put(event.target.closest("form").querySelector("[data-told]"), h("p", null, t("templates.sure", { name: each.name })), button(t("users.remove.yes"), async () => {
        try {
          await del("/templates/" + encodeURIComponent(each.id));
          put(editor);
          await refresh();
        } catch (problem) {
          put(wrongs, wrong(problem));
        }
      }, { kind: "small danger" })), { kind: "danger" }) : null)));
    editor.scrollIntoView({ block: "nearest" });
    (session.admin ? name : editor.querySelector("button")).focus();
  }

  refresh().then(() => {
    const wanted = found.find((each) => each.id === parameters[0]);
    if (wanted) edit(wanted);
  });
  return h("div", { class: "narrow stack" }, h("div", { class: "head" }, h("h1", null, t("view.templates")), h("div", { class: "row" }, find.field, session.admin ? button(t("templates.new"), () => edit({}), { kind: "primary", sign: "plus" }) : null)), told, editor, status,
    h("div", { class: "card" }, list, h("div", { class: "row" }, find.more)));
}
