// One block of a network over one image, at every price: units run by position, as whole
// numbers, and the halting scores that were read, in 16 bits, in order of position and
// unit. A position that stopped gave no more; the last unit gives none.

class Block {
  constructor({ name, h, w, units, num_units, scores, starts }) {
    Object.assign(this, { name, h, w, numUnits: units, starts })
    const wide = units > 255
    const raw = bytes(num_units)
    this.run = wide ? new Uint16Array(raw.buffer) : raw
    this.read = scores === null ? null : new Uint16Array(bytes(scores).buffer)
    this.kept = {}
  }

  // Units run at every position.
  num_units(frame) {
    return this.once("num_units", frame, () => Float32Array.from(this.frame(frame)))
  }

  // Units run and remainder: what was missing to 1 before the last unit. Of a network
  // that does not halt, all units.
  ponder_cost(frame) {
    if (!this.read) return this.num_units(frame)
    return this.once("ponder_cost", frame, () => {
      const run = this.frame(frame)
      const costs = new Float32Array(run.length)
      let at = this.starts[frame]
      for (let i = 0; i < run.length; i++) {
        let sum = 0
        for (let unit = 0; unit < run[i] - 1; unit++) sum += this.read[at + unit]
        costs[i] = run[i] + 1 - sum / 65535
        at += this.numRead(run[i])
      }
      return costs
    })
  }

  // The position that a row and column of the input lie in.
  index(row, column, [height, width]) {
    return Math.floor((row * this.h) / height) * this.w + Math.floor((column * this.w) / width)
  }

  // Why one position stopped: the scores that it gave, units run, remainder.
  trace(frame, index) {
    const run = this.frame(frame)
    let at = this.starts[frame]
    for (let i = 0; i < index; i++) at += this.numRead(run[i])
    const scores = Array.from(this.read.subarray(at, at + this.numRead(run[index])), (score) => score / 65535)
    return { units: run[index], scores, remainder: 1 - sum(scores.slice(0, run[index] - 1)) }
  }

  stats(frame) {
    return this.once("stats", frame, () => {
      const run = this.frame(frame)
      let [total, least, most] = [0, Infinity, 0]
      for (const units of run) {
        total += units
        least = Math.min(least, units)
        most = Math.max(most, units)
      }
      return { mean: total / run.length, least, most }
    })
  }

  activeShare(frame, unit) {
    const run = this.frame(frame)
    return run.reduce((count, units) => count + (units > unit), 0) / run.length
  }

  frame(frame) {
    return this.run.subarray(frame * this.h * this.w, (frame + 1) * this.h * this.w)
  }

  numRead(units) {
    return Math.min(units, this.numUnits - 1)
  }

  // Computed once for the price that is looked at.
  once(name, frame, compute) {
    if (this.kept[name]?.frame !== frame) this.kept[name] = { frame, value: compute() }
    return this.kept[name].value
  }
}
