// Answers on their way. Each is kept in localStorage until the server has it, so that a reload, a closed tab or a
// server that is away loses none. One tab at a time sends (navigator.locks), oldest first. Sending twice is harmless.

const PREFIX = "answer:";
const DONE = "done"; // the last answers that the server has, for undo

export class Outbox {
  constructor(onChange) {
    this.onChange = onChange;
    this.count = 0;
    addEventListener("storage", () => this.onChange(this.pending().length, ""));
  }

  /** Keep an entry, {id, label, queue, opened} or {undo: key}, and begin to send. Returns its key. */
  add(entry) {
    const key = `${PREFIX}${String(Date.now()).padStart(15, "0")}:${String(this.count++).padStart(6, "0")}:${Math.random()}`;
    localStorage.setItem(key, JSON.stringify(entry));
    this.onChange(this.pending().length); // at once: another tab may be sending, and this one has to wait for it
    this.send();
    return key;
  }

  /** Take back the answer with this key: not sent if it is still here, else undone. */
  undo(key, opened) {
    const waiting = localStorage.getItem(key);
    if (waiting && !this.sending?.has(key)) {
      localStorage.removeItem(key);
      this.onChange(this.pending().length, "");
    } else {
      this.add({ undo: key, opened });
    }
  }

  pending() {
    return Object.keys(localStorage).filter((key) => key.startsWith(PREFIX)).sort();
  }

  /** The items that have an answer here or one that the server got a moment ago: a queue may not know it yet. */
  answered() {
    const waiting = this.pending().map((key) => JSON.parse(localStorage.getItem(key) ?? "{}").id);
    return new Set([...waiting, ...JSON.parse(localStorage.getItem(DONE) ?? "[]").map((each) => each.id)]);
  }

  /** Send all that is pending, one after the other. */
  async send() {
    if (this.isSending) return;
    this.isSending = true;
    try {
      await navigator.locks.request("outbox", () => this.sendAll());
    } finally {
      this.isSending = false;
      if (this.pending().length) setTimeout(() => this.send(), 1500);
    }
  }

  async sendAll() {
    for (let keys = this.pending(); keys.length; keys = this.pending()) {
      const key = keys[0];
      this.sending = new Set([key]);
      this.onChange(keys.length, "");
      let reply;
      try {
        reply = await this.post(key, JSON.parse(localStorage.getItem(key)));
      } catch (error) {
        this.sending = null;
        this.onChange(keys.length, `Not saved yet: ${error.message}. It will be tried again.`);
        return; // and `send` tries again
      }
      localStorage.removeItem(key);
      this.sending = null;
      this.onChange(keys.length - 1, reply?.problem ?? "", reply);
    }
  }

  async post(key, entry) {
    const done = JSON.parse(localStorage.getItem(DONE) ?? "[]");
    if (!entry) return undefined;
    let target = entry;
    if (entry.undo) {
      target = done.find((each) => each.key === entry.undo);
      if (!target) return { problem: "That answer cannot be undone any more." };
    }
    const body = entry.undo
      ? { id: target.id, at: target.at, opened: entry.opened }
      : { id: entry.id, label: entry.label, queue: entry.queue, opened: entry.opened };
    const response = await fetch(entry.undo ? "api/undo" : "api/answer", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    if (response.status === 404) return { problem: await response.text() };
    if (!response.ok) throw new Error((await response.text()) || `the server answers ${response.status}`);
    const reply = await response.json();
    if (entry.undo) {
      localStorage.setItem(DONE, JSON.stringify(done.filter((each) => each !== target)));
    } else {
      localStorage.setItem(DONE, JSON.stringify([...done, { key, id: entry.id, at: reply.at }].slice(-200)));
    }
    const problems = {
      REPLACED: "The picture was replaced meanwhile; the answer was dropped.",
      OVERTAKEN: "Somebody has answered since; nothing was undone.",
      UNTAGGED: "Saved, but these credentials may not change the object's tags.",
    };
    return { ...reply, problem: problems[reply.answer], id: target.id };
  }
}
