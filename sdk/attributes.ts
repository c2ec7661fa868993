import { VALUE, VALUE_CAP, narrow, widen } from "./bytes";
import { attribute, attribute_set } from "./imports";
import { check } from "./status";

/** Copies an attribute to VALUE; returns its length, or a negative status. */
export function loadAttribute(id: i32): i32 {
  const length = attribute(id, VALUE, VALUE_CAP);
  if (length > VALUE_CAP) throw new Error(`attribute ${id} of ${length} bytes is over the limit of ${VALUE_CAP}`);
  return length;
}

/** An attribute as a string; empty if absent. */
export function readAttribute(id: i32): string {
  return widen(VALUE, loadAttribute(id));
}

/** An attribute that is a decimal number; 0 if absent. */
export function readNumber(id: i32): f64 {
  const length = loadAttribute(id);
  let value: f64 = 0;
  for (let i: i32 = 0; i < length; i++) value = value * 10 + <f64>(<i32>load<u8>(VALUE + i) - 48);
  return value;
}

export function writeAttribute(id: i32, value: string, what: string): void {
  check(attribute_set(id, VALUE, narrow(value, VALUE, VALUE_CAP)), what, value);
}
