/** The configuration's JSON Schema, for completion and checking in an editor. */
import { BUILTINS, configuration } from "./schema.ts";
import type { AnyShape, JsonSchema, ObjectShape, Role, Shape } from "./shape.ts";

/** A scalar that contains a variable may have any value. */
const VARIABLE = { type: "string", pattern: "\\$\\{" };

export function makeJsonSchema(): JsonSchema {
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "Sluice configuration",
    ...describe(configuration),
    $defs: { variable: VARIABLE },
  };
}

function describe(shape: Shape<unknown>): JsonSchema {
  const one = shape as AnyShape;
  switch (one.kind) {
    case "scalar":
      return { anyOf: [one.json, { $ref: "#/$defs/variable" }] };
    case "list": {
      const array = { type: "array", items: describe(one.item) };
      return one.single ? { anyOf: [describe(one.item), array] } : array;
    }
    case "entries":
      return {
        type: ["object", "null"],
        propertyNames: one.key.json,
        additionalProperties: describe(one.value),
      };
    case "object":
      return describeObject(one);
    case "use":
      return describeUse(one.role);
    case "free":
      return {};
    case "converted":
      return describe(one.from);
  }
}

function describeObject(shape: ObjectShape<unknown>): JsonSchema {
  const all = Object.entries(shape.fields);
  const properties = all.map(([key, { shape, doc, otherwise }]) => {
    const isDefault = typeof otherwise === "object" && !isEmptyMap(otherwise.default);
    return [key, { description: doc, ...describe(shape), ...(isDefault ? { default: otherwise.default } : {}) }];
  });
  const required = all.filter(([, field]) => field.otherwise === "given").map(([key]) => key);
  const map = {
    type: required.length === 0 ? ["object", "null"] : "object",
    properties: Object.fromEntries(properties),
    additionalProperties: false,
    ...(required.length === 0 ? {} : { required }),
  };
  const short = Object.values(shape.shorthand).map((key) => describe(shape.fields[key]!.shape));
  return short.length === 0 ? map : { anyOf: [...short, map] };
}

function describeUse(role: Role): JsonSchema {
  const names = Object.keys(BUILTINS).filter((name) => BUILTINS[name] === role);
  // Any other name may be one of `plugins`.
  const word = names.length === 0 ? { type: "string" } : { anyOf: [{ enum: names }, { type: "string" }] };
  return { anyOf: [word, { type: "object", minProperties: 1, maxProperties: 1 }] };
}

function isEmptyMap(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value) && Object.keys(value).length === 0;
}
