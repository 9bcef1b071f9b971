// The page: a key at the door, then the figures.

import { Client } from "./api/client";
import { byId, say } from "./dom";
import { KeyRing } from "./key";
import { Screen } from "./screen";
import { PERIODS, Session, type Period } from "./session";

const ring = new KeyRing(() => window.sessionStorage);
const door = byId("door", HTMLElement);
const board = byId("board", HTMLElement);
const leave = byId("leave", HTMLButtonElement);
const field = byId("door-key", HTMLInputElement);
const problem = byId("door-problem", HTMLElement);

let screen: Screen | null = null;
let session: Session | null = null;

/** Shows the figures to whoever holds the key. */
function enter(key: string): void {
  // What another key was shown must not stand there for this one.
  if (screen !== null) return location.reload();
  open(true);
  // Charts measure the place they are given: it must be on the page before they are made.
  screen = new Screen();
  session = new Session(new Client(new URL("..", location.href), key), screen, chosen(), ask);
  if (!document.hidden) session.run();
}

/** Asks for a key; with the words of why. */
function ask(words: string): void {
  session?.pause();
  session = null;
  ring.forget();
  open(false);
  say(problem, words);
  field.value = "";
  field.focus();
}

function open(isOpen: boolean): void {
  door.hidden = isOpen;
  board.hidden = !isOpen;
  leave.hidden = !isOpen;
  for (const id of ["health", "clock", "cut"]) byId(id, HTMLElement).hidden = !isOpen;
}

function chosen(): Period {
  const radio = document.querySelector<HTMLInputElement>("input[name=period]:checked");
  return PERIODS[radio?.value ?? "all"] ?? { seconds: null, words: "yet" };
}

function start(): void {
  ring.takeFromAddress(location, history);
  if (ring.key === null) ask("");
  else enter(ring.key);
}

byId("door-form", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  const key = field.value.trim();
  if (key === "") return;
  say(problem, "");
  field.value = "";
  ring.keep(key);
  enter(key);
});
leave.addEventListener("click", () => ask(""));
for (const radio of document.querySelectorAll("input[name=period]")) {
  radio.addEventListener("change", () => session?.show(chosen()));
}
window.addEventListener("hashchange", () => {
  if (ring.takeFromAddress(location, history) && ring.key !== null) enter(ring.key);
});
document.addEventListener("visibilitychange", () => (document.hidden ? session?.pause() : session?.run()));
start();
