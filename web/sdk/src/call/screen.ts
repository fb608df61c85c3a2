// Sharing a screen in a call, in a browser. It has slots of its own: the camera goes on.

import { checkAbort, unlessAborted, type Abortable } from "../abort.ts";
import { refuse } from "../errors.ts";
import type { Call } from "./call.ts";

/** A screen that is being shared. */
export interface SharedScreen {
  readonly screen: MediaStreamTrack;
  /** Where the browser gives sound with it. */
  readonly sound: MediaStreamTrack | undefined;
  /** Ends it on both sides. The browser's own button ends the track "screen". */
  stop(): Promise<void>;
}

/**
 * Lets the person pick a screen, a window or a tab, and sends it, sealed as everything else. Tell the other side with
 * sendSending. An abort while the person picks leaves nothing shared.
 *
 * @throws TrunklineError closed (the call is over, or not connected yet), aborted; DOMException of the browser, such as
 *   NotAllowedError where the person changed their mind
 */
export async function shareScreen(c: Call, o: Abortable = {}): Promise<SharedScreen> {
  checkAbort(o.signal);
  const picking = navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { max: 15 } }, audio: true });
  const end = (s: MediaStream) => { for (const t of s.getTracks()) t.stop(); };
  let stream: MediaStream;
  try {
    stream = await unlessAborted(picking, o.signal);
  } catch (err) {
    // The browser's dialog cannot be closed from here: what is still picked in it is given back.
    if (o.signal?.aborted) void picking.then(end, () => undefined);
    throw err;
  }
  const media = c.peerMedia;
  const [screen] = stream.getVideoTracks();
  const [sound] = stream.getAudioTracks();
  if (media === undefined || screen === undefined || c.state.phase === "ended") {
    end(stream);
    throw refuse("closed", "there is no call to share a screen in");
  }
  screen.contentHint = "detail"; // letters before motion
  await media.send("screen", screen);
  if (sound !== undefined) await media.send("screenAudio", sound);
  return {
    screen, sound,
    stop: async () => {
      end(stream);
      await media.send("screen", null);
      await media.send("screenAudio", null);
    },
  };
}
