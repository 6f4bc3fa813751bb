// A proposed command: what it is, what the policy says of each part, and the decision about it.

import { h, put, readable, button, labelled, draft } from "./dom.js";
import { t, seconds, time, ago, translated } from "./text.js";
import { said, told } from "./said.js";
import { get, post, newKey, news } from "./api.js";
import { listen } from "./live.js";
import { output, liveOutput } from "./output.js";

const STRICTNESS = ["allow", "ask", "deny"], MARKED = 400;

/** A command in full, its parts marked by what the policy says of them; one within another by the stricter word. */
export function commandText(command, parts = []) {
  const found = h("pre", { class: "command", tabindex: "0", "aria-label": t("command") });
  let at = 0;
  for (const { from, to, decision, reason } of places(command, parts)) {
    found.append(...readable(command.slice(at, from)), h("span", { class: "part " + decision, title: translated(reason) ?? reason },
      readable(command.slice(from, to)), h("span", { class: "sr" }, ` (${t("verdict." + decision)}) `)));
    at = to;
  }
  found.append(...readable(command.slice(at)));
  return found;
}

/** Where parts stand, wherever they stand, in their order; what overlaps is one place, as strict as the strictest in it. */
function places(command, parts) {
  const all = [];
  for (const part of parts) {
    for (let from = part.text ? command.indexOf(part.text) : -1; from >= 0 && all.length < MARKED; from = command.indexOf(part.text, from + part.text.length)) {
      all.push({ from, to: from + part.text.length, decision: part.decision, reason: part.reason });
    }
  }
  const found = [];
  for (const each of all.sort((one, other) => one.from - other.from || other.to - one.to)) {
    const last = found.at(-1);
    if (!last || each.from >= last.to) found.push({ ...each });
    else {
      last.to = Math.max(last.to, each.to);
      if (STRICTNESS.indexOf(each.decision) > STRICTNESS.indexOf(last.decision)) Object.assign(last, { decision: each.decision, reason: each.reason });
    }
  }
  return found;
}

export function verdict(decision) {
  return h("span", { class: "pill " + decision }, t("verdict." + decision));
}

function touched(parts, reasons, cwd, decision) {
  const told = parts.length ? parts.filter((each) => each.decision !== "allow") : decision === "allow" ? [] : reasons.map((reason) => ({ reason, decision }));
  const seen = new Set(), rows = told.filter((each) => !seen.has(each.decision + each.reason) && seen.add(each.decision + each.reason));
  const rest = parts.filter((each) => each.decision === "allow").length;
  return h("div", { class: "touch" },
    rows.length ? h("ul", { class: "touch" }, rows.slice(0, 12).map((each) => h("li", null, verdict(each.decision), h("span", { class: "said" }, said(each.reason))))) : null,
    h("p", { class: "muted said" }, decision === "allow" ? t("touch.nothing") : rest ? t("touch.rest", { n: rest }) : null,
      cwd && !cwd.startsWith("@") ? [" ", t("proposal.in"), " ", h("code", null, readable(cwd))] : null));
}

const DECIDED = ["proposal_used", "proposal_refused", "proposal_expired"];

const ENDINGS = { interrupted: "run.stopped", unknown: "run.unknown", denied: "run.denied", not_run: "run.notrun" };

/** How a run ended, in a word. */
export function ending({ exit_code, state }) {
  return h("span", { class: "pill " + (exit_code === 0 ? "good" : "bad") }, ENDINGS[state] ? t(ENDINGS[state]) : exit_code === 0 ? t("run.good") : t("run.bad", { n: exit_code }));
}

/** How a run ended, how long it took, and who wanted it. */
export function outcome({ exit_code, duration, state, decided_by }) {
  return h("p", { class: "row" }, ending({ exit_code, state }),
    duration === undefined || duration === null ? null : h("span", { class: "muted" }, seconds(duration)),
    decided_by ? h("span", { class: "muted" }, t("run.by", { name: decided_by })) : null);
}

