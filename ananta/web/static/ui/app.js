// The frame: who is signed in, which view is open, light or dark, which language.
// A view is a module in views/ with a default function that gets {session, parameters, signal} and returns an element; VIEWS
// names it. The signal ends what it began: listeners, streams, requests.

import { h, put, icon, button } from "./dom.js";
import { t, language, setLanguage, LANGUAGES } from "./text.js";
import { get, post, del, news, tell, keepToken, token } from "./api.js";
import { follow } from "./live.js";
import signIn from "./views/signin.js";

// name: in the address and, as view.NAME, in the catalogues; sign: an icon; hub, admin: for whom it is; hidden: not in the menu.
export const VIEWS = [
  { name: "ask", sign: "ask", load: () => import("./views/ask.js") },
  { name: "inbox", sign: "inbox", load: () => import("./views/inbox.js") },
  { name: "board", sign: "board", hub: true, load: () => import("./views/board.js") },
  { name: "task", hub: true, hidden: true, load: () => import("./views/task.js") },
  { name: "agents", sign: "agents", hub: true, load: () => import("./views/agents.js") },
  { name: "templates", sign: "templates", hub: true, load: () => import("./views/templates.js") },
  { name: "teams", sign: "teams", hub: true, load: () => import("./views/teams.js") },
  { name: "users", sign: "users", hub: true, admin: true, load: () => import("./views/users.js") },
  { name: "settings", sign: "settings", admin: true, load: () => import("./views/settings.js") },
  { name: "policy", sign: "policy", admin: true, load: () => import("./views/policy.js") },
  { name: "audit", sign: "audit", admin: true, load: () => import("./views/audit.js") },
  { name: "log", sign: "log", load: () => import("./views/log.js") },
  { name: "status", sign: "status", load: () => import("./views/status.js") },
  { name: "account", hidden: true, load: () => import("./views/account.js") },
];

let session = null;
let living = new AbortController(); // as long as somebody is signed in
let showing = new AbortController(); // as long as a view is open
const main = h("main", { id: "main", tabindex: "-1" });
const banner = h("div", { class: "banner", role: "status", hidden: true });
const waiting = h("span", { class: "badge", hidden: true });

function mine() {
  return VIEWS.filter((each) => (!each.hub || session.role === "hub") && (!each.admin || session.admin));
}

async function begin() {
  document.documentElement.lang = language();
  theme(stored("ananta.theme") ?? "auto");
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (code) history.replaceState(null, "", location.pathname);
  let problem = null;
  try {
    if (code) {
      entered(await post("/session", { code }, { quiet: true }));
      return;
    }
  } catch (failure) {
    problem = failure.message;
  }
  try {
    const found = await get("/session", { quiet: true });
    if (found.username && token()) entered(found);
    else showSignIn(problem, found.role);
  } catch (failure) {
    showSignIn(failure.message);
  }
}

export function entered(found) {
  session = found;
  belongsTo(found.username);
  if (found.csrf_token) keepToken(found.csrf_token);
  living = new AbortController();
  following = false;
  put(document.body, h("a", { class: "skip", href: "#main", onclick: (event) => {
    event.preventDefault();
    main.focus();
  } }, t("skip")), banner, h("div", { class: "frame" }, side(), main));
  follow(living.signal);
  count();
  open();
}

/** good: what is told is no problem. */
function showSignIn(problem, role = session?.role, good = false) {
  living.abort();
  showing.abort();
  session = null;
  document.title = `${t("signin.title")} – Ananta`;
  put(document.body, signIn({ problem, good, role, entered, settings }));
}

function side() {
  const nav = h("nav", { class: "nav", "aria-label": t("menu") }, mine().filter((each) => !each.hidden).map((each) =>
    h("a", { href: "#/" + each.name, "data-view": each.name }, icon(each.sign), t("view." + each.name), each.name === "inbox" ? waiting : null)));
  const found = h("header", { class: "side" },
    h("div", { class: "row spread tight" },
      h("div", { class: "brand" }, h("img", { src: "/ui/icon.svg", alt: "" }),
        h("div", null, h("strong", null, "Ananta"), h("small", null, `${session.agent} · ${t("role." + session.role)}`))),
      button(t("settings"), () => found.classList.toggle("open"), { kind: "small menu", sign: "other" })),
    nav,
    h("div", { class: "foot" }, settings(), h("div", { class: "row spread" }, h("a", { href: "#/account", class: "who", title: t("view.account") }, h("small", null, session.username)),
      button(t("signout"), leave, { kind: "small plain", sign: "out" }))));
  return found;
}

function settings() {
  const themes = h("select", { "aria-label": t("theme"), onchange: () => theme(themes.value) },
    ["auto", "light", "dark"].map((each) => h("option", { value: each, selected: each === (stored("ananta.theme") ?? "auto") }, t("theme." + each))));
  const languages = h("select", { "aria-label": t("language"), onchange: () => {
    setLanguage(languages.value);
    location.reload();
  } }, Object.entries(LANGUAGES).map(([name, text]) => h("option", { value: name, lang: name, selected: name === language() }, text)));
  return h("div", { class: "choices" }, themes, languages);
}

