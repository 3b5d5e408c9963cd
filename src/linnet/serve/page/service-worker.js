// Keeps the page's own files for when the server is away, and nothing else: no answer of the server's, no
// conversation, no key.
//
// The server is always asked first, so that after an update nobody sees the page of before; what is kept
// is used only where it does not answer.

const KEPT = "linnet-page";
const FILE = /^(?:katex\/(?:fonts\/)?)?[\w-]+(?:\.min)?\.(?:js|css|svg|png|woff2|webmanifest|html)$/;
const SCOPE = new URL(self.registration.scope).pathname;

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname, search } = new URL(request.url);
  if (request.method !== "GET" || origin !== location.origin || search || !pathname.startsWith(SCOPE)) return;
  const name = pathname.slice(SCOPE.length);
  if (name === "" || FILE.test(name)) event.respondWith(fromServer(request));
});

async function fromServer(request) {
  const kept = await caches.open(KEPT);
  try {
    const response = await fetch(request);
    if (response.ok) await kept.put(request, response.clone()).catch(() => {}); // a full disk costs nothing but this
    return response;
  } catch (error) {
    const found = await kept.match(request, { ignoreVary: true });
    if (found) return found;
    throw error;
  }
}
