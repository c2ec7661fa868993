/**
 * The vocabulary that `schema.ts` is written in. A shape says once what a value is; its TypeScript type (`Infer`), its
 * reading with every problem (`read.ts`), its JSON Schema and its documentation come from it.
 */
import type { Place } from "./place.ts";
import type { Tree } from "./tree.ts";

export type JsonSchema = { readonly [key: string]: unknown };

/** The value that a shape makes; `type` is never there at run time. */
export interface Shape<T> {
  readonly kind: "scalar" | "list" | "entries" | "object" | "use" | "free" | "converted";
  readonly type?: T;
}
export type Infer<S> = S extends Shape<infer T> ? T : never;

/** One word or number. Everything is parsed from its text: `"${PORT}"` serves as a number, and `1.10` as a header's value stays what it is. */
export interface ScalarShape<T> extends Shape<T> {
  readonly kind: "scalar";
  /** With an article: `a duration such as 15s`. */
  readonly expected: string;
  /** The value; undefined when the text is not as expected. @throws Refusal to say more about what is wrong. */
  readonly parse: (text: string) => T | undefined;
  readonly json: JsonSchema;
}

export interface ListShape<T> extends Shape<readonly T[]> {
  readonly kind: "list";
  readonly item: Shape<T>;
  /** A single value may stand for a list of one. */
  readonly single: boolean;
}

/** A map whose keys are the user's own names, in the order of the file. */
export interface EntriesShape<T> extends Shape<readonly { name: string; at: Place; value: T }[]> {
  readonly kind: "entries";
  readonly value: Shape<T>;
  /** What a key is; its parsed text is the name. */
  readonly key: ScalarShape<string>;
}

/** A map of known keys. */
export interface ObjectShape<T, F extends Fields = Fields> extends Shape<T> {
  readonly kind: "object";
  readonly fields: F;
  /** Keys that exist in the language and not yet in this version. */
  readonly later: readonly string[];
  /** A scalar or list in the map's place stands for a map with this one key. */
  readonly shorthand: { readonly scalar?: string; readonly list?: string };
  /** Keys of which exactly one is given; empty where there is no such rule. */
  readonly one: readonly string[];
}

export type Field<T> = {
  readonly shape: Shape<T>;
  readonly doc: string;
  /** `given`: by the user, or it is an error; `absent`: no key without a value; otherwise the default, as typed. */
  readonly otherwise: "given" | "absent" | { readonly default: unknown };
};
export type OptionalField<T> = Field<T> & { readonly otherwise: "absent" };
export type Fields = { readonly [key: string]: Field<unknown> };

type AbsentKeys<F> = { [K in keyof F]: F[K] extends { readonly otherwise: "absent" } ? K : never }[keyof F];
type FieldType<F> = F extends Field<infer T> ? T : never;
export type InferFields<F> = { readonly [K in Exclude<keyof F, AbsentKeys<F>>]: FieldType<F[K]> } & {
  readonly [K in AbsentKeys<F>]?: FieldType<F[K]>;
};

/** What a plugin is used for. */
export type Role = "filter" | "router" | "strategy" | "health check";

/** A plugin named where it is used: `name`, or `{ name: configuration }`. */
export type PluginUse = {
  readonly name: string;
  /** The configuration given here; undefined when only the name is. */
  readonly config: Settings | undefined;
  readonly at: Place;
};
export interface UseShape extends Shape<PluginUse> {
  readonly kind: "use";
  readonly role: Role;
}

/** Any YAML. What its scalars are is decided by the schema of the plugin that gets it (`readSettings`). */
export type Settings = { readonly tree: Tree };
export interface FreeShape extends Shape<Settings> {
  readonly kind: "free";
}

/** What a conversion may ask and say. */
export type Conversion = {
  readonly report: (at: Place, message: string) => void;
  /** What is allowed and most likely not meant. */
  readonly warn: (at: Place, message: string) => void;
  /** Reads a value made up by the conversion, as if it stood at `at`. */
  readonly read: <T>(shape: Shape<T>, value: unknown, at: Place) => T | undefined;
  /** Reports a cluster that the file does not have. */
  readonly checkCluster: (name: string, at: Place) => void;
  /** A path of the file, relative to the file's own directory. */
  readonly resolvePath: (path: string) => string;
};
export interface ConvertedShape<T> extends Shape<T> {
  readonly kind: "converted";
  readonly from: Shape<unknown>;
  readonly convert: (value: unknown, at: Place, conversion: Conversion) => T | undefined;
}

export type AnyShape =
  | ScalarShape<unknown>
  | ListShape<unknown>
  | EntriesShape<unknown>
  | ObjectShape<unknown>
  | UseShape
  | FreeShape
  | ConvertedShape<unknown>;

/** Says what is wrong with a scalar, and what was expected. */
export class Refusal extends Error {}

export const scalar = <T>(expected: string, json: JsonSchema, parse: (text: string) => T | undefined) =>
  ({ kind: "scalar", expected, json, parse }) as ScalarShape<T>;

export const list = <T>(item: Shape<T>) => ({ kind: "list", item, single: false }) as ListShape<T>;

export const oneOrMore = <T>(item: Shape<T>) => ({ kind: "list", item, single: true }) as ListShape<T>;

export const entries = <T>(key: ScalarShape<string>, value: Shape<T>) =>
  ({ kind: "entries", key, value }) as EntriesShape<T>;

export function object<F extends Fields>(
  fields: F,
  options: {
    later?: readonly string[];
    shorthand?: { scalar?: string; list?: string };
    one?: readonly (keyof F & string)[];
  } = {},
): ObjectShape<InferFields<F>, F> {
  const { later = [], shorthand = {}, one = [] } = options;
  return { kind: "object", fields, later, shorthand, one };
}

export const required = <T>(shape: Shape<T>, doc: string): Field<T> => ({ shape, doc, otherwise: "given" });

export const optional = <T>(shape: Shape<T>, doc: string): OptionalField<T> => ({ shape, doc, otherwise: "absent" });

/** `value` is what the user would type: `"15s"`, not 15000. */
export const withDefault = <T>(shape: Shape<T>, value: unknown, doc: string): Field<T> => ({
  shape,
  doc,
  otherwise: { default: value },
});

export const use = (role: Role): UseShape => ({ kind: "use", role });

export const free: FreeShape = { kind: "free" };

export const convert = <A, B>(
  from: Shape<A>,
  to: (value: A, at: Place, conversion: Conversion) => B | undefined,
): ConvertedShape<B> => ({ kind: "converted", from, convert: to as ConvertedShape<B>["convert"] });

type Named = { readonly name: string; readonly at: Place };

/** A map of the user's names to objects, as a list of objects with `name` and `at`, in the order of the file. */
export const named = <T extends object>(key: ScalarShape<string>, value: Shape<T>) =>
  convert(entries(key, value), (all): readonly (T & Named)[] =>
    all.map(({ name, at, value }) => ({ ...value, name, at })),
  );

/** A map of the user's names to words. */
export const table = (key: ScalarShape<string>, value: Shape<string>) =>
  convert(
    entries(key, value),
    (all): Readonly<Record<string, string>> => Object.fromEntries(all.map(({ name, value }) => [name, value])),
  );
