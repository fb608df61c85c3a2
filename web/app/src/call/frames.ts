// The worker that every frame of a call goes through, as a file of its own.
import { serveFrames } from '@trunkline/sdk/frames';

serveFrames();
