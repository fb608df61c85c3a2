// The worker that every frame of a meeting goes through, as a file of its own.
import { serveRoomFrames } from '@trunkline/sdk/roomframes';

serveRoomFrames();
