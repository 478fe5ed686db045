import { stripVTControlCharacters, styleText } from "node:util";

type Style = "bold" | "dim" | "red" | "green" | "yellow" | "cyan";

/** Where a command writes: answers to standard output, progress and errors to standard error. Colour only on a terminal. */
export interface Terminal {
  readonly json: boolean;
  readonly isInteractive: boolean;
  /** One line of the answer. Not called in JSON mode. */
  line(text: string): void;
  /** The whole answer in JSON mode. */
  value(value: unknown): void;
  /** A step of something that takes a while. */
  progress(text: string): void;
  /** Draws a picture where the last one was; without a terminal it prints only what is new in `states`. */
  draw(picture: Picture): void;
  /** Leaves the last drawing where it is. */
  endDrawing(): void;
  error(text: string, hint?: string): void;
  paint(style: Style, text: string): string;
}

/** Something that changes while it is looked at. */
export interface Picture {
  readonly lines: readonly string[];
  /** The same in words that change seldom: for logs. */
  readonly states: readonly string[];
}

export interface TerminalStreams {
  readonly out: NodeJS.WriteStream;
  readonly err: NodeJS.WriteStream;
  readonly env: NodeJS.ProcessEnv;
}

/** The terminal of this process. `NO_COLOR` is honoured. */
export function createTerminal(streams: TerminalStreams, options: { readonly json: boolean }): Terminal {
  const isInteractive = streams.out.isTTY === true && !options.json;
  const coloured = isInteractive && streams.env["NO_COLOR"] === undefined && streams.env["TERM"] !== "dumb";
  const paint = (style: Style, text: string): string => (coloured ? styleText(style, text, { validateStream: false }) : text);
  const drawing = createDrawing(streams.out, isInteractive);
  return {
    json: options.json,
    isInteractive,
    line: (text) => void (options.json || streams.out.write(`${text}\n`)),
    value: (value) => void (options.json && streams.out.write(`${JSON.stringify(value, null, 2)}\n`)),
    progress: (text) =>
      void streams.err.write(`${streams.err.isTTY === true && coloured ? styleText("dim", text, { validateStream: false }) : text}\n`),
    draw: (picture) => void (options.json || drawing.draw(picture)),
    endDrawing: () => drawing.end(),
    error: (text, hint) => {
      streams.err.write(
        `${streams.err.isTTY === true && coloured ? styleText("red", "error", { validateStream: false }) : "error"}: ${text}\n`,
      );
      if (hint !== undefined) streams.err.write(`  → ${hint}\n`);
    },
    paint,
  };
}

function createDrawing(out: NodeJS.WriteStream, isInteractive: boolean): { draw(picture: Picture): void; end(): void } {
  let height = 0;
  let shown = new Set<string>();
  return {
    draw({ lines, states }) {
      if (!isInteractive) {
        for (const text of states) if (!shown.has(text)) out.write(`${text}\n`);
        shown = new Set(states);
        return;
      }
      const width = Math.max(20, (out.columns ?? 100) - 1);
      const up = height > 0 ? `\u001b[${height}A` : "";
      out.write(`${up}${lines.map((text) => `\u001b[2K${clip(text, width)}\n`).join("")}\u001b[0J`);
      height = lines.length;
    },
    end() {
      height = 0;
      shown = new Set();
    },
  };
}

/** Cuts a line to the width of the terminal, not counting colour codes. */
function clip(text: string, width: number): string {
  const plain = stripVTControlCharacters(text);
  return plain.length <= width ? text : `${plain.slice(0, width - 1)}…`;
}
