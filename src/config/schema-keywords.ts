/**
 * The supported keywords of JSON Schema for a plugin's configuration, and the parsed form of a schema
 * (`plugin-schema.ts`).
 */
import type { RE2JS } from "re2js";
import { normalizePathText, normalizeTargetText, normalizeTemplateText } from "../http/path-text.ts";

export const TYPES = ["string", "integer", "number", "boolean", "array", "object", "null"] as const;
export type TypeName = (typeof TYPES)[number];
export type Word = string | number | boolean | null;

/** Keywords whose value is a non-negative integer. */
export const COUNTS = ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"] as const;
export const NUMBERS = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"] as const;
/** Annotations; they check nothing. A `writeOnly` value is never shown. */
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

/** Supported values of `format`. The plugin receives the text in the normalised form of requests. */
export const FORMATS = {
  path: normalizePathText,
  target: normalizeTargetText,
  "uri-template": normalizeTemplateText,
} as const;
export type Format = keyof typeof FORMATS;

export type Bound = (typeof COUNTS)[number] | (typeof NUMBERS)[number];

/** A validated schema. An absent keyword is null or empty. */
export type PluginSchema = {
  readonly description: string;
  readonly default: unknown;
  /** A secret: its value is never shown in a message. */
  readonly secret: boolean;
  readonly types: readonly TypeName[] | null;
  /** `enum`, or `const` as a list of one. */
  readonly words: readonly Word[] | null;
  readonly pattern: { readonly text: string; readonly compiled: RE2JS } | null;
  readonly format: Format | null;
  readonly bounds: { readonly [B in Bound]?: number };
  readonly properties: ReadonlyMap<string, PluginSchema>;
  readonly required: readonly string[];
  /** For keys that are not in `properties`. */
  readonly additional: PluginSchema | boolean;
  readonly names: PluginSchema | null;
  readonly items: PluginSchema | null;
  readonly unique: boolean;
  readonly anyOf: readonly PluginSchema[] | null;
  readonly oneOf: readonly PluginSchema[] | null;
};
