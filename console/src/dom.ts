// Small tools for the page. Texts from the server become text nodes and nothing else.

/** The element with this id, of this kind; the page is wrong where it is not there. */
export function byId<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`);
  return found;
}

/** A new element with a class and children. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className: string,
  ...children: Array<Node | string>
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (className !== "") element.className = className;
  element.append(...children);
  return element;
}

/** Sets a text only where it differs, so that readers of the screen are not told the same again. */
export function say(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows one of two: what there is, or the words for nothing. */
export function showOr(content: HTMLElement, empty: HTMLElement, words: string | null): void {
  content.hidden = words !== null;
  empty.hidden = words === null;
  if (words !== null) say(empty, words);
}
