import { describe, expect, it } from "vitest";
import { illegalImports, importEdges } from "./importRules.ts";

describe("the direction of imports", () => {
  it("refuses a part that reaches another part", () => {
    const edges = importEdges("packages/supervisor/src/launch/plan.ts", `import { startGateway } from "@torpor/gateway";`);
    expect(illegalImports(edges)).toEqual([
      { file: "packages/supervisor/src/launch/plan.ts", from: "supervisor", to: "gateway", isTest: false },
    ]);
  });

  it("refuses a way round through relative paths", () => {
    const edges = importEdges("packages/platform/src/a.ts", `const x = await import("../../supervisor/src/index.ts");`);
    expect(illegalImports(edges)).toHaveLength(1);
  });

  it("lets a part reach its libraries, and a test its kit", () => {
    const edges = [
      ...importEdges("packages/platform/src/a.ts", `import type { Engine } from "@torpor/engine";`),
      ...importEdges("packages/gateway/src/a.test.ts", `import { plane } from "@torpor/testkit";`),
    ];
    expect(illegalImports(edges)).toEqual([]);
  });

  it("refuses the test kit in code that ships", () => {
    expect(illegalImports(importEdges("packages/gateway/src/a.ts", `import { plane } from "@torpor/testkit";`))).toHaveLength(1);
  });
});
