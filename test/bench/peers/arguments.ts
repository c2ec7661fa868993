import type { Groups, Work } from "../site.ts";

export type Arguments = { readonly work: Work; readonly port: number; readonly groups: Groups };

/** `WORK PORT APP,APP CANARY,CANARY` */
export function readArguments(): Arguments {
  const [work, port, app = "", canary = ""] = process.argv.slice(2);
  const numbers = (list: string): number[] => list.split(",").map(Number);
  return {
    work: work === "chain" ? "chain" : "plain",
    port: Number(port),
    groups: { app: numbers(app), canary: numbers(canary) },
  };
}
