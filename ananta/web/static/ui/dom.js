// Elements from functions. Text becomes text nodes and nothing else: there is no way from a string to markup.

const SVG = "http://www.w3.org/2000/svg";

export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

export function s(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled" || name === "hidden") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...nodes(children));
  return element;
}

export function nodes(children) {
  return children.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== false)
    .map((each) => (each instanceof Node ? each : document.createTextNode(String(each))));
}

/** Puts these in the place of everything that is in the element. */
export function put(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

// What is not seen, or turns around what is seen: a reader must know that it is there.
// A joiner within an emoji, and what makes one coloured, belong to what is seen.
const HIDDEN = /((?:[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]|(?<!\p{Extended_Pictographic}\ufe0f?)\ufe0f|(?<!\p{Extended_Pictographic}[\ufe0f\u{1f3fb}-\u{1f3ff}]?)\u200d)+)/u;
const PIECE = 4000, MARKS = 3000;

/** A text to read, as nodes: hidden characters are marked, and long lines are in pieces that a browser lays out quickly. */
export function readable(text) {
  const found = [];
  let marks = 0, plain = "";
  const end = () => {
    for (let at = 0; at < plain.length; at += PIECE) found.push(document.createTextNode(plain.slice(at, at + PIECE)));
    plain = "";
  };
  String(text).split(HIDDEN).forEach((part, at) => {
    if (at % 2 === 0) plain += part;
    // So many elements would stop the page: from here on each stands as the sign for what cannot be shown. All else is seen.
    else if (marks >= MARKS) plain += "\ufffd";
    else {
      end();
      for (const [first, ...rest] of runs(part)) {
        marks += 1;
        found.push(h("span", { class: "hidden-char" }, "U+" + first.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") + (rest.length ? " ×" + (rest.length + 1) : "")));
      }
    }
  });
  end();
  return found;
}

/** The characters of a text, those that are the same together. */
function runs(text) {
  const found = [];
  for (const each of text) {
    if (found.at(-1)?.[0] === each) found.at(-1).push(each);
    else found.push([each]);
  }
  return found.slice(0, MARKS);
}

/** One line of somebody's text for a title: without line ends, and cut. */
export function line(text, length = 200) {
  const one = String(text ?? "").slice(0, length * 4).replace(/\s+/g, " ").trim();
  return readable(one.length > length ? one.slice(0, length - 1) + "…" : one);
}

const ICONS = {
  ask: "M4 5h16v11H9l-5 4z", inbox: "M4 13l3-8h10l3 8v6H4zM4 13h5l1 2h4l1-2h5", board: "M4 5h4v14H4zM10 5h4v9h-4zM16 5h4v6h-4z",
  log: "M5 6h14M5 12h14M5 18h9", status: "M4 18V9M10 18V5M16 18v-7M21 18H3", out: "M10 5H5v14h5M14 8l4 4-4 4M18 12H9",
  agents: "M4 5h16v10H4zM9 19h6M12 15v4", templates: "M6 3h9l4 4v14H6zM14 3v5h5M9 13h7M9 17h5", settings: "M4 7h10M18 7h2M4 17h2M10 17h10M16 5v4M8 15v4", policy: "M12 4v16M6 20h12M5 8h14M5 8l-2 6h5zM19 8l-3 6h5z", teams: "M12 4a2 2 0 110 4 2 2 0 010-4zM5 14a2 2 0 110 4 2 2 0 010-4zM19 14a2 2 0 110 4 2 2 0 010-4zM11 9l-5 5M13 9l5 5M8 16h8", users: "M9 11a3 3 0 100-6 3 3 0 000 6zM3 20c0-4 3-6 6-6s6 2 6 6M16 5a3 3 0 010 6M18 14c2 1 3 3 3 6", audit: "M12 3l8 3v6c0 5-4 8-8 9-4-1-8-4-8-9V6zM9 12l2 2 4-4",
  play: "M8 5l11 7-11 7z", pencil: "M5 19l1-4L16 5l3 3L9 18z", no: "M6 6l12 12M18 6L6 18", stop: "M7 7h10v10H7z",
  copy: "M9 9h10v10H9zM5 15V5h10", plus: "M12 5v14M5 12h14", other: "M5 12h.01M12 12h.01M19 12h.01",
};

export function icon(name) {
  return s("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, s("path", { d: ICONS[name] ?? ICONS.other }));
}

export function button(label, onclick, { kind = "", sign = null, ...props } = {}) {
  return h("button", { type: "button", class: "button " + kind, onclick, ...props }, sign ? icon(sign) : null, h("span", null, label));
}

let numbers = 0;

/** A label and its field. `field` is an input, textarea or select. */
export function labelled(label, field, hint) {
  field.id ||= "f" + ++numbers;
  const told = hint ? h("small", { id: field.id + "h" }, hint) : null;
  if (told) field.setAttribute("aria-describedby", told.id);
  return h("div", { class: "field" }, h("label", { for: field.id }, label), field, told);
}

/** Keeps what is typed until it is sent: it survives a reload, a lost connection and a sign-in. */
export function draft(field, name) {
  const key = "ananta.draft." + name;
  try {
    field.value = localStorage.getItem(key) ?? field.value;
  } catch { /* no storage: what is typed lives as long as the page */ }
  const keep = () => {
    try {
      if (field.value) localStorage.setItem(key, field.value.slice(0, 200000));
      else localStorage.removeItem(key);
    } catch { /* full or closed */ }
  };
  field.addEventListener("input", keep);
  field.sent = () => {
    field.value = "";
    keep();
  };
  return field;
}
