// `POST /api/templates`: templates that somebody asks for ahead of the first run.
import { TorporError, CALLBACK_SIGNATURE_HEADER, type gateway as contract, type BodyOf, type TemplateResults } from "@torpor/contracts";
import { backoffMs, sleep, type Secret } from "@torpor/kernel";
import type { Core } from "../core.ts";
import { signature, type Post } from "../snapshots/callback.ts";
import type { Templates } from "./templates.ts";

type Body = BodyOf<typeof contract.createTemplate>;

export interface TemplateRequestsDeps {
  readonly core: Core;
  readonly templates: Templates;
  readonly post: Post;
  readonly token: Secret;
}

/** A callback that is not taken after so many tries is given up: the templates are there all the same. */
const CALLBACK_TRIES = 6;
const BACKOFF = { baseMs: 500, factor: 3, maxMs: 30_000 };

export class TemplateRequests {
  readonly #deps: TemplateRequestsDeps;

  constructor(deps: TemplateRequestsDeps) {
    this.#deps = deps;
  }

  /** Makes them and says what came of each. Undefined: they are made in the background, and a callback will say. */
  async take(body: Body): Promise<TemplateResults | undefined> {
    const { core, templates } = this.#deps;
    if (!templates.isOn)
      throw new TorporError(
        "not_supported",
        "Cannot make a template: this gateway starts every sandbox from its image (TORPOR_GATEWAY_TEMPLATES)",
      );
    const image = await core.images.find(body.image);
    const making = body.machine_configs.map(async ({ cpu, memory_gb }) => {
      const error = await templates.make(image, { cpu, memoryGb: memory_gb });
      return { machine_config: { cpu, memory_gb }, ...(error === undefined ? {} : { error }) };
    });
    const done = Promise.all(making).then((results): TemplateResults => {
      const error = results.find((result) => result.error !== undefined)?.error;
      return { results, ...(error === undefined ? {} : { error }) };
    });
    if (body.background !== true) return await done;
    void done
      .then((results) => this.#tell(body, results))
      .catch((error: unknown) => core.log.error({ err: error, image: body.image }, "cannot tell of templates"));
    return undefined;
  }

  /** What there is. */
  list(): { image_digest: string; cpu: number; memory_gb: number }[] {
    return this.#deps.templates.list().map(({ imageDigest, cpu, memoryGb }) => ({ image_digest: imageDigest, cpu, memory_gb: memoryGb }));
  }

  async #tell({ callback, image }: Body, results: TemplateResults): Promise<void> {
    if (callback === undefined) return;
    const { core, post, token, templates } = this.#deps;
    const { closing } = templates;
    const status = results.error === undefined ? "completed" : "failed";
    const text = JSON.stringify({ status, image, metadata: callback.metadata, ...results });
    for (let attempt = 1; attempt <= CALLBACK_TRIES && !closing.aborted; attempt++) {
      const headers = { "content-type": "application/json", [CALLBACK_SIGNATURE_HEADER]: signature(token, core.clock.nowMs(), text) };
      const answer = await post(callback.url, text, headers, closing);
      if (answer !== undefined && answer < 300) return;
      await sleep(core.clock, backoffMs(attempt, { ...BACKOFF, random: () => core.random.unit() }), closing);
    }
    core.log.warn({ image, url: callback.url }, "a callback about templates was not taken");
  }
}
