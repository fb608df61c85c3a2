/** The token of an invitation's link. */
export function inviteToken(link: string): string {
  return link.split('#invite=')[1] ?? '';
}

/** Whether a page comes from this computer. */
export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname.endsWith('.localhost') || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}
