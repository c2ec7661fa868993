import { Bytes, copyBytes } from "./binary";
import { KEY, KEY_CAP, VALUE, VALUE_CAP, decode, encode } from "./bytes";
import { exchange_get, exchange_set, respond, shared_get, shared_set } from "./imports";
import { check, checkNumber } from "./status";

/** The result of the current hook, one of RESULT. */
export let result: i32 = 0;

export function setResult(value: i32): void {
  result = value;
}

export function getValue(key: string): string | null {
  const length = exchange_get(KEY, encode(key, KEY, KEY_CAP), VALUE, VALUE_CAP);
  return length < 0 || length > VALUE_CAP ? null : decode(VALUE, length);
}

export function setValue(key: string, value: string): void {
  const length = encode(value, VALUE, VALUE_CAP);
  check(exchange_set(KEY, encode(key, KEY, KEY_CAP), VALUE, length), "cannot store exchange value", key);
}

export function getValueBytes(key: string): Bytes | null {
  const length = exchange_get(KEY, encode(key, KEY, KEY_CAP), VALUE, VALUE_CAP);
  return length < 0 || length > VALUE_CAP ? null : copyBytes(VALUE, length);
}

export function setValueBytes(key: string, from: usize, length: i32): void {
  check(exchange_set(KEY, encode(key, KEY, KEY_CAP), from, length), "cannot store exchange value", key);
}

export function getShared(name: string): string | null {
  const length = shared_get(KEY, encode(name, KEY, KEY_CAP), VALUE, VALUE_CAP);
  return length < 0 || length > VALUE_CAP ? null : decode(VALUE, length);
}

export function setShared(name: string, value: string): void {
  const length = encode(value, VALUE, VALUE_CAP);
  check(shared_set(KEY, encode(name, KEY, KEY_CAP), VALUE, length), "cannot share value", name);
}

export function sendResponse(status: i32, body: ArrayBuffer): void {
  checkNumber(<i32>respond(status, changetype<usize>(body), body.byteLength), "cannot respond with status", status);
}
