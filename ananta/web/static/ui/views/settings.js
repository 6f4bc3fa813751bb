// What can be changed while the agent runs: every key with its meaning and what is allowed. For administrators.
// GET /config has `provider`, `model` and `llm_config`, too: other spellings of `default_provider`, `default_model` and the keys
// of that provider, for older clients. One value with two fields would only confuse, so they are not here.

import { h, put, line, readable, button } from "../dom.js";
import { t, has } from "../text.js";
import { get, post, news } from "../api.js";
import { wrong } from "../command.js";
import { said } from "../said.js";

const MASKED = "********";
const asText = (value) => (value === null || value === undefined ? "" : Array.isArray(value) ? value.join(", ") : String(value));

export default function settings({ signal }) {
  const list = h("ul", { class: "entries" }), told = h("div");
  const filter = h("input", { type: "search", "aria-label": t("board.filter"), placeholder: t("board.filter"), "data-focus": true, oninput: () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const each of list.children) each.hidden = !words.every((word) => each.textContent.toLowerCase().includes(word));
  } });

  async function refresh() {
    if (list.contains(document.activeElement)) return;
    try {
      const [keys, values] = await Promise.all([get("/config/keys", { signal }), get("/config", { signal })]);
      put(told);
      put(list, keys.map((each) => entry(each, values[each.name])));
      filter.dispatchEvent(new Event("input"));
    } catch (problem) {
      if (problem.name !== "AbortError") put(told, wrong(problem));
    }
  }

  function entry({ name, meaning, allowed, secret, default: usual, changed: ours }, before) {
    const id = "key-" + name, below = h("div"), choices = /^one of (.+)$/.exec(allowed)?.[1].split(", ");
    const field = choices ? h("select", { id, "aria-describedby": id + "-h" }, choices.map((each) => h("option", { value: each, selected: each === before }, each))) :
      h("input", { id, "aria-describedby": id + "-h", type: secret ? "password" : "text", autocomplete: "off", value: secret ? "" : asText(before), placeholder: secret ? t(before ? "settings.set" : "settings.notset") : "" });
    const changed = () => (secret ? field.value !== "" : field.value !== asText(before));
    const fill = (value) => {
      field.value = secret ? "" : asText(value);
      if (secret) field.placeholder = t(before ? "settings.set" : "settings.notset");
      listen();
    };
    const save = h("button", { class: "button small primary", hidden: true }, t("save"));
    const back = button(t("cancel"), () => leave(() => fill(before)), { kind: "small plain", hidden: true, "aria-label": t("settings.cancel", { name }) });
    const reset = button(t("settings.reset.how"), () => (secret ? ask() : leave(() => fill(usual))), { kind: "small plain", "aria-label": t("settings.reset.of", { name }) });
    const listen = () => {
      back.hidden = save.hidden = !changed();
      reset.hidden = secret ? !ours : asText(before) === asText(usual) || field.value === asText(usual);
    };
    // The pressed button goes, so that the focus needs another place.
    const leave = (act) => {
      act();
      put(below);
      field.focus();
    };
    const ask = () => {
      put(below, h("p", { class: "row", role: "alert" }, h("span", null, t("settings.forget.sure")), button(t("settings.forget"), () => leave(() => send(null)), { kind: "small danger" }), button(t("cancel"), () => leave(listen), { kind: "small" })));
      below.querySelector("button").focus();
    };
    field.addEventListener("input", listen);
    const send = async (value) => {
      try {
        const { config } = await post("/config", { [name]: value });
        before = config[name];
        ours = value !== null;
        fill(before);
        put(below, h("p", { class: "muted", role: "status" }, t("settings.saved")));
      } catch (problem) {
        put(below, wrong(problem));
        field.focus();
      }
      listen();
    };
    listen();
    return h("li", null, h("form", { class: "setting", onsubmit: (event) => {
      event.preventDefault();
      if (field.value !== MASKED) send(!secret && field.value === asText(usual) ? null : typed(field.value, before, allowed));
    } }, h("div", null, h("label", { for: id }, h("code", null, line(name, 60))), h("p", { class: "muted", id: id + "-h" }, has("key." + name) ? t("key." + name) : readable(meaning), meaning ? " · " : "", said(allowed))),
    h("div", { class: "stack" }, h("div", { class: "row tight" }, field, save, back, reset), below)));
  }

  news.addEventListener("event", ({ detail: { type } }) => type === "config_updated" && refresh(), { signal });
  news.addEventListener("again", refresh, { signal });
  refresh();
  return h("div", { class: "narrow stack" }, h("div", { class: "head" }, h("h1", null, t("view.settings")), filter), h("p", { class: "muted" }, t("settings.how")), told, h("section", { class: "card", "aria-label": t("view.settings") }, list));
}

/** The value as the key wants it: a number, a list, "*" or a text. */
function typed(text, before, allowed) {
  if (allowed.startsWith("a whole number")) return /^-?\d+$/.test(text.trim()) ? Number(text) : text;
  if (allowed.startsWith("a list") && text.trim() !== "*") return text.split(",").map((each) => each.trim()).filter(Boolean);
  return text.trim();
}
