import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
} from "node:fs";
import { stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { LineWriter } from "../../../src/observe/line-writer.ts";
import { LogTarget } from "../../../src/observe/log-target.ts";

const url = (name: string) => JSON.stringify(new URL(`../../../src/observe/${name}.ts`, import.meta.url).href);

/** A program that writes a line to its standard output for each message, and sends back how many were dropped. */
const WRITER = `
import { LineWriter } from ${url("line-writer")};
import { LogTarget } from ${url("log-target")};
let dropped = 0;
const writer = new LineWriter({ target: new LogTarget(), dropped: (lines) => { dropped += lines; } });
let line = 0;
process.on("message", async (count) => {
  if (count < 0) {
    await writer.close();
    process.send(dropped);
    process.disconnect();
    return;
  }
  for (let i = 0; i < count; i++) {
    const text = JSON.stringify({ line: line++, fill: "x".repeat(80) }) + "\\n";
    const out = writer.begin(text.length);
    if (out !== null) writer.end(writer.length + out.write(text, writer.length), performance.now());
  }
  writer.flush();
  process.send(dropped);
});
process.send("up");
`;

type Child = { child: ChildProcess; say(count: number): Promise<number> };

async function startWriter(t: TestContext, stdout: number | "pipe", limit = ""): Promise<Child> {
  const args = ["-c", `${limit} exec "$0" "$@"`, process.execPath, "--input-type=module", "-e", WRITER];
  const child = spawn("sh", args, { stdio: ["ignore", stdout, "inherit", "ipc"] });
  t.after(() => child.kill("SIGKILL"));
  await once(child, "message");
  const say = async (count: number) => {
    child.send(count);
    const [dropped] = await once(child, "message");
    return dropped as number;
  };
  return { child, say };
}

function makeDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "sluice-log-"));
  t.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

function linesOf(file: string): number[] {
  const numbers: number[] = [];
  for (const text of readFileSync(file, "utf8").split("\n")) {
    if (/^\{.*\}$/.test(text)) numbers.push((JSON.parse(text) as { line: number }).line);
    else assert.doesNotMatch(text, /\}.*\{/, "a line is glued to what a failed write has left");
  }
  return numbers;
}

async function until(is: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 15_000; !(await is()); await sleep(10)) assert.ok(performance.now() < end);
}

test("a full disk loses the lines that do not fit; writing continues when there is space", async (t) => {
  const file = join(makeDirectory(t), "out.log");
  const { say } = await startWriter(t, openSync(file, "a"), "ulimit -f 8;");
  let sent = 0;
  await until(async () => {
    sent += 50;
    return (await say(50)) > 0;
  });
  const before = linesOf(file);
  assert.ok(before.length > 0);
  truncateSync(file);
  await until(async () => {
    sent++;
    await say(1);
    return linesOf(file).length > 0;
  });
  assert.ok(linesOf(file).every((line) => line > before.at(-1)!));
  const dropped = await say(-1);
  assert.ok(before.length + linesOf(file).length + dropped === sent, `${before.length} ${dropped} of ${sent}`);
});

test("/dev/full and a closed reader drop every line at once, and the program continues", async (t) => {
  for (const stdout of [openSync("/dev/full", "w"), "pipe"] as const) {
    const { child, say } = await startWriter(t, stdout);
    child.stdout?.destroy();
    let sent = 0;
    await until(async () => {
      sent++;
      return (await say(1)) > 0;
    });
    assert.equal(await say(-1), sent);
    const [code] = await once(child, "close");
    assert.equal(code, 0);
  }
});

test("a renamed file is written until it is reopened; a removed one is created again", async (t) => {
  const directory = makeDirectory(t);
  const [file, rotated] = [join(directory, "logs/a.log"), join(directory, "logs/a.log.1")];
  let dropped = 0;
  mkdirSync(join(directory, "logs"));
  const target = new LogTarget({ path: file });
  const writer = new LineWriter({ target, dropped: (lines) => (dropped += lines) });
  const say = (text: string) => {
    const out = writer.begin(text.length + 1)!;
    writer.end(writer.length + out.write(`${text}\n`, writer.length), 0);
    writer.flush();
  };
  const read = (path: string) => (existsSync(path) ? readFileSync(path, "utf8") : "");
  say("one");
  renameSync(file, rotated);
  say("two");
  await until(() => read(rotated) === "one\ntwo\n");
  writer.reopen();
  say("three");
  await until(() => read(file) === "three\n");

  let now = 0;
  rmSync(join(directory, "logs"), { recursive: true });
  await until(() => {
    writer.tick((now += 1000));
    if (dropped === 0) say("lost");
    return dropped > 0;
  });
  mkdirSync(join(directory, "logs"));
  await until(() => {
    writer.tick((now += 1000));
    say("four");
    return read(file).endsWith("four\n");
  });
  await writer.close();
});

test("a file that is missing at one check is kept; one that another worker creates again is opened by all", async (t) => {
  const directory = makeDirectory(t);
  const [file, away] = [join(directory, "a.log"), join(directory, "away")];
  const writers = [1, 2].map(() => new LineWriter({ target: new LogTarget({ path: file }), dropped: () => undefined }));
  const say = (writer: LineWriter, text: string) => {
    const out = writer.begin(text.length + 1)!;
    writer.end(writer.length + out.write(`${text}\n`, writer.length), 0);
    writer.flush();
  };
  const read = () => (existsSync(file) ? readFileSync(file, "utf8") : "");
  const [one, two] = writers as [LineWriter, LineWriter];
  let now = 1000;
  const checkAll = async () => {
    for (const writer of writers) writer.tick(now);
    now += 1000;
    // The path is looked up in other threads.
    for (let i = 0; i < 20; i++) await stat(directory);
  };
  // Not twice in a row.
  for (let i = 0; i < 2; i++) {
    if (i > 0) await checkAll();
    renameSync(file, away);
    await checkAll();
    renameSync(away, file);
  }
  for (const writer of writers) say(writer, "kept");
  await until(() => read() === "kept\nkept\n");

  rmSync(file);
  await checkAll();
  await until(() => {
    one.tick((now += 1000));
    return existsSync(file);
  });
  await until(() => {
    two.tick((now += 1000));
    say(two, "two");
    return read().includes("two\n");
  });
  say(one, "one");
  await until(() => read().includes("one\n"));
  for (const writer of writers) await writer.close();
});

test("a named pipe without a reader does not block the writer", async (t) => {
  const fifo = join(makeDirectory(t), "fifo");
  execFileSync("mkfifo", [fifo]);
  let dropped = 0;
  const writer = new LineWriter({ target: new LogTarget({ path: fifo }), dropped: (lines) => (dropped += lines) });
  const out = writer.begin(2)!;
  writer.end(writer.length + out.write("x\n", writer.length), 0);
  await writer.close();
  assert.equal(dropped, 1);
});

test("writes to a pipe as of a shell never block, and the mode of the shared pipe is not changed", {
  skip: process.platform !== "linux",
}, (t) => {
  const fifo = join(makeDirectory(t), "fifo");
  execFileSync("mkfifo", [fifo]);
  const shared = openSync(fifo, "r+");
  const target = new LogTarget({ fd: shared });
  t.after(() => {
    target.close();
    closeSync(shared);
  });
  const isNonBlocking = (fd: number) => {
    const [, flags = ""] = /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8")) ?? [];
    return (Number.parseInt(flags, 8) & constants.O_NONBLOCK) !== 0;
  };
  assert.deepEqual([isNonBlocking(target.fd), isNonBlocking(shared), target.isPipe], [true, false, true]);
});
