// Which addresses a text from a model may lead to.

const ALLOWED = new Set(["http:", "https:", "mailto:"]);

/** The address as the browser reads it, if it is one of the web's or a mail address; else null. */
export function safeAddress(text) {
  let address;
  try {
    address = new URL(text); // not relative to this page: that would be the server itself
  } catch {
    return null;
  }
  if (!ALLOWED.has(address.protocol)) return null;
  // https://known.example@elsewhere.example leads elsewhere.
  if (address.username || address.password) return null;
  return address.href;
}
