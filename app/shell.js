// One step of the browser's history a page: Streamlit adds one for every change of a
// setting that stands in the address, so that Back would go through all of them.
//
// On the way to another page it first takes this page's settings out of the address, and
// may put the next one's there; the former are put back, so that Back finds the page as
// it was left.

const LEAVES_WITHIN = 3000 // milliseconds

export default function () {
  const push = window.history.pushState
  if (push.once) return
  let left = null
  const once = function (state, title, url) {
    const from = new URL(window.location.href)
    const to = new URL(url ?? from, from)
    if (to.pathname === from.pathname) {
      if (!to.search && from.search) left = { href: from.href, at: performance.now() }
      return this.replaceState(state, title, url)
    }
    if (left && performance.now() - left.at < LEAVES_WITHIN) this.replaceState(state, title, left.href)
    left = null
    return push.call(this, state, title, url)
  }
  once.once = true
  window.history.pushState = once
}
