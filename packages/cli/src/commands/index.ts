import type { Command } from "../command.ts";
import { bench } from "./bench.ts";
import { check } from "./check.ts";
import { clean } from "./clean.ts";
import { demo } from "./demo.ts";
import { deploy } from "./deploy.ts";
import { doctor } from "./doctor.ts";
import { PART_COMMANDS } from "./parts.ts";
import { runsCancel, runsList, runsShow } from "./runs.ts";
import { sim } from "./sim.ts";
import { status } from "./status.ts";
import { test } from "./test.ts";
import { tokensComplete, tokensList } from "./tokens.ts";
import { trigger } from "./trigger.ts";
import { up } from "./up.ts";

/** Every command, in the order in which help shows them. */
export const COMMANDS: readonly Command[] = [
  demo,
  up,
  status,
  deploy,
  trigger,
  runsList,
  runsShow,
  runsCancel,
  tokensList,
  tokensComplete,
  doctor,
  clean,
  check,
  test,
  bench,
  sim,
  ...PART_COMMANDS,
];
