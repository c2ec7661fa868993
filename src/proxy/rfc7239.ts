/** The header Forwarded (RFC 7239 section 4). */
import { isAuthority } from "../http/fields.ts";
import { readNode } from "../net/address.ts";

type ForwardedElement = {
  /** For each hop, the client's first, its address, or `unknown`. */
  readonly nodes: readonly string[];
  /** Of the last hop that has them; empty if none has. */
  readonly proto: string;
  readonly host: string;
};

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
/** A pair and its separator: `;` within a hop, `,` between hops, or the end. */
const PAIR = new RegExp(`[ \\t]*(?:(${TOKEN})=(?:(${TOKEN})|"((?:[^"\\\\]|\\\\.)*)"))?[ \\t]*([;,]|$)`, "y");

/** Reads the value; null when it is not well-formed: a client can have written what follows the mistake. */
export function readForwarded(value: string): ForwardedElement | null {
  const nodes: string[] = [];
  let namesNode = false;
  let [proto, host] = ["", ""];
  let node: string | null = null;
  let names = new Set<string>();
  for (let at = 0; at <= value.length; ) {
    PAIR.lastIndex = at;
    const found = PAIR.exec(value);
    if (found === null) return null;
    const [all, given = "", token, quoted = "", separator = ""] = found;
    at += all.length;
    const name = given.toLowerCase();
    const text = token ?? quoted.replace(/\\(.)/g, "$1");
    if (name !== "" && names.has(name)) return null;
    namesNode ||= name === "for";
    if (name === "for") node = readNode(text) || "unknown";
    else if (name === "proto") proto = /^[a-z]{1,8}$/i.test(text) ? text : "";
    else if (name === "host") host = isHost(text) ? text : "";
    if (name !== "") names.add(name);
    if (separator === ";") continue;
    if (names.size > 0) nodes.push(node ?? "unknown");
    node = null;
    names = new Set();
    if (separator === "") break;
  }
  return { nodes: namesNode ? nodes : [], proto, host };
}

function isHost(text: string): boolean {
  const bytes = Buffer.from(text, "latin1");
  return isAuthority(bytes, 0, bytes.length);
}
