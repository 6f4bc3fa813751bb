// What happens, as it happens. listen(url, on) gives every message of a stream until the signal ends it.

import { Pool } from "./streams.js";
import { tell } from "./api.js";

const listeners = new Map(); // url → Set of {on, state}
let port = null;
let pool = null;

function receive({ url, data, state }) {
  const told = data === undefined ? null : JSON.parse(data);
  for (const each of listeners.get(url) ?? []) {
    if (told) each.on(told);
    else each.state?.(state);
  }
}

function send(what, url) {
  if (port) port.postMessage({ what, url });
  else if (what === "open") pool.add(url, receive);
  else if (what === "close") pool.drop(url, receive);
}

function start() {
  if (port || pool) return;
  try {
    const address = "/ui/worker.js";
    const policy = globalThis.trustedTypes?.createPolicy("ananta", { createScriptURL: () => address });
    port = new SharedWorker(policy ? policy.createScriptURL("") : address, { type: "module", name: "ananta" }).port;
    port.onmessage = ({ data }) => receive(data);
    addEventListener("pagehide", () => port.postMessage({ what: "leave" }));
    addEventListener("pageshow", ({ persisted }) => persisted && [...listeners.keys()].forEach((url) => send("open", url)));
  } catch {
    pool = new Pool();
  }
}

/** Calls on(message) for each message; state("open" | "lost") as the connection comes and goes. */
export function listen(url, on, { signal, state } = {}) {
  start();
  const entry = { on, state };
  if (!listeners.has(url)) listeners.set(url, new Set());
  listeners.get(url).add(entry);
  send("open", url);
  signal?.addEventListener("abort", () => {
    const all = listeners.get(url);
    all?.delete(entry);
    if (all && !all.size) {
      listeners.delete(url);
      send("close", url);
    }
  });
}

/** The events of the agent, told to everybody here; and whether it can be reached. */
export function follow(signal) {
  listen("/events", (message) => tell("event", message), { signal, state: (state) => tell(state === "open" ? "online" : "offline", { stream: true }) });
}
