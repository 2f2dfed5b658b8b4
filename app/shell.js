// One step of the browser's history a page: Streamlit adds one for every change of a
// setting that stands in the address, so that Back would go through all of them.
//
// On the way to another page it may first take this page's settings out of the address, or
// put the next one's in their place; the former are put back, so that Back finds the page as
// it was left: as it was when a link was clicked, or, on the way that a button leads, before
// the address was emptied.

const LEAVES_WITHIN = 3000 // milliseconds
const FOLLOWS_WITHIN = 60000 // a busy machine needs a while

//
// And what becomes of uploads: one whose uploader is gone, because "Add" was closed, is lost
// without a word, and one that the server refuses shows "AxiosError 403".

const UPLOAD = "/_stcore/upload_file/"
const FORBIDDEN = 403

//
// And paper: what the dark theme drew light is to be dark there.
//
// And links. One to the page that the app opens on has nothing but settings for an address,
// which a browser reads as this page's. And where a link of the guided path asks for this very
// page in another state, Streamlit leaves it as it is; as a step of the history it takes
// everything from the address.

const FINDS_WITHIN = 20000 // milliseconds
const LOOKS_EVERY = 200
const TALL = 0.6 // of the window: it begins at the top
const ROOM = 12 // pixels between a map and the bar

export default function ({ data, setTriggerValue }) {
  document.documentElement.classList.remove("presenting") // the page says it now
  steps()
  path(data?.look_at)
  paper()
  uploads(setTriggerValue)
}

function paper() {
  if (document.goesOnPaper) return
  document.goesOnPaper = true
  window.addEventListener("beforeprint", () => {
    const app = document.querySelector(".stApp")
    const dark = app && getComputedStyle(app).colorScheme === "dark"
    document.documentElement.classList.toggle("dark-on-paper", Boolean(dark))
  })
}

const step = (address) => new URL(address).searchParams.get("lecture")

function path(lookAt) {
  const here = `${step(window.location.href)} ${window.location.pathname}`
  if (step(window.location.href) && window.shownStep !== here) look(lookAt)
  window.shownStep = here
  if (document.followsPath) return
  document.followsPath = true
  for (const kind of ["pointerover", "focusin", "click"]) document.addEventListener(kind, mend, true)
  document.addEventListener("click", follow, true)
}

function mend(event) {
  const link = event.target.closest?.('a[href^="?"]')
  if (link) link.href = window.__streamlit.BACKEND_BASE_URL + link.getAttribute("href")
}

function follow(event) {
  const link = event.target.closest?.("a[href]")
  if (!link || !step(link.href) || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return
  event.preventDefault()
  event.stopPropagation()
  window.history.pushState.anew(link.href)
  window.dispatchEvent(new PopStateEvent("popstate", { state: {} }))
}

// The part of the page that a step is about, once it is there; or the top.
function look(lookAt) {
  const began = performance.now()
  const page = document.querySelector('[data-testid="stMain"]')
  if (!lookAt) page?.scrollTo(0, 0)
  else
    (function wait() {
      const part = document.querySelector(`.st-key-${lookAt}`)
      const map = part && mapOf(part)
      if (part && map !== null && !document.querySelector('[data-testid="stSkeleton"]')) {
        part.scrollIntoView({ block: part.offsetHeight > TALL * window.innerHeight ? "start" : "center" })
        const bar = document.querySelector('[data-testid="stBottom"]')?.getBoundingClientRect().top
        if (map && bar) page?.scrollBy(0, Math.max(0, map.getBoundingClientRect().bottom + ROOM - bar))
      } else if (performance.now() - began < FINDS_WITHIN) setTimeout(wait, LOOKS_EVERY)
    })()
}

// The map in a viewer, which the bar must not cover; null until it is drawn, undefined
// where the part has no viewer.
function mapOf(part) {
  const hosts = [...part.querySelectorAll("*")].filter((element) => element.shadowRoot)
  if (!hosts.length) return part.querySelector('[data-testid^="stBidiComponent"]') ? null : undefined
  const drawn = hosts.flatMap((host) => [...host.shadowRoot.querySelectorAll("canvas.view")])
  const shown = drawn.filter((canvas) => canvas.offsetHeight > 0)
  return shown.length ? (shown.length === drawn.length && shown[1]) || shown[0] : null
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
  const leaving = () => left && performance.now() < left.until && new URL(left.href).pathname === window.location.pathname
  const clicked = (event) => {
    const link = event.target.closest?.("a[href]")
    if (!(link instanceof HTMLAnchorElement) || link.target === "_blank" || link.hasAttribute("download") || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return
    const to = new URL(link.href)
    if (to.origin !== window.location.origin || to.pathname === window.location.pathname) return
    // Clicked once more on the way, the address may be the next page's already.
    if (!leaving()) left = { href: window.location.href, until: performance.now() + FOLLOWS_WITHIN }
  }
  document.addEventListener("click", clicked, true)
  window.addEventListener("popstate", () => { left = null })
  const once = function (state, title, url) {
    const from = new URL(window.location.href)
    const to = new URL(url ?? from, from)
    if (to.pathname === from.pathname) {
      if (!leaving() && !to.search && from.search) left = { href: from.href, until: performance.now() + LEAVES_WITHIN }
      return this.replaceState(state, title, url)
    }
    if (leaving()) this.replaceState(state, title, left.href)
    left = null
    return push.call(this, state, title, url)
  }
  once.once = true
  once.anew = (url) => push.call(window.history, {}, "", url)
  window.history.pushState = once
}
