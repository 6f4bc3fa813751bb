// A conversation: a sentence, a proposal, a decision, what came of it, the next sentence.

import { h, put, readable, button, draft, icon } from "../dom.js";
import { t, seconds } from "../text.js";
import { get, post, newKey } from "../api.js";
import { proposalCard, outcome, wrong, commandText, running, again } from "../command.js";
import { output } from "../output.js";

const KEY = "ananta.ask", TOLD = 8, TOLD_CHARS = 4000, KEPT_CHARS = 200000;

function load() {
  try {
    const found = JSON.parse(sessionStorage.getItem(KEY));
    if (found?.session && Array.isArray(found.turns)) return found;
  } catch { /* begin anew */ }
  return { session: "ask-" + newKey().slice(0, 10), turns: [] };
}

/** Beginning and end of a text that is too long. */
function shortened(text, most) {
  return text.length > most ? text.slice(0, most / 2) + "\n[…]\n" + text.slice(-most / 2) : text;
}

export default function ask({ signal }) {
  let talk = load();
  const list = h("div", { class: "talk" });
  const field = draft(h("textarea", { rows: 1, "aria-label": t("ask.field"), placeholder: t("ask.placeholder"), "data-focus": true }), "ask");
  const send = h("button", { class: "button primary", "aria-label": t("ask.send") }, icon("play"));

  function save() {
    // Where there is no room any more, the oldest outputs make it.
    for (const large of [null, ...talk.turns.filter((turn) => turn.output?.length > TOLD_CHARS)]) {
      if (large) large.output = shortened(large.output, TOLD_CHARS);
      try {
        sessionStorage.setItem(KEY, JSON.stringify(talk));
        return;
      } catch { /* full, or closed to us: then the conversation ends with the page */ }
    }
  }

  const form = h("form", { onsubmit: (event) => {
    event.preventDefault();
    const prompt = field.value.trim();
    if (!prompt || send.disabled) return;
    field.sent();
    next(prompt);
  }, onkeydown: (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  } }, field, send);

  function history() {
    return talk.turns.filter((turn) => turn.state === "done").slice(-TOLD).map(({ prompt, reason, command, output: text, exit_code }) => ({
      prompt: prompt.slice(0, 20000), reason, command, output: text && shortened(text, TOLD_CHARS), exit_code }));
  }

  async function next(prompt) {
    const turn = { prompt, state: "asked" }, place = h("div", { class: "turn" });
    if (!talk.turns.length) put(list);
    talk.turns.push(turn);
    save();
    list.append(place);
    await propose(turn, place);
  }

  async function propose(turn, place) {
    const begun = performance.now(), clock = h("span");
    const tick = () => put(clock, t("ask.thinking", { time: seconds((performance.now() - begun) / 1000) }));
    const timer = setInterval(tick, 1000);
    tick();
    put(place, said(turn.prompt), h("p", { class: "waiting", role: "status" }, h("span", { class: "dot" }), clock));
    send.disabled = true;
    down();
    try {
      const found = await post("/step/propose", { prompt: turn.prompt, task_id: talk.session, history: history() }, { signal });
      Object.assign(turn, { state: "proposed", ...found, raw: undefined, comparisons: undefined, seconds: (performance.now() - begun) / 1000, task_id: talk.session });
    } catch (problem) {
      if (problem.name === "AbortError") return;
      turn.state = "failed";
      turn.problem = problem.message;
    } finally {
      clearInterval(timer);
      send.disabled = false;
    }
    save();
    draw(turn, place, true);
    down();
  }

  function draw(turn, place, fresh = false) {
    if (turn.state === "asked" || turn.state === "failed") {
      put(place, said(turn.prompt), wrong({ message: turn.problem ?? t("ask.interrupted") }),
        h("div", { class: "row" }, button(t("again"), () => propose(turn, place))));
    } else if (!turn.command && !turn.tool_calls) {
      put(place, said(turn.prompt), h("div", { class: "card said" }, turn.reason?.length > KEPT_CHARS / 50 ? output(turn.reason) : readable(turn.reason || t("ask.nothing"))));
    } else if (turn.tool_calls) {
      put(place, said(turn.prompt), tools(turn));
    } else if (turn.state === "proposed" || turn.state === "running") {
      put(place, said(turn.prompt), turn.state === "running" ? resumed(turn, place) : proposalCard(turn, { signal, focus: fresh, watch: true, on: {
        started: () => {
          turn.state = "running";
          save();
        },
        done: (done, shown) => ended(turn, shown, done),
        failed: () => {
          turn.state = "proposed";
          save();
        },
        edited: (shown) => {
          Object.assign(turn, { id: shown.id, command: shown.command, decision: shown.decision, reasons: shown.reasons });
          save();
        },
        elsewhere: (state, { decide_reason: because }) => {
          turn.state = state === "run" ? "running" : "refused";
          turn.because = because;
          save();
          if (state !== "expired") draw(turn, place);
        },
        refused: (because) => {
          turn.state = "refused";
          turn.because = because;
          save();
          if (because) next(because);
        },
      } }));
    } else {
      put(place, said(turn.prompt), h("article", { class: "card proposal" }, h("p", { class: "said" }, readable(turn.reason ?? "")), commandText(turn.command),
        turn.state === "refused" ? h("p", { class: "muted" }, turn.because ? t("no.done.because", { reason: turn.because }) : t("no.done")) :
          [outcome({ ...turn, state: turn.ended }), output(turn.output ?? "")]));
    }
  }

  function ended(turn, shown, done) {
    Object.assign(turn, { state: "done", command: shown.command, output: shortened(done.output ?? "", KEPT_CHARS), exit_code: done.exit_code, duration: done.duration, ended: done.state });
    save();
    if (signal.aborted) return;
    field.focus({ preventScroll: true });
    down();
  }

  /** A run that began before the page was loaded anew: it goes on without us, and ends in the log. */
  function resumed(turn, place) {
    const going = running(talk.session, () => recorded(turn), signal);
    going.done.then((done) => {
      if (done) ended(turn, turn, done);
      else turn.state = "proposed";
      save();
      draw(turn, place);
    }, () => null);
    return h("article", { class: "card proposal" }, h("p", { class: "said" }, readable(turn.reason ?? "")), commandText(turn.command), going.element);
  }

  async function recorded(turn) {
    while (!signal.aborted) {
      const stored = await get("/proposals/" + encodeURIComponent(turn.id), { signal }).catch(() => null);
      if (stored && stored.state !== "run") return null;
      const log = await get("/logs?limit=50&task_id=" + encodeURIComponent(talk.session), { signal }).catch(() => []);
      const found = log.find((each) => each.proposal_id === turn.id);
      if (found) return found;
      await new Promise((resolve) => setTimeout(resolve, 700));
    }
    throw new DOMException("left", "AbortError");
  }

  function tools(turn) {
    const below = h("div"), go = button(t("run"), async () => {
      go.disabled = true;
      const key = newKey();
      try {
        const done = await again(() => post("/step/execute", { tool_calls: turn.tool_calls, task_id: talk.session, reason: turn.reason,
          ...(turn.id ? { proposal_id: turn.id } : {}) }, { key }), signal);
        turn.command ??= turn.tool_calls.map((each) => each.name).join(", ");
        delete turn.tool_calls;
        ended(turn, turn, done);
        put(below, outcome(done), output(done.output));
        go.hidden = true;
      } catch (problem) {
        go.disabled = false;
        put(below, wrong(problem));
      }
    }, { kind: "primary", sign: "play" });
    return h("article", { class: "card proposal" }, h("p", { class: "said" }, readable(turn.reason ?? "")),
      h("pre", { class: "command", tabindex: "0" }, readable([turn.command, ...turn.tool_calls.map((each) => `${each.name} ${JSON.stringify(each.args, null, 2)}`)].filter(Boolean).join("\n"))),
      h("div", { class: "row" }, go), below);
  }

  function said(prompt) {
    return h("p", { class: "mine said" }, readable(prompt));
  }

  function down() {
    requestAnimationFrame(() => scrollTo({ top: document.body.scrollHeight, behavior: "instant" }));
  }

  function welcome() {
    return h("div", { class: "empty" }, h("h2", null, t("ask.welcome")), h("p", null, t("ask.how")), h("div", { class: "hints" },
      ["ask.example1", "ask.example2", "ask.example3"].map((key) => button(t(key), () => {
        field.value = t(key);
        field.dispatchEvent(new Event("input"));
        field.focus();
      }, { kind: "small" }))));
  }

  function begin() {
    put(list, talk.turns.length ? talk.turns.map((turn) => {
      const place = h("div", { class: "turn" });
      draw(turn, place);
      return place;
    }) : welcome());
    if (talk.turns.length) down();
  }

  begin();
  return h("div", { class: "narrow asking" },
    h("div", { class: "head" }, h("h1", null, t("view.ask")), button(t("ask.new"), () => {
      sessionStorage.removeItem(KEY);
      talk = load();
      begin();
      field.focus();
    }, { sign: "plus", kind: "small" })),
    list, h("div", { class: "composer" }, form));
}
