import { DEFAULT_MACHINE, MachineName } from "@torpor/contracts";

/** The machine of the next attempt: what the run has already grown to or asked for, else its task's, else the default. */
export function chooseMachine(ofRun: string | null, ofTask: string | null): MachineName {
  for (const name of [ofRun, ofTask]) {
    const known = MachineName.safeParse(name);
    if (known.success) return known.data;
  }
  return DEFAULT_MACHINE;
}