function stored(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  try {
    localStorage.setItem("ananta.theme", name);
  } catch { /* then for this page only */ }
}

async function leave() {
  await del("/session", { quiet: true }).catch(() => null);
  keepToken(null);
  belongsTo(null);
  showSignIn();
}

/** What was typed and said here is this person's alone: what another one has left goes. */
function belongsTo(name) {
  for (const store of [localStorage, sessionStorage]) {
    try {
      if (name !== null && store.getItem("ananta.who") === name) continue;
      Object.keys(store).filter((key) => key.startsWith("ananta.draft.") || ["ananta.ask", "ananta.who"].includes(key)).forEach((key) => store.removeItem(key));
      if (name !== null) store.setItem("ananta.who", name);
    } catch { /* no storage, nothing left */ }
  }
}

async function open() {
  if (!session) return;
  const [name, ...parameters] = location.hash.replace(/^#\/?/, "").split("/").map(decoded);
  const view = mine().find((each) => each.name === name) ?? mine()[0];
  // An address of what this person has not, or nobody.
  if (name !== view.name) history.replaceState(null, "", "#/" + view.name);
  showing.abort();
  showing = new AbortController();
  const { signal } = showing;
  document.title = `${t("view." + view.name)} – Ananta`;
  for (const each of document.querySelectorAll(".nav a")) {
    if (each.dataset.view === (view.name === "task" ? "board" : view.name)) {
      each.setAttribute("aria-current", "page");
      // On a phone the menu is a line that scrolls.
      each.scrollIntoView({ block: "nearest", inline: "center" });
    } else each.removeAttribute("aria-current");
  }
  const module = await view.load();
  if (signal.aborted) return;
  put(main, module.default({ session, parameters, signal }));
  scrollTo(0, 0);
  if (document.activeElement === document.body || document.activeElement?.closest?.(".nav")) ((matchMedia("(pointer: fine)").matches && main.querySelector("[data-focus]")) || main).focus({ preventScroll: true });
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

async function count() {
  try {
    const found = await get("/proposals?limit=100");
    waiting.hidden = !found.length;
    put(waiting, found.length > 99 ? "99+" : found.length, h("span", { class: "sr" }, " " + t("inbox.waiting")));
  } catch { /* the banner says why */ }
}

let counting = 0;
news.addEventListener("event", ({ detail }) => {
  if (detail.type !== "proposals_updated") return;
  clearTimeout(counting);
  counting = setTimeout(() => session && count(), 150);
});
news.addEventListener("signed-out", ({ detail }) => {
  if (session || detail) {
    keepToken(null);
    showSignIn(detail ?? t("signin.ended"), undefined, Boolean(detail));
  }
});
let gone = false, following = false;
news.addEventListener("offline", ({ detail }) => {
  if (!session) return;
  gone = true;
  banner.hidden = false;
  put(banner, t("connection.lost"));
  // A stream also ends when the sign-in has: asking says which it was.
  if (detail?.stream) get("/session").then((found) => found.username || tell("signed-out"), () => null);
});
news.addEventListener("online", ({ detail }) => {
  // What happened between the first look of a view and the beginning of the stream nobody has told.
  const first = detail?.stream && !following;
  following ||= first;
  if (!gone && !first) return;
  if (gone) {
    gone = false;
    put(banner, t("connection.back"));
    setTimeout(() => {
      banner.hidden = !gone;
    }, 1500);
  }
  if (session) {
    count();
    tell("again");
  }
});
addEventListener("hashchange", () => {
  if (location.hash.startsWith("#code=")) location.reload();
  else open();
});
addEventListener("keydown", (event) => {
  if (!session || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog")) return;
  const number = Number(event.key) - 1;
  const views = mine().filter((each) => !each.hidden);
  if (views[number]) location.hash = "#/" + views[number].name;
  else if (event.key === "/") {
    main.querySelector("[data-focus]")?.focus();
    event.preventDefault();
  } else if (event.key === "?") help(views);
});

function help(views) {
  const dialog = h("dialog", { "aria-labelledby": "help-title", onclose: () => dialog.remove() }, h("div", { class: "stack" },
    h("h2", { id: "help-title" }, t("help")),
    h("dl", { class: "keys" }, views.slice(0, 9).map((each, at) => [h("dt", null, h("kbd", null, at + 1)), h("dd", null, t("view." + each.name))]),
      [["/", "help.field"], ["J K", "help.move"], ["R", "run"], ["E", "edit"], ["N", "no"], ["Ctrl ↵", "help.send"], ["?", "help"]].map(([key, text]) =>
        [h("dt", null, h("kbd", null, key)), h("dd", null, t(text))])),
    h("form", { method: "dialog" }, h("button", { class: "button primary" }, t("close")))));
  document.body.append(dialog);
  dialog.showModal();
}

begin();
