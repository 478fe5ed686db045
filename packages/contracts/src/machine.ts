import { z } from "zod";

/** Sizes of sandboxes that a task can ask for: vCPUs and GiB. Names and sizes are those of Trigger.dev v4. */
export const MACHINES = {
  micro: { cpu: 0.25, memory: 0.25 },
  "small-1x": { cpu: 0.5, memory: 0.5 },
  "small-2x": { cpu: 1, memory: 1 },
  "medium-1x": { cpu: 1, memory: 2 },
  "medium-2x": { cpu: 2, memory: 4 },
  "large-1x": { cpu: 4, memory: 8 },
  "large-2x": { cpu: 8, memory: 16 },
} as const;

export type MachineName = keyof typeof MACHINES;
export const MachineName = z.enum(Object.keys(MACHINES) as [MachineName, ...MachineName[]]);
export const DEFAULT_MACHINE: MachineName = "small-1x";

export const MachinePreset = z.object({ name: z.string(), cpu: z.number(), memory: z.number(), centsPerMs: z.number() });
export type MachinePreset = z.infer<typeof MachinePreset>;

/** The preset as it stands on the wire; own machines cost nothing. */
export function machinePreset(name: MachineName): MachinePreset {
  return { name, ...MACHINES[name], centsPerMs: 0 };
}
