// One step of the browser's history a page: Streamlit adds one for every change of a
// setting that stands in the address, so that Back would go through all of them.
//
// On the way to another page it first takes this page's settings out of the address, and
// may put the next one's there; the former are put back, so that Back finds the page as
// it was left.

const LEAVES_WITHIN = 3000 // milliseconds

//
// And what becomes of uploads: one whose uploader is gone, because "Add" was closed, is lost
// without a word, and one that the server refuses shows "AxiosError 403".

const UPLOAD = "/_stcore/upload_file/"
const FORBIDDEN = 403

export default function ({ setTriggerValue }) {
  steps()
  uploads(setTriggerValue)
}

function uploads(setTriggerValue) {
  const requests = window.XMLHttpRequest.prototype
  if (requests.open.tell) {
    requests.open.tell.now = setTriggerValue
    return
  }
  const tell = { now: setTriggerValue }
  const open = requests.open
  const watched = function (method, url, ...rest) {
    if (method.toUpperCase() !== "DELETE" && String(url).includes(UPLOAD)) {
      const shown = [...document.querySelectorAll('[data-testid="stFileUploader"]')]
      this.addEventListener("loadend", () => {
        if (this.status === FORBIDDEN) tell.now("upload", "refused")
        else if (shown.length && !shown.some((uploader) => uploader.isConnected)) tell.now("upload", "lost")
      })
    }
    return open.call(this, method, url, ...rest)
  }
  watched.tell = tell
  requests.open = watched
}

function steps() {
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
