/** References to other entries of the configuration, and to files. */

import { fetchTarget } from "./address-values.ts";
import type { Place } from "./place.ts";
import { convert } from "./shape.ts";
import { filePath, name } from "./values.ts";

/** A reference to another entry of the file, with its place. */
export type Reference = { readonly name: string; readonly at: Place };

export const clusterName = convert(name, (name, at, conversion): Reference => {
  conversion.checkCluster(name, at);
  return { name, at };
});

/** A file that the configuration names: its absolute path, and where it is named. */
export type NamedFile = { readonly path: string; readonly at: Place };

export const file = convert(
  filePath,
  (path, at, conversion): NamedFile => ({ path: conversion.resolvePath(path), at }),
);

/** A target of a plugin's requests: `cluster:NAME`, an origin such as `https://keys.example.com`, or `endpoint`. */
export const placedTarget = convert(fetchTarget, (target, at, conversion) => {
  if (target.startsWith("cluster:")) conversion.checkCluster(target.slice("cluster:".length), at);
  return target;
});
