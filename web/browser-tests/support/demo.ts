import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { HANG, Process, program } from "./house.js";

/** One of the cast, with the question that tells the most about her. */
export interface Part {
  member: string;
  /** None once she is erased. */
  email: string | null;
  line: string;
  video: string;
  at: string;
  known_at: string | null;
}

/** What the demo says to programs when it has started. */
interface Banner {
  url: string;
  data: string;
  cast: Part[];
  sign_in: { member: string; url: string }[];
}

/** The demo with its cast, in a folder of its own. */
export class Demo {
  private constructor(
    private readonly folder: string,
    private readonly process: Process,
    private readonly banner: Banner,
  ) {}

  static async open(): Promise<Demo> {
    const folder = mkdtempSync(join(tmpdir(), "membership-browser-"));
    const process = new Process("demo", ["demo", "--json"], { LISTEN: "127.0.0.1:0" }, folder);
    // It plays a long history first.
    for (const begun = Date.now(); Date.now() - begun < 3 * HANG; await sleep(50)) {
      if (process.portTaken()) {
        break;
      }
      const line = process.log().split("\n").find((line) => line.startsWith("{") && line.includes("sign_in"));
      if (line?.endsWith("}") === true) {
        return new Demo(folder, process, JSON.parse(line) as Banner);
      }
    }
    const said = process.log();
    process.end();
    throw new Error(`the demo does not start:\n${said}`);
  }

  /** The service's address. */
  get url(): string {
    return this.banner.url;
  }

  /** Everybody in it. */
  get cast(): Part[] {
    return this.banner.cast;
  }

  /** The address that signs an owner in with a click, and leads to the accounts she keeps. */
  get ownersClick(): string {
    const click = this.banner.sign_in.find(({ url }) => decodeURIComponent(url).endsWith("=/console/accounts"));
    if (click === undefined) {
      throw new Error("the demo offers no click for an owner");
    }
    return click.url;
  }

  /** The address that signs support in with a click, and leads to the console. */
  get supportsClick(): string {
    const click = this.banner.sign_in.find(({ url }) => decodeURIComponent(url).endsWith("=/console"));
    if (click === undefined) {
      throw new Error("the demo offers no click for support");
    }
    return click.url;
  }

  /** What the command line explains to the question that tells the most about somebody. */
  explained({ member, video, at, known_at }: Part): string {
    const asked = ["explain", member, "--video", video, "--at", at, ...(known_at === null ? [] : ["--known-at", known_at])];
    const env = { DATABASE_URL: `sqlite://${this.banner.data}` };
    const told = spawnSync(program(), asked, { cwd: this.folder, env, encoding: "utf8" });
    if (told.status !== 0 && told.status !== 1) {
      throw new Error(`${asked.join(" ")}: ${told.stderr}`);
    }
    return told.stdout;
  }

  /** What it has said. */
  log(): string {
    return this.process.log();
  }

  close(): void {
    this.process.end();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
