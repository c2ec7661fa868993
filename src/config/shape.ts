/**
 * Constructors of shapes, which `schema.ts` consists of. The TypeScript type (`Infer`), reader (`read.ts`), JSON Schema
 * and documentation of a value are derived from its shape.
 */
import type { Place } from "./place.ts";
import type { Tree } from "./tree.ts";

export type JsonSchema = { readonly [key: string]: unknown };

/** The value type of a shape; `type` does not exist at run time. */
export interface Shape<T> {
  readonly kind: "scalar" | "list" | "entries" | "object" | "use" | "free" | "converted";
  readonly type?: T;
}
export type Infer<S> = S extends Shape<infer T> ? T : never;

/** A scalar. It is parsed from its text: `"${PORT}"` is valid as a number, and the header value `1.10` is unchanged. */
export interface ScalarShape<T> extends Shape<T> {
  readonly kind: "scalar";
  /** With an article: `a duration such as 15s`. */
  readonly expected: string;
  /** Returns the value; undefined if the text is invalid. @throws InvalidValue with a more specific message. */
  readonly parse: (text: string) => T | undefined;
  readonly json: JsonSchema;
}

export interface ListShape<T> extends Shape<readonly T[]> {
  readonly kind: "list";
  readonly item: Shape<T>;
  /** A single value is read as a list of one. */
  readonly single: boolean;
}

/** A map with user-defined keys, in file order. */
export interface EntriesShape<T> extends Shape<readonly { name: string; at: Place; value: T }[]> {
  readonly kind: "entries";
  readonly value: Shape<T>;
  /** The shape of a key; its parsed text is the name. */
  readonly key: ScalarShape<string>;
}

/** A map of known keys. */
export interface ObjectShape<T, F extends Fields = Fields> extends Shape<T> {
  readonly kind: "object";
  readonly fields: F;
  /** A scalar or list in place of the map is read as a map with this key. */
  readonly shorthand: { readonly scalar?: string; readonly list?: string };
  /** Exactly one of these keys is required; empty: no such constraint. */
  readonly one: readonly string[];
}

export type Field<T> = {
  readonly shape: Shape<T>;
  readonly doc: string;
  /** `given`: required; `absent`: optional without a default; otherwise the default as written in YAML. */
  readonly otherwise: "given" | "absent" | { readonly default: unknown };
};
export type OptionalField<T> = Field<T> & { readonly otherwise: "absent" };
export type Fields = { readonly [key: string]: Field<unknown> };

type AbsentKeys<F> = { [K in keyof F]: F[K] extends { readonly otherwise: "absent" } ? K : never }[keyof F];
type FieldType<F> = F extends Field<infer T> ? T : never;
export type InferFields<F> = { readonly [K in Exclude<keyof F, AbsentKeys<F>>]: FieldType<F[K]> } & {
  readonly [K in AbsentKeys<F>]?: FieldType<F[K]>;
};

/** The role in which a plugin is used. */
export type Role = "filter" | "router" | "strategy" | "health check";

/** A reference to a plugin: `name`, or `{ name: configuration }`. */
export type PluginUse = {
  readonly name: string;
  /** The configuration given here; undefined if only the name is given. */
  readonly config: Settings | undefined;
  readonly at: Place;
};
export interface UseShape extends Shape<PluginUse> {
  readonly kind: "use";
  readonly role: Role;
}

/** Any YAML. The plugin's schema determines the types of its scalars (`readSettings`). */
export type Settings = { readonly tree: Tree };
export interface FreeShape extends Shape<Settings> {
  readonly kind: "free";
}

/** The context of a conversion: lookups and problem reporting. */
export type Conversion = {
  /** `absent`: the keys of which the map at this place lacks one. */
  readonly report: (at: Place, message: string, absent?: readonly string[]) => void;
  /** Reports a valid value that is probably a mistake. */
  readonly warn: (at: Place, message: string) => void;
  /** Reads a value that the conversion generated, with `at` as its position. */
  readonly read: <T>(shape: Shape<T>, value: unknown, at: Place) => T | undefined;
  /** Reports a cluster that is not defined. */
  readonly checkCluster: (name: string, at: Place) => void;
  /** Whether a problem at this path or below it was reported already: then the converted value lacks invalid parts. */
  readonly hasProblem: (path: string) => boolean;
  /** Resolves a path against the configuration file's directory. */
  readonly resolvePath: (path: string) => string;
};
export interface ConvertedShape<T> extends Shape<T> {
  readonly kind: "converted";
  readonly from: Shape<unknown>;
  readonly convert: (value: unknown, at: Place, conversion: Conversion, tree: Tree) => T | undefined;
}

export type AnyShape =
  | ScalarShape<unknown>
  | ListShape<unknown>
  | EntriesShape<unknown>
  | ObjectShape<unknown>
  | UseShape
  | FreeShape
  | ConvertedShape<unknown>;

/** A problem with a scalar: what is invalid and what was expected. */
export class InvalidValue extends Error {}

export const scalar = <T>(expected: string, json: JsonSchema, parse: (text: string) => T | undefined) =>
  ({ kind: "scalar", expected, json, parse }) as ScalarShape<T>;

export const list = <T>(item: Shape<T>) => ({ kind: "list", item, single: false }) as ListShape<T>;

export const oneOrMore = <T>(item: Shape<T>) => ({ kind: "list", item, single: true }) as ListShape<T>;

export const entries = <T>(key: ScalarShape<string>, value: Shape<T>) =>
  ({ kind: "entries", key, value }) as EntriesShape<T>;

export function object<F extends Fields>(
  fields: F,
  options: {
    shorthand?: { scalar?: string; list?: string };
    one?: readonly (keyof F & string)[];
  } = {},
): ObjectShape<InferFields<F>, F> {
  const { shorthand = {}, one = [] } = options;
  return { kind: "object", fields, shorthand, one };
}

export const required = <T>(shape: Shape<T>, doc: string): Field<T> => ({ shape, doc, otherwise: "given" });

export const optional = <T>(shape: Shape<T>, doc: string): OptionalField<T> => ({ shape, doc, otherwise: "absent" });

/** `value` is written as in YAML: `"15s"`, not 15000. */
export const withDefault = <T>(shape: Shape<T>, value: unknown, doc: string): Field<T> => ({
  shape,
  doc,
  otherwise: { default: value },
});

export const use = (role: Role): UseShape => ({ kind: "use", role });

export const free: FreeShape = { kind: "free" };

/** `to` gets the value, and the tree as written, without defaults. */
export const convert = <A, B>(
  from: Shape<A>,
  to: (value: A, at: Place, conversion: Conversion, tree: Tree) => B | undefined,
): ConvertedShape<B> => ({ kind: "converted", from, convert: to as ConvertedShape<B>["convert"] });

type Named = { readonly name: string; readonly at: Place };

/** A map from user-defined names to objects, read as a list of objects with `name` and `at`, in file order. */
export const named = <T extends object>(key: ScalarShape<string>, value: Shape<T>) =>
  convert(entries(key, value), (all): readonly (T & Named)[] =>
    all.map(({ name, at, value }) => ({ ...value, name, at })),
  );

/** A map from user-defined names to values. */
export const table = <T>(key: ScalarShape<string>, value: Shape<T>) =>
  convert(
    entries(key, value),
    (all): Readonly<Record<string, T>> => Object.fromEntries(all.map(({ name, value }) => [name, value])),
  );
