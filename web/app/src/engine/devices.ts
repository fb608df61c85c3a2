import { Client } from '@trunkline/sdk';
import type { Live, Options } from '../live.ts';
import { attempt } from '../problems.ts';
import type { Problem } from '../state.ts';

/** The devices of one identity. */
export class Devices {
  private readonly live: Live;
  private joining: { options: Options; secret: Uint8Array } | null = null;

  constructor(live: Live) {
    this.live = live;
  }

  /** Makes a device of the browser that showed this request; the approval goes back to it. */
  async approve(request: string): Promise<{ approval: string } | { problem: Problem }> {
    let approval = '';
    const problem = await attempt(async () => {
      approval = await this.live.client().approveDevice(request);
    });
    this.live.self();
    return problem === null ? { approval } : { problem };
  }

  async revoke(id: string): Promise<Problem | null> {
    const client = this.live.client();
    const device = client.mustOwnList().devices.find((d) => d.deviceId.hex === id);
    if (!device) return 'not-found';
    const problem = await attempt(() => client.revokeDevice(device.deviceId));
    this.live.self();
    return problem;
  }

  /** Begins to make this browser a device of an identity elsewhere: the request to show there. */
  async request(): Promise<string> {
    const options = await this.live.anew();
    const request = await Client.requestDevice(options);
    this.joining = { options, secret: request.secret };
    return request.text;
  }

  join(approval: string): Promise<Problem | null> {
    return attempt(async () => {
      if (!this.joining) throw new Error('there is no request to approve');
      const { options, secret } = this.joining;
      const client = await Client.join(options, { secret }, approval);
      this.joining = null;
      this.live.hold(options, client);
      this.live.ready();
    });
  }
}
