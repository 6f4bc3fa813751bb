// The tasks in four columns. Only the cards that can be seen are in the page, however many there are.

import { h, put, line, button, draft } from "../dom.js";
import { t, number, ago } from "../text.js";
import { get, post, patch, news, query } from "../api.js";
import { wrong } from "../command.js";

export const COLUMNS = ["backlog", "to-do", "in-progress", "done"];
const SAME = { todo: "to-do", created: "to-do", open: "to-do", assigned: "in-progress", proposing: "in-progress", completed: "done" };
const FIRST = 200, NEXT = 1000, HEIGHT = 92, BEYOND = 5, HOLD_MS = 300, FEW = 8, LOOK_MS = 300, EDGE = 48;

/** The column that a status stands for. */
export function columnOf(status) {
  const found = String(status).toLowerCase().replaceAll("_", "-");
  return SAME[found] ?? found;
}

const slim = ({ id, title, description, status, run_state, priority, tags, team_id, assigned_agent_url, updated_at }) => ({
  id, title: title ?? description?.slice(0, 200) ?? id, status: columnOf(status), run_state, priority, tags, team_id, agent: assigned_agent_url, updated_at,
  text: `${id} ${title ?? ""} ${(description ?? "").slice(0, 2000)} ${tags.join(" ")}`.toLowerCase() });

