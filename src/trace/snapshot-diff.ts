/** Captures what hooks may change of an exchange, and compares two captures. */
import { FIELD_WORDS, type Head, NAME_ID, PART, REMOVED } from "../http/head.ts";
import type { ExchangeContext } from "../plugin/host/hook-context.ts";
import type { Change, Side } from "./record.ts";

/** Everything that a hook may change, by `of` and `what` of `Change`. */
export type MessageState = Map<string, StateEntry>;
type StateEntry = { readonly of: Side; readonly what: string; readonly values: readonly string[] };

/** The fields of a head, without removed ones; names as they were written. */
export function listFields(head: Head): [name: string, value: string][] {
  const fields: [string, string][] = [];
  for (let i = 0; i < head.count; i++)
    if (head.fields[i * FIELD_WORDS + NAME_ID] !== REMOVED) fields.push([head.nameText(i), head.valueText(i)]);
  return fields;
}

export function captureState(exchange: ExchangeContext): MessageState {
  const state = new Map<string, { of: Side; what: string; values: string[] }>();
  const add = (of: Side, what: string, value: string) =>
    state.getOrInsert(`${of} ${what}`, { of, what, values: [] }).values.push(value);
  const addFields = (of: Side, kind: string, head: Head | null) => {
    if (head === null) return;
    for (const [name, value] of listFields(head)) add(of, `${kind} ${name.toLowerCase()}`, value);
  };
  const { request, response, localStatus } = exchange;
  for (const [what, part] of Object.entries(PART)) {
    const text = request.partText(part);
    if (text !== "") add("request", what, text);
  }
  addFields("request", "header", request);
  addFields("request", "trailer", exchange.requestTrailers);
  const status = localStatus !== 0 ? localStatus : response.status;
  if (status !== 0) add("response", "status", String(status));
  addFields("response", "header", response);
  addFields("response", "trailer", exchange.responseTrailers);
  return state;
}

/** Applies changes in place; `undo`: reverts them. */
export function applyChanges(state: MessageState, changes: readonly Change[], undo = false): void {
  for (const { of, what, before, after } of changes) {
    const values = undo ? before : after;
    if (values.length === 0) state.delete(`${of} ${what}`);
    else state.set(`${of} ${what}`, { of, what, values });
  }
}

export function compare(before: MessageState, after: MessageState): Change[] {
  const changes: Change[] = [];
  for (const key of new Set([...before.keys(), ...after.keys()])) {
    const [old, now] = [before.get(key), after.get(key)];
    const { of, what } = (old ?? now)!;
    const [from, to] = [old?.values ?? [], now?.values ?? []];
    if (from.length !== to.length || from.some((value, i) => value !== to[i]))
      changes.push({ of, what, before: from, after: to });
  }
  return changes;
}
