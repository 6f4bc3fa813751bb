// Holds the streams for all tabs of a browser.

import { Pool } from "./streams.js";

const pool = new Pool();

self.onconnect = ({ ports: [port] }) => {
  const mine = new Map();
  port.onmessage = ({ data: { what, url } }) => {
    if (what === "open" && !mine.has(url)) {
      const on = (message) => port.postMessage(message);
      mine.set(url, on);
      pool.add(url, on);
    } else if (what === "close" && mine.has(url)) {
      pool.drop(url, mine.get(url));
      mine.delete(url);
    } else if (what === "leave") {
      for (const [each, on] of mine) pool.drop(each, on);
      mine.clear();
    }
  };
};
