// How the agent is: what it can do its work with, and figures of the last hour.

import { h, s, put, readable, button } from "../dom.js";
import { t, has, number, bytes, seconds, time, ago, span, translated } from "../text.js";
import { get, news } from "../api.js";
import { wrong } from "../command.js";
import { said } from "../said.js";

const EVERY_MS = 10000;

export default function status({ session, signal }) {
  const figures = h("div", { class: "figures" }), checks = h("div", null, h("p", { class: "muted" }, t("status.looking"))), jobs = h("ul", { class: "findings" }), told = h("div");

  async function refresh() {
    try {
      const [now, history] = await Promise.all([get("/stats?jobs=1", { signal }), get("/stats/history", { signal })]);
      put(told);
      const past = [...history, now];
      put(jobs, now.jobs.map(job));
      put(figures,
        figure(t("status.commands"), `${now.shell_pool.busy} / ${now.shell_pool.total}`, past.map((each) => each.shell_pool?.busy ?? 0)),
        figure(t("status.cpu"), `${number(now.resources.cpu_percent)} %`, past.map((each) => each.resources?.cpu_percent ?? 0), null, (value) => `${number(value)} %`),
        figure(t("status.memory"), bytes(now.resources.ram_bytes), past.map((each) => each.resources?.ram_bytes ?? 0), null, bytes),
        session.role === "hub" ? [
          figure(t("status.tasks"), number(now.tasks.total), past.map((each) => each.tasks?.total ?? 0), t("status.tasks.how", { done: number(now.tasks.completed), failed: number(now.tasks.failed) })),
          figure(t("status.failed"), number(now.tasks.failed), past.map((each) => each.tasks?.failed ?? 0)),
          figure(t("status.agents"), `${now.agents.online} / ${now.agents.total}`, past.map((each) => each.agents?.online ?? 0))] : null);
    } catch (problem) {
      if (problem.name !== "AbortError") put(told, wrong(problem));
    }
  }

  async function look() {
    put(checks, h("p", { class: "muted", role: "status" }, t("status.looking")));
    try {
      const findings = session.admin ? await get("/doctor", { signal }) : ready(await get("/ready", { signal }));
      const bad = findings.filter((each) => !each.ok).length;
      put(checks, h("p", { role: "status", class: "row" }, h("span", { class: "pill " + (bad ? "ask" : "good") }, bad ? t("status.bad", { n: bad }) : t("status.good"))),
        h("ul", { class: "findings" }, [...findings].sort((one, other) => one.ok - other.ok).map((each) => h("li", null,
          h("span", null, h("span", { class: "pill " + (each.ok ? "good" : "bad") }, t(each.ok ? "status.ok" : "status.do"))),
          h("strong", null, has("check." + each.subject) ? t("check." + each.subject) : each.subject), h("span", { class: "said" }, about(each))))));
    } catch (problem) {
      if (problem.name !== "AbortError") put(checks, wrong(problem));
    }
  }

  const timer = setInterval(() => document.visibilityState === "visible" && refresh(), EVERY_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
  news.addEventListener("again", refresh, { signal });
  refresh();
  look();
  return h("div", { class: "narrow stack" }, h("div", { class: "head" }, h("h1", null, t("view.status")), h("small", null, `Ananta ${session.version}`)), told, figures,
    h("section", { class: "card stack", "aria-labelledby": "findings" }, h("div", { class: "row spread" }, h("h2", { id: "findings" }, t("status.checks")), button(t("status.again"), look, { kind: "small" })), checks),
    h("section", { class: "card stack", "aria-labelledby": "jobs" }, h("h2", { id: "jobs" }, t("status.jobs")), jobs));
}

function job(each) {
  const state = each.error ? "bad" : each.running ? "ask" : each.last_run || each.elsewhere ? "good" : "new";
  return h("li", null, h("span", null, h("span", { class: "pill " + state }, t("job." + state))), h("strong", null, has("job." + each.name) ? t("job." + each.name) : readable(each.name)), h("span", { class: "said" },
    each.error ? [said(each.error), " "] : null, each.elsewhere ? t("job.elsewhere") : each.last_run ? t("job.last", { when: ago(each.last_run), took: seconds(each.duration ?? 0) }) : t("job.never"),
    " ", h("time", { class: "muted", title: time(each.next_run) }, t("job.every", { time: span(each.interval) }))));
}

/** What was found; some sentences are known for one subject only, and a time is told as it is here. */
function about({ subject, text, ok }) {
  const local = text.replace(/\b(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC\b/g, (all, day, clock) => time(Date.parse(`${day}T${clock}Z`) / 1000));
  if (ok && local !== text && subject === "clock") return local;
  const known = ok && translated(local) === null ? translated(`${subject}: ${local}`) : null;
  return known === null ? said(local) : readable(known);
}

function ready({ checks }) {
  return Object.entries(checks).map(([subject, each]) => ({ subject, ok: each.status === "ok", text: each.message ?? each.status }));
}

function figure(title, value, past, more, shown = number) {
  return h("section", { class: "card figure" }, h("h2", { class: "muted" }, title), h("strong", null, value), more ? h("small", null, more) : null, chart(past, title, shown));
}

function chart(values, title, shown) {
  if (values.length < 2) return h("p", { class: "muted" }, t("status.later"));
  const [least, most, last] = [Math.min(...values), Math.max(...values), values.at(-1)], top = most * 1.1 || 1, width = values.length - 1;
  const points = values.map((value, at) => `${at},${(40 - (value / top) * 40).toFixed(2)}`).join("L");
  return h("div", null, s("svg", { class: "chart", viewBox: `0 -1 ${width} 42`, preserveAspectRatio: "none", role: "img",
    "aria-label": t("status.chart", { title, n: values.length, least: shown(least), most: shown(most), last: shown(last) }) },
  s("path", { class: "area", d: `M0,41L${points}L${width},41Z` }), s("path", { class: "curve", d: `M${points}` })),
  h("small", { class: "row spread", "aria-hidden": "true" }, h("span", null, t("status.minutes", { n: width })), h("span", null, t("status.most", { value: shown(most) }))));
}
