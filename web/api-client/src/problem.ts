import type { components } from "./schema.js";

/** An error as the service writes it (RFC 9457). */
export type Problem = components["schemas"]["Problem"];

/** A request that the service refused. Its `message` is the problem's `detail`: what is wrong, why, and what to do. */
export class ApiProblem extends Error {
  override readonly name = "ApiProblem";

  /** The HTTP status. */
  readonly status: number;
  /** The stable code to act on, such as `email_taken`. */
  readonly code: string;
  /** Names the request in the service's log. */
  readonly requestId: string;
  /** After how many seconds to ask again, where the service says so. */
  readonly retryAfter: number | undefined;
  /** All of it; some problems say more than every problem does. */
  readonly problem: Problem;

  constructor(problem: Problem, retryAfter?: number) {
    super(problem.detail);
    this.problem = problem;
    this.status = problem.status;
    this.code = problem.code;
    this.requestId = problem.request_id;
    this.retryAfter = retryAfter;
  }
}

/** Whether an error is a problem of the service, with this code if one is given. */
export function isProblem(error: unknown, code?: string): error is ApiProblem {
  return error instanceof ApiProblem && (code === undefined || error.code === code);
}

/** The error of a refusal. What is not a problem, as a proxy's own page is not, is told as one all the same. */
export async function problemOf(response: Response): Promise<ApiProblem> {
  const told = await response.json().catch(() => undefined);
  const isAProblem = typeof told === "object" && told !== null && "code" in told && "detail" in told;
  return new ApiProblem(isAProblem ? (told as Problem) : foreign(response), secondsToWait(response));
}

/** What `Retry-After` says, in seconds; the service never writes it as a date. */
export function secondsToWait(response: Response): number | undefined {
  const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
  return Number.isFinite(seconds) ? seconds : undefined;
}

function foreign(response: Response): Problem {
  return {
    type: "about:blank",
    title: response.statusText,
    status: response.status,
    detail: `The answer was ${response.status} ${response.statusText}, and not from the service itself.`.replace("  ", " "),
    code: "not_a_problem",
    request_id: response.headers.get("x-request-id") ?? "",
  };
}
