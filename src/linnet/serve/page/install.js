// Lets browsers install the page (manifest.webmanifest) and open it while the server is away.
//
// Browsers allow that over https and on this machine only; elsewhere the page is as it is.

const WORKER = "service-worker.js";

export async function letInstall() {
  if (!("serviceWorker" in navigator)) return;
  try {
    // The page's policy lets this one name be a script's address, and no other.
    const policy = globalThis.trustedTypes?.createPolicy("linnet-worker", { createScriptURL: () => WORKER });
    await navigator.serviceWorker.register(policy ? policy.createScriptURL("") : WORKER, { updateViaCache: "none" });
  } catch {
    // A browser that keeps nothing, or forbids it: the page works without.
  }
}
