/**
 * What the schema of a plugin's configuration is made of: the keywords of JSON Schema that are supported, and a schema as
 * it is checked against once it has been read (`plugin-schema.ts`).
 */
import type { RE2JS } from "re2js";
import { normalizePathText, normalizeTargetText, normalizeTemplateText } from "../http/path-text.ts";

export const TYPES = ["string", "integer", "number", "boolean", "array", "object", "null"] as const;
export type TypeName = (typeof TYPES)[number];
export type Word = string | number | boolean | null;

/** Keywords whose value is a whole number from 0. */
export const COUNTS = ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"] as const;
export const NUMBERS = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"] as const;
/** They say something to people and editors, and check nothing; what is `writeOnly` is never shown, though. */
const NOTES = [
  "$schema",
  "$id",
  "$comment",
  "title",
  "description",
  "default",
  "examples",
  "deprecated",
  "writeOnly",
] as const;
const OTHERS = [
  ...["type", "enum", "const", "pattern", "properties", "required", "additionalProperties", "propertyNames"],
  ...["items", "uniqueItems", "anyOf", "oneOf", "format"],
];
export const KEYWORDS: readonly string[] = [...OTHERS, ...COUNTS, ...NUMBERS, ...NOTES];

/** What a string may be besides. The plugin gets it in the form in which requests have it. */
export const FORMATS = {
  path: normalizePathText,
  target: normalizeTargetText,
  "uri-template": normalizeTemplateText,
} as const;
export type Format = keyof typeof FORMATS;

export type Bound = (typeof COUNTS)[number] | (typeof NUMBERS)[number];

/** One schema, read and found sound. What a keyword does not say is null, or empty. */
export type PluginSchema = {
  readonly description: string;
  readonly default: unknown;
  /** A secret: no message shows a value of it. */
  readonly secret: boolean;
  readonly types: readonly TypeName[] | null;
  /** `enum`, or `const` as a list of one. */
  readonly words: readonly Word[] | null;
  readonly pattern: { readonly text: string; readonly compiled: RE2JS } | null;
  readonly format: Format | null;
  readonly bounds: { readonly [B in Bound]?: number };
  readonly properties: ReadonlyMap<string, PluginSchema>;
  readonly required: readonly string[];
  /** Of keys that are not among `properties`. */
  readonly additional: PluginSchema | boolean;
  readonly names: PluginSchema | null;
  readonly items: PluginSchema | null;
  readonly unique: boolean;
  readonly anyOf: readonly PluginSchema[] | null;
  readonly oneOf: readonly PluginSchema[] | null;
};
