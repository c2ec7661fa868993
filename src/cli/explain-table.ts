/** A trace as a table of at most 100 columns. */
import type { Candidate } from "../cluster/cluster.ts";
import type { Change, ClusterStep, HookStep, PickStep, RouteStep, Step, TraceRecord } from "../trace/record.ts";

const WIDTH = 100;
const INDENT = "      ";

export function formatTrace(trace: TraceRecord): string {
  const { request, client, listener, configVersion, why } = trace;
  const relayed = request.protocol === "tcp";
  const lines = [
    relayed
      ? "a connection that is relayed; of the URL only the server name counts"
      : `${request.method} ${request.target}`,
    `  host ${request.authority}, from ${client}, listener ${listener}, version ${configVersion}`,
    why === "explain" ? "  dry run: in new guests; nothing was sent or saved" : `  ${trace.time}, traced by ${why}`,
    "",
    ...trace.steps.flatMap((step, index) => formatStep(step, index + 1, why === "explain", relayed)),
    "",
    ...(relayed ? formatRelay(trace) : formatResponse(trace)),
  ];
  if (trace.cut) lines.push("the trace is truncated: values end with …, or steps are missing");
  return lines.map((line) => `${cut(line.trimEnd())}\n`).join("");
}

function formatStep(step: Step, number: number, dry: boolean, relayed: boolean): string[] {
  const row = (what: string, name: string, rest: string) =>
    `${String(number).padStart(3)}  ${what.padEnd(17)} ${name.padEnd(22)} ${rest}`;
  switch (step.step) {
    case "hook":
      return [row(step.hook, step.plugin, describeCall(step)), ...describeHook(step)];
    case "received":
      // Of a local response, which a relayed connection does not get.
      if (relayed) return [];
      return [row("received", "", "not by a plugin"), ...describeEdits(step.edits)];
    case "route":
      return [
        row("route", step.route ?? "none", step.route === null ? describeNoRoute(step) : ""),
        ...step.routes.map(({ name, failed }) => `${INDENT}${name}: ${describeMatch(failed)}`),
      ];
    case "cluster":
      return [row("cluster", step.cluster, `by ${describeChooser(step)}`)];
    case "pick":
      return [
        row("pick", step.endpoint ?? "none", describePicker(step)),
        ...formatCandidates(step.candidates, step.endpoint),
      ];
    case "attempt": {
      const status = relayed ? "connected" : String(step.status);
      const result = step.status === 0 ? (step.error ?? "cancelled") : status;
      const connection = (step.reused ? ", reused connection" : "") + (step.protocol === "2" ? ", HTTP/2" : "");
      return [
        row(
          "attempt",
          step.endpoint,
          (dry ? `${result} (simulated)` : `${result}, ${time(step.took)}${connection}`) +
            (step.upgrade === undefined ? "" : `, asked to upgrade to ${step.upgrade}`),
        ),
      ];
    }
  }
}

/** `failed`: the key of `match` that excludes the request. */
function describeMatch(failed: string): string {
  if (failed === "") return "matches";
  return failed === "not" ? "excluded by not" : `${failed} does not match`;
}

function describeNoRoute({ ambiguous }: RouteStep): string {
  return ambiguous ? "the path is ambiguous" : "no route matches";
}

function describeChooser({ by, plugin = "a plugin", connection }: ClusterStep): string {
  if (by !== "plugin") return `the ${by}`;
  return connection ? `${plugin}, for the connection` : plugin;
}

function describeCall({ result, took, fuel, body }: HookStep): string {
  const size = body === undefined ? "" : `, ${body.before} → ${body.after} bytes${body.last ? ", last chunk" : ""}`;
  return `${result}, ${time(took)}, ${fuel} fuel${size}`;
}

function describeHook({ calls, edits, failure, cluster, strategy, shared = [], log }: HookStep): string[] {
  const lines: string[] = [];
  const counted = Object.entries(calls).map(([name, count]) => (count === 1 ? name : `${name} ×${count}`));
  lines.push(...wrap(counted));
  if (failure !== undefined) lines.push(`${INDENT}${failure.reason}: ${failure.message}`);
  lines.push(...describeEdits(edits));
  if (cluster !== undefined) lines.push(`${INDENT}chose the cluster ${cluster}`);
  if (strategy !== undefined) lines.push(`${INDENT}chose the strategy ${strategy}`);
  for (const [name, value] of shared) lines.push(`${INDENT}shared ${name}: ${value}`);
  for (const { level, text } of log) lines.push(`${INDENT}log ${level}: ${text.replaceAll(/[\r\n]+/g, " ")}`);
  return lines;
}

