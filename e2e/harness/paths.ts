import { join, resolve } from "node:path";

export const REPO_DIR = resolve(import.meta.dirname, "../..");

/** Where tests of whole planes keep images and scratch folders: the checkout's own state, so that nothing is built twice. */
export const STATE_DIR = process.env["TORPOR_STATE_DIR"] ?? join(REPO_DIR, ".torpor");
