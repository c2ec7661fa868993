/** Converts errors of the YAML parser to problems at their cause, and lists the anchors of a document. */
import { type Document, isMap, isScalar, isSeq, type Node, Scalar } from "yaml";

export type SyntaxProblem = { readonly offset: number; readonly message: string };

export type Anchors = ReadonlyMap<string, readonly Node[]>;

/** Iterates over the nodes of a document in order; without recursion, because nesting depth is unbounded. */
function* walk(document: Document): Iterable<Node> {
  const left: (Node | null)[] = [document.contents];
  for (let node = left.pop(); node !== undefined; node = left.pop()) {
    if (node === null) continue;
    yield node;
    if (isSeq<Node>(node)) for (const item of node.items.toReversed()) left.push(item);
    else if (isMap<Node, Node | null>(node))
      for (const { key, value } of node.items.toReversed()) left.push(value ?? null, key);
  }
}

export function listAnchors(document: Document): Anchors {
  const anchors = new Map<string, Node[]>();
  for (const node of walk(document)) {
    const name = "anchor" in node ? (node as Scalar).anchor : undefined;
    if (name !== undefined) anchors.getOrInsert(name, []).push(node);
  }
  return anchors;
}

export function listSyntaxProblems(document: Document, text: string): SyntaxProblem[] {
  const errors = [...document.errors, ...document.warnings];
  if (errors.length === 0) return [];
  const quoted = [...walk(document)].filter(isQuoted);
  const problems = errors.map(({ code, message, pos }): SyntaxProblem => {
    const offset = pos[0];
    if (code === "MULTIPLE_DOCS") return { offset, message: "a second document begins here: expected one in a file" };
    if (code === "MISSING_CHAR" && message.includes("quote")) {
      const open = quoted.find(({ range }) => range![0] < offset && offset <= range![1] + 1);
      if (open)
        return {
          offset: open.range![0],
          message: `this quote is not closed: expected another ${text[open.range![0]]}`,
        };
    }
    if (text[offset] === "*" && /alias/i.test(message))
      return { offset, message: "an alias without a name: write text that begins with * in quotes" };
    const cause = findCause(text, offset);
    if (cause !== undefined) return cause;
    return { offset, message: `not valid YAML: ${message.charAt(0).toLowerCase()}${message.slice(1)}` };
  });
  return [...suspectQuotes(quoted, errors[0]!, text), ...problems];
}

/** A mistake in the line of a parser's error, and the lines above it, that the parser reports as another one. */
function findCause(text: string, offset: number): SyntaxProblem | undefined {
  const start = text.lastIndexOf("\n", offset - 1) + 1;
  const end = text.indexOf("\n", offset);
  const line = text.slice(start, end < 0 ? text.length : end);
  const found = /^(\s*(?:- )?[\w.-]+):(?=["'\w[{])/.exec(line);
  if (found === null) return undefined;
  return {
    offset: start + found[1]!.length,
    message: 'no space after this ":": expected one between a key and its value',
  };
}

/**
 * An unclosed quote ends at the next quote, possibly lines below; the parser then reports what follows it, not the
 * quote.
 */
function suspectQuotes(
  quoted: readonly Scalar[],
  { code, pos }: Document["errors"][number],
  text: string,
): SyntaxProblem[] {
  if (code === "MISSING_CHAR") return [];
  const line = text.lastIndexOf("\n", pos[0] - 1);
  const open = quoted.find(({ range }) => range![0] <= line && line < range![1] && range![1] <= pos[0]);
  if (open === undefined) return [];
  const lines = text.slice(open.range![0], open.range![1]).split("\n").length - 1;
  const message = `this quote is closed ${lines === 1 ? "a line" : `${lines} lines`} below: is one missing in this line?`;
  return [{ offset: open.range![0], message }];
}

function isQuoted(node: Node): node is Scalar {
  return isScalar(node) && (node.type === Scalar.QUOTE_DOUBLE || node.type === Scalar.QUOTE_SINGLE) && !!node.range;
}
