// Streams of events, each opened once for all who listen. A browser allows few connections to one server, so the tabs of
// a browser share theirs: see worker.js.

const AGAIN_MS = [500, 1000, 2000, 4000, 8000, 15000];

export class Pool {
  constructor() {
    this.open = new Map();
  }

  /** Calls on({url, state}) and on({url, data}) until `drop` with the same function. */
  add(url, on) {
    const found = this.open.get(url);
    if (found) {
      found.listeners.add(on);
      if (found.state !== "new") on({ url, state: found.state });
      if (found.state === "lost") this.#connect(url, found);
      return;
    }
    const entry = { listeners: new Set([on]), state: "new", tries: 0 };
    this.open.set(url, entry);
    this.#connect(url, entry);
  }

  drop(url, on) {
    const entry = this.open.get(url);
    entry?.listeners.delete(on);
    if (entry && !entry.listeners.size) {
      entry.source?.close();
      clearTimeout(entry.timer);
      this.open.delete(url);
    }
  }

  #connect(url, entry) {
    clearTimeout(entry.timer);
    entry.source?.close();
    const source = entry.source = new EventSource(url);
    const say = (message) => entry.listeners.forEach((each) => each({ url, ...message }));
    source.onopen = () => {
      entry.tries = 0;
      entry.state = "open";
      say({ state: "open" });
    };
    source.onmessage = (event) => say({ data: event.data });
    source.onerror = () => {
      source.close();
      entry.state = "lost";
      say({ state: "lost" });
      clearTimeout(entry.timer);
      const wait = AGAIN_MS[Math.min(entry.tries++, AGAIN_MS.length - 1)];
      entry.timer = setTimeout(() => this.open.get(url) === entry && this.#connect(url, entry), wait);
    };
  }
}
