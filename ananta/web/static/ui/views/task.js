// One task: what it is, what ran for it and who decided, and its next step.

import { h, put, readable, button, labelled, draft, line } from "../dom.js";
import { t, time, seconds, named, translated } from "../text.js";
import { get, post, patch, news } from "../api.js";
import { listen } from "../live.js";
import { commandText, outcome, proposalCard, wrong } from "../command.js";
import { output, liveOutput } from "../output.js";
import { COLUMNS, columnOf } from "./board.js";

const PRIORITIES = ["Low", "Medium", "High"];

export default function taskView({ parameters: [id], signal }) {
  const path = "/tasks/" + encodeURIComponent(id), told = h("div"), about = h("div"), facts = h("div"), steps = h("ol", { class: "steps" }), waiting = h("div", { class: "stack" });
  const records = new Set(), cards = new Map();
  let task = null, editing = false;

  async function refresh() {
    try {
      task = await get(path, { signal });
      put(told);
      if (!editing) head();
      side();
      waitingCards();
    } catch (problem) {
      if (problem.name !== "AbortError") put(told, wrong(problem));
      form.hidden = problem.status === 404;
    }
  }

  function head() {
    put(about, h("div", { class: "stack" }, h("div", { class: "row spread" }, h("h1", null, line(task.title ?? task.id, 500)), button(t("edit"), edit, { kind: "small", sign: "pencil" })),
      task.description ? h("p", { class: "said" }, readable(task.description)) : h("p", { class: "muted" }, t("task.none"))));
  }

  function edit() {
    editing = true;
    const title = h("input", { value: task.title ?? "", maxlength: 500, required: true }), text = draft(h("textarea", { rows: 8, value: task.description ?? "" }), "task." + id);
    const tags = h("input", { value: task.tags.join(", ") }), wrongs = h("div");
    const done = () => {
      editing = false;
      head();
    };
    put(about, h("form", { class: "card stack", onsubmit: async (event) => {
      event.preventDefault();
      try {
        task = await patch(path, { title: title.value, description: text.value, tags: tags.value.split(",").map((each) => each.trim()).filter(Boolean) });
        text.sent();
        done();
        side();
      } catch (problem) {
        put(wrongs, wrong(problem));
      }
    } }, h("h1", { class: "sr" }, line(task.title ?? task.id, 500)), labelled(t("task.title"), title), labelled(t("task.description"), text), labelled(t("task.tags"), tags), wrongs,
    h("div", { class: "row" }, h("button", { class: "button primary" }, t("save")), button(t("cancel"), () => {
      text.sent();
      done();
    }))));
    title.focus();
  }

  const choices = { agents: get("/agents?format=list", { signal }).catch(() => []), templates: get("/templates", { signal }).catch(() => []), teams: get("/teams", { signal }).catch(() => []) };

  async function side() {
    const [agents, templates, teams] = await Promise.all([choices.agents, choices.templates, choices.teams]), saved = h("p", { class: "muted", role: "status" });
    const choose = (label, value, options, act) => {
      const select = h("select", { onchange: async () => {
        try {
          await act(select.value);
          put(saved, t("task.saved"));
        } catch (problem) {
          put(saved, wrong(problem));
          select.value = value;
        }
      } }, options.map(([each, name]) => h("option", { value: each, selected: each === value }, line(name, 80))));
      return labelled(label, select);
    };
    const also = (options, value, name) => (value && !options.some(([each]) => each === value) ? [...options, [value, name ?? value]] : options);
    if (facts.contains(document.activeElement)) return;
    const column = columnOf(task.status);
    put(facts, h("section", { class: "card facts", "aria-label": t("task.status") },
      choose(t("task.status"), COLUMNS.includes(column) ? column : task.status, also(COLUMNS.map((each) => [each, t("board." + each)]), COLUMNS.includes(column) ? column : task.status), (value) => patch(path, { status: value })),
      choose(t("task.priority"), task.priority, also(PRIORITIES.map((each) => [each, named("priority", each)]), task.priority), (value) => patch(path, { priority: value })),
      choose(t("task.agent"), task.assigned_agent_url ?? "", also([["", t("task.agent.none")], ...agents.map((each) => [each.url, each.name])], task.assigned_agent_url),
        (value) => (value ? post(path + "/assign", { agent_url: value }) : post(path + "/unassign"))),
      teams.length ? choose(t("task.team"), task.team_id ?? "", also([["", t("task.team.none")], ...teams.map((each) => [each.id, each.name])], task.team_id), (value) => patch(path, { team_id: value || null })) : null,
      choose(t("task.template"), task.template_id ?? "", also([["", t("task.template.none")], ...templates.map((each) => [each.id, each.name])], task.template_id), (value) => patch(path, { template_id: value || null })),
      saved, h("dl", { class: "facts" },
        task.tags.length ? h("div", null, h("dt", null, t("task.tags")), h("dd", null, readable(task.tags.join(", ")))) : null,
        task.parent_task_id ? h("div", null, h("dt", null, t("task.parent")), h("dd", null, link(task.parent_task_id, task.parent_task_id))) : null,
        task.subtasks.length ? h("div", null, h("dt", null, t("task.subtasks")), task.subtasks.map((each) => h("dd", null, link(each.id, `${each.description ?? each.id} (${named("state", each.status)})`)))) : null,
        h("div", null, h("dt", null, t("task.created")), h("dd", null, time(task.created_at))),
        h("div", null, h("dt", null, t("task.updated")), h("dd", null, time(task.updated_at)))),
      h("div", { class: "row spread" }, h("a", { href: "#/log/" + encodeURIComponent(id) }, t("task.log")), button(t("task.archive"), archive, { kind: "small" }))));
  }

  async function archive() {
    try {
      await post(path + "/archive");
      location.hash = "#/board";
    } catch (problem) {
      put(told, wrong(problem));
    }
  }

  function link(to, text) {
    return h("a", { href: "#/task/" + encodeURIComponent(to) }, line(text));
  }

  function add(record) {
    const key = record.id ?? `${record.timestamp} ${record.command}`;
    if (records.has(key)) return;
    records.add(key);
    steps.querySelector("[data-none]")?.remove();
    steps.prepend(h("li", { class: record.exit_code === 0 ? "good" : "bad" }, h("div", { class: "proposal" },
      h("p", { class: "muted" }, time(record.timestamp), " · ", readable(String(record.agent ?? "")), record.decided_by ? [" · ", t("run.by", { name: record.decided_by })] : null),
      record.reason ? h("p", { class: "said" }, readable(translated(record.reason) ?? record.reason)) : null,
      record.command ? commandText(record.command) : null, outcome({ ...record, decided_by: null }), output(record.output ?? ""))));
  }

  async function waitingCards() {
    const found = (await get("/proposals?limit=1000", { signal }).catch(() => [])).filter((each) => each.task_id === id);
    for (const each of found) {
      if (cards.has(each.id)) continue;
      const card = proposalCard(each, { signal, on: { done: () => leave(), refused: () => leave(), edited: (shown) => cards.set(shown.id, card) } });
      const leave = () => setTimeout(() => card.remove(), 600);
      cards.set(each.id, card);
      waiting.append(card);
    }
    const open = new Set(found.map((each) => each.id));
    for (const [key, card] of cards) if (!open.has(key) && !card.querySelector(".run, form") && ![...cards].some(([other, one]) => one === card && open.has(other))) card.remove();
  }

  const prompt = draft(h("input", { "aria-label": t("task.prompt"), placeholder: t("task.prompt"), "data-focus": true }), "task.next." + id);
  const thinking = h("div");
  const go = h("button", { class: "button primary" }, t("task.propose"));
  const form = h("form", { class: "row tight", onsubmit: async (event) => {
    event.preventDefault();
    const begun = performance.now(), clock = h("span"), tick = () => put(clock, t("ask.thinking", { time: seconds((performance.now() - begun) / 1000) }));
    const timer = setInterval(tick, 1000);
    tick();
    go.disabled = true;
    put(thinking, h("p", { class: "waiting", role: "status" }, h("span", { class: "dot" }), clock));
    try {
      const found = await post(path + "/step/propose", prompt.value ? { prompt: prompt.value } : {}, { signal });
      prompt.sent();
      put(thinking, found.command ? null : h("div", { class: "card said" }, readable(found.reason || t("ask.nothing"))));
      await waitingCards();
      waiting.lastElementChild?.focus({ preventScroll: true });
    } catch (problem) {
      if (problem.name !== "AbortError") put(thinking, wrong(problem));
    } finally {
      clearInterval(timer);
      go.disabled = false;
    }
  } }, prompt, go);

  const going = new Map();

  /** What runs now, begun here, elsewhere or by the schedule. */
  function live({ type, data }) {
    const shown = going.get(data.run_id);
    if (type === "run_output") shown?.live.add(data.text, data.at);
    else if (type === "run_ended") {
      shown?.item.remove();
      going.delete(data.run_id);
    } else if (type === "run_started" && !shown && !cards.get(data.proposal_id)?.querySelector(".run")) {
      const text = liveOutput();
      const item = h("li", { class: "now" }, h("div", { class: "proposal" },
        h("p", { class: "waiting", role: "status" }, h("span", { class: "dot" }), t("run.now")), data.command ? commandText(data.command) : null, text.element));
      going.set(data.run_id, { item, live: text });
      steps.querySelector("[data-none]")?.remove();
      steps.prepend(item);
    }
  }

  listen(path + "/stream-logs", add, { signal });
  listen("/step/stream-output?task_id=" + encodeURIComponent(id), live, { signal });
  let due = 0;
  news.addEventListener("event", ({ detail: { type, data } }) => {
    if ((type === "task_updated" && data.id === id) || type === "proposals_updated") {
      clearTimeout(due);
      due = setTimeout(refresh, 150);
    }
  }, { signal });
  news.addEventListener("again", refresh, { signal });
  steps.append(h("li", { "data-none": true, class: "muted" }, t("task.steps.none")));
  refresh();
  return h("div", null, h("p", { class: "crumb" }, h("a", { href: "#/board" }, "← " + t("task.back")), h("span", { class: "muted" }, " · ", readable(id))), told,
    h("div", { class: "columns" }, h("div", { class: "stack" }, about, form, thinking, waiting, h("h2", null, t("task.steps")), steps), facts));
}
