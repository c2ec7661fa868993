/** Masks the secrets in a configuration's text, for the admin interface. */
import { isMap, isScalar, isSeq, type Node, parseDocument, type Scalar } from "yaml";
import { shield } from "./variables.ts";

/** Detects secrets by key name and by the format of the text. */
export type TextMask = { hides(name: string): boolean; text(text: string): string };

/** Keys of maps from user names to secrets. */
const SECRETS_BY_NAME = /^(?:credentials|keys|passwords|secrets|tokens|users)$/i;
/** Keys that contain plugin configurations. Under all others only tokens and `macKey` are secret. */
const SETTINGS = /^(?:chain|config|plugin|router|strategy)$/;
/** A reference to a variable reveals nothing; its default value may. */
const REFERENCE = /^(["']?)\$\{\w+\}\1$/;

type Visit = { readonly node: Node | null; readonly key: string; readonly above: string; readonly inSettings: boolean };

/** Masks the secrets of an accepted configuration; comments and other values are unchanged. */
export function maskText(text: string, mask: TextMask): string {
  const document = parseDocument(shield(text), { uniqueKeys: false, logLevel: "silent" });
  const edits: { start: number; end: number; text: string }[] = [];
  const left: Visit[] = [{ node: document.contents, key: "", above: "", inSettings: false }];
  for (let visit = left.pop(); visit !== undefined; visit = left.pop()) {
    const { node, key, inSettings } = visit;
    if (isScalar(node)) {
      const [start, end] = node.range!;
      const shown = show(text.slice(start, end), visit, mask);
      if (shown !== null) edits.push({ start, end, text: shown });
    } else if (isSeq<Node>(node)) {
      for (const item of node.items) left.push({ node: item, key: isMap(item) ? "" : key, above: "", inSettings });
    } else if (isMap<Scalar, Node | null>(node)) {
      for (const { key: name, value } of node.items) {
        const inner = isScalar(name) ? String(name.value) : "";
        left.push({ node: value, key: inner, above: key, inSettings: inSettings || SETTINGS.test(inner) });
      }
    }
  }
  let masked = "";
  let from = 0;
  for (const edit of edits.sort((a, b) => a.start - b.start)) {
    masked += text.slice(from, edit.start) + edit.text;
    from = edit.end;
  }
  return masked + text.slice(from);
}

/** The replacement for a scalar; null: unchanged. */
function show(source: string, { key, above, inSettings }: Visit, mask: TextMask): string | null {
  if (source === "" || REFERENCE.test(source)) return null;
  const isSecret = inSettings
    ? mask.hides(key) || SECRETS_BY_NAME.test(above)
    : key === "macKey" || (key === "token" && (above === "admin" || above === "trace"));
  // A block scalar includes its last line end.
  if (isSecret) return source.endsWith("\n") ? "***\n" : "***";
  const shown = mask.text(source);
  return shown === source ? null : shown;
}
