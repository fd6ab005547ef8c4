// Tell meter's `ingest` collector what a streaming session used, from Node 18 or newer.
//
//   const usage = new SessionUsage({ url, secret, customerId: "acme" });
//   socket.on("message", (raw) => usage.receive(raw));   // every message, as it comes
//   const failures = await usage.done();                 // once the socket has closed
//
// It never throws into your code and never holds a message up: it posts in the background, and
// again when meter cannot be reached; meter answers what it knows already with `duplicate`.

import { realpathSync } from "node:fs";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

export class SessionUsage {
  #headers; #about; #url; #tries;
  #sent = Promise.resolve();
  #failures = [];

  constructor({ url, secret, customerId, dimensions = {}, tries = 12 }) {
    this.#headers = { authorization: `Bearer ${secret}`, "content-type": "application/json" };
    this.#about = { customer_id: customerId, dimensions };
    if (!url || !secret) throw new Error("url and secret: where meter answers, and its secret");
    this.#url = `${url.replace(/\/$/, "")}/v1/sessions`;
    this.#tries = tries;
  }

  receive(raw) {
    const text = String(raw);
    if (!/"(Begin|Termination)"/.test(text)) return; // spares parsing every Turn
    let said;
    try { said = JSON.parse(text); } catch { return; }
    if (said?.type === "Begin") this.#about.session_id = said.id; // later messages carry no id
    else if (said?.type !== "Termination") return;
    const about = JSON.stringify({ ...this.#about, received_at: new Date() });
    // The message goes in as the text that came: JSON.stringify would round its decimals.
    const body = `${about.slice(0, -1)},"message":${text}}`;
    this.#sent = this.#sent.then(() => this.#post(body)).catch((e) => this.#failures.push(e));
  }

  /** Resolves when nothing is left to send, to what could not be recorded: errors, or none. */
  done() { return this.#sent.then(() => this.#failures); }

  async #post(body) {
    for (let wait = 250, left = this.#tries; ; wait = Math.min(2 * wait, 30_000)) {
      const request = { method: "POST", headers: this.#headers, body };
      const { status, text } = await fetch(this.#url, { ...request, signal: AbortSignal.timeout(30_000) })
        .then(async (answer) => ({ status: answer.status, text: await answer.text() }))
        .catch((error) => ({ status: 599, text: String(error.cause ?? error) }));
      const result = status === 200 ? JSON.parse(text).results[0] : { status, reason: text };
      if (result.status === "recorded" || result.status === "duplicate") return;
      if (status < 500 || --left < 1) throw new Error(`meter: ${result.status}: ${result.reason}`);
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}

// `node post_usage.mjs CUSTOMER < messages`: one message a line, as the log of a session has them.
if (process.argv[1] && import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href) {
  const { METER_URL: url, METER_INGEST_SECRET: secret } = process.env;
  const usage = new SessionUsage({ url, secret, customerId: process.argv[2] });
  for await (const line of createInterface({ input: process.stdin })) usage.receive(line);
  const failures = await usage.done();
  for (const failure of failures) console.error(failure.message);
  process.exitCode = failures.length ? 1 : 0;
}