/** Runs something and shows it while it runs. start() gives the promise of the answer. */
export function running(session, start, signal) {
  const live = liveOutput(), found = h("div", { class: "run" }), begun = performance.now();
  const clock = h("span"), stopping = new AbortController();
  let stopped = false;
  const stop = button(t("stop"), async () => {
    stop.disabled = stopped = true;
    found.closest("[tabindex]")?.focus({ preventScroll: true });
    await post("/step/stop", session ? { task_id: session } : {}).catch((problem) => found.append(wrong(problem)));
  }, { kind: "small danger", sign: "stop" });
  const tick = () => put(clock, t("run.for", { time: seconds((performance.now() - begun) / 1000) }));
  const timer = setInterval(tick, 1000);
  tick();
  put(found, h("div", { class: "row spread" }, h("p", { class: "waiting", role: "status" }, h("span", { class: "dot" }), clock), stop), live.element);
  listen("/step/stream-output" + (session ? "?task_id=" + encodeURIComponent(session) : ""), ({ type, data }) => {
    if (type === "run_output") live.add(data.text, data.at);
  }, { signal: stopping.signal });
  const done = start().then((ended) => (stopped && ended?.exit_code ? { ...ended, state: "interrupted" } : ended)).finally(() => {
    clearInterval(timer);
    stopping.abort();
  });
  signal?.addEventListener("abort", () => {
    clearInterval(timer);
    stopping.abort();
  });
  return { element: found, done };
}

export function wrong(problem) {
  return h("p", { class: "wrong", role: "alert" }, told(problem), problem.body?.reasons && !["command_denied", "approval_required"].includes(problem.code) ?
    problem.body.reasons.map((each) => [" ", said(each)]) : null);
}

/**
 * A card for a proposal: {id, command, reason, decision, reasons, model, seconds?, task_id, created_at?, cwd?}. on.done(record)
 * is called when it has run, on.refused(reason) and on.edited(proposal) when that was the decision; where: more of its head;
 * watch: whether it looks by itself if somebody else decides.
 */