export default function board({ signal }) {
  const tasks = new Map(), changed = new Map(), unread = new Set(), names = new Map(), told = h("div"), status = h("p", { class: "muted", role: "status" });
  let held = null, due = 0, loading = true, offered = 0;

  const filter = (name, all) => h("select", { "aria-label": t(all), onchange: draw, "data-name": name }, h("option", { value: "" }, t(all)));
  const text = h("input", { type: "search", "aria-label": t("board.filter"), placeholder: t("board.filter"), oninput: draw });
  const team = filter("team", "board.team"), agent = filter("agent", "board.agent"), tag = filter("tag", "board.tag");
  const lanes = new Map(COLUMNS.map((name) => [name, lane(name)]));
  const others = h("p", { class: "muted", hidden: true });

  function lane(name) {
    const list = h("ul"), count = h("small"), scroll = h("div", { class: "lane", onscroll: () => show(name) }, list);
    return { name, list, count, scroll, tasks: [], element: h("section", { class: "column", "data-column": name, "aria-labelledby": "column-" + name },
      h("h2", { id: "column-" + name }, t("board." + name), count), scroll) };
  }

  async function load() {
    try {
      for (let offset = 0, limit = FIRST; !signal.aborted; offset += limit, limit = NEXT) {
        const found = await get("/tasks" + query({ limit, offset }), { signal });
        for (const each of found) tasks.set(each.id, slim(each));
        draw();
        if (found.length < limit) break;
        put(status, t("board.loading", { n: number(tasks.size) }));
      }
      loading = false;
      put(told);
      draw();
    } catch (problem) {
      if (problem.name !== "AbortError") put(told, wrong(problem));
    }
  }

  function draw() {
    due = 0;
    for (const [task, { status, run_state }] of changed) Object.assign(task, { status: columnOf(status), run_state, updated_at: Date.now() / 1000 });
    changed.clear();
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const each of lanes.values()) each.tasks = [];
    let rest = 0;
    for (const each of tasks.values()) {
      const found = lanes.get(each.status);
      if (!found) rest += 1;
      else if (fits(each, words)) found.tasks.push(each);
    }
    for (const each of lanes.values()) {
      each.tasks.sort((one, other) => other.updated_at - one.updated_at);
      settle(each);
    }
    others.hidden = !rest;
    put(others, t("board.others", { n: number(rest) }));
    if (!loading && offered !== tasks.size) {
      offered = tasks.size;
      put(status);
      offer(agent, new Set([...tasks.values()].map((each) => each.agent).filter(Boolean)), (url) => names.get(url) ?? url);
      offer(tag, new Set([...tasks.values()].flatMap((each) => each.tags)));
    }
  }

  function fits(each, words) {
    return (!team.value || each.team_id === team.value) && (!agent.value || each.agent === agent.value) && (!tag.value || each.tags.includes(tag.value)) &&
      words.every((word) => each.text.includes(word));
  }

  function settle(lane) {
    put(lane.count, number(lane.tasks.length));
    lane.list.style.height = lane.tasks.length * HEIGHT + "px";
    show(lane.name);
  }

  /** Puts a task that is shown first in a column, without a look at all the others. */
  function shift(task, column) {
    const from = lanes.get(task.status), at = from?.tasks.indexOf(task) ?? -1, to = lanes.get(column);
    Object.assign(task, { status: column, updated_at: Date.now() / 1000 });
    if (at < 0 || !to) return draw();
    from.tasks.splice(at, 1);
    to.tasks.unshift(task);
    for (const each of new Set([from, to])) settle(each);
  }

  /** What others changed since the last frame: a few cards move, of many all are looked at once. */
  function apply() {
    if (changed.size > FEW) return draw();
    due = 0;
    const few = [...changed];
    changed.clear();
    for (const [task, { status, run_state }] of few) {
      task.run_state = run_state;
      shift(task, columnOf(status));
    }
  }

  function offer(select, values, name = (value) => value) {
    const known = [...select.options].slice(1).map((each) => each.value);
    const wanted = [...values].sort().slice(0, 200);
    if (known.join("\n") !== wanted.join("\n")) {
      const chosen = select.value;
      select.replaceChildren(select.options[0], ...wanted.map((value) => h("option", { value }, line(name(value), 60))));
      select.value = wanted.includes(chosen) ? chosen : "";
    }
    select.hidden = !wanted.length;
  }

  function show(name) {
    const { list, scroll, tasks: all } = lanes.get(name), from = Math.max(0, Math.floor(scroll.scrollTop / HEIGHT) - BEYOND);
    const until = Math.min(all.length, Math.ceil((scroll.scrollTop + (scroll.clientHeight || 600)) / HEIGHT) + BEYOND);
    const here = new Map([...list.children].map((each) => [each.dataset.id, each])), wanted = [];
    for (let at = from; at < until; at += 1) {
      const task = all[at], mark = JSON.stringify([task, at, held === task.id]);
      const found = here.get(task.id);
      wanted.push(found?.dataset.mark === mark ? found : place(task, at, mark, found));
    }
    if (wanted.length !== list.children.length || wanted.some((each, at) => each !== list.children[at])) {
      const focused = list.contains(document.activeElement) ? document.activeElement.dataset.task : null;
      list.replaceChildren(...wanted);
      if (focused) list.querySelector(`[data-task="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    }
  }

  function place(task, at, mark) {
    const item = h("li", { "data-id": task.id, "data-mark": mark }, h("a", { class: "tile" + (held === task.id ? " held" : ""), href: "#/task/" + encodeURIComponent(task.id), draggable: "false", "data-task": task.id,
      "aria-describedby": "board-keys", onkeydown: (event) => keys(event, task), onpointerdown: (event) => drag(event, task), onclick: (event) => dragged && event.preventDefault() },
      h("b", null, line(task.title, 160)),
      h("small", null, h("span", null, line([names.get(task.agent), ...task.tags].filter(Boolean).join(" · ") || task.id, 40)), h("span", null, task.run_state === "failed" ? h("span", { class: "pill bad" }, t("board.failed")) : null, task.run_state === "executing" ? h("span", { class: "dot" }) : null, " ", ago(task.updated_at)))));
    item.firstChild.style.top = at * HEIGHT + 4 + "px";
    return item;
  }

  async function move(task, column) {
    if (!lanes.has(column) || task.status === column) return;
    const before = { status: task.status, updated_at: task.updated_at };
    lanes.get(column).scroll.scrollTop = 0;
    shift(task, column);
    put(status, line(t("board.moved", { title: task.title.slice(0, 80), column: t("board." + column) })));
    try {
      await patch("/tasks/" + encodeURIComponent(task.id), { status: column });
      put(told);
    } catch (problem) {
      Object.assign(task, before);
      draw();
      put(told, wrong(problem));
    }
  }

  function keys(event, task) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], updown = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (event.key === " ") {
      held = held === task.id ? null : task.id;
      put(status, held ? t("board.held") : null);
      for (const name of lanes.keys()) show(name);
    } else if (event.key === "Escape" && held) {
      held = null;
      show(task.status);
    } else if (step && held === task.id) move(task, COLUMNS[COLUMNS.indexOf(task.status) + step]).then(() => null), focus(task);
    else if (step) focus(lanes.get(COLUMNS[COLUMNS.indexOf(task.status) + step])?.tasks[0]);
    else if (updown) {
      const all = lanes.get(task.status).tasks;
      focus(all[all.indexOf(task) + updown]);
    } else return;
    event.preventDefault();
  }

  function focus(task) {
    if (!task) return;
    const { scroll, tasks: all } = lanes.get(task.status), top = all.indexOf(task) * HEIGHT;
    if (top < scroll.scrollTop || top + HEIGHT > scroll.scrollTop + scroll.clientHeight) scroll.scrollTop = Math.max(0, top - scroll.clientHeight / 2);
    show(task.status);
    scroll.querySelector(`[data-task="${CSS.escape(task.id)}"]`)?.focus({ preventScroll: true });
  }

  let dragged = false;

  /** Mouse: at once when it moves; finger: after it was held for a moment, since else it scrolls. */
  function drag(event, task) {
    if (event.button !== 0) return;
    const touch = event.pointerType === "touch", from = { x: event.clientX, y: event.clientY }, ending = new AbortController();
    let ghost = null, over = null, timer = 0;
    dragged = false;
    const place = lanes.get(COLUMNS[0]).element.parentNode;
    let edge = 0;
    /** At an edge of the board what lies beyond it comes. */
    const slide = () => {
      if (!ghost) return;
      if (edge) place.scrollLeft += edge * 8;
      requestAnimationFrame(slide);
    };
    const begin = () => {
      dragged = true;
      ghost = event.target.closest(".tile").cloneNode(true);
      ghost.removeAttribute("data-task");
      Object.assign(ghost.style, { position: "fixed", width: "220px", pointerEvents: "none", zIndex: 20, left: "0", top: "0", right: "auto" });
      document.body.append(ghost);
      follow(from);
      slide();
    };
    const follow = ({ x, y }) => {
      ghost.style.transform = `translate(${x - 40}px, ${y - 20}px) rotate(2deg)`;
      edge = x < EDGE ? -1 : x > innerWidth - EDGE ? 1 : 0;
      const column = document.elementFromPoint(x, y)?.closest(".column");
      if (column === over) return;
      over?.classList.remove("over");
      column?.classList.add("over");
      over = column;
    };
    const end = (drop) => {
      clearTimeout(timer);
      ending.abort();
      ghost?.remove();
      over?.classList.remove("over");
      if (ghost && drop && over) move(task, over.dataset.column);
      ghost = null;
      setTimeout(() => {
        dragged = false;
      });
    };
    if (touch) timer = setTimeout(begin, HOLD_MS);
    const options = { signal: ending.signal };
    addEventListener("pointermove", (moved) => {
      const far = Math.hypot(moved.clientX - from.x, moved.clientY - from.y) > 6;
      if (!ghost && far && touch) end(false);
      else if (!ghost && far) begin();
      if (ghost) follow({ x: moved.clientX, y: moved.clientY });
    }, options);
    addEventListener("touchmove", (moved) => ghost && moved.preventDefault(), { ...options, passive: false });
    // Held for long, a link has a menu of its own on a phone.
    addEventListener("contextmenu", (shown) => touch && shown.preventDefault(), options);
    addEventListener("pointerup", () => end(true), options);
    addEventListener("pointercancel", () => end(false), options);
  }

  news.addEventListener("event", async ({ detail: { type, data } }) => {
    if (type !== "task_updated") return;
    const known = tasks.get(data.id);
    if (known) {
      changed.set(known, data);
      due ||= requestAnimationFrame(apply);
    }
    if (!unread.size) setTimeout(read, LOOK_MS);
    unread.add(data.id);
  }, { signal });

  /** What an event does not tell: title, tags, agent, and that a task is archived. Of many everything is asked for. */
  async function read() {
    const ids = [...unread];
    unread.clear();
    if (signal.aborted) return;
    if (ids.length > 4 * FEW) return load();
    await Promise.all(ids.map(async (id) => {
      try {
        const found = slim(await get("/tasks/" + encodeURIComponent(id), { signal }));
        const known = tasks.get(id);
        tasks.set(id, known ? Object.assign(known, found, { updated_at: Math.max(known.updated_at, found.updated_at) }) : found);
      } catch (problem) {
        if (problem.status === 404) tasks.delete(id);
      }
    }));
    offered = 0;
    cancelAnimationFrame(due);
    due = requestAnimationFrame(draw);
  }

  news.addEventListener("again", load, { signal });
  addEventListener("resize", draw, { signal });

  const title = draft(h("input", { "aria-label": t("board.title"), placeholder: t("board.title"), maxlength: 500, required: true, "data-focus": true }), "task");
  const form = h("form", { class: "row tight", onsubmit: async (event) => {
    event.preventDefault();
    try {
      const made = await post("/tasks", { title: title.value.trim(), status: "backlog" });
      tasks.set(made.id, slim(made));
      title.sent();
      put(told);
      draw();
      const [words, found] = [text.value.toLowerCase().split(/\s+/).filter(Boolean), tasks.get(made.id)];
      put(status, fits(found, words) ? null : h("a", { href: "#/task/" + encodeURIComponent(made.id) }, line(t("board.made", { title: found.title.slice(0, 80) }))));
    } catch (problem) {
      put(told, wrong(problem));
    }
  } }, title, h("button", { class: "button primary" }, t("board.new")));

  for (const each of [team, agent, tag]) each.hidden = true;
  get("/teams", { signal }).then((found) => {
    const teams = new Map(found.map((each) => [each.id, each.name]));
    offer(team, teams.keys(), (id) => teams.get(id));
  }, () => null);
  get("/agents?format=list", { signal }).then((found) => {
    for (const each of found) names.set(each.url, each.name);
    offered = 0;
    draw();
  }, () => null);
  load();
  requestAnimationFrame(draw);
  return h("div", null, h("div", { class: "head" }, h("h1", null, t("view.board")), form), h("div", { class: "filters" }, text, team, agent, tag), told,
    h("p", { class: "sr", id: "board-keys" }, t("board.keys")), status, h("div", { class: "board" }, [...lanes.values()].map((each) => each.element)), others);
}
