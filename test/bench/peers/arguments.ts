import type { Groups, Work } from "../site.ts";

export type Arguments = { readonly work: Work; readonly port: number; readonly groups: Groups };

/** `WORK PORT ADDRESS,… ADDRESS,…`: the second list is of the group `canary`. */
export function readArguments(): Arguments {
  const [work, port, app = "", canary = ""] = process.argv.slice(2);
  return {
    work: work === "chain" ? "chain" : "plain",
    port: Number(port),
    groups: { app: app.split(","), canary: canary.split(",") },
  };
}
