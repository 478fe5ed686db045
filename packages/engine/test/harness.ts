// What the tests of this folder are written with.

export * from "./plane.ts";
export * from "./scene.ts";
