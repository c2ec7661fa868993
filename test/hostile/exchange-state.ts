/** What a hostile guest may have done to an exchange. */
import assert from "node:assert/strict";
import { FIELD_WORDS, type Head, PART } from "../../src/http/head.ts";
import type { Exchange } from "../../src/proxy/exchange.ts";
import { fieldsOf } from "../unit/plugin/kit.ts";

/** The content of a head; checks that all of it is inside its bytes. */
export function stateOfHead(head: Head): unknown {
  for (let at = 0; at < head.count * FIELD_WORDS; at += FIELD_WORDS)
    for (let word = 0; word < 4; word++) assert.ok(head.fields[at + word]! <= head.end);
  assert.ok(head.end <= head.bytes.length);
  return [fieldsOf(head), Object.values(PART).map((part) => head.partText(part)), head.status];
}

/** Neither head contains bytes that its receiver would interpret differently. */
export function assertSendable({ request, response }: Exchange): void {
  for (const head of [request, response]) {
    stateOfHead(head);
    const fields = fieldsOf(head);
    for (const field of fields) assert.match(field, /^[A-Za-z0-9!#$%&'*+.^_`|~-]+: [\t\x20-\x7e\x80-\xff]*$/);
    const count = (name: string) => fields.filter((field) => field.toLowerCase().startsWith(`${name}:`)).length;
    assert.equal(count("transfer-encoding"), 0);
    assert.ok(count("content-length") <= 1);
    if (head === request) assert.equal(count("host"), 1);
  }
  assert.match(request.partText(PART.path), /^\/[\x21-\x7e]*$/);
  assert.match(request.partText(PART.method), /^[A-Za-z0-9.-]+$/);
}
