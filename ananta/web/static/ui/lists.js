// A long list: what is searched for in it, and of what is found only the beginning in the page.

import { h, put, button } from "./dom.js";
import { t } from "./text.js";

const SHOWN = 60;

/** {field, more, draw(items)}: a field to search with, a button for more, and what shows those of `items` in `list` whose text(item)
 * has all words: entry(item) gives the element of one, nothing(whether there are any at all) what stands there instead. */
export function finder({ list, text, entry, nothing }) {
  let all = [], most = SHOWN;
  const field = h("input", { type: "search", "aria-label": t("board.filter"), placeholder: t("board.filter"), "data-focus": true, oninput: () => show() });
  const more = button(t("more"), () => {
    most += SHOWN;
    show();
  }, { kind: "small", hidden: true });

  function show() {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = all.filter((each) => words.every((word) => text(each).toLowerCase().includes(word)));
    put(list, wanted.length ? wanted.slice(0, most).map(entry) : nothing(all.length > 0));
    more.hidden = wanted.length <= most;
  }

  return { field, more, show, draw(items) {
    all = items;
    show();
  } };
}
