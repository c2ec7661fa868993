/** The files of deploy/, as a machine would read them. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

const directory = join(import.meta.dirname, "../../deploy");

export function readDeployed(name: string): string {
  return readFileSync(join(directory, name), "utf8");
}

/** The instructions of a stage of the container file, in order: all before the second FROM, or from there. */
export function containerSteps(stage: "build" | "image"): { instruction: string; argument: string }[] {
  const lines = readDeployed("Containerfile").matchAll(/^([A-Z]+) (.*)$/gm);
  const steps = Array.from(lines, ([, instruction, argument]) => ({ instruction: instruction!, argument: argument! }));
  const second = steps.findLastIndex(({ instruction }) => instruction === "FROM");
  return stage === "build" ? steps.slice(0, second) : steps.slice(second);
}

/** The argument of the only step of that kind in the image. */
export function containerSetting(instruction: string): string {
  const found = containerSteps("image").filter((step) => step.instruction === instruction);
  if (found.length !== 1) throw new Error(`${found.length} times ${instruction}, expected once`);
  return found[0]!.argument;
}

/** The command of a setting of the systemd unit, by word. */
export function unitCommand(setting: string): string[] {
  const [, command] = new RegExp(`^${setting}=(.*)$`, "m").exec(readDeployed("sluice.service")) ?? [];
  if (command === undefined) throw new Error(`the unit has no ${setting}`);
  return command.split(" ");
}
