import assert from "node:assert/strict";
import { test } from "node:test";
import { formatProblem, loadConfig } from "../../../src/config/load.ts";
import { DEFAULT_ACCESS_FIELDS } from "../../../src/observe/series.ts";

const rest = "\nlisteners: { web: { address: ':8080', cluster: app } }\nclusters: { app: [127.0.0.1:9001] }\n";

function load(access: string) {
  const { config, problems } = loadConfig(`log: { access: ${access} }${rest}`, { file: "/etc/sluice.yaml", env: {} });
  return { access: config?.log.access, problems: problems.map(formatProblem) };
}

test("true is the default map, false is none", () => {
  const fields = DEFAULT_ACCESS_FIELDS.map((name) => ({ key: name, source: name }));
  const usual = { format: "json", fields, where: [] };
  assert.deepEqual(load("true"), { access: usual, problems: [] });
  assert.deepEqual(load("{}"), { access: usual, problems: [] });
  assert.deepEqual(load("false"), { access: false, problems: [] });
  assert.deepEqual(load("{ enabled: false, file: x }"), { access: false, problems: [] });
});

test("fields can be selected, added and renamed; a file is relative to the configuration; one condition needs no list", () => {
  const { access, problems } = load(
    "{ fields: [status, ua=user_agent, header:X-Tenant, id=response:X-Id], file: logs/a.log, where: { status: [5xx, 404], slowerThan: 1s, share: 10% } }",
  );
  assert.deepEqual(problems, []);
  assert.ok(access);
  assert.deepEqual(access.fields, [
    { key: "status", source: "status" },
    { key: "ua", source: "user_agent" },
    { key: "header:x-tenant", source: "header:x-tenant" },
    { key: "id", source: "response:x-id" },
  ]);
  assert.equal(access.file?.path, "/etc/logs/a.log");
  const statuses = [
    { least: 500, most: 599 },
    { least: 404, most: 404 },
  ];
  assert.deepEqual(access.where, [{ status: statuses, slowerThan: 1000, share: 0.1 }]);
  const more = load("{ fields: [default, user_agent] }").access;
  assert.equal(more ? more.fields.length : 0, DEFAULT_ACCESS_FIELDS.length + 1);
});

test("statuses of gRPC by name, number and all errors", () => {
  const sets = (text: string) => {
    const { access, problems } = load(`{ where: { grpcStatus: ${text} } }`);
    assert.deepEqual(problems, []);
    return access ? access.where[0]!.grpcStatus : undefined;
  };
  assert.deepEqual(sets("unavailable"), [1 << 14]);
  assert.deepEqual(sets("[0, 16, deadline-exceeded]"), [1, 1 << 16, 1 << 4]);
  assert.deepEqual(sets("error"), [(1 << 18) - 2]);
});

test("mistakes are reported with their place", () => {
  const cases: [string, RegExp][] = [
    [
      "{ fields: [usr_agent] }",
      /^\/etc\/sluice\.yaml:1:\d+: log\.access\.fields\.0: unknown field "usr_agent", did you mean user_agent\? expected one of time, /,
    ],
    ["{ fields: [status, status] }", /duplicate key status/],
    ["{ fields: ['a b=status'] }", /"a b" is not a key/],
    ["{ format: combined, fields: [status] }", /format: combined has fixed fields/],
    ["{ format: common }", /json or combined|json, combined/],
    ["{ where: { status: 6xx } }", /log\.access\.where/],
    [
      "{ where: { grpcStatus: 17 } }",
      /where\.grpcStatus: invalid value "17": expected a status of gRPC, by name \(ok, /,
    ],
    ["{ where: { grpcStatus: DEADLINE_EXCEEDED } }", /grpcStatus: .*did you mean "deadline-exceeded"/],
    ["{ feilds: [] }", /unknown key "feilds".*fields/],
  ];
  for (const [text, expected] of cases) assert.match(load(text).problems.join("\n"), expected, text);
});
