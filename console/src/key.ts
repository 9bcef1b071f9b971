// The viewer's key: taken from behind the `#` of the address, kept until the tab is closed.
//
// A fragment is never sent to a server, but it stays in the history and in what people copy; so it is
// taken away before anything else happens.

const NAME = "reckon-key";

/** The key in a fragment such as `#key=rk_...`; null where there is none. */
export function keyOf(fragment: string): string | null {
  const value = new URLSearchParams(fragment.replace(/^#/, "")).get("key")?.trim();
  return value === undefined || value === "" ? null : value;
}

/** Where keys are kept. Storage can be forbidden; then the key lives as long as the page. */
export class KeyRing {
  #key: string | null = null;
  readonly #storage: Storage | null;

  constructor(storage: () => Storage) {
    try {
      this.#storage = storage();
      this.#key = this.#storage.getItem(NAME);
    } catch {
      this.#storage = null;
    }
  }

  /** The key, if there is one. */
  get key(): string | null {
    return this.#key;
  }

  keep(key: string): void {
    this.#key = key;
    this.#write((storage) => storage.setItem(NAME, key));
  }

  forget(): void {
    this.#key = null;
    this.#write((storage) => storage.removeItem(NAME));
  }

  /** Takes a key out of the address, and the address bar; true where there was one. */
  takeFromAddress(location: Location, history: History): boolean {
    const key = keyOf(location.hash);
    if (key === null) return false;
    history.replaceState(null, "", location.pathname + location.search);
    this.keep(key);
    return true;
  }

  #write(act: (storage: Storage) => void): void {
    try {
      if (this.#storage !== null) act(this.#storage);
    } catch {
      // Full or forbidden: the key lives as long as the page.
    }
  }
}
