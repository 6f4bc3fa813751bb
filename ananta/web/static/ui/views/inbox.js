// Everything that waits for a decision, oldest first.

import { h, put, readable, line, icon } from "../dom.js";
import { t } from "../text.js";
import { get, news } from "../api.js";
import { proposalCard, wrong } from "../command.js";

const MOST = 100;

export default function inbox({ session, signal }) {
  const list = h("div", { class: "stack" }), told = h("div"), count = h("p", { class: "muted", role: "status" });
  const cards = new Map(); // id → card; what was decided here stays until the view is left
  let asking = null, waitingNow = new Set();

  async function refresh() {
    if (asking) {
      asking = "again";
      return;
    }
    asking = "now";
    try {
      const found = await get(`/proposals?limit=${MOST}`, { signal });
      put(told);
      show(found);
    } catch (problem) {
      if (problem.name !== "AbortError") put(told, wrong(problem));
    }
    const once = asking === "again";
    asking = null;
    if (once && !signal.aborted) refresh();
  }

  function show(found) {
    waitingNow = new Set(found.map((each) => each.id));
    for (const [id, { element, decided }] of cards) {
      if (!waitingNow.has(id) && !decided) {
        // Somebody else has decided: it leaves, unless somebody is just writing in it.
        if (element.contains(document.activeElement) && document.activeElement !== element) continue;
        const next = element.nextElementSibling ?? element.previousElementSibling, held = document.activeElement === element;
        element.remove();
        cards.delete(id);
        if (held) next?.focus();
      }
    }
    for (const each of found) {
      if (cards.has(each.id)) continue;
      const entry = { decided: false };
      const decided = () => {
        entry.decided = true;
        counted();
      };
      entry.element = proposalCard(each, { signal, where: where(each), on: { started: decided, refused: decided, edited: (shown) => {
        cards.delete(each.id);
        cards.set(shown.id, entry);
      } } });
      entry.element.tabIndex = 0;
      cards.set(each.id, entry);
      list.append(entry.element);
    }
    counted();
  }

  function counted() {
    const open = [...cards.values()].filter((each) => !each.decided).length;
    put(count, open >= MOST ? t("inbox.many", { n: MOST }) : t("inbox.count", { n: open }));
    const empty = list.querySelector(".empty");
    if (!cards.size && !empty) put(list, h("div", { class: "empty" }, icon("inbox"), h("h2", null, t("inbox.empty")), h("p", null, t("inbox.how"))));
    else if (cards.size) empty?.remove();
  }

  const tasks = new Map();
  let agents = null;

  /** Where it would run: the task, and the agent it is assigned to. */
  async function place(task_id, shown) {
    if (!tasks.has(task_id)) tasks.set(task_id, get("/tasks/" + encodeURIComponent(task_id), { signal }).catch(() => null));
    agents ??= get("/agents?format=list", { signal }).catch(() => []);
    const [task, all] = await Promise.all([tasks.get(task_id), agents]), url = task?.assigned_agent_url;
    put(shown, h("a", { href: "#/task/" + encodeURIComponent(task_id) }, readable(task_id), task?.title ? [" ", line(task.title, 100)] : null),
      h("strong", null, t("log.where", { agent: "" }), url ? line(all.find((each) => each.url === url)?.name ?? url, 80) : line(session.agent)));
  }

  function where({ task_id, prompt }) {
    const shown = h("span", { class: "row" }, task_id ? readable(task_id) : null);
    if (task_id && session.role === "hub" && !task_id.startsWith("ask-")) place(task_id, shown);
    else shown.append(h("strong", null, t("log.where", { agent: session.agent })));
    return h("div", { class: "meta" }, shown, prompt ? h("span", { class: "said" }, readable(prompt.length > 300 ? prompt.slice(0, 300) + "…" : prompt)) : null);
  }

  function move(step) {
    const all = [...list.querySelectorAll(".card")];
    const at = all.indexOf(document.activeElement?.closest(".card"));
    const next = all[Math.max(0, Math.min(all.length - 1, at < 0 ? 0 : at + step))];
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  }

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog, .command, .output")) return;
    const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    move(step);
  }, { signal });
  news.addEventListener("event", ({ detail }) => detail.type === "proposals_updated" && refresh(), { signal });
  news.addEventListener("again", refresh, { signal });
  refresh();
  return h("div", { class: "narrow" }, h("div", { class: "head" }, h("h1", null, t("view.inbox")), count), told, list);
}
