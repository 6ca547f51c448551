// Keeps the parts of a page that are marked data-live as the server has them now. On news from the service's stream, and
// as often as a part says by data-every (ms), the page's own address is loaded once and what differs is changed in place:
// node by node, so that the focus, open details and what one reads stay where they are. Without a stream it polls.

const SOON = 250, // between two loads, as long as the service says no more; and four times what the last one took
    POLL = 2000,
    LATE = 10000, // no answer for so long is none
    AGAIN_MAX = 30000; // between two tries to open a stream
const DETAILS = "DETAILS"; // people open and close them

const note = document.getElementById("live");
const address = document.body.dataset.stream;
const parts = () => [...document.querySelectorAll("[data-live][id]")];

let stream, streaming, last, again, opened; // the stream, whether it is open, its last id, when to try anew after an end
let timer, loading, news, loaded = 0, took = 0, lost;
let pace = SOON; // the service says how often it can bear

const clock = () => new Date().toISOString().slice(11, 19);
const say = (text, state) => {
    if (!note || note.textContent === text) return;
    note.textContent = text;
    note.dataset.state = state;
};
const tell = () => {
    if (lost) say(`Not reachable since ${lost}; trying again`, "lost");
    else if (streaming) say("Live", "live");
    else say(`Looking every ${POLL / 1000} s`, "polling");
};

// --- Changing in place

const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE && node.id) || null;
const isSame = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);

const attributesChange = (old, fresh) => {
    for (const { name } of [...old.attributes])
        if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === DETAILS)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes)
        if (old.getAttribute(name) !== value && !(name === "open" && old.nodeName === DETAILS)) old.setAttribute(name, value);
};

const nodeChange = (old, fresh) => {
    if (old.nodeType !== Node.ELEMENT_NODE) {
        if (old.data !== fresh.data) old.data = fresh.data;
        return;
    }
    if (old.isEqualNode(fresh)) return;
    attributesChange(old, fresh);
    childrenChange(old, fresh);
};

// What has an id is found again wherever it went; what has none, by its place.
const childrenChange = (old, fresh) => {
    const wanted = new Set([...fresh.children].map(keyOf).filter(Boolean));
    const known = new Map([...old.children].filter(keyOf).map((node) => [keyOf(node), node]));
    let at = old.firstChild;
    for (const node of [...fresh.childNodes]) {
        while (at && keyOf(at) && !wanted.has(keyOf(at))) {
            const gone = at;
            at = at.nextSibling;
            gone.remove();
        }
        const match = keyOf(node) ? known.get(keyOf(node)) : at;
        if (match && isSame(match, node)) {
            if (match === at) at = at.nextSibling;
            else old.insertBefore(match, at);
            nodeChange(match, node);
        } else {
            old.insertBefore(document.importNode(node, true), at);
            if (at && !keyOf(at) && !keyOf(node)) {
                const gone = at;
                at = at.nextSibling;
                gone.remove();
            }
        }
    }
    while (at) {
        const gone = at;
        at = at.nextSibling;
        gone.remove();
    }
};

const isSelected = (part) => {
    const selection = getSelection();
    return selection && !selection.isCollapsed && selection.containsNode(part, true);
};

// The first row or block that one sees. Browsers that anchor the scroll position by themselves need no help.
const seen = () => {
    if (CSS.supports("overflow-anchor", "auto") || !scrollY) return null;
    const node = document.elementFromPoint(innerWidth / 2, 8)?.closest("[id]");
    return node && { node, top: node.getBoundingClientRect().top };
};

const partChange = (part, fresh) => {
    const focused = part.contains(document.activeElement) ? document.activeElement : null;
    nodeChange(part, fresh);
    if (focused && focused !== document.activeElement)
        (focused.isConnected ? focused : document.getElementById(focused.id))?.focus({ preventScroll: true });
};

export const show = (text) => {
    const page = new DOMParser().parseFromString(text, "text/html");
    const anchor = seen();
    for (const part of parts()) {
        const fresh = page.getElementById(part.id);
        if (fresh && !isSelected(part)) partChange(part, fresh); // what is left alone now is changed by a later load
    }
    if (anchor?.node.isConnected) scrollBy(0, anchor.node.getBoundingClientRect().top - anchor.top);
};

// --- Loading

const load = async () => {
    const began = performance.now();
    loading = true;
    news = false;
    try {
        const answer = await fetch(location.href, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(LATE) });
        const text = await answer.text();
        if (answer.status >= 500) throw new Error(answer.statusText);
        lost = undefined;
        if (!document.hidden) show(text);
    } catch {
        lost ??= clock();
    }
    loading = false;
    loaded = performance.now();
    took = loaded - began;
    tell();
    plan();
};

const every = () => {
    const asked = parts().map((part) => Number(part.dataset.every)).filter((ms) => ms > 0);
    if (!streaming || lost) asked.push(POLL);
    return Math.min(...asked);
};

const plan = () => {
    clearTimeout(timer);
    if (loading || document.hidden) return;
    const wait = Math.max(news ? 0 : every(), pace, 4 * took);
    if (wait < Infinity) timer = setTimeout(load, Math.max(0, loaded + wait - performance.now()));
};

// --- The stream. It is closed while nobody looks, since a browser opens only six connections to a server.

const streamClose = () => {
    clearTimeout(again);
    stream?.close();
    stream = undefined;
    streaming = false;
};

let pause = 0; // before the next try
const streamOpen = () => {
    streamClose();
    if (!address || document.hidden) return;
    stream = new EventSource(last ? `${address}&after=${last}` : address);
    stream.onopen = () => {
        news = true; // what came since the page was made
        streaming = true;
        opened = performance.now();
        pause = 0;
        tell();
        plan();
    };
    stream.addEventListener("audit", (event) => {
        last = event.lastEventId;
        pace = JSON.parse(event.data).pace ?? SOON;
        news = true;
        plan();
    });
    stream.onerror = () => {
        const lasted = streaming && performance.now() - opened > POLL;
        streamClose();
        pause = lasted ? SOON : Math.min(Math.max(2 * pause, POLL), AGAIN_MAX);
        again = setTimeout(streamOpen, pause);
        if (!lasted) tell(); // a stream that only ended is back before anybody could read that
        plan();
    };
};

const wake = () => {
    if (document.hidden) {
        clearTimeout(timer);
        streamClose();
    } else if (!stream) {
        news = true;
        streamOpen();
        plan();
    }
};

if (parts().length) {
    document.addEventListener("visibilitychange", wake);
    addEventListener("pagehide", streamClose);
    addEventListener("pageshow", (event) => event.persisted && wake());
    streamOpen();
    plan();
}