function describeEdits(edits: readonly Change[]): string[] {
  return edits.map(({ of, what, before, after }) => {
    const name = `${INDENT}${before.length === 0 ? "+" : after.length === 0 ? "-" : "~"} ${of === "response" ? "response " : ""}${what}`;
    const values = [before, after].filter((list) => list.length > 0).map((list) => list.join(", "));
    return `${name}: ${values.join(" → ")}`;
  });
}

function wrap(words: readonly string[]): string[] {
  const lines: string[] = [];
  for (const word of words) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + word.length + 2 <= WIDTH) lines[lines.length - 1] = `${last}, ${word}`;
    else lines.push(`${INDENT}${word}`);
  }
  return lines;
}

/** Wraps a text between words; splits a word that is longer than a line. */
function breakLines(text: string): string[] {
  const width = WIDTH - 2;
  return (text.match(new RegExp(`\\S{${width}}|\\S.{0,${width - 1}}(?=\\s|$)`, "g")) ?? []).map((line) => `  ${line}`);
}

function describePicker({ by, strategy }: PickStep): string {
  if (by === "strategy") return `by ${strategy}`;
  if (by === "native") return `the least loaded, since ${strategy} returned none`;
  return "no endpoint is available";
}

function formatCandidates(candidates: readonly Candidate[], picked: string | null): string[] {
  const width = Math.max(24, ...candidates.map(({ endpoint }) => endpoint.length));
  const row = (endpoint: string, ...rest: string[]) =>
    `${endpoint.padEnd(width)}${rest.map((text, i) => (i < 4 ? text.padStart(11) : `  ${text}`)).join("")}`;
  return [
    `${INDENT}  ${row("", "weight", "in flight", "latency", "errors")}`,
    ...candidates.map(({ endpoint, weight, inFlight, latency, errorRate, zone, out }) => {
      const values = [String(weight), String(inFlight), time(latency), `${(errorRate * 100).toFixed(1)} %`];
      const notes = [zone === "" ? "" : `zone ${zone}`, out].filter(Boolean).join(", ");
      return `${INDENT}${endpoint === picked ? "→" : " "} ${row(endpoint, ...values, notes)}`;
    }),
  ];
}

/** A connection gets no response: it is relayed, or reset. */
function formatRelay(trace: TraceRecord): string[] {
  const { response, steps } = trace;
  const { by, error, problem } = response;
  if (by === "none") return formatResponse(trace);
  const endpoint = steps.findLast((step) => step.step === "attempt")?.endpoint;
  if (by === "endpoint") return [`relayed to ${endpoint}`];
  return ["reset", ...breakLines(problem ?? error ?? "")];
}

function formatResponse({ response, why, took }: TraceRecord): string[] {
  const { status, by, error, problem, headers, body } = response;
  if (by === "none") return [`no response: ${problem}; the connection is closed`];
  const origin = describeOrigin(by, why === "explain");
  const cause = error === undefined ? "" : `: ${error}`;
  const size = `${body} bytes, after ${time(took)}`;
  const whole = `response ${status}, ${origin}${cause}${problem === undefined ? "" : `, ${problem}`}, ${size}`;
  return [
    ...(whole.length <= WIDTH
      ? [whole]
      : [`response ${status}, ${origin}${cause}, ${size}`, ...breakLines(problem ?? "")]),
    ...headers.map(([name, value]) => `  ${name}: ${value}`),
  ];
}

function describeOrigin(by: "endpoint" | "plugin" | "sluice", dry: boolean): string {
  if (by === "endpoint") return dry ? "simulated" : "from the endpoint";
  return by === "plugin" ? "from a plugin" : "from Sluice";
}

function time(micros: number): string {
  return micros < 10_000 ? `${micros} µs` : `${(micros / 1000).toFixed(1)} ms`;
}

/** Replaces control characters, which a client or plugin may have sent, and truncates the line. */
function cut(line: string): string {
  const plain = line.replaceAll(/[\0-\x1f\x7f-\x9f]/g, "?");
  return plain.length <= WIDTH ? plain : `${plain.slice(0, WIDTH - 1)}…`;
}
