// Every verdict in plain words. A verdict that the server's description adds and this table lacks does
// not compile.

import type { Reason } from "./api/types";

export interface Words {
  name: string;
  meaning: string;
}

const WORDS: Record<Reason, Words> = {
  counted: { name: "Counted", meaning: "A person's first click with a valid token. It counts and costs its price." },
  duplicate: { name: "Duplicate", meaning: "The same click again: a retry, a reload, a batch sent twice." },
  conflict: { name: "Conflict", meaning: "Carries the id of an earlier event but tells a different story." },
  expired: { name: "Expired", meaning: "Came later than its token was valid." },
  forged: { name: "Forged", meaning: "Its token was not made by this server, or was changed." },
  unsigned: { name: "Unsigned", meaning: "No token, and not sent by a trusted server." },
  unknown_ad: { name: "Unknown ad", meaning: "Names an ad that nobody registered." },
  not_get: { name: "Link check", meaning: "Only asked where the link leads (HEAD), as link checkers do." },
  prefetch: { name: "Prefetch", meaning: "A browser fetched the link ahead; nobody clicked yet." },
  declared_robot: { name: "Robot", meaning: "Its user agent says that it is a robot." },
  data_centre: { name: "Data centre", meaning: "Came from an address of a data centre." },
  too_fast: { name: "Too fast", meaning: "Clicked sooner after the ad was shown than a person can." },
  double_click: { name: "Double click", meaning: "The second click of a double click." },
  rapid_user: { name: "Rapid user", meaning: "One user clicked more often in a minute than people do." },
  rapid_ip: { name: "Rapid address", meaning: "One address clicked more often in a minute than the people behind it do." },
  rapid_ip_agent: { name: "Rapid browser", meaning: "One address with one browser clicked too often in a minute." },
};

/** All verdicts, in the order they are shown. */
export const REASONS = Object.keys(WORDS) as Reason[];

/** The words of a verdict; one that a newer server sends is shown by its own name. */
export function wordsOf(reason: Reason): Words {
  return WORDS[reason] ?? { name: reason, meaning: "A verdict that this page does not know yet." };
}