export function proposalCard(proposal, { signal, on = {}, where = null, focus = false, watch = false } = {}) {
  const card = h("article", { class: "card proposal", tabindex: "-1", "aria-label": t("proposal") });
  let shown = proposal, parts = [], busy = false, asked = false;

  const actions = h("div", { class: "row" }), below = h("div", { class: "stack", hidden: true });
  const command = h("div"), touch = h("div"), pill = h("span");

  function draw() {
    put(command, commandText(shown.command, parts));
    put(touch, touched(parts, shown.reasons ?? [], shown.cwd, shown.decision));
    put(pill, shown.decision ? verdict(shown.decision) : null);
    const denied = shown.decision === "deny";
    put(actions,
      denied ? null : button(t("run"), run, { kind: "primary", sign: "play", "data-key": "r" }),
      button(t("edit"), edit, { sign: "pencil", "data-key": "e" }),
      button(t("no"), refuse, { sign: "no", "data-key": "n" }));
  }

  function under(...children) {
    below.hidden = !children.length;
    put(below, ...children);
  }

  async function run() {
    if (busy) return;
    busy = true;
    actions.hidden = true;
    const key = newKey(), body = { proposal_id: shown.id };
    const going = running(shown.task_id, () => again(() => post("/step/execute", body, { key }), signal), signal);
    under(going.element);
    on.started?.(shown);
    try {
      const done = await going.done;
      under(outcome(done), output(done.output));
      on.done?.(done, shown);
    } catch (problem) {
      if (problem.name === "AbortError") return;
      under(wrong(problem));
      busy = false;
      actions.hidden = DECIDED.includes(problem.code);
      on.failed?.(problem);
    }
    card.focus({ preventScroll: true });
  }

  function edit() {
    const field = draft(h("textarea", { class: "code", rows: Math.min(12, shown.command.split("\n").length + 1), spellcheck: "false", value: shown.command }), "edit." + shown.id);
    form(t("edit.label"), field, t("edit.save"), async () => {
      const edited = await post("/step/edit", { proposal_id: shown.id, command: field.value });
      field.sent();
      shown = { ...shown, ...edited };
      parts = [];
      under();
      draw();
      card.focus({ preventScroll: true });
      await look();
      on.edited?.(shown);
    });
  }

  function refuse() {
    const field = draft(h("textarea", { rows: 2, placeholder: t("no.example") }), "no." + shown.id);
    form(t("no.label"), field, t("no.send"), async () => {
      const reason = field.value;
      await post("/step/reject", { proposal_id: shown.id, reason });
      field.sent();
      actions.hidden = true;
      under(h("p", { class: "muted said" }, readable(reason ? t("no.done.because", { reason }) : t("no.done"))));
      card.focus({ preventScroll: true });
      on.refused?.(reason, shown);
    });
  }

  function form(label, field, send, act) {
    const told = h("div"), submit = h("button", { class: "button primary" }, send);
    const close = () => {
      field.sent();
      under();
      card.focus({ preventScroll: true });
    };
    const found = h("form", { class: "stack", onsubmit: async (event) => {
      event.preventDefault();
      submit.disabled = asked = true;
      try {
        await act();
      } catch (problem) {
        put(told, wrong(problem));
        actions.hidden ||= DECIDED.includes(problem.code);
      }
      submit.disabled = asked = false;
    }, onkeydown: (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) found.requestSubmit();
      else if (event.key === "Escape") close();
    } }, labelled(label, field), told, h("div", { class: "row" }, submit, button(t("cancel"), close)));
    under(found);
    field.focus();
  }

  async function look() {
    const [checked, stored] = await Promise.all([
      post("/policy/check", { command: shown.command, ...(shown.cwd && !shown.cwd.startsWith("@") ? { cwd: shown.cwd } : {}) }, { signal }).catch(() => null),
      shown.cwd === undefined && shown.id ? get("/proposals/" + encodeURIComponent(shown.id), { signal }).catch(() => null) : null]);
    parts = checked?.parts ?? [];
    if (stored) shown = { ...shown, cwd: stored.cwd };
    if (!busy) draw();
    if (stored) decided(stored);
  }

  /** Nothing is left to decide where somebody has. */
  function decided({ state, decided_by, decide_reason }) {
    if (busy || asked || actions.hidden || state === "open") return;
    actions.hidden = true;
    const reason = decide_reason ? " " + decide_reason : "";
    under(h("p", { class: "muted said" }, readable(t("proposal." + state, { name: decided_by ?? "?" }) + reason)));
    on.elsewhere?.(state, { ...shown, decide_reason });
  }

  if (watch) {
    news.addEventListener("event", async ({ detail }) => {
      if (detail.type !== "proposals_updated" || detail.data.id !== shown.id) return;
      const stored = await get("/proposals/" + encodeURIComponent(shown.id), { signal }).catch(() => null);
      if (stored) decided(stored);
    }, { signal });
  }

  card.addEventListener("keydown", (event) => {
    if (event.target !== card || event.ctrlKey || event.metaKey || event.altKey) return;
    const found = actions.hidden ? null : actions.querySelector(`[data-key="${event.key.toLowerCase()}"]`);
    if (!found) return;
    event.preventDefault();
    event.stopPropagation();
    // The button stands below the command, a key does not: whoever presses it has the command's end before the eyes.
    if (event.key.toLowerCase() === "r" && command.getBoundingClientRect().bottom > innerHeight) actions.scrollIntoView({ block: "end" });
    else found.click();
  });
  card.append(h("div", { class: "row spread" }, h("p", { class: "said" }, readable(shown.reason || t("proposal.noreason"))), pill), ...(where ? [where] : []),
    command, touch,
    h("div", { class: "meta" },
      shown.model ? h("span", null, readable(shown.model)) : null,
      shown.seconds === undefined ? null : h("span", null, t("proposal.took", { time: seconds(shown.seconds) })),
      shown.created_at ? h("time", { title: time(shown.created_at) }, ago(shown.created_at)) : null),
    actions, below);
  draw();
  look();
  if (focus) requestAnimationFrame(() => card.focus({ preventScroll: true }));
  return card;
}

/** Asks again while there is no answer at all: with an Idempotency-Key nothing runs twice. */
export async function again(ask, signal) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await ask();
    } catch (problem) {
      if ((problem.status !== 0 && problem.code !== "shutdown_in_progress") || problem.name === "AbortError" || tries >= 20 || signal?.aborted) throw problem;
      await new Promise((resolve) => setTimeout(resolve, Math.min(4000, 500 * 2 ** tries)));
    }
  }
}

