import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { createClient, dataOf, type MembershipClient } from "membership-api-client";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const CATALOG = fileURLToPath(new URL("../catalog.toml", import.meta.url));
const SECRET = "whsec_browser";
const TOKEN = "a-token-for-the-browser-tests";
/** Longer than anything takes that works. */
export const HANG = 60_000;

/** The program that `make test` has built. */
export function program(): string {
  return resolve(ROOT, process.env.CARGO_TARGET_DIR ?? "target", "debug", "membership");
}

/** Somebody of the staff, with a password and nothing else. */
export interface Staff {
  email: string;
  password: string;
}

/** The service and a Stripe simulator that deliver to each other, in a folder of their own. */
export class House {
  private readonly processes: Process[] = [];
  private constructor(
    private readonly folder: string,
    /** The service's address. */
    readonly service: string,
    /** The simulator's address. */
    readonly stripe: string,
    /** The service, asked as another back end does. */
    readonly api: MembershipClient,
  ) {}

  /**
   * Starts both, with somebody of the staff who may sign in, if there is to be one. Somebody else may take a port between our
   * finding and using it; then others are tried.
   */
  static async open(staff?: Staff): Promise<House> {
    for (let attempt = 0; attempt < 5; attempt += 1) {
      const [service, stripe] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
      const folder = mkdtempSync(join(tmpdir(), "membership-browser-"));
      const api = createClient({ baseUrl: `http://${service}`, token: TOKEN });
      const house = new House(folder, `http://${service}`, `http://${stripe}`, api);
      if (await house.start(service, stripe, staff)) {
        return house;
      }
      house.close();
    }
    throw new Error("no two free ports in 5 attempts");
  }

  private async start(service: string, stripe: string, staff?: Staff): Promise<boolean> {
    const webhook = `http://${service}/webhooks/stripe`;
    const simulator = ["stripe-sim", "--listen", stripe, "--webhook", webhook, "--secret", SECRET];
    this.run("stripe-sim", simulator, {});
    const settings: Record<string, string> = {
      LISTEN: service,
      DATABASE_URL: `sqlite://${join(this.folder, "membership.db")}`,
      CATALOG,
      STRIPE_API_BASE: `http://${stripe}/`,
      STRIPE_SECRET_KEY: "sk_test_browser",
      STRIPE_WEBHOOK_SECRETS: SECRET,
      SERVICE_TOKENS: `browser:access.read+support.read+members.write:${TOKEN}`,
      ...(staff && { SESSION_KEYS: `browser:${Buffer.alloc(32, "b").toString("base64")}` }),
    };
    if (staff !== undefined) {
      const create = ["account", "create", "--email", staff.email, "--role", "support", "--password-stdin"];
      const made = spawnSync(program(), create, { cwd: this.folder, env: settings, input: `${staff.password}\n`, encoding: "utf8" });
      if (made.status !== 0) {
        throw new Error(`no account is made: ${made.stderr}`);
      }
    }
    this.run("serve", ["serve"], settings);
    const addresses = [`${this.service}/readyz`, `${this.stripe}/`];
    return (await Promise.all(addresses.map((address) => this.answers(address)))).every(Boolean);
  }

  private run(name: string, args: string[], env: Record<string, string>): void {
    this.processes.push(new Process(name, args, env, this.folder));
  }

  private async answers(address: string): Promise<boolean> {
    for (const begun = Date.now(); Date.now() - begun < HANG; await sleep(50)) {
      if (this.processes.some((process) => process.portTaken())) {
        return false;
      }
      const ok = await fetch(address).then((answer) => answer.ok).catch(() => false);
      if (ok) {
        return true;
      }
    }
    throw new Error(`${address} does not answer:\n${this.log()}`);
  }

  /** What both have said. */
  log(): string {
    return this.processes.map((process) => process.log()).join("\n");
  }

  /** Ends both and removes their folder. */
  close(): void {
    this.processes.forEach((process) => process.end());
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** A member without a membership; her id. */
  async member(email: string): Promise<string> {
    return (await dataOf(this.api.POST("/v1/members", { body: { email } }))).id;
  }

  /** The decision on a video. */
  async decision(member: string, video: string) {
    const path = { member, video };
    return dataOf(this.api.GET("/v1/members/{member}/access/videos/{video}", { params: { path } }));
  }

  /** A call to the simulator's API, as a shop makes it. */
  async shop(path: string, fields?: Record<string, string>): Promise<Record<string, unknown>> {
    const headers = { authorization: "Bearer sk_test_browser" };
    const body = fields && { method: "POST", body: new URLSearchParams(fields) };
    return this.told(`${this.stripe}/v1/${path}`, { headers, ...body });
  }

  /** Turns the simulator's clock; everything that falls due on the way has been delivered then. */
  async turnTo(moment: Date): Promise<void> {
    const body = JSON.stringify({ to: moment.toISOString() });
    await this.told(`${this.stripe}/_sim/clock`, { method: "POST", body });
  }

  private async told(address: string, init: RequestInit): Promise<Record<string, unknown>> {
    const answer = await fetch(address, init);
    const told = (await answer.json()) as Record<string, unknown>;
    if (!answer.ok) {
      throw new Error(`${address}: ${JSON.stringify(told)}`);
    }
    return told;
  }

  /** The address of a new checkout for a member, and the session's id. */
  async checkout(member: string, price: string): Promise<{ id: string; url: string }> {
    const session = await this.shop("checkout/sessions", {
      mode: "subscription",
      "line_items[0][price]": price,
      "line_items[0][quantity]": "1",
      client_reference_id: member,
      success_url: `${this.service}/healthz?bought={CHECKOUT_SESSION_ID}`,
      cancel_url: `${this.service}/healthz`,
    });
    return { id: String(session.id), url: String(session.url) };
  }

  /** The address of the customer portal for whoever bought in a session. */
  async portal(session: string): Promise<string> {
    const { customer } = await this.shop(`checkout/sessions/${session}`);
    const portal = await this.shop("billing_portal/sessions", {
      customer: String(customer),
      return_url: `${this.service}/healthz`,
    });
    return String(portal.url);
  }
}

/** A program that runs beside the browser. */
export class Process {
  private readonly child: ChildProcess;
  private readonly file: string;
  private failure: Error | undefined;

  constructor(
    private readonly name: string,
    args: string[],
    env: Record<string, string>,
    folder: string,
  ) {
    this.file = join(folder, `${name}.log`);
    const log = openSync(this.file, "a");
    this.child = spawn(program(), args, { cwd: folder, env, stdio: ["ignore", log, log] });
    this.child.on("error", (error) => (this.failure = error));
    closeSync(log);
  }

  log(): string {
    return `--- ${this.name}\n${readFileSync(this.file, "utf8")}`;
  }

  /** Whether it ended because its port was taken; any other end is an error. */
  portTaken(): boolean {
    if (this.failure !== undefined) {
      throw new Error(`${program()} cannot be started (${this.failure.message}); run make browser, which builds it`);
    }
    if (this.child.exitCode === null && this.child.signalCode === null) {
      return false;
    }
    if (!/address (already )?in use/i.test(this.log())) {
      throw new Error(`${this.name} has ended:\n${this.log()}`);
    }
    return true;
  }

  end(): void {
    this.child.kill("SIGKILL");
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") {
    throw new Error("a listener has no port");
  }
  return address.port;
}
