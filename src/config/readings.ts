/**
 * The types that a scalar of a plugin's configuration can be read as. The schema selects one: text as written in the
 * file, or a number. A scalar that both would accept with different values is rejected as ambiguous.
 */
import type { Problem } from "./place.ts";
import { DECIMAL, type Plain, type ScalarTree, shorten, type Tree } from "./tree.ts";

/** The reading of each scalar that the schema has selected. */
export type Decisions = Map<ScalarTree, Plain>;

/** In order of preference. */
export function listReadings({ form, text, value }: ScalarTree): Plain[] {
  if (form === "given") return [value];
  if (form === "quoted") return [text];
  if (form === "variable") return [text, ...convertText(text)];
  return value === null || typeof value === "string" ? [value] : [value, text];
}

/** The value of a variable's text where the schema does not accept text. */
function convertText(text: string): Plain[] {
  if (text === "") return [null];
  if (text === "true" || text === "false") return [text === "true"];
  return DECIMAL.test(text) ? [Number(text)] : [];
}

/** The selected reading; undefined if the text is ambiguous. */
export function chooseReading(tree: ScalarTree, readings: readonly Plain[]): Plain | undefined {
  const [first, second] = readings;
  if (tree.form !== "plain" || second === undefined || String(first) === second) return first;
  return undefined;
}

/** Whether a whole number exceeds what a plugin receives exactly (2^53 - 1). */
export function isRounded({ form }: ScalarTree, value: Plain): boolean {
  return form !== "given" && typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
}

export function describeRounded({ text }: ScalarTree): string {
  return `"${shorten(text)}" is beyond 2^53 and would be rounded: expected a number from -${Number.MAX_SAFE_INTEGER} to ${Number.MAX_SAFE_INTEGER}`;
}

/** How to write an ambiguous scalar unambiguously. */
export function describeAmbiguity(tree: ScalarTree, secret: boolean): string {
  if (secret) return "ambiguous value: write the secret in quotes";
  const { text, value } = tree;
  const quoted = `write "${shorten(text)}" in quotes for the text`;
  if (value === null) return `ambiguous value ${text}: ${quoted}, or null for no value`;
  const isExact = typeof value !== "number" || (Number.isFinite(value) && !isRounded(tree, value));
  if (!isExact) return `${shorten(text)} is not exact as a number: ${quoted}`;
  return `ambiguous value ${shorten(text)}: ${quoted}, or ${value} for the ${typeof value}`;
}

/** The plain value of a tree. A scalar without a selected reading must be equal as text and as a value. */
export function toValue(tree: Tree, decisions: Decisions, problems: Problem[]): unknown {
  if (tree.kind === "list") return tree.items.map((item) => toValue(item, decisions, problems));
  if (tree.kind === "map")
    return Object.fromEntries(tree.entries.map(({ key, value }) => [key, toValue(value, decisions, problems)]));
  const decided = decisions.get(tree);
  if (decided !== undefined) return decided;
  if (tree.broken || tree.form === "given") return tree.value;
  if (tree.value === null) {
    if (!["", "~", "null"].includes(tree.text)) problems.push({ ...tree.at, message: describeAmbiguity(tree, false) });
    return null;
  }
  const value = chooseReading(tree, listReadings(tree));
  if (value === undefined) problems.push({ ...tree.at, message: describeAmbiguity(tree, false) });
  return value ?? tree.text;
}
